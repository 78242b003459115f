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

LAWS: dict[str, dict[str, Any]] = {
    "dense": {},
    "correlated": {"correlation": 0.6},
    "equal coordinates": {"correlation": 1.0},
    "sparse": {"teacher": "sparse", "teacher_size": 2},
    "one coordinate": {"teacher": "sparse", "teacher_size": 1, "correlation": 0.5},
    "sparse correlated": {"teacher": "sparse", "teacher_size": 2, "correlation": 0.5},
    "low rank": {"teacher": "low_rank", "teacher_size": 2, "correlation": 0.5},
    "columns": {"normalization": "columns", "correlation": 0.5},
}


def law(dimension: int, length: int, tasks: int = 1, **more: Any) -> sg.Tasks:
    return sg.make_tasks(tasks=tasks, dimension=dimension, prompt_length=length, **more)


def whole_gram(of: sg.Population) -> np.ndarray:
    return np.kron(of.context_gram, of.query_covariance)


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
@pytest.mark.parametrize("given_law", LAWS.values(), ids=LAWS)
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


@pytest.mark.parametrize("draw", ["prompts", "statistics"])
@pytest.mark.parametrize("given_law", [*LAWS.values(), {"distinct_teachers": 3, "correlation": 0.5}], ids=str)
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
