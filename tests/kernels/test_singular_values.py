"""Accuracy: every value lies within its bound of the truth, and the bounds are tight."""

from __future__ import annotations

import time
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.kernels.singular_values import singular_values
from lmscope.reference import singular_values as reference

from .. import shapes, tolerances
from .accuracy import assert_within_bounds

METHODS = ("auto", "gram", "qr")
GRID = [(64, 64), (150, 64), (64, 150), (257, 130)]


def check(matrix: Any, truth: Any = None, uncertainty: Any = 0.0, methods: tuple[str, ...] = METHODS) -> None:
    if truth is None:
        truth, uncertainty = reference.singular_values(matrix)
    else:
        truth = np.sort(np.asarray(truth, dtype=np.longdouble))[::-1]
        # The stated values are themselves rounded once or twice.
        uncertainty = uncertainty + 2 * tolerances.UNIT_ROUNDOFF * truth
    for method in methods:
        result = singular_values(matrix, method=method)
        assert_within_bounds(result, truth, uncertainty)
        large = result.values > tolerances.LARGE_VALUE * result.values[0]
        # A subnormal value is rounded by up to the smallest one.
        allowed = max(tolerances.BOUND_OF_LARGE_VALUES * result.values[0], 2.0**-1074)
        assert np.all(result.bounds[large] <= allowed)
        assert method in ("auto", result.method)


def check_tightness(matrix: Any, truth: Any) -> None:
    result = singular_values(matrix, method="gram")
    error = np.abs(result.values - truth).astype(np.float64)
    visible = error > tolerances.VISIBLE_ERROR * result.values[0]
    if visible.any():
        median = np.median(result.bounds[visible] / error[visible])
        assert median <= tolerances.MEDIAN_BOUND_OVER_ERROR


@pytest.mark.parametrize("kind", shapes.RANDOM_KINDS)
@pytest.mark.parametrize("dtype", shapes.DTYPES)
@pytest.mark.parametrize("shape", GRID, ids=str)
def test_random(kind: str, dtype: str, shape: tuple[int, int]) -> None:
    matrix = shapes.RANDOM_KINDS[kind](shape).astype(shapes.DTYPES[dtype])
    truth, uncertainty = reference.singular_values(matrix)
    check(matrix, truth, uncertainty)
    check_tightness(matrix, truth)


@pytest.mark.parametrize("shape", shapes.SMALL_SHAPES, ids=str)
def test_small_shapes(shape: tuple[int, int]) -> None:
    for dtype in shapes.DTYPES.values():
        check(shapes.gaussian(shape).astype(dtype))


# One of each family at the largest size that is promised; the rest of the grid is
# benchmarks/evidence_accuracy.py.
@pytest.mark.parametrize(
    ("kind", "dtype", "shape"),
    [
        ("spiked", "bfloat16", (2048, 1024)),
        ("geometric", "float32", (640, 640)),
        ("gaussian", "float16", (700, 1500)),
    ],
)
def test_large(kind: str, dtype: str, shape: tuple[int, int]) -> None:
    matrix = shapes.RANDOM_KINDS[kind](shape).astype(shapes.DTYPES[dtype])
    wide = matrix.astype(np.float64)
    first = np.linalg.svd(wide, compute_uv=False)
    uncertainty = np.abs(first - np.linalg.svd(wide.T, compute_uv=False))
    result = singular_values(matrix)
    # Between two SVDs of one library the difference may vanish by chance where both are off.
    assert_within_bounds(result, first, np.maximum(uncertainty, uncertainty.max()))
    large = result.values > tolerances.LARGE_VALUE * result.values[0]
    assert np.all(result.bounds[large] <= tolerances.BOUND_OF_LARGE_VALUES * result.values[0])


def test_2048_exactly_known() -> None:
    for side in ("left", "right"):
        matrix, truth = shapes.hadamard_times_diagonal(2048, side)
        check(matrix.astype(ml_dtypes.bfloat16), truth, methods=("auto",) if side == "left" else ("gram",))


@pytest.mark.parametrize("order", [1, 2, 16, 256])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_hadamard_times_diagonal(order: int, side: str, dtype: str) -> None:
    matrix, truth = shapes.hadamard_times_diagonal(order, side)
    stored = matrix.astype(shapes.DTYPES[dtype])
    assert np.array_equal(stored.astype(np.float64), matrix)
    check(stored, truth)


@pytest.mark.parametrize("epsilon", [1e-4, 1e-8])
@pytest.mark.parametrize("columns", [3, 40, 300])
def test_lauchli(columns: int, epsilon: float) -> None:
    matrix, truth = shapes.lauchli(columns, epsilon)
    check(matrix, truth)
    check(matrix.T, truth)


@pytest.mark.parametrize("order", [1, 5, 64, 200])
def test_equal_values(order: int) -> None:
    check(np.eye(order), np.ones(order))
    check(np.eye(order, order + 30)[::-1], np.ones(order))
    check(3 * np.eye(order + 9, order), np.full(order, 3.0))
    check(np.diag(np.r_[np.ones(order - 1), 1e-7]), np.r_[np.ones(order - 1), 1e-7])


@pytest.mark.parametrize("dtype", shapes.DTYPES)
def test_zero_matrix(dtype: str) -> None:
    for shape in [(1, 1), (5, 3), (3, 200), (100, 100)]:
        for method in METHODS:
            result = singular_values(np.zeros(shape, shapes.DTYPES[dtype]), method=method)
            assert np.array_equal(result.values, np.zeros(min(shape)))
            assert np.array_equal(result.bounds, np.zeros(min(shape)))


def test_one_row_and_one_column() -> None:
    for dtype in shapes.DTYPES.values():
        row = shapes.gaussian((1, 5000)).astype(dtype)
        truth = [np.sqrt((row.astype(np.longdouble) ** 2).sum())]
        check(row, truth)
        check(row.T, truth)


@pytest.mark.parametrize("missing", ["all but 16", "half", "3"])
@pytest.mark.parametrize("order", [128, 150])
def test_rank_deficient_integers(missing: str, order: int) -> None:
    rank = {"all but 16": 16, "half": order // 2, "3": order - 3}[missing]
    rng = np.random.default_rng(rank)
    matrix = (rng.integers(-3, 4, (200, rank)) @ rng.integers(-3, 4, (rank, order))).astype(np.float64)
    truth, uncertainty = reference.singular_values(matrix)
    truth[rank:] = 0
    result = singular_values(matrix)
    assert_within_bounds(result, truth, uncertainty)
    assert result.method == "gram"
    assert np.all(result.values[rank:] < 1e-13 * result.values[0])
    check(matrix, truth, uncertainty)


def test_rank_deficient_and_square_gaussian_stay_on_the_fast_path() -> None:
    n = 600
    rng = np.random.default_rng(0)
    square = rng.standard_normal((n, n))
    low = rng.standard_normal((n, n // 2)) @ rng.standard_normal((n // 2, n))
    assert singular_values(square).method == "gram"
    assert singular_values(low).method == "gram"

    def seconds(matrix: Any, method: Any) -> float:
        best = float("inf")
        for _ in range(4):
            start = time.process_time()
            singular_values(matrix, method=method)
            best = min(best, time.process_time() - start)
        return best

    # Processor time of one process, and a factor far from what is measured (1.1 and 3.5).
    gram = seconds(square, "gram")
    assert seconds(square, "auto") < 3 * gram
    assert seconds(low, "auto") < 12 * gram


def test_duplicated_and_zero_columns() -> None:
    matrix = shapes.gaussian((120, 50))
    truth, uncertainty = reference.singular_values(matrix)
    zeros = np.zeros(50)
    check(np.repeat(matrix, 2, axis=1), np.r_[truth * np.sqrt(np.longdouble(2)), zeros], uncertainty[0])
    holed = np.zeros((120, 100))
    holed[:, ::2] = matrix
    check(holed, np.r_[truth, zeros], uncertainty[0])


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e307, 2.0**-1022])
def test_huge_and_tiny_float64(scale: float) -> None:
    for shape in [(90, 60), (60, 60), (30, 60)]:
        check(shapes.gaussian(shape) * min(scale, 1e306) / 8)
    check(with_zero_rows := np.vstack([np.zeros((40, 20)), shapes.gaussian((50, 20)) * min(scale, 1e306)]))
    assert singular_values(with_zero_rows).values[0] > 0


def test_subnormals() -> None:
    smallest = 2.0**-1074
    check(np.array([[smallest, smallest], [0, smallest]]))
    check(np.round(shapes.gaussian((40, 20)) * 1000) * smallest)
    for dtype, tiny in [(ml_dtypes.bfloat16, 2.0**-133), (np.float32, 2.0**-149), (np.float16, 2.0**-24)]:
        matrix = (np.round(shapes.gaussian((60, 20)) * 30) * tiny).astype(dtype)
        assert np.abs(matrix.astype(np.float64)).max() > 0
        check(matrix)


def test_largest_float32_and_bfloat16() -> None:
    for dtype in (np.float32, ml_dtypes.bfloat16):
        check((np.sign(shapes.gaussian((70, 50))) * 3e38).astype(dtype))


@pytest.mark.parametrize("value", [1 / 3, 0.1, 0.7])
def test_equal_elements(value: float) -> None:
    """Rounding errors of equal terms all have one sign."""
    for rows, columns in [(4096, 3), (1500, 1), (300, 300), (900, 700), (20000, 2)]:
        for dtype in (np.float32, np.float64):
            x = dtype(value)
            truth = np.zeros(columns, dtype=np.longdouble)
            truth[0] = np.longdouble(x) * np.sqrt(np.longdouble(rows * columns))
            check(np.broadcast_to(x, (rows, columns)), truth)


@pytest.mark.parametrize(
    ("row", "rows"),
    [
        (np.random.default_rng(0).standard_normal(100), 1801),
        (np.random.default_rng(1).standard_normal(600).astype(np.float32), 1801),
        (np.full(3000, 0.1), 1000),
        (np.full(1801, 0.1), 600),
        (np.full(2000, 0.1), 513),
        (np.full(2000, 0.1, np.float16), 513),
    ],
    ids=["Gaussian", "Gaussian float32", "wide", "wide of odd length", "513", "513 float16"],
)
def test_repeated_rows(row: Any, rows: int) -> None:
    """Equal terms again; the null values come from rounding errors alone, all alike."""
    truth = np.zeros(min(rows, len(row)), dtype=np.longdouble)
    truth[0] = np.sqrt((row.astype(np.longdouble) ** 2).sum() * rows)
    check(np.tile(row, (rows, 1)), truth)


@pytest.mark.parametrize("shape", [(60, 60), (900, 520)])
def test_a_thread_that_flushes_subnormals_gets_the_same(shape: tuple[int, int]) -> None:
    truth = np.random.default_rng(0).integers(1, 2**40, min(shape)) * 2.0**-1074
    matrix = np.zeros(shape)
    np.fill_diagonal(matrix, truth)
    check(matrix, truth, methods=("auto", "gram"))
    expected = singular_values(matrix)
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU cannot flush subnormal numbers")
    try:
        found = singular_values(matrix)
    finally:
        torch.set_flush_denormal(False)
    assert np.array_equal(found.values, expected.values)
    assert np.array_equal(found.bounds, expected.bounds)


def test_tail_clusters_at_the_cut() -> None:
    """Clusters on both sides of the place where the second pass begins get their own values back."""
    order = 90
    for cluster in (6e-5, 3e-5, 1e-9):
        for size in (1, 8, 20):
            values = np.ones(order)
            values[-size:] = cluster * (1 + 1e-9 * np.arange(size))
            check(shapes.with_values((110, order), values))
            values[: order - size] = np.geomspace(1, 2 * cluster, order - size)
            check(shapes.with_values((110, order), values))


def test_refined_tail_reaches_the_tolerance() -> None:
    """A small tail of its own scale each: every value to rtol, without the QR route."""
    values = np.r_[np.ones(150), 1e-5, 4e-6, 1e-6, 2e-7, 5e-8]
    for matrix in (shapes.with_values((200, 155), values), shapes.with_values((155, 155), values)):
        result = singular_values(matrix)
        assert result.method == "gram"
        assert result.refined == 5
        assert_within_bounds(result, *reference.singular_values(matrix))
        assert np.all(result.bounds[-5:] <= 1e-6 * result.values[-5:])


def test_graded_leading_part_over_a_tiny_rest() -> None:
    order = 100
    for rest in (1e-8, 1e-12, 1e-15):
        values = np.geomspace(1, 1e-4, order)
        values[order // 2 :] = rest
        check(shapes.with_values((130, order), values))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 90),
    columns=st.integers(1, 60),
    kind=st.sampled_from(shapes.HARD),
    decades=st.floats(0, 30),
)
def test_adversarial(seed: int, rows: int, columns: int, kind: str, decades: float) -> None:
    matrix = shapes.hard(kind, (rows, columns), decades, seed, wild=5)
    check(matrix)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31), rows=st.integers(1, 70), columns=st.integers(1, 70), decades=st.floats(0, 6)
)
def test_invariants(seed: int, rows: int, columns: int, decades: float) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((rows, columns)) * 10 ** (-decades * rng.random(columns))
    result = singular_values(matrix)
    values, bounds = result.values, result.bounds

    squared = (matrix**2).sum()
    allowed = (2 * values * bounds + bounds**2).sum() + tolerances.SUM_OF_SQUARES * squared
    assert abs((values**2).sum() - squared) <= allowed

    def close(other: Any, extra: float = 0.0) -> None:
        again = singular_values(other)
        assert np.all(np.abs(again.values - values) <= bounds + again.bounds + extra * values[0])

    close(matrix.T)
    close(matrix[rng.permutation(rows)][:, rng.permutation(columns)])
    close(-matrix)
    q = shapes.random_orthogonal(rows, rows, seed)
    close(q @ matrix, tolerances.ORTHOGONAL_PRODUCT * np.sqrt(rows))

    for exponent in (-60, 3, 100):
        scaled = singular_values(np.ldexp(matrix, exponent))
        assert np.array_equal(scaled.values, np.ldexp(values, exponent))
        assert np.array_equal(scaled.bounds, np.ldexp(bounds, exponent))

    # Cauchy interlacing: a new row moves every value up, at most to its old upper neighbour.
    taller = singular_values(np.vstack([matrix, rng.standard_normal((1, columns))]))
    common = min(len(values), len(taller.values))
    slack = bounds[:common] + taller.bounds[:common]
    assert np.all(taller.values[:common] >= values[:common] - slack)
    assert np.all(taller.values[1:common] <= values[: common - 1] + slack[1:] + slack[:-1])


def test_rtol_asks_for_more() -> None:
    matrix = shapes.with_values((200, 100), np.geomspace(1, 1e-3, 100))
    loose, tight = singular_values(matrix, rtol=1e-3), singular_values(matrix, rtol=1e-10)
    assert loose.refined == 0
    assert loose.method == "gram"
    assert np.all(loose.bounds <= 1e-3 * loose.values)
    assert np.all(tight.bounds <= loose.bounds)
    assert tight.bounds[-1] < loose.bounds[-1]
