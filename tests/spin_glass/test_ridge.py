"""The ground state against least squares, ridge regression and the paper's numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge

import lmscope.spin_glass as sg
from lmscope.spin_glass import memory

from .plain_features import features, spins_of, whole


def law(tasks: int, dimension: int = 5, prompt_length: int = 30, **more: Any) -> sg.Tasks:
    return sg.make_tasks(tasks=tasks, dimension=dimension, prompt_length=prompt_length, **more)


# 30 spins of dimension 5 enter.
@pytest.mark.parametrize("tasks", [1, 12, 29, 30, 31, 300])
@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_least_squares_of_least_norm(tasks: int, correlation: float) -> None:
    given = whole(law(tasks, correlation=correlation, seed=2))
    found = sg.ground_state(sg.fields(given))
    expected, *_ = np.linalg.lstsq(features(given), given.target, rcond=None)
    # Rounding errors of the Gram matrix grow with its condition, the square of that of the features.
    tolerance = 100 * np.finfo(np.float64).eps * found.condition * np.linalg.norm(expected)
    assert tolerance < 1e-4
    np.testing.assert_allclose(spins_of(found.weights), expected, atol=tolerance, rtol=0)
    assert found.unique == (tasks >= 30)
    assert found.zero_modes == 36 - min(tasks, 30)
    if tasks <= 30:
        assert found.training_loss <= 1e-12 * found.condition


@pytest.mark.parametrize("tasks", [12, 30, 300])
@pytest.mark.parametrize("regularization", [1e-3, 0.01, 1.0, 100.0])
def test_ridge_regression(tasks: int, regularization: float) -> None:
    given = whole(law(tasks, seed=3))
    rows = features(given)
    ridge = Ridge(alpha=regularization * tasks, fit_intercept=False, solver="svd").fit(rows, given.target)
    found = sg.ground_state(sg.fields(given), regularization=regularization)
    np.testing.assert_allclose(spins_of(found.weights), ridge.coef_, atol=1e-11, rtol=1e-11)
    assert found.unique
    assert found.regularization == regularization
    loss = np.mean((given.target - rows @ ridge.coef_) ** 2)
    assert found.training_loss == pytest.approx(loss, rel=1e-9, abs=1e-13)
    power = np.mean(given.target**2)
    energy = (loss - power) / 2 + regularization / 2 * ridge.coef_ @ ridge.coef_
    assert found.energy == pytest.approx(energy, rel=1e-10)


@pytest.mark.parametrize("tasks", [400, 419, 420, 421, 440, 2000])
@pytest.mark.parametrize("regularization", [0.0, 1e-6, 0.01])
def test_small_residual_across_the_interpolation_peak(tasks: int, regularization: float) -> None:
    couplings = sg.fields(law(tasks, 20, 100, seed=5, draw="statistics"))
    found = sg.ground_state(couplings, regularization=regularization)
    spins = spins_of(found.weights)
    residual = couplings.gram @ spins + regularization * spins - couplings.field
    assert found.residual == pytest.approx(np.linalg.norm(residual), rel=0.5, abs=1e-15)
    assert found.residual <= 1e-14 * np.linalg.norm(couplings.gram, 2) * (1 + np.linalg.norm(spins))
    values = np.linalg.eigvalsh(couplings.gram)[-min(tasks, 420) :] + regularization
    if regularization > 0 and tasks < 420:
        values = np.append(values, regularization)
    assert found.condition == pytest.approx(values.max() / values.min(), rel=1e-4)
    assert found.unique == (tasks >= 420 or regularization > 0)
    assert found.energy == pytest.approx(
        sg.energy(couplings, found.weights, regularization=regularization), rel=1e-9
    )


def test_no_other_weights_have_less_energy() -> None:
    couplings = sg.fields(law(25, seed=1))
    noise = np.random.default_rng(0).standard_normal((50, 6, 6))
    for regularization in (0.0, 0.05):
        found = sg.ground_state(couplings, regularization=regularization)
        others = sg.energy(couplings, found.weights + noise, regularization=regularization)
        assert found.energy < others.min()


@pytest.mark.parametrize("regularization", [1e-300, 1e-20, 1e-16])
def test_the_least_regularization_picks_the_least_norm(regularization: float) -> None:
    """Where it is less than the rounding errors of the Gram matrix, a factor of the sum would hold noise."""
    couplings = sg.fields(law(20, seed=1))
    found = sg.ground_state(couplings, regularization=regularization)
    assert found.unique
    assert found.zero_modes == 16
    np.testing.assert_allclose(found.weights, sg.ground_state(couplings).weights, atol=1e-9)


def test_tokens_that_are_all_alike() -> None:
    """Perfectly correlated coordinates: two spins are left, however many the tasks."""
    couplings = sg.fields(law(500, 3, 10, correlation=1.0, correlated="coordinates", seed=1))
    found = sg.ground_state(couplings)
    assert not found.unique
    assert found.zero_modes == 14
    assert found.residual < 1e-13
    assert np.ptp(found.weights[:3, :3]) < 1e-12 < abs(found.weights[0, 0])
    assert sg.ground_state(couplings, regularization=0.1).unique


def test_a_gram_matrix_of_many_partial_sums_is_divided_by_no_noise() -> None:
    """The more additions, the larger the eigenvalues that may be rounding errors alone."""
    rows = np.random.default_rng(1).standard_normal((50, 6)) * [1, 1, 1, 1, 1, 1e-6]
    target = rows[:, 0]
    few, many = (
        sg.Fields(
            rows.T @ rows / 50, rows.T @ target / 50, float(target @ target) / 50, 50, 2, None, additions
        )
        for additions in (1, 10**6)
    )
    assert sg.ground_state(few).unique
    assert sg.ground_state(few).zero_modes == 3
    found = sg.ground_state(many)
    assert not found.unique
    assert found.zero_modes == 4
    assert sg.zero_modes(many).ambiguous == 1
    np.testing.assert_allclose(spins_of(found.weights), [1, 0, 0, 0, 0, 0], atol=1e-6)
    assert found.condition < 10 < 1e11 < sg.ground_state(few).condition


def test_targets_of_zero() -> None:
    zeros = sg.Statistics(np.zeros((4, 3)), np.zeros((4, 2)), np.zeros(4))
    found = sg.ground_state(sg.fields(zeros))
    assert not found.weights.any()
    assert (found.energy, found.training_loss, found.zero_modes, found.unique) == (0.0, 0.0, 9, False)
    assert math.isnan(found.condition)


@pytest.mark.parametrize(("dimension", "prompt_length"), [(5, 20), (10, 100), (20, 50)])
def test_many_tasks_give_the_ground_state_of_infinitely_many(dimension: int, prompt_length: int) -> None:
    tasks = law(100_000, dimension, prompt_length, seed=9, draw="statistics")
    couplings = sg.fields(tasks)
    diagonal = np.diag(sg.ground_state(couplings).weights)[:-1].mean()
    assert diagonal == pytest.approx(prompt_length / (prompt_length + dimension + 1), rel=0.02)
    ideal = sg.population(tasks)
    for regularization in (0.0, 0.01, 0.3):
        found = sg.ground_state(couplings, regularization=regularization).weights
        # Weights off by d cost d' A d; their sampling error costs loss x spins / tasks on average.
        cost = ideal.loss(found) - ideal.loss(ideal.ground_state(regularization))
        assert abs(cost) < 0.02 * ideal.best_loss


def test_the_papers_ridge_weights() -> None:
    """Section 3b: D = 10, N = 100, P = 5000 tasks, regularization .01: mean of the diagonal .8170."""
    diagonals = []
    for seed in range(8):
        tasks = law(5000, 10, 100, seed=seed, draw="statistics")
        found = sg.ground_state(sg.fields(tasks), regularization=0.01)
        diagonals.append(np.diag(found.weights)[:-1].mean())
    assert np.mean(diagonals) == pytest.approx(0.8170, abs=3 * np.std(diagonals, ddof=1))
    assert np.std(diagonals, ddof=1) < 0.01


@pytest.mark.parametrize(
    ("prompt_length", "published", "regularization"),
    [
        (20, 0.5353, 0.005),
        (100, 0.1871, 0.005),
        (200, 0.1095, 0.005),
        (20, 0.5382, 0.01),
        (100, 0.2017, 0.01),
        (200, 0.1263, 0.01),
    ],
)
def test_the_papers_ridge_losses(prompt_length: int, published: float, regularization: float) -> None:
    """Fig. 4b against the prompt length, D = 20, P = 10000; the published ones are of 1000 test tasks."""
    losses = []
    for seed in range(2):
        of = law(10_000, 20, prompt_length, seed=seed, draw="statistics")
        weights = sg.ground_state(sg.fields(of), regularization=regularization).weights
        losses.append(sg.population(of).loss(weights))
    # A squared error has a standard deviation of about sqrt(2) means, at least.
    assert np.mean(losses) == pytest.approx(published, abs=3 * published * math.sqrt(2 / 1000))


@pytest.mark.parametrize("wrong", [-1e-9, -1.0, math.nan, math.inf])
def test_regularization_that_is_none(wrong: float) -> None:
    couplings = sg.fields(law(20))
    for ask in (
        lambda: sg.ground_state(couplings, regularization=wrong),
        lambda: sg.energy(couplings, np.zeros((6, 6)), regularization=wrong),
        lambda: sg.modes(couplings).ground_state(wrong),
        lambda: sg.modes(couplings).variances(wrong),
        lambda: sg.modes(couplings).spread(wrong),
    ):
        with pytest.raises(ValueError, match="regularization must be at least 0 and finite, got"):
            ask()


def test_weights_of_another_shape() -> None:
    couplings = sg.fields(law(20))
    for shape in ((6, 5), (5, 5), (36,), (2, 5, 6), (1, 1, 6, 6)):
        with pytest.raises(ValueError, match=r"weights must be .*, here .*6 x 6, got shape"):
            sg.energy(couplings, np.zeros(shape))
    with pytest.raises(ValueError, match=r"weights has nan at index \[0, 0\]"):
        sg.energy(couplings, np.full((6, 6), np.nan))


def test_matrices_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    couplings = sg.fields(law(40))
    monkeypatch.setattr(memory, "free_memory", lambda: 8 * 30**2 * 2)
    with pytest.raises(
        ValueError, match=r"modes of 30 spins \(dimension 5\) would take 0.00 GB, .* are free; take a"
    ):
        sg.modes(couplings)
    assert sg.ground_state(couplings).unique
    monkeypatch.setattr(memory, "free_memory", lambda: 8 * 30**2 - 1)
    with pytest.raises(ValueError, match=r"singular values of .* 30 spins .* take a smaller dimension"):
        sg.ground_state(couplings)


def test_it_shows_itself() -> None:
    found = sg.ground_state(sg.fields(law(20)))
    assert repr(found).startswith("GroundState(6 x 6, energy=-0.")
    assert repr(found).endswith("unique=False, zero_modes=16)")
    assert "no: the one of least norm" in found._repr_html_()
