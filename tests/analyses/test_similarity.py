"""DOCS against closed forms, scipy's Gumbel fit, its invariances and the rates that it states."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lmscope import PackedColumns, column_cosine, docs
from lmscope.analyses.gumbel import fit_gumbel
from lmscope.analyses.pair import identical_pair
from lmscope.analyses.similarity import chance_maximum, sign_null

Floats = NDArray[np.float64]


def gaussian(depth: int, columns: int, seed: int = 0) -> Floats:
    return np.random.default_rng([seed, depth, columns]).standard_normal((depth, columns))


def haar(order: int, seed: int = 0) -> Floats:
    q, r = np.linalg.qr(gaussian(order, order, seed))
    return q * np.sign(np.diag(r))


# ---- Gumbel


@pytest.mark.parametrize("size", [2, 5, 40, 1000])
@pytest.mark.parametrize(("location", "scale"), [(0.12, 0.01), (0.0, 1.0), (-3.0, 40.0), (0.9, 1e-4)])
def test_the_fit_is_scipys(size: int, location: float, scale: float) -> None:
    x = np.random.default_rng(size).gumbel(location, scale, size)
    found = fit_gumbel(x)
    expected = scipy.stats.gumbel_r.fit(x)
    assert found.location == pytest.approx(expected[0], abs=1e-6 * scale)
    assert found.scale == pytest.approx(expected[1], rel=1e-6)
    assert found.distance == pytest.approx(
        scipy.stats.kstest(x, "gumbel_r", args=found[:2]).statistic, abs=1e-9
    )


def test_the_fit_finds_known_parameters() -> None:
    found = fit_gumbel(np.random.default_rng(4).gumbel(0.12, 0.008, 100_000))
    assert found.location == pytest.approx(0.12, abs=1e-3 * 0.12)
    assert found.scale == pytest.approx(0.008, rel=1e-2)
    assert found.distance < 0.01


def test_equal_values_have_no_scale() -> None:
    assert fit_gumbel([0.25] * 7) == (0.25, 0.0, 0.0)
    assert fit_gumbel([0.5]) == (0.5, 0.0, 0.0)
    two = fit_gumbel([0.5, 0.5 + 1e-6])
    assert 0.5 < two.location < 0.5 + 1e-6


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=50), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_the_fit_moves_with_the_values(values: list[float], factor: float, shift: float) -> None:
    x = np.array(values)
    moved = factor * x + shift
    if np.ptp(x) < 1e-6 * max(1.0, np.abs(x).max()) or np.ptp(moved) < 1e-6 * np.abs(moved).max():
        return
    before, after = fit_gumbel(x), fit_gumbel(moved)
    spread = factor * np.ptp(x)
    assert after.location == pytest.approx(factor * before.location + shift, abs=1e-6 * spread)
    assert after.scale == pytest.approx(factor * before.scale, abs=1e-6 * spread)


@pytest.mark.parametrize(
    ("values", "message"), [([], "not empty"), ([[1.0]], "one-dimensional"), ([1.0, math.nan], "finite")]
)
def test_values_that_cannot_be_fitted(values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_gumbel(values)


# ---- DOCS: closed forms


def test_a_matrix_and_itself() -> None:
    x, q = gaussian(40, 30), haar(64)
    order = np.random.default_rng(1).permutation(64)
    for left, right in [(x, x), (q, -q[:, order]), (3 * q, 0.1 * q)]:
        found = docs(left, right)
        assert found.score == pytest.approx(1, abs=1e-12)
        assert found.matched_share == found.mutual_share == 1
        assert found.excess == pytest.approx(1, abs=1e-12)
    assert docs(x, x).score == 1


def test_identity_and_hadamard() -> None:
    found = docs(np.eye(256), scipy.linalg.hadamard(256) / 16.0)
    assert found.score == pytest.approx(1 / 16, abs=1e-12)
    assert found.scale_x == found.scale_y == 0
    assert docs(np.eye(256), haar(256)).score == pytest.approx(0.180, rel=0.02)


@pytest.mark.parametrize(
    ("depth", "columns", "predicted"),
    [(64, 64, 0.299), (256, 256, 0.179), (256, 1024, 0.204), (768, 768, 0.1158), (768, 3072, 0.1293)],
)
def test_independent_columns_score_the_baseline(depth: int, columns: int, predicted: float) -> None:
    found = docs(gaussian(depth, columns), gaussian(depth, columns, 1))
    assert found.baseline == pytest.approx(predicted, rel=5e-3)
    assert found.score == pytest.approx(found.baseline, rel=0.02)
    approximate = scipy.stats.norm.isf(0.5 / columns) / math.sqrt(depth)
    assert found.baseline == pytest.approx(approximate, rel=0.03)
    assert abs(found.excess) < 0.01


def test_two_widths_have_two_baselines() -> None:
    found = docs(gaussian(256, 100), gaussian(256, 1500, 1))
    assert found.location_x == pytest.approx(chance_maximum(256, 1500), rel=0.02)
    assert found.location_y == pytest.approx(chance_maximum(256, 100), rel=0.03)
    assert found.baseline == (chance_maximum(256, 1500) + chance_maximum(256, 100)) / 2


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.0, 0.179), (0.1, 0.182), (0.3, 0.274), (0.5, 0.475), (0.7, 0.689), (0.9, 0.894), (1.0, 1.0)],
)
def test_mixtures(share: float, expected: float) -> None:
    x, noise = gaussian(256, 256), gaussian(256, 256, 1)
    found = docs(x, share * x + math.sqrt(1 - share**2) * noise)
    assert found.score == pytest.approx(expected, rel=0.02)


def test_column_orthonormal_pairs_fall_with_the_root_of_the_width() -> None:
    """Distance of order sqrt(columns), score of order 1 / sqrt(columns); square and with half the columns."""
    for order in (64, 256, 1024):
        for columns in (order, order // 2):
            x = np.eye(order)[:, :columns]
            y = scipy.linalg.hadamard(order)[:, :columns] / math.sqrt(order)
            assert np.linalg.norm(x - y) >= math.sqrt(columns)
            assert docs(x, y).score * math.sqrt(order) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("order", [128, 256])
def test_orthogonal_matrices_at_random_score_what_chance_gives(order: int) -> None:
    """Above the baseline of independent columns by 1 % at 128, less at more, and not above random signs."""
    found = [docs(haar(order, seed), haar(order, seed + 8), null_draws=5) for seed in range(8)]
    score, null = (np.mean([getattr(one, name) for one in found]) for name in ("score", "null_mean"))
    assert score == pytest.approx(found[0].baseline, rel=0.02)
    assert score == pytest.approx(null, rel=0.01)


# ---- invariances


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(2, 30), st.integers(2, 30), st.integers(0, 2**32))
def test_invariances(depth: int, columns: int, others: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.standard_normal((depth, columns)), random.standard_normal((depth, others))
    score = docs(x, y).score
    assert 0 <= score <= 1 + 1e-12
    assert docs(y, x).score == pytest.approx(score, abs=1e-12)
    assert docs(x[:, random.permutation(columns)], y).score == pytest.approx(score, abs=1e-12)
    signs_and_scales = random.choice([-1.0, 1.0], others) * random.uniform(0.1, 10, others)
    assert docs(x, y * signs_and_scales).score == pytest.approx(score, abs=1e-12)
    rotation = np.linalg.qr(random.standard_normal((depth, depth)))[0]
    assert docs(rotation @ x, rotation @ y).score == pytest.approx(score, abs=1e-9)


def test_a_rotation_of_one_side_is_not_an_invariance() -> None:
    x = gaussian(128, 64)
    assert docs(x, haar(128) @ x).score < 0.5


# ---- what noise gives


def test_the_threshold_of_matched_columns_has_its_rate() -> None:
    """Exact: counts over 8,000 columns of noise lie within four standard deviations of the rate."""
    for depth, columns, rate in [(30, 200, 0.01), (100, 50, 0.05), (3, 10, 0.2)]:
        threshold = chance_maximum(depth, columns, exceeded_by=rate)
        exceeded = total = 0
        for seed in range(8000 // columns):
            found = column_cosine(gaussian(depth, columns, seed), gaussian(depth, columns, seed + 1000))
            # Columns of x share the columns of y: their maxima are nearly, not quite, independent.
            exceeded += int((found.max_abs_x > threshold).sum())
            total += columns
        assert abs(exceeded / total - rate) < 4 * math.sqrt(rate / total) * 1.5


def test_the_matched_share_of_noise_is_the_rate_at_any_widths() -> None:
    """Each side is held against the width of the other; of a matrix with itself against one less."""
    shares = [
        docs(gaussian(256, 20, seed), gaussian(256, 1500, seed + 50), false_positive_rate=0.05).matched_share
        for seed in range(10)
    ]
    assert np.mean(shares) == pytest.approx(0.05, abs=6 * math.sqrt(0.05 / (10 * 1520)))
    few = [docs(gaussian(64, 3, seed), false_positive_rate=0.2) for seed in range(1500)]
    # Taking three partners for two gives 0.138.
    assert np.mean([one.matched_share for one in few]) == pytest.approx(0.2, abs=0.035)
    assert few[0].baseline == chance_maximum(64, 2)


@pytest.mark.parametrize(("columns", "baseline", "score"), [(2, 0.085, 0.122), (4, 0.145, 0.155)])
def test_few_columns_score_above_the_baseline(columns: int, baseline: float, score: float) -> None:
    """As the documentation says; from 8 columns on both agree within 1 %."""
    found = [docs(gaussian(64, columns, seed), gaussian(64, columns, seed + 2000)) for seed in range(1500)]
    assert found[0].baseline == pytest.approx(baseline, abs=0.001)
    assert np.mean([one.score for one in found]) == pytest.approx(score, abs=0.005)
    assert math.isnan(found[0].z)


def test_the_fit_distance_is_that_of_the_worse_side() -> None:
    x, y = gaussian(64, 40), gaussian(64, 300, 1)
    y[:, :20] = x[:, :20]
    cosines = column_cosine(x, y)
    of_x, of_y = (fit_gumbel(side).distance for side in (cosines.max_abs_x, cosines.max_abs_y))
    assert abs(of_x - of_y) > 0.05
    assert docs(x, y).fit_distance == docs(y, x).fit_distance == max(of_x, of_y)


def test_mutual_columns_are_counted_on_the_narrower_side() -> None:
    x = gaussian(64, 30)
    for left, right in ((x, x[:, :10]), (x[:, :10], x)):
        assert docs(left, right).mutual_share == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_copies_of_a_column_share_their_place(dtype: type) -> None:
    """Which of the copies is named as the partner is arbitrary."""
    x = gaussian(64, 50).astype(dtype)
    x[:, 40:] = x[:, [0]]
    packed = PackedColumns(x)
    compared = docs(packed, PackedColumns(x.copy()))
    assert compared.mutual_share == identical_pair(packed).docs.mutual_share == 1
    # Ten copies are one column's only once.
    assert docs(x[:, 40:], x[:, :1]).mutual_share == docs(x[:, :1], x[:, 40:]).mutual_share == 1
    noise = docs(x[:, :40], gaussian(64, 40, 1)).mutual_share
    assert 0 < noise < 0.9


def test_partial_copies_show_in_the_shares_more_than_in_the_score() -> None:
    x, y = gaussian(256, 400), gaussian(256, 400, 1)
    noise = docs(x, y)
    y[:, :40] = x[:, 100:140]
    found = docs(x, y)
    assert found.score < noise.score + 0.03
    assert noise.matched_share < 0.02
    assert 0.1 <= found.matched_share < 0.13
    assert found.mutual_share >= 0.1
    assert found.fit_distance > 2 * noise.fit_distance


def test_shared_coordinate_scales_beat_the_baseline_and_not_the_null() -> None:
    scales = np.random.default_rng(0).lognormal(0, 0.5, 768)[:, None]
    x, y = (scales * gaussian(768, 768, seed) for seed in (1, 2))
    found = docs(x, y, null_draws=10, seed=3)
    assert found.score == pytest.approx(0.174, abs=0.02)
    assert found.baseline == pytest.approx(0.116, abs=0.002)
    assert abs(found.z) < 4
    assert found.null_mean == pytest.approx(found.score, abs=0.005)
    y[:, :200] += 0.4 * x[:, :200]
    assert docs(x, y, null_draws=10, seed=3).z > 4


@pytest.mark.parametrize("draws", [2, 3, 8])
@pytest.mark.parametrize("unevenness", [0.0, 0.7])
@pytest.mark.parametrize("with_itself", [False, True])
def test_p_values_of_noise_are_uniform(draws: int, unevenness: float, with_itself: bool) -> None:
    random = np.random.default_rng([draws, int(10 * unevenness)])
    found = []
    for seed in range(300):
        scales = np.exp(unevenness * random.standard_normal((24, 1)))
        x, y = (scales * random.standard_normal((24, 40)) for _ in "xy")
        found.append(docs(x, None if with_itself else y, null_draws=draws, seed=seed).null_p_value)
    assert scipy.stats.kstest(found, "uniform").pvalue > 1e-3
    # Taking z for normal gives three times as many with two or three draws.
    assert np.mean(np.less(found, 0.05)) < scipy.stats.binom.isf(1e-3, 300, 0.05) / 300


def test_the_p_value_is_the_t_tests() -> None:
    x, y = gaussian(24, 40), gaussian(24, 30)
    found = docs(x, y, null_draws=4)
    scores = sign_null(PackedColumns(x), PackedColumns(y), draws=4, seed=0)
    expected = scipy.stats.ttest_ind([found.score], scores, alternative="greater").pvalue
    assert found.null_p_value == pytest.approx(expected, rel=1e-9)
    assert math.isnan(docs(x, y, null_draws=1).null_p_value)


def test_draws_are_seeded_and_more_draws_leave_the_first() -> None:
    x, y = gaussian(40, 30), gaussian(40, 25, 1)
    one, again = docs(x, y, null_draws=2, seed=5), docs(x, y, null_draws=2, seed=5)
    assert one == again
    assert docs(x, y, null_draws=2, seed=6).null_mean != one.null_mean
    first = docs(x, y, null_draws=1, seed=5).null_mean
    assert math.isnan(docs(x, y, null_draws=1, seed=5).null_std)
    second = 2 * one.null_mean - first
    assert one.null_std == pytest.approx(abs(first - second) / math.sqrt(2))
    assert math.isnan(docs(x, y).z)


def test_itself_without_itself() -> None:
    x = gaussian(256, 300)
    found = docs(x)
    assert found.score == pytest.approx(chance_maximum(256, 299), rel=0.03)
    assert found.pairs == 300 * 299 // 2
    x[:, 7] = -3 * x[:, 4]
    assert docs(x).mutual_share >= 2 / 300


def test_packed_columns_serve_every_pair() -> None:
    x, y = gaussian(50, 40), gaussian(50, 60, 1)
    assert docs(PackedColumns(x), PackedColumns(y), null_draws=2) == docs(x, y, null_draws=2)


def test_zero_columns_are_counted() -> None:
    x = gaussian(20, 10)
    x[:, [2, 5]] = 0
    found = docs(x, gaussian(20, 8, 1))
    assert (found.zero_columns_x, found.zero_columns_y, found.pairs) == (2, 0, 64)


def test_errors() -> None:
    x = gaussian(20, 10)
    with pytest.raises(ValueError, match="same number of rows, got 20 and 21"):
        docs(x, gaussian(21, 10))
    with pytest.raises(ValueError, match="with itself it has no partner"):
        docs(gaussian(20, 1))
    with pytest.raises(ValueError, match="null_draws must not be negative, got -1"):
        docs(x, x, null_draws=-1)
    with pytest.raises(ValueError, match="false_positive_rate must lie between 0 and 1, got 1"):
        docs(x, x, false_positive_rate=1)
    with pytest.raises(ValueError, match="seed must lie"):
        docs(x, x, seed=-1)
    for wrong in (0.5, "a", None):
        with pytest.raises(TypeError, match=f"seed must be an integer, got {wrong!r}"):
            docs(x, x, seed=wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"null_draws must be an integer, got 2\.5"):
        docs(x, x, null_draws=2.5)  # type: ignore[arg-type]


def test_errors_name_the_argument() -> None:
    x, y = gaussian(20, 10), gaussian(20, 10, 1)
    y[3, 4] = math.nan
    with pytest.raises(ValueError, match="y has NaN at row 3, column 4"):
        docs(x, y)
    with pytest.raises(ValueError, match="x has NaN at row 3, column 4"):
        docs(y, x)
    with pytest.raises(ValueError, match="x must be 2-D, got 1-D"):
        docs(x[:, 0], x)
    with pytest.raises(ValueError, match="y must be 2-D, got 1-D"):
        docs(x, x[:, 0])


def test_it_shows_itself_in_few_words() -> None:
    x, y = gaussian(40, 30), gaussian(40, 25, 1)
    found = docs(x, y, null_draws=3)
    shown = repr(found)
    assert len(shown) < 160
    assert f"score={found.score:.6g}" in shown
    assert f"null_p_value={found.null_p_value:.3g}" in shown
    assert "null" not in repr(docs(x, y))
    assert "pairs=750" in repr(docs(x, y))
    assert type(found.matched_share) is float
    page = found._repr_html_()
    assert f"DOCS score {found.score:.4g} of 750 pairs" in page
    assert f"{found.z:.4g}" in page
    assert "nan" not in docs(x, y)._repr_html_()
