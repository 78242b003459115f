"""Eigenvalues of symmetric matrices: within their bounds of the truth, the same bits however they are asked
for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lmscope
from lmscope.kernels.symmetric_eigenvalues import SymmetricEigenvalues, symmetric_eigenvalues
from lmscope.reference import symmetric_eigenvalues as reference

from .. import shapes, tolerances
from ..levels import LEVELS

Floats = np.ndarray[Any, np.dtype[np.float64]]

# One stage, around the blocks of LAPACK and of the Sturm counts; two stages, from the first order that takes
# them on, around multiples of the band's width 48 and of the tiles' order 96.
EDGES = [1, 2, 3, 31, 32, 33, 47, 48, 49, 63, 64, 65, 95, 96, 97, 127, 128, 129, 143, 144, 145, 193, 300, 512]
LARGE = [513, 527, 528, 529, 545, 575, 576, 577, 607, 641, 767, 768, 769, 1023, 1025]


def check(matrix: Any, truth: Any = None, uncertainty: Any = 0.0) -> SymmetricEigenvalues:
    """Against the oracle, or stated values, which are themselves rounded once or twice."""
    if truth is None:
        truth, uncertainty = reference.symmetric_eigenvalues(matrix)
    else:
        truth = np.sort(np.asarray(truth, dtype=np.longdouble))[::-1]
        uncertainty = uncertainty + 2 * tolerances.UNIT_ROUNDOFF * np.abs(truth)
    result = symmetric_eigenvalues(matrix)
    values, bounds = result.values, result.bounds
    order = len(matrix)
    assert values.shape == bounds.shape == (order,)
    assert values.dtype == bounds.dtype == np.float64
    assert np.all(np.diff(values) <= 0), "values do not descend"
    assert np.all(np.abs(values - truth) <= bounds + uncertainty)
    norm = max(np.abs(values).max(), values[0] - values[-1])
    # Subnormal values are rounded themselves.
    expected = tolerances.UNIT_ROUNDOFF * (80 + 1.25 * np.sqrt(order)) * norm
    np.testing.assert_allclose(bounds, expected, rtol=1e-12, atol=2 * 2.0**-1074)
    return result


def symmetric(order: int, seed: int = 0) -> Floats:
    lower = np.tril(np.random.default_rng([order, seed]).standard_normal((order, order)))
    return lower + np.tril(lower, -1).T


def second_difference(order: int) -> tuple[Floats, Any]:
    """2 on the diagonal, -1 beside it: 2 - 2 cos(k pi / (order + 1))."""
    matrix = 2 * np.eye(order) - np.eye(order, k=1) - np.eye(order, k=-1)
    pi = 4 * np.arctan(np.longdouble(1))
    return matrix, 2 - 2 * np.cos(np.arange(1, order + 1) * pi / (order + 1))


def distinct(order: int) -> Any:
    """Integers of both signs, some of them many times."""
    return np.random.default_rng(order).integers(-4000, 4000, order) * (np.arange(order) % 5 > 0)


@pytest.mark.parametrize("order", EDGES + LARGE)
def test_known_spectra(order: int) -> None:
    check(*second_difference(order), uncertainty=4 * np.finfo(np.longdouble).eps)
    values = distinct(order)
    check(shapes.with_eigenvalues(values), values)


@pytest.mark.parametrize("order", [1, 2, 5, 48, 130, 797])
def test_equal_entries_and_equal_values(order: int) -> None:
    """Rounding errors that do not cancel."""
    for value in (0.1, -1 / 3):
        truth = np.zeros(order, dtype=np.longdouble)
        truth[0] = np.longdouble(value) * order
        check(np.broadcast_to(value, (order, order)), truth)
    check(np.eye(order), np.ones(order))
    for value in (-3, 0.1, 1 / 3):
        check(value * np.eye(order), np.full(order, value))
    check(np.fliplr(np.eye(order)), np.r_[np.ones((order + 1) // 2), -np.ones(order // 2)])
    vector = np.random.default_rng(order).integers(-9, 10, order).astype(np.float64)
    check(np.outer(vector, vector), np.r_[vector @ vector, np.zeros(order - 1)])


@pytest.mark.parametrize("order", [2, 64, 512, 1024])
def test_hadamard_and_projections(order: int) -> None:
    hadamard = scipy.linalg.hadamard(order).astype(np.float64)
    root = np.sqrt(np.longdouble(order))
    check(hadamard, np.repeat([root, -root], order // 2))
    half = order // 2
    block = np.ones((half, half)) / half
    projection = np.block([[block, np.zeros((half, half))], [np.zeros((half, half)), np.eye(half) - block]])
    check(projection, np.r_[np.ones(half), np.zeros(half)])


def test_zero_matrix() -> None:
    for order in (1, 7, 600):
        for dtype in shapes.DTYPES.values():
            result = symmetric_eigenvalues(np.zeros((order, order), dtype))
            assert np.array_equal(result.values, np.zeros(order))
            assert np.array_equal(result.bounds, np.zeros(order))


@pytest.mark.parametrize("dtype", shapes.DTYPES)
def test_random_in_every_dtype_and_layout(dtype: str) -> None:
    matrix = symmetric(70).astype(shapes.DTYPES[dtype])
    expected = check(matrix)
    for name, view in shapes.layouts(matrix):
        assert np.array_equal(view, matrix), name
        assert np.array_equal(symmetric_eigenvalues(view).values, expected.values), name
    tensor = torch.from_numpy(matrix.astype(np.float64)).to(getattr(torch, dtype))
    for same in (tensor, tensor.T, tensor.clone().requires_grad_() * 1):
        assert np.array_equal(symmetric_eigenvalues(same).values, expected.values)


def test_only_the_lower_triangle_counts() -> None:
    for order in (40, 530):
        matrix = symmetric(order)
        expected = symmetric_eigenvalues(matrix).values
        matrix[np.triu_indices(order, 1)] = np.nan
        before = matrix.tobytes()
        for layout in (matrix, np.asfortranarray(matrix)):
            assert np.array_equal(symmetric_eigenvalues(layout).values, expected)
        assert matrix.tobytes() == before


@pytest.mark.parametrize("scale", [1e300, 1e-300, 2.0**-1060, 1e150])
def test_huge_and_tiny_float64(scale: float) -> None:
    for order in (3, 60):
        result = check(symmetric(order) * scale)
        assert result.values[0] > 0
    huge = np.diag([1e306, -1e306, 0.0])
    assert symmetric_eigenvalues(huge).values == pytest.approx([1e306, 0, -1e306], abs=1e292)


def test_largest_values_of_small_dtypes() -> None:
    for dtype in (np.float32, ml_dtypes.bfloat16):
        check((np.sign(symmetric(50)) * 3e38).astype(dtype))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    order=st.integers(1, 40),
    kind=st.sampled_from(shapes.HARD),
    decades=st.floats(0, 30),
)
def test_adversarial(seed: int, order: int, kind: str, decades: float) -> None:
    check(shapes.hard(kind, (order, order), decades, seed, wild=3))


@pytest.mark.parametrize("decades", [3, 30])
@pytest.mark.parametrize("kind", shapes.HARD)
def test_adversarial_in_two_stages(kind: str, decades: float) -> None:
    """A hard matrix times a symmetric orthogonal one of dyadic entries: its values, half of them negated.

    Blocks side by side, and entries of all blocks in turn.
    """
    lower = np.tril(shapes.hard(kind, (34, 34), decades, seed=3, wild=3))
    hard = lower + np.tril(lower, -1).T
    values, uncertainty = reference.symmetric_eigenvalues(hard)
    orthogonal = scipy.linalg.hadamard(16) / 4
    truth = np.tile(np.r_[values, -values], 8)
    for matrix in (np.kron(orthogonal, hard), np.kron(hard, orthogonal)):
        assert len(matrix) > 512
        check(matrix, truth, uncertainty)


@pytest.mark.parametrize(("order", "share"), [(1127, 0.7), (1127, 0.05), (1700, 0.3)])
def test_two_clusters(order: int, share: float) -> None:
    """Reflectors that are not quite orthogonal move equal values all one way, and a few of the others far."""
    values = np.where(np.arange(order) < share * order, -1, 1)
    check(shapes.with_eigenvalues(values), values)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), order=st.integers(1, 70), decades=st.floats(0, 6))
def test_invariants(seed: int, order: int, decades: float) -> None:
    rng = np.random.default_rng(seed)
    matrix = np.tril(rng.standard_normal((order, order)) * 10 ** (-decades * rng.random((order, 1))))
    matrix += np.tril(matrix, -1).T
    result = symmetric_eigenvalues(matrix)
    values, bounds = result.values, result.bounds
    norm = np.abs(values).max()

    summed = tolerances.SUM_OF_SQUARES * np.abs(values).sum()
    assert abs(values.sum() - np.trace(matrix)) <= bounds.sum() + summed
    squared = (matrix**2).sum()
    allowed = (2 * np.abs(values) * bounds + bounds**2).sum() + tolerances.SUM_OF_SQUARES * squared
    assert abs((values**2).sum() - squared) <= allowed

    def close(other: Any, expected: Any, extra: float = 0.0) -> None:
        again = symmetric_eigenvalues(other)
        assert np.all(np.abs(again.values - expected) <= bounds + again.bounds + extra)

    shift = float(rng.uniform(-2, 2)) * norm
    # Every entry of the diagonal is rounded once.
    close(matrix + shift * np.eye(order), values + shift, 2 * tolerances.UNIT_ROUNDOFF * (norm + abs(shift)))
    permutation = rng.permutation(order)
    close(matrix[np.ix_(permutation, permutation)], values)
    close(-matrix, -values[::-1])
    for exponent in (-60, 3, 100, 700):
        scaled = symmetric_eigenvalues(np.ldexp(matrix, exponent))
        assert np.array_equal(scaled.values, np.ldexp(values, exponent))
        assert np.array_equal(scaled.bounds, np.ldexp(bounds, exponent))

    # Cauchy interlacing: those of the leading part lie between its neighbours'.
    if order > 1:
        part = symmetric_eigenvalues(matrix[:-1, :-1])
        slack = bounds[0] + part.bounds
        assert np.all(part.values <= values[:-1] + slack)
        assert np.all(part.values >= values[1:] - slack)


@pytest.mark.parametrize(("batch", "order"), [(1, 20), (9, 20), (5, 130), (3, 520)])
def test_a_stack_has_the_bits_of_its_matrices(batch: int, order: int, threads: Callable[[int], None]) -> None:
    stack = np.stack([symmetric(order, seed) * 10.0 ** (150 * (seed % 3)) for seed in range(batch)])
    expected = [symmetric_eigenvalues(matrix) for matrix in stack]
    for count in (1, 2, 3):
        threads(count)
        found = symmetric_eigenvalues(stack)
        assert found.values.shape == found.bounds.shape == (batch, order)
        for index, alone in enumerate(expected):
            assert np.array_equal(found.values[index], alone.values)
            assert np.array_equal(found.bounds[index], alone.bounds)


def test_layouts_of_stacks() -> None:
    stack = np.stack([symmetric(30, seed) for seed in range(6)])
    expected = symmetric_eigenvalues(stack).values
    innermost = np.moveaxis(np.array(np.moveaxis(stack, 0, -1), order="C"), -1, 0)
    for same in (innermost, stack.transpose(0, 2, 1), torch.from_numpy(stack)):
        assert np.array_equal(symmetric_eigenvalues(same).values, expected)
    assert np.array_equal(symmetric_eigenvalues(stack[::-2]).values, expected[::-2])
    repeated = np.broadcast_to(stack[2], (4, 30, 30))
    assert np.array_equal(symmetric_eigenvalues(repeated).values, np.broadcast_to(expected[2], (4, 30)))
    half = stack.astype(ml_dtypes.bfloat16)
    single = symmetric_eigenvalues(half[3])
    assert np.array_equal(symmetric_eigenvalues(half).values[3], single.values)


@pytest.mark.parametrize("order", [90, 700])
def test_bits_do_not_depend_on_threads(order: int, threads: Callable[[int], None]) -> None:
    matrix = symmetric(order)
    threads(1)
    expected = symmetric_eigenvalues(matrix).values
    for count in (2, 3):
        threads(count)
        assert np.array_equal(symmetric_eigenvalues(matrix).values, expected)


@pytest.mark.parametrize("order", [33, 300, 512])
def test_one_stage_has_the_same_bits_at_every_level(order: int) -> None:
    before = lmscope.isa()
    matrix = symmetric(order)
    results = []
    try:
        for level in LEVELS:
            try:
                lmscope.use_isa(level)
            except ValueError:
                continue
            results.append(symmetric_eigenvalues(matrix).values)
    finally:
        lmscope.use_isa(before)
    for found in results[1:]:
        assert np.array_equal(found, results[0])


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("order", [60, 520])
def test_a_thread_that_flushes_subnormals_gets_the_same(
    order: int, count: int, threads: Callable[[int], None]
) -> None:
    threads(count)
    diagonals = np.random.default_rng(order).integers(-(2**40), 2**40, (3, order)) * 2.0**-1074
    stack = np.stack([np.diag(diagonal) for diagonal in diagonals])
    expected = check(stack[1], diagonals[1]).values
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU cannot flush subnormal numbers")
    try:
        alone, stacked = symmetric_eigenvalues(stack[1]), symmetric_eigenvalues(stack)
    finally:
        torch.set_flush_denormal(False)
    assert np.array_equal(alone.values, expected)
    for found, diagonal in zip(stacked.values, diagonals, strict=True):
        assert np.all(np.abs(found - np.sort(diagonal)[::-1]) <= stacked.bounds[1])
    assert np.array_equal(stacked.values[1], expected)


def test_every_instruction_set_is_within_the_bounds(isa: str) -> None:
    assert lmscope.isa() == isa
    check(symmetric(90).astype(np.float32))
    for order in (200, 700):
        values = distinct(order)
        check(shapes.with_eigenvalues(values), values)


@pytest.mark.parametrize(
    ("argument", "error", "message"),
    [
        ([[1.0]], TypeError, "a must be a numpy array or a torch tensor, got list"),
        (np.ones(3), ValueError, "a must be 2-D, or 3-D as a stack of matrices, got 1-D"),
        (np.ones((1, 1, 2, 2)), ValueError, "got 4-D"),
        (
            np.ones((3, 4)),
            ValueError,
            r"a has shape \(3, 4\); symmetric matrices are square: .*singular_values",
        ),
        (np.ones((5, 3, 4)), ValueError, r"a has shape \(5, 3, 4\); symmetric matrices are square"),
        (np.ones((0, 0)), ValueError, r"a has shape \(0, 0\); it needs at least one matrix"),
        (np.ones((0, 3, 3)), ValueError, r"a has shape \(0, 3, 3\); it needs at least one matrix"),
        (np.eye(2, dtype=complex), TypeError, "a has dtype complex128; taken are float64"),
        (np.eye(2, dtype=int), TypeError, "a has dtype int64"),
        (np.full((3, 3), 1e308), ValueError, "an eigenvalue of a exceeds the range of float64: scale"),
    ],
    ids=str,
)
def test_refused(argument: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        symmetric_eigenvalues(argument)


@pytest.mark.parametrize("dtype", shapes.DTYPES)
def test_non_finite_is_found(dtype: str) -> None:
    stack = np.stack([symmetric(40, seed) for seed in range(4)]).astype(shapes.DTYPES[dtype])
    stack[3, 39, 0] = np.inf  # a later one must not be the one that is named
    for bad, word in [(np.nan, "NaN"), (np.inf, "Inf"), (-np.inf, "-Inf")]:
        stack[2, 12, 12] = bad
        stack[2, 13, 0] = np.nan
        message = f"has {word} at row 12, column 12; all values of the lower triangle must be finite"
        with pytest.raises(ValueError, match=rf"a\[2\] {message}"):
            symmetric_eigenvalues(stack)
        with pytest.raises(ValueError, match=f"a {message}"):
            symmetric_eigenvalues(np.asfortranarray(stack[2]))


@pytest.mark.parametrize("dtype", shapes.DTYPES)
def test_non_finite_is_found_where_vectors_do_not_fit(dtype: str) -> None:
    matrix = np.eye(3).astype(shapes.DTYPES[dtype])
    matrix[1, 0] = np.inf
    with pytest.raises(ValueError, match=r"a has Inf at row 1, column 0"):
        symmetric_eigenvalues(matrix)
    matrix[1, 0], matrix[0, 1] = 0, np.nan  # above the diagonal nothing is read
    assert symmetric_eigenvalues(matrix).values.tolist() == [1, 1, 1]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
def test_cuda_tensor_is_refused_in_words() -> None:
    with pytest.raises(TypeError, match=r"CUDA tensor; this kernel runs on the CPU: pass it with \.cpu\(\)"):
        symmetric_eigenvalues(torch.eye(2, device="cuda"))


def test_what_a_notebook_shows() -> None:
    one, many = symmetric_eigenvalues(np.diag([3.0, -1.0])), symmetric_eigenvalues(np.zeros((4, 2, 2)))
    assert repr(one).startswith("SymmetricEigenvalues(2 eigenvalues from 3 to -1, bounds up to ")
    assert "2 eigenvalues of each of 4 matrices" in repr(many)
    assert "2 eigenvalues of each of 4 matrices" in many._repr_html_()
