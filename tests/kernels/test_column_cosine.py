"""Column cosines against their float64 definition, on every instruction set, dtype, layout and tile edge."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import lmscope
from lmscope import ColumnCosine, PackedColumns, column_cosine
from lmscope.reference import column_cosine as reference

from ..levels import LEVELS
from ..shapes import DTYPES, layouts
from ..tolerances import COSINE_ERROR, COSINE_MAXIMUM

# Below, at and above the tiles of every level (1, 3, 6, 14, 32 rows; 16, 32 columns), their blocks (about 192
# rows, 256, 512 and 1024 columns), the depths of a product (2, 32) and of one sum (96, 192, 384) and the
# blocks of the packing (64, 128). Behind 16 sums a third one begins: at 1536, 3072 and 6144.
COLUMNS = [1, 2, 13, 15, 16, 17, 32, 33, 191, 193, 197, 257, 513, 1025]
DEPTHS = [1, 2, 3, 31, 33, 63, 65, 95, 97, 191, 193, 383, 385, 511, 513, 1026]

Matrix = NDArray[Any]


def gaussian(depth: int, columns: int, dtype: str = "bfloat16", seed: int = 0) -> Matrix:
    return (
        np.random.default_rng([seed, depth, columns]).standard_normal((depth, columns)).astype(DTYPES[dtype])
    )


def wide(w: Matrix) -> NDArray[np.float64]:
    return np.asarray(w).astype(np.float64)


def check(
    x: Matrix,
    y: Matrix | None,
    *,
    bins: int = 2048,
    compare: Callable[..., ColumnCosine] = column_cosine,
) -> ColumnCosine:
    found = compare(x, y, bins=bins)
    table = reference.cosines(wide(x), wide(x if y is None else y))
    own = y is None
    pairs = np.sort(table[np.triu_indices(len(table), 1)] if own else table.ravel())
    pairs = pairs[~np.isnan(pairs)]
    float64 = np.float64 in (x.dtype, x.dtype if y is None else y.dtype)
    error = COSINE_ERROR["float64" if float64 else "float32"]

    assert found.counts.dtype == np.int64
    assert found.counts.sum() == len(pairs) == found.pairs
    below = np.cumsum(found.counts)[:-1]
    inner = found.edges[1:-1]
    assert (below >= np.searchsorted(pairs, inner - error)).all()
    assert (below <= np.searchsorted(pairs, inner + error)).all()

    magnitudes = np.where(np.isnan(table), -1.0, np.abs(table))
    if own:
        np.fill_diagonal(magnitudes, -1.0)
    sides = [(found.max_abs_x, found.argmax_x, magnitudes), (found.max_abs_y, found.argmax_y, magnitudes.T)]
    for maxima, places, of in sides:
        best = of.max(axis=1)
        alone = best < 0
        assert (places[alone] == -1).all()
        assert np.isnan(maxima[alone]).all()
        maxima, places, of, best = maxima[~alone], places[~alone], of[~alone], best[~alone]
        attained = of[np.arange(len(places)), places]
        assert np.abs(maxima - attained).max(initial=0) <= COSINE_MAXIMUM * max(1, len(x) / 3000)
        assert (best - attained).max(initial=0) <= 2 * error
        assert (maxima <= 1).all()
    return found


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_tile_edge(dtype: str, isa: str) -> None:
    for number, columns in enumerate(COLUMNS):
        depth = DEPTHS[number % len(DEPTHS)]
        other = COLUMNS[(5 * number + 3) % len(COLUMNS)]
        check(gaussian(depth, columns, dtype), gaussian(depth, other, dtype, seed=1))
        check(gaussian(depth, columns, dtype), None)


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_depth_edge(depth: int, isa: str) -> None:
    for dtype in DTYPES:
        check(gaussian(depth, 34, dtype), gaussian(depth, 19, dtype, seed=1))


@pytest.mark.parametrize("depth", [1535, 1536, 1537, 1633, 3072, 3073, 3105, 6144, 6145])
def test_where_the_third_sum_begins(depth: int, isa: str) -> None:
    for dtype in ("bfloat16", "float32", "float64"):
        check(gaussian(depth, 34, dtype), gaussian(depth, 19, dtype, seed=1))
        check(gaussian(depth, 210, dtype), None)


@pytest.mark.parametrize(("of_x", "of_y"), list(itertools.permutations(DTYPES, 2)))
def test_two_dtypes(of_x: str, of_y: str, isa: str) -> None:
    check(gaussian(131, 40, of_x), gaussian(131, 23, of_y, seed=1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts(dtype: str) -> None:
    x, y = gaussian(70, 150, dtype), gaussian(70, 33, dtype, seed=1)
    expected = check(x, y)
    for name, layout in layouts(x):
        found = column_cosine(layout, y)
        for field in ("counts", "max_abs_x", "max_abs_y", "argmax_x", "argmax_y"):
            assert np.array_equal(getattr(found, field), getattr(expected, field)), (name, field)


def test_torch_tensors_and_transposed_weights() -> None:
    weight = torch.from_numpy(gaussian(40, 96, "float32")).to(torch.bfloat16)
    expected = column_cosine(weight.float().numpy().T.astype(ml_dtypes.bfloat16))
    found = column_cosine(weight.T.requires_grad_())
    assert np.array_equal(found.counts, expected.counts)
    assert np.array_equal(found.max_abs_x, expected.max_abs_x)


def hard_matrices(
    depth: int = 3000, columns: int = 120
) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
    """Sums whose rounding errors do not cancel: all products of one sign, equal products, a few huge ones."""
    random = np.random.default_rng(7)
    shape = (depth, columns)
    signs = np.where(np.arange(depth)[:, None] < depth * random.uniform(0.6, 0.95, columns), 1.0, -1.0)
    mantissas = 1 + random.random((1, columns))
    yield "equal products", np.ones(shape) * mantissas, signs * (1 + random.random((1, columns)))
    nearly = np.ones(shape) * (1 + random.random((1, columns)))
    nearly[: depth // 50] *= random.random((depth // 50, columns))
    yield "nearly equal columns", np.ones(shape) * mantissas, nearly
    yield "one sign", random.random(shape), random.random(shape) ** 3
    yield "heavy tails", random.standard_t(1.5, shape), random.standard_t(1.5, shape)
    growing = np.geomspace(1e-6, 1, depth)[:, None]
    yield "growing", growing * random.random(shape), growing * random.random(shape)
    yield "shrinking", growing[::-1] * random.random(shape), growing[::-1] * random.random(shape)


# Depths of one second sum, of several, and where sums of slices alone would miss the bound by half.
@pytest.mark.parametrize(("depth", "columns", "kinds"), [(3000, 120, 6), (8192, 60, 3), (28672, 40, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_stated_error_holds_where_rounding_adds_up(
    dtype: str, depth: int, columns: int, kinds: int, isa: str
) -> None:
    for _, x, y in itertools.islice(hard_matrices(depth, columns), kinds):
        check(x.astype(DTYPES[dtype]), y.astype(DTYPES[dtype]), bins=65536)


@pytest.mark.parametrize("dtype", DTYPES)
def test_twins_reach_one(dtype: str, isa: str) -> None:
    x = gaussian(777, 60, dtype)
    order = np.random.default_rng(3).permutation(60)
    found = check(x, -x[:, order])
    assert (found.max_abs_x == 1).all()
    assert (found.max_abs_y == 1).all()
    assert np.array_equal(found.argmax_y, order)
    doubled = check(x, x * x.dtype.type(0.25))
    assert (doubled.max_abs_x == 1).all()
    assert doubled.counts[-1] >= 60


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        *(("bfloat16", 2.0**-125), ("bfloat16", 2.0**-133), ("float32", 2.0**-140), ("float32", 2.0**120)),
        *(("float16", 2.0**-20), ("float64", 2.0**-1060), ("float64", 2.0**1000)),
    ],
)
def test_tiny_subnormal_and_huge_columns_count_like_others(dtype: str, scale: float, isa: str) -> None:
    """Small integers times a power of two: exact at every scale, subnormal ones included."""
    random = np.random.default_rng(11)
    x, y = (random.integers(-7, 8, (90, 40)).astype(np.float64) for _ in range(2))
    expected = column_cosine(x.astype(DTYPES[dtype]), y.astype(DTYPES[dtype]))
    scaled = (x * scale).astype(DTYPES[dtype])
    assert np.array_equal(scaled.astype(np.float64), x * scale)
    found = column_cosine(scaled, y.astype(DTYPES[dtype]))
    for field in ("counts", "max_abs_x", "max_abs_y", "argmax_x", "argmax_y"):
        assert np.array_equal(getattr(found, field), getattr(expected, field)), field


def test_bfloat16_subnormals_give_the_same_counts_at_every_level() -> None:
    before = lmscope.isa()
    random = np.random.default_rng(2)
    x = (random.integers(-7, 8, (64, 50)) * 2.0**-133).astype(ml_dtypes.bfloat16)
    results = []
    try:
        for level in LEVELS:
            try:
                lmscope.use_isa(level)
            except ValueError:
                continue
            results.append(column_cosine(x, bins=64))
    finally:
        lmscope.use_isa(before)
    assert len(results) >= 1
    for found in results[1:]:
        assert np.array_equal(found.counts, results[0].counts)
        assert np.array_equal(found.max_abs_x, results[0].max_abs_x)


def test_itself_counts_every_pair_once(isa: str) -> None:
    x = gaussian(100, 300)
    own, both = check(x, None), column_cosine(x, x)
    assert own.pairs == 300 * 299 // 2
    assert both.pairs == 300 * 300
    assert both.counts[-1] >= 300
    both.counts[-1] -= 300
    assert np.array_equal(both.counts, 2 * own.counts)
    assert np.array_equal(own.max_abs_x, own.max_abs_y)
    assert np.array_equal(own.argmax_x, own.argmax_y)


def test_zero_columns_are_left_out_and_reported(isa: str) -> None:
    x, y = gaussian(50, 70), gaussian(50, 40, seed=1)
    x[:, [0, 16, 69]] = 0
    y[:, 1:33] = -0.0
    found = check(x, y)
    assert found.zero_columns_x.tolist() == [0, 16, 69]
    assert found.zero_columns_y.tolist() == list(range(1, 33))
    assert found.pairs == 67 * 8
    assert (found.argmax_x[[0, 16, 69]] == -1).all()
    assert np.isnan(found.max_abs_x[[0, 16, 69]]).all()
    assert set(found.argmax_x.tolist()) <= {-1, 0, *range(33, 40)}


def test_one_column_has_no_partner_in_itself() -> None:
    found = check(gaussian(9, 1), None)
    assert found.pairs == 0
    assert np.isnan(found.max_abs_x).all()
    assert found.argmax_x.tolist() == [-1]
    assert "0 pairs" in repr(found)


def test_more_columns_than_sixteen_bits() -> None:
    x, y = gaussian(24, 70_001), gaussian(24, 5, seed=1)
    found = column_cosine(x, y)
    assert found.pairs == 5 * 70_001
    table = reference.cosines(wide(y), wide(x))
    assert np.array_equal(found.argmax_y, np.abs(table).argmax(axis=1))
    assert found.argmax_y.max() > 2**16
    sampled = np.random.default_rng(0).integers(0, 70_001, 500)
    expected = np.abs(table[:, sampled])
    assert np.abs(found.max_abs_x[sampled] - expected.max(axis=0)).max() <= COSINE_MAXIMUM
    own = column_cosine(gaussian(2, 66_000, "float32"), bins=2)
    assert own.pairs == 66_000 * 65_999 // 2


def test_bits_do_not_depend_on_threads_or_packing(threads: Callable[[int], None]) -> None:
    x, y = gaussian(300, 900), gaussian(300, 1100, seed=1)
    x[:, 500:] = x[:, :400]  # equal columns: whoever is found first must not decide
    results = []
    for count in (1, 2, 5):
        threads(count)
        packed = PackedColumns(x)
        results += [column_cosine(x, y), column_cosine(packed, y), column_cosine(packed, PackedColumns(y))]
        own = column_cosine(packed)
        assert (own.max_abs_x[:400] == 1).all()
        assert np.array_equal(own.argmax_x[:400], np.arange(500, 900))
        assert np.array_equal(own.argmax_x[500:], np.arange(400))
    for found in results[1:]:
        for field in ("counts", "max_abs_x", "max_abs_y", "argmax_x", "argmax_y"):
            assert np.array_equal(getattr(found, field), getattr(results[0], field)), field
    assert (results[0].argmax_y < 500).all()


def test_calls_from_several_threads() -> None:
    packed = PackedColumns(gaussian(200, 300))
    others = [gaussian(200, 100 + 50 * i, seed=i) for i in range(6)]
    expected = [column_cosine(packed, other).counts for other in others]
    found: dict[int, NDArray[np.int64]] = {}

    def compare(i: int) -> None:
        found[i] = column_cosine(packed, others[i]).counts

    workers = [threading.Thread(target=compare, args=(i,)) for i in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(np.array_equal(found[i], expected[i]) for i in range(6))


@pytest.mark.parametrize("bins", [2, 3, 7, 2048, 65536])
def test_bins(bins: int, isa: str) -> None:
    found = check(gaussian(31, 120), gaussian(31, 50, seed=1), bins=bins)
    assert found.edges[0] == -1
    assert found.edges[-1] == 1
    assert len(found.counts) == bins


def test_packed_columns_tell_what_they_hold() -> None:
    x = gaussian(30, 40)
    x[:, 3] = 0
    packed = PackedColumns(x)
    assert (packed.depth, packed.columns, packed.zero_columns.tolist()) == (30, 40, [3])
    assert 2 * 30 * 39 <= packed.nbytes < 3 * 30 * 64 + 24 * 64
    assert "30 x 40" in repr(packed)


@pytest.mark.parametrize("dtype", DTYPES)
def test_turned_signs(dtype: str) -> None:
    x, y = gaussian(77, 50, dtype), gaussian(77, 40, dtype, seed=1)
    negative = np.random.default_rng(0).random(77) < 0.5
    found = column_cosine(x, PackedColumns(y).with_signs(negative))
    expected = column_cosine(x, np.where(negative[:, None], -y, y))
    assert np.array_equal(found.counts, expected.counts)
    assert np.array_equal(found.max_abs_y, expected.max_abs_y)
    by_entry = np.random.default_rng(1).random(y.shape) < 0.5
    y[:, [3, 18]] = 0
    found = column_cosine(x, PackedColumns(y).with_signs(by_entry))
    expected = column_cosine(x, np.where(by_entry, -y, y))
    assert np.array_equal(found.counts, expected.counts)
    assert np.array_equal(found.max_abs_y, expected.max_abs_y, equal_nan=True)
    for wrong in (negative[:-1], by_entry[:-1], by_entry[:, :-1], by_entry[None]):
        with pytest.raises(ValueError, match="one entry for each of the 77 rows, or for each of their 40"):
            PackedColumns(y).with_signs(wrong)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 2])
def test_a_thread_that_flushes_subnormals_gets_the_same(
    dtype: str, count: int, threads: Callable[[int], None]
) -> None:
    threads(count)
    info = ml_dtypes.finfo(DTYPES[dtype])
    random = np.random.default_rng(5)
    x, y = random.integers(-7, 8, (64, 300)), gaussian(64, 200, dtype)
    x = (x.astype(np.float64) * float(info.smallest_subnormal)).astype(DTYPES[dtype])
    expected = column_cosine(x, y)
    tiny = torch.tensor([1e-40])
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU cannot flush subnormal numbers")
    try:
        found = column_cosine(x, y)
        left_as_it_was = (tiny * 1).item() == 0
    finally:
        torch.set_flush_denormal(False)
    assert left_as_it_was
    assert found.zero_columns_x.size == 0
    for field in ("counts", "max_abs_x", "max_abs_y", "argmax_x", "argmax_y"):
        assert np.array_equal(getattr(found, field), getattr(expected, field)), field


@settings(max_examples=40)
@given(
    data=st.data(),
    depth=st.integers(1, 40),
    columns=st.integers(1, 40),
    others=st.integers(1, 40),
    dtype=st.sampled_from(sorted(DTYPES)),
)
def test_invariants(data: st.DataObject, depth: int, columns: int, others: int, dtype: str) -> None:
    seed = data.draw(st.integers(0, 2**32))
    random = np.random.default_rng(seed)
    x, y = (random.standard_normal((depth, count)).astype(DTYPES[dtype]) for count in (columns, others))
    found = check(x, y, bins=64)
    swapped = column_cosine(y, x, bins=64)
    assert np.array_equal(found.max_abs_x, swapped.max_abs_y)
    assert np.array_equal(found.max_abs_y, swapped.max_abs_x)
    order = random.permutation(columns)
    permuted = column_cosine(x[:, order], y, bins=64)
    assert np.array_equal(permuted.counts, found.counts)
    assert np.array_equal(permuted.max_abs_x, found.max_abs_x[order])
    scales = (2.0 ** random.integers(0, 9, columns) * random.choice([-1.0, 1.0], columns)).astype(x.dtype)
    scaled = column_cosine(x * scales, y, bins=64)
    assert np.array_equal(scaled.max_abs_x, found.max_abs_x)
    assert np.array_equal(scaled.argmax_y, found.argmax_y)


def test_errors_name_what_is_wrong() -> None:
    x = gaussian(20, 10)
    with pytest.raises(ValueError, match="same number of rows, got 20 and 21"):
        column_cosine(x, gaussian(21, 10))
    with pytest.raises(ValueError, match="y has no column with a norm above zero"):
        column_cosine(x, np.zeros((20, 3), np.float32))
    with pytest.raises(ValueError, match="x has no column"):
        column_cosine(np.zeros((20, 3)))
    for bins in (1, 0, -3, 65537, 2**70):
        with pytest.raises(ValueError, match=rf"bins must lie between 2 and 65536, got {bins}"):
            column_cosine(x, bins=bins)
    # Before x is looked at, let alone packed.
    with pytest.raises(TypeError, match=r"bins must be an integer, got 20\.5"):
        column_cosine(None, bins=20.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"x has shape \(0, 4\)"):
        column_cosine(np.zeros((0, 4)))
    with pytest.raises(ValueError, match="x must be 2-D, got 1-D"):
        column_cosine(np.zeros(4))
    with pytest.raises(TypeError, match="int64"):
        column_cosine(np.zeros((4, 4), np.int64))
    with pytest.raises(TypeError, match="list"):
        column_cosine([[1.0]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (69, 39), (5, 33)])
def test_a_value_that_is_not_finite_is_named(dtype: str, value: float, place: tuple[int, int]) -> None:
    for order in ("C", "F"):
        w = np.array(gaussian(70, 40, dtype), order=order)
        w[place] = value
        with pytest.raises(
            ValueError,
            match=rf"y has {'NaN' if np.isnan(value) else '-?Inf'} at row {place[0]}, column {place[1]}",
        ):
            column_cosine(gaussian(70, 3), w)
        with pytest.raises(ValueError, match="w has"):
            PackedColumns(w)
