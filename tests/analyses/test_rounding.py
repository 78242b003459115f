"""Spacing of stored numbers against numpy's and ml_dtypes' own, and the law of the drawn errors."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from scipy import stats

from lmscope.analyses.rounding import (
    PRECISIONS,
    Grid,
    grid_of,
    root_mean_square_error,
    rounding_errors,
    rounding_top_values,
)

TYPES = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in PRECISIONS}


def entries(precision, shape=(40, 30), scale=0.02, seed=0):
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(TYPES[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_spacing_is_the_distance_to_the_next_number(precision):
    """Over all binades that the type has, subnormal ones included, and both signs."""
    kind = TYPES[precision]
    info = ml_dtypes.finfo(kind)
    fraction_bits, smallest = PRECISIONS[precision]
    exponents = np.arange(smallest - fraction_bits, info.maxexp - 1)
    values = np.ldexp(1.0, exponents).astype(kind)
    next_up = (values.view(f"u{kind.itemsize}") + 1).view(kind)
    expected = next_up.astype(np.float64) - values.astype(np.float64)
    for value, spacing in zip(values, expected, strict=True):
        for signed in (value, -next_up[values == value][0]):
            grid = grid_of(np.array([[signed, signed]], kind))
            # A lone power of two is a number of shorter types, too: only then may the grid be coarser.
            if grid.precision == precision:
                assert grid.coarsest == spacing
            else:
                assert grid.coarsest >= spacing
    everything = grid_of(entries(precision))
    assert everything.precision == precision


@pytest.mark.parametrize("precision", PRECISIONS)
def test_grid_follows_every_entry(precision):
    matrix = entries(precision)
    matrix[0, 0] = 0
    grid = grid_of(matrix)
    kind = matrix.dtype
    size = np.abs(matrix)
    next_up = (size.view(f"u{kind.itemsize}") + 1).view(kind)
    expected = next_up.astype(np.float64) - size.astype(np.float64)
    found = np.ldexp(grid.coarsest, -grid.halvings.astype(np.int64))
    assert np.array_equal(found.ravel()[1:], expected.ravel()[1:])
    # 255 halvings stand for everything finer.
    assert found[0, 0] <= max(expected[0, 0], np.ldexp(grid.coarsest, -255))
    assert grid.root_mean_square_error == pytest.approx(np.sqrt(np.mean(expected**2) / 12), rel=1e-6)


@pytest.mark.parametrize(
    ("stored", "held", "found"),
    [
        ("float32", "bfloat16", "bfloat16"),
        ("float32", "float16", "float16"),
        ("float64", "float32", "float32"),
        ("float64", "bfloat16", "bfloat16"),
        ("float16", "bfloat16", "bfloat16"),
        ("float32", "float32", "float32"),
    ],
)
def test_type_is_the_coarsest_that_holds_the_matrix(stored, held, found):
    short = entries(held)
    if stored == "float16":
        short[np.abs(short) < 1e-3] = 0
    matrix = short.astype(np.float64).astype(TYPES[stored])
    assert np.array_equal(matrix.astype(np.float64), short.astype(np.float64))
    assert grid_of(matrix).precision == found
    wide = matrix.astype(np.float64)
    assert grid_of(wide).precision == found
    wide[3, 4] = np.nextafter(wide[3, 4], 1)
    assert grid_of(wide).precision == "float64"


def test_float16_too_small_for_its_fraction_keeps_its_own_coarser_grid():
    """Subnormal float16 of few bits are bfloat16 numbers, too, whose spacing there is finer."""
    matrix = (np.random.default_rng(0).integers(-60, 60, (20, 30)) * 2.0**-24).astype(np.float16)
    assert np.array_equal(matrix.astype(ml_dtypes.bfloat16).astype(np.float16), matrix)
    grid = grid_of(matrix)
    assert (grid.precision, grid.coarsest) == ("float16", 2.0**-24)
    assert not grid.halvings.any()


def test_values_outside_a_shorter_type_do_not_overflow_into_it():
    matrix = np.array([[1e30, 2.0], [3e38, 1e-30]])
    assert grid_of(matrix.astype(np.float32)).precision == "float32"
    assert grid_of(matrix.astype(np.float32).astype(np.float64)).precision == "float32"
    assert grid_of(matrix * 10).precision == "float64"


@pytest.mark.parametrize("scale", [0.02, 1e-44])
def test_errors_are_uniform_within_half_a_spacing(scale):
    """By moments over many draws at entries of five binades; also where float32 itself is subnormal."""
    kind = np.dtype(np.float32)
    matrix = (scale * np.array([[1.1, -3.3, 9.7], [33.0, 0.3, -0.01]])).astype(kind)
    grid = grid_of(matrix)
    half = np.ldexp(1.0, -grid.halvings.astype(np.int64)) / 2
    draws = np.array([rounding_errors([grid], seed=3, draw=draw) for draw in range(4000)]) / half
    assert np.abs(draws).max() <= 1
    assert np.abs(draws).max() > 0.99
    deviation = 1 / np.sqrt(3 * 4000)
    assert np.abs(draws.mean(axis=0)).max() < 4.5 * deviation
    assert np.abs((draws**2).mean(axis=0) - 1 / 3).max() < 4.5 * np.sqrt(4 / 45 / 4000)
    together = np.corrcoef(draws.reshape(4000, -1).T) - np.eye(matrix.size)
    assert np.abs(together).max() < 5 / np.sqrt(4000)


@pytest.mark.parametrize("finer", [1, 3, 40])
def test_errors_on_nested_grids_are_those_of_two_roundings_of_one_number(finer):
    """Against numbers rounded to both grids; 40: the finer grid does not matter."""
    coarse = Grid("bfloat16", 1.0, np.zeros((300, 200), np.uint8))
    fine = Grid("float16", 2.0**-finer, np.zeros((300, 200), np.uint8))
    found = rounding_errors([fine, coarse], seed=1, draw=0).astype(np.float64)
    numbers = np.random.default_rng(0).uniform(0, 64, found.shape)
    expected = np.rint(np.ldexp(numbers, finer)) / 2.0**finer - np.rint(numbers)
    assert stats.ks_2samp(found.ravel(), expected.ravel()).pvalue > 1e-3
    if finer < 24:
        assert np.array_equal(np.unique(found), np.unique(expected))
    variance = (1 + 2 * 4.0**-finer) / 12
    assert np.mean(found**2) == pytest.approx(variance, rel=0.02)
    assert root_mean_square_error([fine, coarse]) == pytest.approx(math.sqrt(variance), rel=1e-6)


def test_errors_on_equal_grids_add_and_draws_are_their_own():
    grid = grid_of(entries("bfloat16"))
    both = rounding_errors([grid, grid], seed=1, draw=0).astype(np.float64)
    expected = math.sqrt(2) * grid.root_mean_square_error
    assert root_mean_square_error([grid, grid]) == pytest.approx(expected, rel=1e-6)
    assert np.mean((grid.coarsest * both) ** 2) == pytest.approx(expected**2, rel=0.1)
    assert np.array_equal(both, rounding_errors([grid, grid], seed=1, draw=0))
    for other in (
        rounding_errors([grid, grid], seed=1, draw=1),
        rounding_errors([grid, grid], seed=2, draw=0),
    ):
        assert abs(np.corrcoef(both.ravel(), other.ravel())[0, 1]) < 0.15


def test_top_values_are_those_of_the_drawn_errors():
    grids = [grid_of(entries("bfloat16", (70, 50)))]
    tops = rounding_top_values(grids, draws=3, seed=5)
    for draw, (value, bound) in enumerate(zip(tops.values, tops.bounds, strict=True)):
        errors = grids[0].coarsest * rounding_errors(grids, seed=5, draw=draw).astype(np.float64)
        # The signs are flipped once more: the size of the errors is theirs, the value that of another draw.
        assert value == pytest.approx(np.linalg.svd(errors, compute_uv=False)[0], rel=0.15)
        assert 0 < bound < 1e-3 * value
