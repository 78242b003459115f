"""Infinitely many tasks: closed forms against the paper's, quadrature, draws and plain linear algebra."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

import lmscope.spin_glass as sg

# Chance that one test fails although all is right, shared out among its comparisons.
RATE = 1e-6

INDEPENDENT: dict[str, dict[str, Any]] = {
    "dense": {},
    "correlated": {"correlation": 0.6, "correlated": "coordinates"},
    "equal coordinates": {"correlation": 1.0, "correlated": "coordinates"},
    "sparse": {"teacher": "sparse", "teacher_size": 2},
    "one coordinate": {
        "teacher": "sparse",
        "teacher_size": 1,
        "correlation": 0.5,
        "correlated": "coordinates",
    },
    "sparse correlated": {
        "teacher": "sparse",
        "teacher_size": 2,
        "correlation": 0.5,
        "correlated": "coordinates",
    },
    "low rank": {"teacher": "low_rank", "teacher_size": 2, "correlation": 0.5, "correlated": "coordinates"},
    "columns": {"normalization": "columns", "correlation": 0.5, "correlated": "coordinates"},
}

SHARED: dict[str, dict[str, Any]] = {
    "shared tokens": {"correlation": 0.6},
    "equal tokens": {"correlation": 1.0},
    "sparse shared": {"teacher": "sparse", "teacher_size": 2, "correlation": 0.5},
    "low rank shared": {"teacher": "low_rank", "teacher_size": 2, "correlation": 0.5},
    "columns shared": {"normalization": "columns", "correlation": 0.5},
}
LAWS = INDEPENDENT | SHARED
FEW: dict[str, Any] = {"distinct_teachers": 3, "correlation": 0.5}


def law(dimension: int, length: int, tasks: int = 1, **more: Any) -> sg.Tasks:
    return sg.make_tasks(tasks=tasks, dimension=dimension, prompt_length=length, **more)


def whole_gram(of: sg.Population) -> np.ndarray:
    product = np.kron(of.context_gram, of.query_covariance)
    return product if of.dependence is None else product + of.dependence


@pytest.mark.parametrize("size", [1, 5, 20])
@pytest.mark.parametrize("length", [1, 10, 100])
@pytest.mark.parametrize("regularization", [0.0, 0.01, 1.0])
def test_isotropic_ground_state_and_loss_are_the_papers(
    size: int, length: int, regularization: float
) -> None:
    of = sg.population(law(size, length))
    diagonal = 1 / (1 + (size + 1) / length + regularization * size)
    expected = np.diag([diagonal] * size + [0.0])
    np.testing.assert_allclose(of.ground_state(regularization), expected, rtol=1e-12, atol=1e-14)
    assert of.best_loss == pytest.approx((size + 1) / (length + size + 1), rel=1e-12)
    assert of.target_power == pytest.approx(1, rel=1e-15)

    weights = np.random.default_rng(0).standard_normal((size + 1, size + 1))
    block, label = weights[:-1, :-1], weights[-1, :-1]
    loss = (
        1
        - 2 / size * np.trace(block)
        + (1 + (size + 1) / length) * np.square(block).sum() / size
        + (1 + 2 / size) * (1 + 2 / length) * np.square(label).sum()
    )
    assert of.loss(weights) == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize(("size", "length"), [(1, 1), (10, 100), (20, 50)])
def test_isotropic_marginals_are_the_papers(size: int, length: int) -> None:
    of = sg.population(law(size, length))
    regularization, beta = 0.01, 100.0
    mean, variance = of.marginals(regularization, beta)
    np.testing.assert_array_equal(mean, of.ground_state(regularization))
    block = 1 / (beta * (regularization + (1 + (size + 1) / length) / size))
    label = 1 / (beta * (regularization + (1 + 2 / size) * (1 + 2 / length)))
    np.testing.assert_allclose(variance[:-1, :-1], block, rtol=1e-12)
    np.testing.assert_allclose(variance[-1, :-1], label, rtol=1e-12)
    np.testing.assert_allclose(variance[:, -1], 1 / (beta * regularization), rtol=1e-12)


def test_sums_over_all_columns_ask_for_larger_weights() -> None:
    of = sg.population(law(10, 100, normalization="columns"))
    assert np.diag(of.ground_state())[:-1] == pytest.approx(101 / 111, rel=1e-12)  # .910, papers' figure 2
    assert of.best_loss == pytest.approx(11 / 111, rel=1e-12)


def gaussian_points(dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """Points and weights whose sums are expectations of any polynomial to degree 9 of standard normals."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    points = np.stack([grid.ravel() for grid in np.meshgrid(*[nodes] * dimensions)], axis=1)
    mass = np.prod(np.meshgrid(*[weights / weights.sum()] * dimensions), axis=0).ravel()
    return points, mass


def teacher_points(tasks: sg.Tasks, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Teachers and weights whose sums are expectations of polynomials to degree 9 of the teacher."""
    if kind == "seen":
        teachers = np.concatenate(list(tasks.teachers()))
        return teachers, np.full(len(teachers), 1 / len(teachers))
    if tasks.teacher == "dense":
        return gaussian_points(tasks.dimension)
    points, mass = gaussian_points(tasks.teacher_size)
    points = points * np.sqrt(tasks.dimension / tasks.teacher_size)
    if tasks.teacher == "low_rank":
        return points @ tasks.subspace.T, mass
    supports = list(itertools.combinations(range(tasks.dimension), tasks.teacher_size))
    teachers = np.zeros((len(supports), len(points), tasks.dimension))
    for teacher, support in zip(teachers, supports, strict=True):
        teacher[:, support] = points
    return teachers.reshape(-1, tasks.dimension), np.tile(mass / len(supports), len(supports))


@pytest.mark.parametrize("length", [1, 7])
@pytest.mark.parametrize("kind", ["seen", "unseen"])
@pytest.mark.parametrize("given_law", INDEPENDENT.values(), ids=INDEPENDENT)
def test_moments_are_exact(given_law: dict[str, Any], kind: str, length: int) -> None:
    """Against sums over quadrature points: polynomials of Gaussians, so exact but for rounding."""
    tasks = law(3, length, tasks=4, seed=9, **given_law)
    of = sg.population(tasks, teachers=kind)
    correlation = tasks.correlation
    values, vectors = np.linalg.eigh((1 - correlation) * np.eye(3) + correlation)
    white, mass = gaussian_points(3)
    tokens = white * np.sqrt(np.maximum(values, 0)) @ vectors.T
    gram, field, power = np.zeros((4, 4)), np.zeros((4, 3)), 0.0
    for teacher, share in zip(*teacher_points(tasks, kind), strict=True):
        labels = tokens @ teacher / np.sqrt(3)
        terms = labels[:, None] * np.column_stack([tokens, labels])
        mean, square = mass @ terms, (terms * mass[:, None]).T @ terms
        gram += share * (square / length + (1 - 1 / length) * np.outer(mean, mean))
        field += share * np.outer(mean, (mass * labels) @ tokens)
        power += share * mass @ labels**2
    scale = length / (length + 1) if tasks.normalization == "columns" else 1
    np.testing.assert_allclose(of.context_gram, gram * scale**2, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(of.field, field * scale, rtol=1e-12, atol=1e-13)
    assert of.target_power == pytest.approx(power, rel=1e-12)


@pytest.mark.parametrize("length", [1, 7])
@pytest.mark.parametrize("kind", ["seen", "unseen"])
@pytest.mark.parametrize("given_law", SHARED.values(), ids=SHARED)
def test_moments_of_shared_tokens_are_exact(given_law: dict[str, Any], kind: str, length: int) -> None:
    """The same, over the shared part as well: given it, context and query are independent."""
    tasks = law(3, length, tasks=2, seed=9, **given_law)
    of = sg.population(tasks, teachers=kind)
    white, mass = gaussian_points(3)
    tokens = np.sqrt(tasks.correlation) * white[:, None] + np.sqrt(1 - tasks.correlation) * white
    queries = np.einsum("gti,gtj,t->gij", tokens, tokens, mass)
    gram, field, power = np.zeros((4, 3, 4, 3)), np.zeros((4, 3)), 0.0
    for teacher, share in zip(*teacher_points(tasks, kind), strict=True):
        labels = tokens @ teacher / np.sqrt(3)
        terms = labels[:, :, None] * np.concatenate([tokens, labels[:, :, None]], axis=2)
        mean = np.einsum("gti,t->gi", terms, mass)
        contexts = (terms * mass[:, None]).transpose(0, 2, 1) @ terms / length
        contexts += (1 - 1 / length) * mean[:, :, None] * mean[:, None, :]
        gram += share * np.einsum("gik,gjl,g->ijkl", contexts, queries, mass, optimize=True)
        field += share * (mean * mass[:, None]).T @ mean[:, :-1]
        power += share * mass @ labels**2 @ mass
    scale = length / (length + 1) if tasks.normalization == "columns" else 1
    np.testing.assert_allclose(whole_gram(of), gram.reshape(12, 12) * scale**2, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(of.field, field * scale, rtol=1e-12, atol=1e-13)
    assert of.target_power == pytest.approx(power, rel=1e-12)


@pytest.mark.parametrize(("size", "length", "c"), [(2, 1, 0.3), (5, 20, 0.5), (20, 200, 0.95), (6, 9, 1.0)])
def test_shared_tokens_have_four_modes(size: int, length: int, c: float) -> None:
    """Of dense teachers: the identity, other symmetric weights, antisymmetric ones, and the label row. The
    ground state is a multiple of the identity."""
    of = sg.population(law(size, length, correlation=c))
    own, more = 1 - c, 1 + 1 / length
    straight = c**2 + 2 * c * own / length + own**2 / length
    straight += (2 * c**2 + more * (1 - c**2) + 2 * c**2 * (c + own / length)) / size
    crossed = c**2 * (c + own / length + 2 * (2 * c + more * own) / size)
    label = 3 * c**2 + (1 + 2 / length) * (1 - c**2)
    label = (1 + 2 / size) * (label + 4 * c**2 * (3 * c + (1 + 2 / length) * own) / size)
    whole, symmetric = straight + (size + 1) * crossed, straight + crossed
    expected = [whole]
    expected += [symmetric] * (size * (size + 1) // 2 - 1) + [straight - crossed] * (size * (size - 1) // 2)
    expected += [label] * size
    values = np.linalg.eigvalsh(whole_gram(of))
    np.testing.assert_allclose(values, sorted(expected), rtol=1e-11, atol=1e-12)

    along = c**2 + (1 + c**2) / size
    for regularization in (0.0, 0.01):
        ground = np.diag([along / (whole + regularization)] * size + [0.0])
        np.testing.assert_allclose(of.ground_state(regularization), ground, rtol=1e-10, atol=1e-12)
    assert of.best_loss == pytest.approx(1 - size * along**2 / whole, rel=1e-10)
    _, variance = of.marginals(0.01, 100.0)
    np.testing.assert_allclose(variance[-1, :-1], 1 / (100 * (label + 0.01)), rtol=1e-10)
    np.testing.assert_allclose(variance[:, -1], 1, rtol=1e-12)
    # E_mn + E_nm and E_mn - E_nm, each half of the weight m, n.
    halves = 0.5 / (symmetric + 0.01) + 0.5 / (straight - crossed + 0.01)
    np.testing.assert_allclose(variance[0, 1], halves / 100, rtol=1e-10)


def test_message_passing_ends_where_shared_tokens_couple_the_diagonal() -> None:
    """D weights, each coupled to all others by q: v = 1 / (stiffness - (D - 1) q^2 v) has no solution where
    2 sqrt(D - 1) q exceeds the stiffness."""
    size = 6
    of = sg.population(law(size, 60, correlation=0.8))
    gram = whole_gram(of)
    coupled, own = gram[0, size + 1], gram[0, 0]
    least = 2 * np.sqrt(size - 1) * coupled - own
    assert least > 0
    couplings = np.diag(np.diag(gram)) - gram
    for factor, there in ((0.95, False), (1.05, True)):
        stiffness = np.diag(gram) + factor * least
        found = sg.pass_messages(couplings, of.field.ravel(), stiffness, inverse_temperature=1.0)
        assert found.converged is there
        assert found.diverged is not there


def test_equal_tokens_leave_the_loss_that_their_length_causes() -> None:
    """All tokens are one g: the label times |g|^2 comes back, which varies."""
    for size in (1, 4, 20):
        of = sg.population(law(size, 10, correlation=1.0))
        assert of.best_loss == pytest.approx(2 / (size + 4), rel=1e-9)


def test_weakly_shared_tokens_are_nearly_independent() -> None:
    weak, none = sg.population(law(4, 6, correlation=1e-9)), sg.population(law(4, 6))
    np.testing.assert_allclose(whole_gram(weak), whole_gram(none), atol=1e-8)
    np.testing.assert_allclose(weak.field, none.field, atol=1e-8)
    assert none.dependence is None


def test_shared_tokens_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"Gram matrix of tasks with correlated tokens, dimension 3000, would"
    ):
        sg.population(law(3000, 10, correlation=0.5))


@pytest.mark.parametrize("draw", ["prompts", "statistics"])
@pytest.mark.parametrize("given_law", [*LAWS.values(), FEW, {**FEW, "correlated": "coordinates"}], ids=str)
def test_moments_of_drawn_tasks_are_the_closed_forms(given_law: dict[str, Any], draw: str) -> None:
    tasks = law(3, 4, tasks=20_000, seed=4, draw=draw, **given_law)
    of = sg.population(tasks, teachers="seen" if tasks.distinct_teachers else "unseen")
    columns = []
    for some in tasks.statistics():
        features = (some.context[:, :, None] * some.query[:, None, :]).reshape(len(some), -1)
        squares = (features[:, :, None] * features[:, None, :]).reshape(len(some), -1)
        columns.append(np.hstack([squares, features * some.target[:, None], some.target[:, None] ** 2]))
    values = np.concatenate(columns)
    expected = np.concatenate([whole_gram(of).ravel(), of.field.ravel(), [of.target_power]])
    error = values.std(axis=0) / np.sqrt(len(values))
    apart = np.abs(values.mean(axis=0) - expected) / error
    assert apart.max() < stats.norm.isf(RATE / 2 / values.shape[1])


def test_seen_teachers_count_as_often_as_tasks_have_them() -> None:
    """Five tasks of three teachers: the first two twice."""
    of = sg.population(law(3, 4, tasks=5, distinct_teachers=3), teachers="seen")
    (teachers,) = law(3, 4, tasks=5, distinct_teachers=3).teachers()
    outer = teachers[[0, 0, 1, 1, 2]].T @ teachers[[0, 0, 1, 1, 2]] / 5 / 3
    np.testing.assert_allclose(of.field[:-1], outer, rtol=1e-13)


def test_one_seen_teacher_is_learnt_and_not_in_context() -> None:
    """Weights for one teacher answer its prompts better than any weights do unseen ones, and fail there."""
    tasks = law(5, 20, tasks=1)
    seen, unseen = sg.population(tasks, teachers="seen"), sg.population(tasks)
    weights = seen.ground_state()
    assert seen.loss(weights) < unseen.best_loss * seen.target_power
    assert unseen.loss(weights) > 2 * unseen.best_loss


@pytest.mark.parametrize("given_law", [*LAWS.values(), {"distinct_teachers": 2}], ids=str)
@pytest.mark.parametrize("regularization", [0.0, 0.3])
def test_ground_state_and_marginals_are_those_of_the_whole_matrix(
    given_law: dict[str, Any], regularization: float
) -> None:
    tasks = law(4, 6, tasks=2, **given_law)
    for kind in ("seen", "unseen"):
        of = sg.population(tasks, teachers=kind)
        gram = whole_gram(of) + regularization * np.eye(20)
        weights = np.linalg.lstsq(gram, of.field.ravel(), rcond=1e-13)[0].reshape(5, 4)
        found = of.ground_state(regularization)
        np.testing.assert_allclose(found[:, :-1], weights, rtol=1e-9, atol=1e-11)
        assert (found[:, -1] == 0).all()
        if regularization:
            variance = np.diag(np.linalg.inv(7 * gram)).reshape(5, 4)
            np.testing.assert_allclose(of.marginals(regularization, 7)[1][:, :-1], variance, rtol=1e-11)


@pytest.mark.parametrize("given_law", LAWS.values(), ids=LAWS)
def test_exact_loss_lies_in_the_interval_of_drawn_tasks(given_law: dict[str, Any]) -> None:
    tasks = law(4, 6, tasks=6400, draw="statistics", **given_law)
    weights = np.random.default_rng(1).standard_normal((5, 5))
    drawn = sg.test_loss(weights, tasks.unseen(6400), confidence=1 - RATE)
    assert drawn.low < sg.population(tasks).loss(weights) < drawn.high


WEIGHTS = arrays(np.float64, (4, 4), elements=st.floats(-100, 100, width=32))


@settings(max_examples=100, deadline=None)
@given(WEIGHTS, st.floats(-3, 3), st.sampled_from(list(LAWS.values())))
def test_loss_is_a_parabola_along_any_weights_and_never_below_the_best(
    weights: np.ndarray, factor: float, given_law: dict[str, Any]
) -> None:
    of = sg.population(law(3, 4, **given_law))
    ahead, behind, none = of.loss(weights), of.loss(-weights), of.loss(np.zeros((4, 4)))
    slope, curve = (ahead - behind) / 2, (ahead + behind) / 2 - none
    rounding = 1e-12 * (1 + ahead + behind)
    assert of.loss(factor * weights) == pytest.approx(
        none + factor * slope + factor**2 * curve, abs=20 * rounding
    )
    assert none == of.target_power
    assert of.loss(weights) >= of.best_loss - rounding
    weights[:, -1] += 1  # the free spins
    assert of.loss(weights) == ahead


def test_what_cannot_be_is_refused_by_name() -> None:
    of = sg.population(law(3, 4))
    with pytest.raises(ValueError, match="regularization must be at least 0 and finite, got -1"):
        of.ground_state(-1)
    with pytest.raises(ValueError, match="inverse_temperature must be above 0 and finite, got -2"):
        of.marginals(0.1, -2)
    with pytest.raises(ValueError, match="regularization must be above 0 and finite, got 0"):
        of.marginals(0, 1)
    with pytest.raises(ValueError, match=r"weights must be .*, here 4 x 4, got shape \(3, 3\)"):
        of.loss(np.eye(3))
    with pytest.raises(ValueError, match=r"weights has inf at index \[0, 1\]"):
        of.loss(np.where(np.arange(16).reshape(4, 4) == 1, np.inf, 0.0))
    with pytest.raises(ValueError, match="teachers must be 'unseen' or 'seen', got 'all'"):
        sg.population(law(3, 4), teachers="all")  # type: ignore[arg-type]


def test_dimensions_that_cannot_fit_are_refused() -> None:
    for teachers in ("seen", "unseen"):
        with pytest.raises(
            ValueError, match=r"moments of dimension 1000000 would take 48000\.00 GB, .* smaller"
        ):
            sg.population(sg.make_tasks(tasks=1, dimension=10**6, prompt_length=1), teachers=teachers)  # type: ignore[arg-type]


def test_results_say_what_they_are() -> None:
    of = sg.population(law(10, 100))
    assert repr(of) == "Population(dimension=10, best_loss=0.0991)"
    assert "0.0991" in of._repr_html_()
