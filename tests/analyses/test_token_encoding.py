"""The regression of log-probabilities on an output embedding, against dense solvers and known laws."""

from __future__ import annotations

import tracemalloc
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.linear_model import LinearRegression

from lmscope import Encoding, fit_token_encoding
from lmscope.analyses.row_regression import CONDITION_LIMIT
from lmscope.analyses.slope_sparsity import slope_sparsity


def noisy(tokens: int, dimensions: int, seed: int, noise: float = 0.5) -> tuple[Any, Any]:
    generator = np.random.default_rng([seed, 90])
    embedding = generator.standard_normal((tokens, dimensions)) * np.geomspace(0.1, 3, dimensions) + 2
    slope = generator.standard_normal(dimensions)
    return embedding, -(embedding @ slope) - 5 + noise * generator.standard_normal(tokens)


def by_least_squares(embedding: Any, values: Any) -> tuple[Any, float]:
    """Slope and R2 of the least-norm solution, columns and values centred first."""
    columns, targets = embedding - embedding.mean(axis=0), values - values.mean()
    slope = np.linalg.lstsq(columns, targets, rcond=1e-12)[0]
    return slope, 1 - float(np.sum((targets - columns @ slope) ** 2) / np.sum(targets**2))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_is_scikit_learns_regression(dtype: Any) -> None:
    embedding, log_probability = noisy(30_011, 37, seed=1)
    stored = embedding.astype(dtype)
    oracle = LinearRegression().fit(stored.astype(np.float64), -log_probability)
    found = fit_token_encoding(stored, log_probability)
    np.testing.assert_allclose(found.slope, oracle.coef_, rtol=1e-10)
    np.testing.assert_allclose(found.intercept, oracle.intercept_, rtol=1e-10)
    np.testing.assert_allclose(
        found.fitted, -oracle.predict(stored.astype(np.float64)), rtol=1e-10, atol=1e-12
    )
    score = oracle.score(stored.astype(np.float64), -log_probability)
    assert found.r2 == pytest.approx(score, abs=1e-12)
    assert found.adjusted_r2 == pytest.approx(1 - (1 - score) * 30_010 / (30_011 - 38), abs=1e-12)
    np.testing.assert_array_equal(found.residuals, log_probability - found.fitted)
    assert found.residual_sd == pytest.approx(np.std(found.residuals) * (30_011 / 29_973) ** 0.5)
    assert (found.tokens, found.ridge, found.degrees_of_freedom) == (30_011, 0.0, 37)
    assert found.bias_slope is None
    assert found.cosine is None


def test_bias_is_a_regressor_of_its_own() -> None:
    generator = np.random.default_rng(2)
    embedding, bias = generator.standard_normal((500, 7)), 40 * generator.standard_normal(500) + 300
    log_probability = embedding @ np.arange(7.0) + 2.5 * bias - 3
    found = fit_token_encoding(embedding, log_probability, bias=bias, hidden_mean=np.arange(7.0))
    np.testing.assert_allclose(found.slope, -np.arange(7.0), atol=1e-11)
    assert found.bias_slope == pytest.approx(-2.5, rel=1e-12)
    assert found.intercept == pytest.approx(3, abs=1e-9)
    assert found.r2 == pytest.approx(1, abs=1e-14)
    assert found.degrees_of_freedom == pytest.approx(8)
    assert found.cosine == pytest.approx(1)
    # Without it, its part is noise.
    assert fit_token_encoding(embedding, log_probability).r2 < 0.1


def test_a_constant_bias_is_left_out() -> None:
    embedding, log_probability = noisy(200, 5, seed=3)
    with_bias = fit_token_encoding(embedding, log_probability, bias=np.full(200, 0.1))
    without = fit_token_encoding(embedding, log_probability)
    assert with_bias.bias_slope is None
    np.testing.assert_allclose(with_bias.slope, without.slope, rtol=1e-9)
    np.testing.assert_allclose(with_bias.fitted, without.fitted, rtol=1e-9)
    assert with_bias.degrees_of_freedom == 5


def test_only_chosen_tokens_are_fitted_and_all_are_predicted() -> None:
    embedding, log_probability = noisy(900, 6, seed=4)
    log_probability[::3] = -np.inf
    mask = np.isfinite(log_probability)
    found = fit_token_encoding(embedding, log_probability, tokens=mask)
    oracle = LinearRegression().fit(embedding[mask], -log_probability[mask])
    np.testing.assert_allclose(found.slope, oracle.coef_, rtol=1e-10)
    np.testing.assert_allclose(found.fitted, -oracle.predict(embedding), rtol=1e-10)
    np.testing.assert_array_equal(np.isnan(found.residuals), ~mask)
    np.testing.assert_array_equal(found.used, mask)
    by_id = fit_token_encoding(embedding, log_probability, tokens=np.flatnonzero(mask)[::-1])
    np.testing.assert_array_equal(by_id.slope, found.slope)


def test_shuffled_rows_meet_the_values_of_other_tokens() -> None:
    embedding, log_probability = noisy(400, 6, seed=5)
    used = np.arange(400) % 4 > 0
    found = fit_token_encoding(embedding, log_probability, tokens=used, shuffle=9)
    assert found.shuffled
    assert "shuffled" in repr(found)
    fitted = found.fitted[used]
    # Each fitted value is that of some row, all rows once, and no longer that of the token's own.
    rows = -(embedding[used] @ found.slope + found.intercept)
    np.testing.assert_allclose(np.sort(fitted), np.sort(rows), rtol=1e-9)
    own = embedding[used][np.argsort(rows)][np.argsort(np.argsort(fitted))]
    slope, r2 = by_least_squares(own, -log_probability[used])
    np.testing.assert_allclose(found.slope, slope, rtol=1e-9)
    assert found.r2 == pytest.approx(r2, abs=1e-12)
    assert found.r2 < 0.1 < fit_token_encoding(embedding, log_probability).r2
    others = -(embedding[~used] @ found.slope) - found.intercept
    np.testing.assert_allclose(found.fitted[~used], others, rtol=1e-9)


def test_shuffled_rows_follow_the_law_of_noise() -> None:
    """R2 has the beta law of a regression on noise: a single threshold would hold at the rate it states."""
    embedding, log_probability = noisy(300, 10, seed=6)
    fits = [fit_token_encoding(embedding, log_probability, shuffle=seed) for seed in range(400)]
    law = stats.beta(10 / 2, (300 - 10 - 1) / 2)
    assert stats.kstest([fit.r2 for fit in fits], law.cdf).pvalue > 0.01
    error = law.std() * 299 / 289 / 20
    assert abs(np.mean([fit.adjusted_r2 for fit in fits])) < 4 * error
    above = np.mean([fit.r2 > law.isf(0.05) for fit in fits])
    assert abs(above - 0.05) < 4 * (0.05 * 0.95 / 400) ** 0.5


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    embedding, log_probability = noisy(40_000, 8, seed=7)
    near = fit_token_encoding(embedding, log_probability)
    far = fit_token_encoding(embedding + 1e6, log_probability)
    # Adding the offset rounds the entries themselves at 1e-10.
    np.testing.assert_allclose(far.slope, near.slope, rtol=1e-7)
    assert far.r2 == pytest.approx(near.r2, abs=1e-9)


def test_dependent_columns_get_ridge_and_the_least_contributions() -> None:
    generator = np.random.default_rng(8)
    thin = generator.standard_normal((2000, 5))
    embedding = np.hstack([thin, thin @ generator.standard_normal((5, 4)), np.full((2000, 1), 0.1)])
    log_probability = thin @ np.arange(1.0, 6) + generator.standard_normal(2000)
    scaled = embedding[:, :-1] / embedding[:, :-1].std(axis=0)
    contributions, r2 = by_least_squares(scaled, -log_probability)
    found = fit_token_encoding(embedding, log_probability)
    assert found.condition == np.inf
    correlation = np.corrcoef(embedding[:, :-1].T)
    assert found.ridge == pytest.approx(np.linalg.eigvalsh(correlation)[-1] / CONDITION_LIMIT)
    np.testing.assert_allclose(
        found.coordinates.contribution[:-1], np.abs(contributions), atol=1e-8 * np.linalg.norm(contributions)
    )
    assert found.slope[-1] == 0
    assert found.r2 == pytest.approx(r2, abs=1e-9)
    # Five columns were fitted, not ten.
    assert found.degrees_of_freedom == pytest.approx(5, abs=1e-6)
    assert found.adjusted_r2 == pytest.approx(1 - (1 - r2) * 1999 / 1994, abs=1e-9)
    with pytest.raises(ValueError, match="linearly dependent, and with ridge=0"):
        fit_token_encoding(embedding, log_probability, ridge=0.0)


def test_the_condition_number_decides_about_ridge() -> None:
    generator = np.random.default_rng(9)
    directions = np.linalg.qr(generator.standard_normal((3000, 6)))[0]
    directions -= directions.mean(axis=0)
    for condition, ridged in ((CONDITION_LIMIT / 4, False), (CONDITION_LIMIT * 4, True)):
        embedding = directions.copy()
        # Of the two columns' correlation matrix, (1 + r) / (1 - r).
        embedding[:, 1] = directions[:, 0] + 2 * condition**-0.5 * directions[:, 1]
        log_probability = generator.standard_normal(3000)
        found = fit_token_encoding(embedding, log_probability)
        assert found.condition == pytest.approx(condition, rel=0.2)
        assert (found.ridge > 0) == ridged
        exact = fit_token_encoding(embedding, log_probability, ridge=0)
        assert exact.ridge == 0
        slope = np.linalg.lstsq(embedding, -log_probability, rcond=None)[0]
        # What the condition number leaves of float64: four digits at the limit.
        error = np.linalg.norm(exact.slope - slope) / np.linalg.norm(slope)
        assert error < 5 * np.finfo(np.float64).eps * found.condition
        assert exact.r2 == pytest.approx(by_least_squares(embedding, -log_probability)[1], abs=1e-9)


@pytest.mark.parametrize("factor", [1e-150, 1e-6, 1e5, 1e7, 1e140])
def test_the_units_of_a_column_change_nothing(factor: float) -> None:
    embedding, log_probability = noisy(3000, 20, seed=17)
    bias = np.random.default_rng(18).standard_normal(3000)
    plain = fit_token_encoding(embedding, log_probability, bias=bias)
    units = np.where(np.arange(20) == 5, factor, 1.0)
    if factor < 1e-100:
        with pytest.raises(ValueError, match=r"embedding, column 5: differences .* so small .*; give it in"):
            fit_token_encoding(embedding * units, log_probability)
        return
    found = fit_token_encoding(embedding * units, log_probability, bias=bias)
    assert (found.ridge, found.condition) == (0, pytest.approx(plain.condition))
    assert found.r2 == pytest.approx(plain.r2, abs=1e-12)
    np.testing.assert_allclose(found.slope * units, plain.slope, rtol=1e-10)
    assert found.bias_slope == pytest.approx(plain.bias_slope, rel=1e-9)


def test_a_constant_column_is_left_out() -> None:
    embedding, log_probability = noisy(300_000, 1, seed=19)
    # Its sum is rounded by more than 1e-12 of itself.
    found = fit_token_encoding(np.hstack([embedding, np.full((300_000, 1), 0.1)]), log_probability)
    alone = fit_token_encoding(embedding, log_probability)
    assert (found.condition, found.ridge, found.slope[1]) == (1, 0, 0)
    assert found.degrees_of_freedom == 1
    assert found.slope[0] == pytest.approx(alone.slope[0], rel=1e-12)
    assert found.coordinates.spread[1] == 0


def test_ridge_that_was_asked_for() -> None:
    embedding, log_probability = noisy(300, 6, seed=10)
    found = fit_token_encoding(embedding, log_probability, ridge=0.7)
    centred = embedding - embedding.mean(axis=0)
    targets = -(log_probability - log_probability.mean())
    added = 0.7 * 300 * np.diag(embedding.var(axis=0))
    expected = np.linalg.solve(centred.T @ centred + added, centred.T @ targets)
    np.testing.assert_allclose(found.slope, expected, rtol=1e-10)
    assert found.ridge == 0.7
    assert found.degrees_of_freedom < 6
    assert found.r2 == pytest.approx(1 - np.sum((targets - centred @ expected) ** 2) / np.sum(targets**2))


def test_equal_rows_count_as_often_as_they_are_there() -> None:
    embedding, log_probability = noisy(200, 4, seed=11)
    weights = np.arange(200) % 3 + 1
    found = fit_token_encoding(np.repeat(embedding, weights, axis=0), np.repeat(log_probability, weights))
    oracle = LinearRegression().fit(embedding, -log_probability, weights)
    np.testing.assert_allclose(found.slope, oracle.coef_, rtol=1e-10)


def test_sparsity_of_one_coordinate_and_of_all() -> None:
    generator = np.random.default_rng(12)
    embedding = generator.standard_normal((5000, 8))
    one = fit_token_encoding(embedding, 3 * embedding[:, 2] + 1).coordinates
    assert (one.participation, one.gini) == pytest.approx((1, 7 / 8))
    assert one.ninety == 1
    np.testing.assert_allclose(one.spread, embedding.std(axis=0))
    scaled = embedding / embedding.std(axis=0)
    every = fit_token_encoding(scaled, scaled @ np.array([1, -1] * 4)).coordinates
    assert (every.participation, every.ninety) == (pytest.approx(8), 8)
    assert every.gini == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(every.contribution, 1)


@pytest.mark.parametrize("size", [10, 20, 100, 640, 1000])
def test_nine_of_ten_equal_contributions_hold_ninety_percent(size: int) -> None:
    for value in (1.0, 0.1, 0.3, 1 / 3):
        assert slope_sparsity(np.full(size, value), np.ones(size), None).ninety == size * 9 // 10


def test_components_are_the_slope_turned() -> None:
    embedding, log_probability = noisy(700, 6, seed=13)
    mean = np.arange(6.0)
    found = fit_token_encoding(embedding, log_probability, hidden_mean=mean)
    basis = found.components.basis
    assert basis is not None
    assert found.coordinates.basis is None
    np.testing.assert_allclose(basis @ found.components.slope, found.slope, rtol=1e-12)
    np.testing.assert_allclose(basis @ found.components.mean_hidden, mean, atol=1e-12)
    scores = (embedding - embedding.mean(axis=0)) @ basis
    np.testing.assert_allclose(scores.std(axis=0), found.components.spread)
    assert (np.diff(found.components.spread) <= 0).all()
    # Components are uncorrelated: their contributions add up to what is explained.
    explained = np.sum(found.components.contribution**2)
    assert explained == pytest.approx(found.r2 * log_probability.var())
    assert found.cosine == pytest.approx(
        -found.slope @ mean / np.linalg.norm(found.slope) / np.linalg.norm(mean)
    )


def same_up_to(one: Encoding, other: Encoding) -> None:
    assert one.r2 == pytest.approx(other.r2, abs=1e-9)
    assert one.adjusted_r2 == pytest.approx(other.adjusted_r2, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    scale=st.floats(1e-3, 1e3),
    offset=st.floats(-50, 50),
    dimensions=st.integers(1, 9),
)
def test_invariants(seed: int, scale: float, offset: float, dimensions: int) -> None:
    embedding, log_probability = noisy(60, dimensions, seed)
    mean = np.random.default_rng(seed).standard_normal(dimensions)
    rotation = stats.ortho_group.rvs(dimensions, random_state=seed) if dimensions > 1 else np.eye(1)
    found = fit_token_encoding(embedding, log_probability, hidden_mean=mean)
    assert 0 <= found.r2 <= 1
    assert found.adjusted_r2 <= found.r2

    turned = fit_token_encoding(embedding @ rotation, log_probability, hidden_mean=mean @ rotation)
    same_up_to(turned, found)
    np.testing.assert_allclose(turned.slope, found.slope @ rotation, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(turned.components.spread, found.components.spread, rtol=1e-7)
    assert turned.cosine == pytest.approx(found.cosine, abs=1e-9)
    assert turned.components.participation == pytest.approx(found.components.participation, rel=1e-6)

    moved = fit_token_encoding(embedding, log_probability + offset)
    same_up_to(moved, found)
    assert moved.intercept == pytest.approx(found.intercept - offset, abs=1e-8)
    np.testing.assert_allclose(moved.slope, found.slope, rtol=1e-7, atol=1e-9)

    stretched = fit_token_encoding(scale * embedding, log_probability)
    same_up_to(stretched, found)
    np.testing.assert_allclose(stretched.slope, found.slope / scale, rtol=1e-7, atol=1e-9 / scale)
    np.testing.assert_allclose(stretched.coordinates.contribution, found.coordinates.contribution, rtol=1e-6)


def test_memory_beyond_the_rows_stays_small() -> None:
    """33 MB of rows, 134 MB in float64, are read 8 MB at a time."""
    generator = np.random.default_rng(14)
    embedding = generator.standard_normal((65_536, 256), dtype=np.float32).astype(ml_dtypes.bfloat16)
    log_probability = generator.standard_normal(65_536)
    tracemalloc.start()
    found = fit_token_encoding(embedding, log_probability, tokens=np.arange(65_536) % 7 > 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.tokens == 56_173
    assert peak < 24 << 20


def test_shown_in_notebooks() -> None:
    embedding, log_probability = noisy(100, 4, seed=15)
    found = fit_token_encoding(embedding, log_probability, hidden_mean=np.ones(4))
    assert repr(found).startswith("Encoding(r2=0.9")
    assert "tokens=100, dimensions=4" in repr(found)
    html = found._repr_html_()
    assert "100 rows of 4 dimensions" in html
    assert "participation" in html
    assert "Slope over 4 components" in found.components._repr_html_()
    assert "4 coordinates, participation=" in repr(found.coordinates)


EMBEDDING, LOGS = noisy(50, 5, seed=16)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"log_probability": LOGS[:-1]}, r"log_probability must be of shape \(50,\).*got \(49,\)"),
        (
            {"tokens": np.arange(7)},
            "tokens: 7 are too few for a regression on 5 dimensions.* at least 8; fit more",
        ),
        ({"log_probability": np.where(np.arange(50) == 41, -np.inf, LOGS)}, "token 41 is -inf.*isfinite"),
        ({"log_probability": np.full(50, -3.0)}, "log_probability is -3 for each of 50 tokens"),
        ({"embedding": np.ones((50, 5))}, "every fitted row is the same"),
        ({"embedding": EMBEDDING * 1e160}, "embedding, column 0: differences between tokens are so large"),
        ({"embedding": EMBEDDING * 1e-200}, "embedding, column 0: differences between tokens are so small"),
        ({"bias": np.arange(50) * 1e160}, "bias: differences between tokens are so large"),
        ({"log_probability": LOGS * 1e160}, "log_probability: differences between tokens are so large"),
        (
            {"embedding": np.where(np.arange(250).reshape(50, 5) == 153, np.nan, EMBEDDING)},
            "embedding has nan at row 30, column 3",
        ),
        ({"tokens": np.ones(49, bool)}, r"a mask, must be of shape \(50,\), got \(49,\)"),
        ({"tokens": [3, 50]}, "there is no token 50 in an embedding of 50 rows"),
        ({"tokens": [3, -1]}, "there is no token -1"),
        ({"tokens": [0.5]}, "tokens must be a mask of 50 bools or one-dimensional ids, got float64"),
        ({"bias": np.zeros(5)}, r"bias must be of shape \(50,\)"),
        ({"hidden_mean": np.zeros(50)}, r"hidden_mean must be of shape \(5,\)"),
        ({"ridge": -1.0}, "ridge must be at least 0"),
        ({"embedding": EMBEDDING[0]}, "embedding must be a matrix"),
    ],
)
def test_refusals(changed: dict[str, Any], message: str) -> None:
    given_arguments = {"embedding": EMBEDDING, "log_probability": LOGS} | changed
    with pytest.raises(ValueError, match=message):
        fit_token_encoding(**given_arguments)
    assert fit_token_encoding(EMBEDDING, LOGS, tokens=np.arange(8)).tokens == 8


def test_no_cosine_without_a_direction() -> None:
    assert fit_token_encoding(EMBEDDING, LOGS, hidden_mean=np.zeros(5)).cosine is None
