"""The exact Gaussian: marginals and draws."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from lmscope.spin_glass import Fields, fields, make_tasks, marginals, modes, sample

FALSE_ALARM = 1e-6
"""Chance that a correct sampler fails a test here; seeds are fixed."""


def couplings_of(tasks: int, *, dimension: int = 6, seed: int = 0) -> Fields:
    return fields(make_tasks(tasks=tasks, dimension=dimension, prompt_length=30, seed=seed))


@pytest.mark.parametrize("tasks", [20, 42, 500])
def test_marginals_are_the_inverse(tasks: int) -> None:
    of = couplings_of(tasks)
    found = marginals(of, regularization=0.02, inverse_temperature=3.0)
    stiffness = of.gram + 0.02 * np.eye(of.spins)
    expected = np.diag(np.linalg.inv(3.0 * stiffness)).reshape(7, 6)
    np.testing.assert_allclose(found.variance[:, :-1], expected, rtol=1e-9)
    np.testing.assert_allclose(found.variance[:, -1], 1 / (3 * 0.02), rtol=1e-15)
    mean = np.linalg.solve(stiffness, of.field).reshape(7, 6)
    np.testing.assert_allclose(found.mean[:, :-1], mean, rtol=0, atol=1e-10)
    assert (found.mean[:, -1] == 0).all()
    known = modes(of)
    np.testing.assert_allclose(found.variance, known.variances(0.02, 3.0), rtol=1e-9)
    np.testing.assert_allclose(found.spread, known.spread(0.02, 3.0), rtol=1e-9)


@pytest.mark.parametrize("eigenbasis", [False, True])
@pytest.mark.parametrize("tasks", [20, 500])
def test_variances_of_modes(tasks: int, eigenbasis: bool) -> None:
    """draws * mode variance / exact is chi-square with as many degrees of freedom, independent over modes."""
    from scipy.stats import chi2, kstest

    of, draws, beta, regularization = couplings_of(tasks), 300, 5.0, 0.01
    known = modes(of)
    drawn = sample(
        of,
        regularization=regularization,
        inverse_temperature=beta,
        draws=draws,
        seed=1,
        modes=known if eigenbasis else None,
    )
    exact = 1 / (beta * (np.where(known.values > known.bounds, known.values, 0) + regularization))
    statistic = draws * drawn.mode_variances(known) / exact
    p = chi2.cdf(statistic, draws)
    assert min(p.min(), 1 - p.max()) > FALSE_ALARM / (2 * of.spins)
    assert kstest(p, "uniform").pvalue > FALSE_ALARM
    free = np.square(drawn.weights[:, :, -1]).sum() * beta * regularization
    assert FALSE_ALARM / 2 < chi2.cdf(free, draws * 7) < 1 - FALSE_ALARM / 2


def test_modes_are_uncorrelated_and_about_the_mean() -> None:
    from scipy.stats import norm

    of, draws = couplings_of(200, dimension=3), 4000
    known = modes(of)
    drawn = sample(of, regularization=0.1, inverse_temperature=2.0, draws=draws)
    along = (drawn.weights - drawn.mean)[:, :, :-1].reshape(draws, -1) @ known.vectors
    unit = along * np.sqrt(2.0 * (known.values + 0.1))
    covariance = unit.T @ unit / draws - np.eye(12)
    # Entries are normal to the accuracy of 4000 draws: standard deviation 1, on the diagonal root of 2.
    limit = norm.isf(FALSE_ALARM / (2 * 144)) / math.sqrt(draws)
    assert np.abs(covariance).max() < 1.1 * math.sqrt(2) * limit
    assert np.abs(covariance[~np.eye(12, dtype=bool)]).max() < 1.1 * limit
    assert np.abs(unit.mean(axis=0)).max() < norm.isf(FALSE_ALARM / 24) / math.sqrt(draws)


def test_the_spread_of_replicas_bends_at_the_number_of_spins() -> None:
    """Tasks in steps of a tenth of D (D + 1): the exact spread falls linearly with the flat modes up to it,
    and is small after it; the sampled one agrees."""
    spins, beta, regularization = 42, 1.0, 1e-7
    law = make_tasks(tasks=1, dimension=6, prompt_length=30, seed=5)
    exact, counts = [], [round(tenth * spins / 10) for tenth in range(1, 21)]
    for tasks in counts:
        of = fields(law.first(tasks))
        known = modes(of)
        exact.append(known.spread(regularization, beta))
        drawn = sample(of, regularization=regularization, inverse_temperature=beta, draws=40, seed=tasks)
        variances = 1 / (beta * (np.where(known.values > known.bounds, known.values, 0) + regularization))
        np.testing.assert_allclose(exact[-1], variances.mean(), rtol=1e-9)
        deviation = math.sqrt(2 * np.square(variances).sum() / 40) / spins
        # Normal variables are off by 4.9 deviations once in 10^6, a single chi-square by twice that.
        assert abs(drawn.spread - exact[-1]) < 2 * 4.9 * deviation
    flat = np.array(exact) * beta * regularization
    below = np.array(counts) <= spins
    np.testing.assert_allclose(flat[below], 1 - np.array(counts)[below] / spins, atol=1e-2)
    assert flat[~below].max() < 1e-4
    bend = np.diff(flat, 2)
    assert counts[int(np.argmax(bend)) + 1] == spins


def test_replicas_agree_where_the_ground_state_is_sharp() -> None:
    few = sample(couplings_of(20), regularization=1e-3, inverse_temperature=1e3, draws=30)
    many = sample(couplings_of(2000), regularization=1e-3, inverse_temperature=1e3, draws=30)
    assert few.overlap < 0.3
    assert many.overlap > 0.95
    entering = many.weights[:, :, :-1].reshape(30, -1)
    cosines = np.corrcoef(np.concatenate([entering, -entering], axis=1))[np.triu_indices(30, 1)]
    np.testing.assert_allclose(many.overlap, cosines.mean(), rtol=1e-12)
    deviations = (many.weights - many.mean)[:, :, :-1]
    np.testing.assert_allclose(many.spread, np.square(deviations).mean(), rtol=1e-12)


def test_the_same_seed_draws_the_same() -> None:
    of = couplings_of(100)
    few = sample(of, regularization=0.1, draws=3, seed=2)
    more = sample(of, regularization=0.1, draws=5, seed=2)
    np.testing.assert_allclose(few.weights, more.weights[:3], rtol=0, atol=1e-12)
    assert np.abs(sample(of, regularization=0.1, draws=3, seed=3).weights - few.weights).min() > 0
    assert math.isnan(sample(of, regularization=0.1).overlap)
    assert len(few) == 3
    assert "3 draws of 7 × 7 spins" in repr(few)
    assert "mean cosine" in few._repr_html_()
    assert "7 × 7" in repr(marginals(of, regularization=0.1))
    assert "spins that enter" in marginals(of, regularization=0.1)._repr_html_()


@pytest.mark.parametrize("call", [sample, marginals])
@pytest.mark.parametrize(("tasks", "flat"), [(20, 22 + 7), (500, 7)])
def test_flat_directions_have_no_distribution(call: object, tasks: int, flat: int) -> None:
    said = (
        f"the Boltzmann distribution has {flat} flat directions among 49 spins (7 of them the last column, "
        "which never enters) and cannot be normalised; give a larger regularization"
    )
    with pytest.raises(ValueError, match=re.escape(f"regularization is 0: {said}")):
        call(couplings_of(tasks), regularization=0.0)  # type: ignore[operator]
    with pytest.raises(
        ValueError, match=r"regularization is 1e-18, less than 100 times the rounding errors of A, \d"
    ):
        call(couplings_of(tasks), regularization=1e-18)  # type: ignore[operator]


@pytest.mark.parametrize("call", [sample, marginals])
def test_regularization_within_the_rounding_of_many_additions(call: object) -> None:
    """One teacher for one coordinate: A has an eigenvalue of 0, which 200 000 tasks round to less."""
    law = make_tasks(tasks=200_000, dimension=1, prompt_length=10, distinct_teachers=1, draw="statistics")
    of = fields(law)
    factored = of.spins * np.finfo(np.float64).eps * np.trace(of.gram)
    with pytest.raises(ValueError, match=r"less than 100 times the rounding errors of A, \d.*flat dir"):
        call(of, regularization=1.01 * factored)  # type: ignore[operator]


def test_an_eigenvalue_rounded_below_zero_makes_no_variance_larger_than_without_tasks() -> None:
    of = Fields(np.diag([1.0, -1e-14]), np.zeros(2), 1.0, 10, 1, None)
    found = marginals(of, regularization=1e-11, inverse_temperature=4.0).variance
    assert (found[1] == 1 / 4e-11).all()


@pytest.mark.parametrize("tasks", [1, 5, 20_000])
@pytest.mark.parametrize("dimension", [1, 4])
def test_variances_at_the_least_regularization(tasks: int, dimension: int) -> None:
    """Never more than without tasks, and within the 1 % that are promised."""
    law = make_tasks(
        tasks=tasks, dimension=dimension, prompt_length=10, distinct_teachers=1, draw="statistics"
    )
    of = fields(law)
    rounding = (of.spins + of.additions + 256) * np.finfo(np.float64).eps * np.trace(of.gram)
    least = 100.01 * rounding
    found = marginals(of, regularization=least, inverse_temperature=2.0).variance
    assert found.max() <= 1 / (2.0 * least)
    known = modes(of)
    # Modes within their bounds are flat here: few distinct teachers leave no others that are so soft.
    assert (known.values[known.values > known.bounds] > 1e6 * least).all()
    np.testing.assert_allclose(found, known.variances(least, 2.0), rtol=0.01)


@pytest.mark.parametrize("call", [sample, marginals])
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("inverse_temperature", -2.0),
        ("inverse_temperature", 0.0),
        ("inverse_temperature", math.inf),
        ("regularization", -0.1),
        ("regularization", math.nan),
    ],
)
def test_temperatures_and_regularizations_out_of_range(call: object, argument: str, value: float) -> None:
    settings = {"regularization": 0.1} | {argument: value}
    with pytest.raises(ValueError, match=f"^{argument} must be .*finite, got {value}"):
        call(couplings_of(50), **settings)  # type: ignore[operator]


def test_draws_and_modes_that_do_not_fit() -> None:
    of = couplings_of(50)
    with pytest.raises(ValueError, match="seed must be from 0 up"):
        sample(of, regularization=0.1, seed=-1)
    with pytest.raises(ValueError, match=r"seed must be from 0 up, below 2\*\*63"):
        sample(of, regularization=0.1, seed=2**63)
    with pytest.raises(ValueError, match="draws must be from 1 up"):
        sample(of, regularization=0.1, draws=0)
    with pytest.raises(TypeError, match="draws must be a whole number"):
        sample(of, regularization=0.1, draws=1.5)  # type: ignore[arg-type]
    other = modes(couplings_of(50, dimension=3))
    with pytest.raises(ValueError, match="modes must be those of the same 42 spins, got 12"):
        sample(of, regularization=0.1, modes=other)
    with pytest.raises(ValueError, match="modes must be those of the same 42 spins, got 12"):
        sample(of, regularization=0.1).mode_variances(other)


@pytest.mark.parametrize("call", [sample, marginals])
def test_a_factor_that_cannot_fit(call: object) -> None:
    """A Gram matrix of 10^12 bytes, all views of one number."""
    dimension = 600
    spins = dimension * (dimension + 1)
    of = Fields(np.broadcast_to(1.0, (spins, spins)), np.ones(spins), 1.0, 5, dimension, None)
    with pytest.raises(
        ValueError, match=r"Cholesky factor of 360600 spins \(dimension 600\) would take 1040\.\d+ GB"
    ):
        call(of, regularization=0.1)  # type: ignore[operator]


def test_draws_that_cannot_fit() -> None:
    with pytest.raises(
        ValueError, match=r"10000000000 draws of 49 spins would take 11760\.00 GB.*draw fewer at a time"
    ):
        sample(couplings_of(50), regularization=0.1, draws=10**10)
