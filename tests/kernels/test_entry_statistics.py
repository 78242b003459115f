"""Entry statistics against numpy in float64."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from scipy import stats

import lmscope
from lmscope.kernels.entry_statistics import entry_statistics

from ..levels import LEVELS

DTYPES = (ml_dtypes.bfloat16, np.float16, np.float32, np.float64)
SHAPES = [(1, 5), (5, 1), (2, 3), (97, 53), (53, 1007), (1300, 40), (333, 800)]


def check(w: np.ndarray) -> None:
    found = entry_statistics(w)
    wide = np.asarray(w).astype(np.float64)
    unit = np.abs(wide).max()
    wide = wide / unit
    mean, variance = wide.mean(), wide.var()
    assert found.shape == w.shape
    assert found.largest == unit
    assert found.mean / unit == pytest.approx(mean, abs=1e-13)
    assert found.standard_deviation / unit == pytest.approx(np.sqrt(variance), rel=1e-12)
    assert found.skewness == pytest.approx(stats.skew(wide, axis=None), rel=1e-10, abs=1e-11)
    assert found.kurtosis == pytest.approx(stats.kurtosis(wide, axis=None, fisher=False), rel=1e-10)
    for axis, variances in ((1, found.row_variances), (0, found.column_variances)):
        np.testing.assert_allclose(
            variances, ((wide - mean) ** 2).mean(axis=axis) / variance, rtol=1e-9, atol=1e-12
        )
        assert variances.mean() == pytest.approx(1)
    assert found.row_variance_spread == pytest.approx(np.std(found.row_variances))
    assert found.column_variance_spread == pytest.approx(np.std(found.column_variances))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matches_numpy(shape, dtype, level):
    before = lmscope.isa()
    try:
        lmscope.use_isa(level)
    except ValueError as error:
        pytest.skip(str(error))
    w = (np.random.default_rng(1).gamma(2.0, size=shape) + 0.5).astype(dtype)
    check(w)
    check(np.asfortranarray(w))
    lmscope.use_isa(before)


def test_strides_and_torch():
    torch = pytest.importorskip("torch")
    w = np.random.default_rng(2).standard_t(5, size=(120, 200))
    check(w[::-3, 1::2])
    tensor = torch.from_numpy(w).T
    assert entry_statistics(tensor).kurtosis == pytest.approx(entry_statistics(w).kurtosis, rel=1e-12)


@pytest.mark.parametrize("scale", [1e200, 1e300, 1e-200, 1e-300])
def test_extreme_magnitudes(scale):
    check(np.random.default_rng(3).standard_normal((60, 70)) * scale)


def test_a_mean_far_from_zero_costs_no_moments():
    w = np.random.default_rng(4).standard_normal((300, 200)) + 1e4
    found = entry_statistics(w)
    assert found.kurtosis == pytest.approx(stats.kurtosis(w, axis=None, fisher=False), rel=1e-8)
    assert found.standard_deviation == pytest.approx(w.std(), rel=1e-10)


@pytest.mark.parametrize("value", [0.0, 0.1, -7e30])
def test_equal_entries_have_no_shape(value):
    found = entry_statistics(np.full((9, 300), value))
    assert found.mean == pytest.approx(value, rel=1e-14)
    assert found.standard_deviation == 0
    assert np.isnan(
        [found.skewness, found.kurtosis, found.row_variance_spread, found.column_variance_spread]
    ).all()


def test_bits_do_not_depend_on_the_number_of_threads():
    w = np.random.default_rng(5).standard_normal((900, 300)).astype(ml_dtypes.bfloat16)
    before = lmscope.get_num_threads()
    found = []
    for threads in (1, 2, 5):
        lmscope.set_num_threads(threads)
        found.append(entry_statistics(w))
    lmscope.set_num_threads(before)
    for other in found[1:]:
        assert other.kurtosis == found[0].kurtosis
        assert np.array_equal(other.column_variances, found[0].column_variances)


def test_non_finite_entries_are_named_and_other_types_refused():
    w = np.ones((4, 5))
    w[2, 3] = np.inf
    with pytest.raises(ValueError, match="row 2, column 3"):
        entry_statistics(w)
    with pytest.raises(TypeError, match="int64"):
        entry_statistics(np.ones((4, 5), np.int64))
    with pytest.raises(ValueError, match="shape"):
        entry_statistics(np.ones((0, 5)))
