"""Message passing against the exact Gaussian, the paper's released numbers, and everything that stops it."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from lmscope.spin_glass import (
    Fields,
    amp,
    fields,
    ground_state,
    make_tasks,
    marginals,
    message_stability,
    pass_messages,
)

SEEDS = 16


def couplings_of(tasks: int, seed: int, *, dimension: int = 10, prompt_length: int = 100) -> Fields:
    law = make_tasks(
        tasks=tasks, dimension=dimension, prompt_length=prompt_length, seed=seed, draw="statistics"
    )
    return fields(law)


@pytest.fixture(scope="module")
def many() -> list[Fields]:
    """D=10, N=100, P=5000, one a seed."""
    return [couplings_of(5000, seed) for seed in range(SEEDS)]


def variance_errors(of: Fields) -> np.ndarray:
    exact = marginals(of, regularization=0.01, inverse_temperature=100).variance
    found = amp(of, regularization=0.01, inverse_temperature=100).variance
    return np.abs(found / exact - 1)[:, :-1]


def without_variance_field(of: Fields, regularization: float) -> tuple[np.ndarray, np.ndarray]:
    """Damped Jacobi iteration of ridge regression: right means, and the variances of spins left alone."""
    stiffness = regularization + np.diag(of.gram)
    mean = np.zeros(of.spins)
    for _ in range(2000):
        mean += 0.1 * (of.field - of.gram @ mean - regularization * mean) / stiffness
    return mean.reshape(-1, of.dimension), (1 / (100 * stiffness)).reshape(-1, of.dimension)


def test_means_with_the_onsager_term_are_the_ground_state(many: list[Fields]) -> None:
    for of in many:
        found = amp(of, regularization=0.01, inverse_temperature=100, strict=True)
        assert found.converged
        assert not found.diverged
        assert found.reason == ""
        assert len(found.changes) == found.steps
        ridge = ground_state(of, regularization=0.01).weights
        np.testing.assert_allclose(found.mean, ridge, rtol=0, atol=1e-5)


def test_variances_within_three_per_mille(many: list[Fields]) -> None:
    """At P=5000 the mean and the root mean square over spins are within 0.3 % for every seed (60 seeds: at
    most 0.19 % and 0.22 %). Not every spin is: the worst of 110 is off by 0.27 to 0.86 %."""
    errors = np.array([variance_errors(of) for of in many])
    assert errors.mean(axis=(1, 2)).max() < 0.003
    assert np.sqrt(np.square(errors).mean(axis=(1, 2))).max() < 0.003
    assert np.median(errors.max(axis=(1, 2))) > 0.003
    assert errors.max() < 0.01


def test_every_variance_within_three_per_mille_of_twice_the_tasks() -> None:
    """60 seeds: at most 0.2 %."""
    for seed in range(4):
        assert variance_errors(couplings_of(10_000, seed)).max() < 0.003


def test_variances_need_the_variance_field(many: list[Fields]) -> None:
    """A solver without it passes where means are compared, and fails here by a factor of ten."""
    for of in many[:4]:
        mean, variance = without_variance_field(of, 0.01)
        exact = marginals(of, regularization=0.01, inverse_temperature=100)
        np.testing.assert_allclose(mean, exact.mean[:, :-1], rtol=0, atol=1e-5)
        errors = np.abs(variance / exact.variance[:, :-1] - 1)
        assert errors.mean() > 0.01
        assert errors.max() > 0.03


def test_without_the_onsager_term_every_spin_loses_stiffness(many: list[Fields]) -> None:
    of = many[0]
    found = amp(of, regularization=0.01, inverse_temperature=100, onsager=False, tol=1e-12, strict=True)
    squared = np.square(of.gram)
    np.fill_diagonal(squared, 0)
    lost = squared @ (100 * found.variance[:, :-1].ravel())
    expected = np.linalg.solve(of.gram + np.diag(0.01 - lost), of.field)
    np.testing.assert_allclose(found.mean[:, :-1].ravel(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("tasks", "reference"),
    [(5000, {"amp": 0.8403, "ridge": 0.8170, "bias": 0.031}), (10_000, {"bias": 0.016})],
)
def test_bias_without_the_onsager_term(many: list[Fields], tasks: int, reference: dict[str, float]) -> None:
    """Papers' one seed within three standard deviations of ours."""
    drawn: dict[str, list[float]] = {"amp": [], "ridge": [], "bias": []}
    for of in many if tasks == 5000 else [couplings_of(tasks, seed) for seed in range(8)]:
        found = amp(of, regularization=0.01, inverse_temperature=100, onsager=False, strict=True).mean
        exact = ground_state(of, regularization=0.01).weights
        drawn["amp"].append(np.diag(found)[:-1].mean())
        drawn["ridge"].append(np.diag(exact)[:-1].mean())
        drawn["bias"].append(np.abs(found - exact).max())
    for name, expected in reference.items():
        mean, deviation = np.mean(drawn[name]), np.std(drawn[name], ddof=1)
        assert abs(expected - mean) < 3 * deviation, name
    assert min(drawn["bias"]) > 1e-3


def test_numbers_of_the_papers_figure_2(many: list[Fields]) -> None:
    """All (D+1)^2 spins as the released code has them: random start, 100 steps, no Onsager term. Of the free
    last column the mean size of means, 0.9^steps of the start's, tells no more than when it was stopped: the
    released 2e-4 is that of about 80 steps, while the released variance of 0.99998 takes about 100."""
    drawn = []
    for seed, of in enumerate(many):
        stiffness = 0.01 + np.pad(np.diag(of.gram).reshape(11, 10), ((0, 0), (0, 1))).ravel()
        found = pass_messages(
            of.couplings(),
            of.external(),
            stiffness,
            inverse_temperature=100,
            onsager=False,
            start="random",
            seed=seed,
            max_steps=100,
        )
        if found.diverged:
            assert "step 1:" in found.reason
            continue
        mean, variance = found.mean.reshape(11, 11), found.variance.reshape(11, 11)
        block = mean[:10, :10]
        assert np.abs(mean[:, 10]).mean() < 2e-4
        drawn.append(
            (
                np.diag(block).mean(),
                np.abs(block[~np.eye(10, dtype=bool)]).mean(),
                np.abs(mean[10, :10]).mean(),
                variance[:10, :10].mean(),
                variance[10, :10].mean(),
                variance[:, 10].mean(),
            )
        )
    assert len(drawn) >= SEEDS // 2
    released = np.array([0.858, 0.012, 0.005, 0.0868, 0.0083, 0.99998])
    off = (released - np.mean(drawn, axis=0)) / np.std(drawn, axis=0, ddof=1)
    assert np.abs(off).max() < 3


def test_population_of_many_tasks() -> None:
    """Variances of infinitely many tasks, block, label row and last column (papers' closed form)."""
    of = couplings_of(20_000, 1)
    found = amp(of, regularization=0.01, inverse_temperature=100, strict=True)
    block = 1 / (100 * (0.01 + (1 + 11 / 100) / 10))
    row = 1 / (100 * (0.01 + (1 + 2 / 10) * (1 + 2 / 100)))
    np.testing.assert_allclose(found.variance[:10, :10].mean(), block, rtol=0.02)
    np.testing.assert_allclose(found.variance[10, :10].mean(), row, rtol=0.05)
    assert (found.variance[:, 10] == 1 / (100 * 0.01)).all()
    assert (found.mean[:, 10] == 0).all()
    np.testing.assert_allclose(np.diag(found.mean)[:10].mean(), 1 / (1 + 11 / 100 + 0.01 * 10), rtol=0.02)


def test_two_spins_by_hand() -> None:
    """lambda = 2, J = 1: v = 1 / (2 - v) at beta 1 has v = 1; lambda = 2.5: v = 0.5."""
    couplings = np.array([[0.0, 1.0], [1.0, 0.0]])
    found = pass_messages(couplings, [1.0, 0.0], [2.5, 2.5], tol=1e-14, strict=True)
    np.testing.assert_allclose(found.variance, 0.5, rtol=1e-12)
    exact = np.linalg.solve([[2.5, -1.0], [-1.0, 2.5]], [1.0, 0.0])
    np.testing.assert_allclose(found.mean, exact, rtol=1e-12)
    biased = pass_messages(couplings, [1.0, 0.0], [2.5, 2.5], onsager=False, tol=1e-14, strict=True)
    np.testing.assert_allclose(
        biased.mean, np.linalg.solve([[2.0, -1.0], [-1.0, 2.0]], [1.0, 0.0]), rtol=1e-12
    )


def test_temperature_moves_no_mean_and_scales_variances(many: list[Fields]) -> None:
    cold = amp(many[0], regularization=0.01, inverse_temperature=1e6)
    warm = amp(many[0], regularization=0.01, inverse_temperature=1e-3)
    np.testing.assert_allclose(cold.mean, warm.mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(1e9 * cold.variance, warm.variance, rtol=1e-12)


@pytest.mark.parametrize("damping", [0.0, 0.5, 0.95])
def test_damping_and_start_do_not_move_the_fixed_point(many: list[Fields], damping: float) -> None:
    of = many[1]
    reference = amp(of, regularization=0.01, tol=1e-12)
    for start in ("prior", "random"):
        found = amp(of, regularization=0.01, damping=damping, start=start, seed=3, tol=1e-12, strict=True)  # type: ignore[arg-type]
        np.testing.assert_allclose(found.mean, reference.mean, rtol=0, atol=1e-10)
        np.testing.assert_allclose(found.variance, reference.variance, rtol=1e-10)


def test_few_tasks_diverge_and_say_where() -> None:
    found = amp(couplings_of(400, 0), regularization=0.01)
    assert found.diverged
    assert not found.converged
    assert found.spin is not None
    assert found.stiffness_left <= 0
    assert np.isnan(found.mean[:, :-1]).all()
    assert np.isnan(found.variance[:, :-1]).all()
    row, column = found.spin
    told = (
        f"step {found.steps + 1}: beta * lambda - V is {found.stiffness_left:.3g} at spin ({row}, {column})"
    )
    assert told in found.reason
    assert "too few tasks (400, 110 spins), too little regularization (0.01) or couplings" in found.reason
    with pytest.raises(RuntimeError, match=r"has not converged: step \d+: beta"):
        amp(couplings_of(400, 0), regularization=0.01, strict=True)
    assert amp(couplings_of(400, 0), regularization=0.5).converged


def test_few_distinct_teachers_diverge_with_any_number_of_tasks() -> None:
    law = make_tasks(
        tasks=20_000, dimension=5, prompt_length=100, seed=1, distinct_teachers=2, draw="statistics"
    )
    found = amp(fields(law), regularization=0.01)
    assert found.diverged
    assert "couplings that stay strong with any number of tasks (correlated tokens, few dist" in found.reason


def test_means_that_move_ever_faster_are_told() -> None:
    """The couplings' largest eigenvalue is 1.02 times the stiffness: the energy has no least weights, and the
    means grow a little each step. The variances have a fixed point."""
    size = 200
    couplings = np.full((size, size), 1.02 / (size - 1))
    np.fill_diagonal(couplings, 0)
    found = pass_messages(couplings, np.ones(size), np.ones(size), onsager=False)
    assert found.diverged
    assert found.spin is None
    assert "the means move ever faster" in found.reason
    assert np.isnan(found.mean).all()
    assert pass_messages(couplings, np.ones(size), np.ones(size)).diverged


def test_means_out_of_the_range_of_numbers_are_told() -> None:
    """Without damping the means of 200 spins grow fivefold a step, while the variances of two others, at the
    edge of having none, still rise."""
    size = 200
    couplings = np.zeros((size + 2, size + 2))
    couplings[:size, :size] = -5 / (size - 1)
    couplings[size, size + 1] = couplings[size + 1, size] = 1.0
    np.fill_diagonal(couplings, 0)
    stiffness = np.append(np.ones(size), [2.0, 2.0])
    found = pass_messages(couplings, np.ones(size + 2), stiffness, damping=0.0)
    assert found.diverged
    assert "grown out of the range of numbers" in found.reason
    damped = pass_messages(couplings[:size, :size], np.ones(size), np.ones(size), damping=0.9, strict=True)
    np.testing.assert_allclose(damped.mean, 1 / 6, rtol=1e-6)


def test_running_out_of_steps_is_told(many: list[Fields]) -> None:
    found = amp(many[0], regularization=0.01, max_steps=30)
    assert not found.converged
    assert not found.diverged
    assert found.steps == 30
    assert found.reason == f"the change after 30 steps is {found.changes[-1]:.3g}, more than 1e-08"
    assert np.isfinite(found.mean).all()
    whole = amp(many[0], regularization=0.01)
    np.testing.assert_array_equal(whole.changes[:30], found.changes)
    with pytest.raises(RuntimeError, match="after 30 steps"):
        amp(many[0], regularization=0.01, max_steps=30, strict=True)


def test_no_regularization_leaves_the_last_column_free(many: list[Fields]) -> None:
    found = amp(many[0], regularization=0)
    assert found.converged
    np.testing.assert_allclose(found.mean, ground_state(many[0]).weights, rtol=0, atol=1e-5)
    assert np.isinf(found.variance[:, -1]).all()
    assert np.isfinite(found.variance[:, :-1]).all()


def test_shown_in_a_line(many: list[Fields]) -> None:
    found = amp(many[0], regularization=0.01)
    assert repr(found) == f"Amp(11 × 11 spins: converged in {found.steps} steps)"
    assert "converged in" in found._repr_html_()
    assert "diverged: step" in repr(amp(couplings_of(200, 0), regularization=0.01))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("inverse_temperature", -1.0),
        ("inverse_temperature", 0.0),
        ("inverse_temperature", math.nan),
        ("regularization", -0.1),
        ("regularization", math.inf),
        ("damping", 1.0),
        ("damping", -0.1),
        ("damping", math.nan),
        ("max_steps", 0),
        ("tol", -1.0),
        ("start", "zero"),
        ("seed", -1),
        ("seed", 2**63),
        ("damping", "x"),
        ("damping", None),
        ("seed", 0.5),
    ],
)
def test_arguments_out_of_range(many: list[Fields], argument: str, value: object) -> None:
    settings = {"regularization": 0.01} | {argument: value}
    with pytest.raises((ValueError, TypeError), match=f"^{argument} must"):
        amp(many[0], **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("couplings", "external", "stiffness", "problem"),
    [
        ([[0.0, 1.0], [2.0, 0.0]], [1.0, 1.0], [9.0, 9.0], "symmetric, got 1 at (0, 1) and 2 at (1, 0)"),
        ([[0.0, 1.0], [1.0, 3.0]], [1.0, 1.0], [9.0, 9.0], "0 on the diagonal, got 3 at spin 1"),
        ([[0.0, math.nan], [1.0, 0.0]], [1.0, 1.0], [9.0, 9.0], "couplings has nan at index [0, 1]"),
        ([[0.0, 1.0], [1.0, 0.0]], [1.0, math.inf], [9.0, 9.0], "external has inf"),
        ([[0.0, 1.0], [1.0, 0.0]], [1.0, 1.0], [9.0, 0.0], "stiffness must be above 0, got 0 at spin 1"),
        ([[0.0, 1.0], [1.0, 0.0]], [1.0, 1.0], [9.0], "stiffness must be of shape (2,)"),
        ([[0.0]], [1.0, 1.0], [9.0, 9.0], "couplings must be spins x spins, here 2 x 2, got shape (1, 1)"),
    ],
)
def test_arrays_that_do_not_fit(
    couplings: list[list[float]], external: list[float], stiffness: list[float], problem: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        pass_messages(np.array(couplings), np.array(external), np.array(stiffness))


def test_nothing_pulls() -> None:
    """Without a field all means are 0, and that is converged."""
    of = couplings_of(5000, 0)
    found = amp(replace(of, field=np.zeros(of.spins)), regularization=0.01, strict=True)
    assert (found.mean == 0).all()


def test_couplings_that_cannot_fit() -> None:
    """A Gram matrix of 10^12 bytes, all views of one number."""
    dimension = 600
    spins = dimension * (dimension + 1)
    of = Fields(np.broadcast_to(1.0, (spins, spins)), np.ones(spins), 1.0, 5, dimension, None)
    with pytest.raises(
        ValueError, match=r"message passing between 360600 spins \(dimension 600\) would take 2\d+\.\d+ GB"
    ):
        amp(of, regularization=0.1)
    with pytest.raises(ValueError, match=r"stability of message passing .* would take 4\d+\.\d+ GB"):
        message_stability(of, regularization=0.1)
