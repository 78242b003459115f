"""Rows that arrive in blocks give the values of the whole matrix, however they are split, merged or carried
elsewhere.
"""

from __future__ import annotations

import pickle
from typing import Any, Literal

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.kernels.singular_values import StreamingSingularValues, singular_values
from lmscope.reference import singular_values as reference

from .. import shapes
from .accuracy import assert_within_bounds

Method = Literal["gram", "qr"]
METHODS: tuple[Method, ...] = ("gram", "qr")
both = pytest.mark.parametrize("method", METHODS)


def streamed(blocks: list[Any], method: Method) -> StreamingSingularValues:
    stream = StreamingSingularValues(blocks[0].shape[1], method=method)
    for block in blocks:
        stream.update(block)
    return stream


def same_state(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 150),
    columns=st.integers(1, 50),
    cuts=st.lists(st.integers(1, 149), max_size=6),
    method=st.sampled_from(METHODS),
    order=st.randoms(use_true_random=False),
)
def test_any_split_any_merge(
    seed: int, rows: int, columns: int, cuts: list[int], method: Method, order: Any
) -> None:
    matrix = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    truth, uncertainty = reference.singular_values(matrix)
    blocks = [block for block in np.split(matrix, sorted(cuts)) if len(block)]
    whole = streamed(blocks, method)
    assert whole.rows == rows
    assert_within_bounds(whole.result(), truth, uncertainty)
    # Merged in any order and in any nesting.
    parts = [streamed([block], method) for block in blocks]
    while len(parts) > 1:
        order.shuffle(parts)
        parts[0].merge(parts.pop())
    assert parts[0].rows == rows
    assert_within_bounds(parts[0].result(), truth, uncertainty)


@both
def test_one_update_gives_the_bits_of_the_whole_matrix(method: Method) -> None:
    matrix = shapes.gaussian((300, 70))
    result, whole = streamed([matrix], method).result(), singular_values(matrix, method=method)
    assert np.array_equal(result.values, whole.values)
    assert np.array_equal(result.bounds, whole.bounds)
    assert result.method == whole.method == method


@both
def test_merge_leaves_the_other_alone_and_empty_streams_change_nothing(method: Method) -> None:
    one, other = streamed([shapes.gaussian((40, 30))], method), streamed([shapes.spiked((50, 30))], method)
    before = other.state()
    one.merge(other)
    assert same_state(before, other.state())
    full = one.state()
    one.merge(StreamingSingularValues(30, method=method))
    assert same_state(full, one.state())
    empty = StreamingSingularValues(30, method=method)
    empty.merge(one)
    assert empty.rows == 90
    got, expected = empty.result(), one.result()
    assert np.all(np.abs(got.values - expected.values) <= expected.bounds)


@both
def test_state_round_trip_goes_on_with_the_same_bits(method: Method) -> None:
    first, second = shapes.gaussian((45, 33)), shapes.gaussian((60, 33)) * 1e250
    stream = streamed([first], method)
    copy = StreamingSingularValues.from_state(pickle.loads(pickle.dumps(stream.state())))
    assert (copy.columns, copy.rows, copy.method) == (33, 45, method)
    for each in (stream, copy):
        each.update(second)
    assert same_state(stream.state(), copy.state())
    assert np.array_equal(stream.result().values, copy.result().values)


@both
def test_result_is_no_end(method: Method) -> None:
    first, second = shapes.gaussian((45, 33)), shapes.spiked((60, 33))
    asked, silent = streamed([first], method), streamed([first], method)
    asked.result()
    for stream in (asked, silent):
        stream.update(second)
    assert np.array_equal(asked.result().values, silent.result().values)
    assert np.array_equal(asked.result().values, asked.result().values)


@both
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_rows_leave_the_state_untouched(method: Method, bad: float) -> None:
    stream = streamed([shapes.gaussian((45, 33))], method)
    before = stream.state()
    rows = shapes.gaussian((7, 33)).copy()
    rows[5, 2] = bad
    with pytest.raises(ValueError, match="row 5, column 2"):
        stream.update(rows)
    with pytest.raises(ValueError, match="32 columns; this stream was made for 33"):
        stream.update(rows[:5, :32])
    with pytest.raises(TypeError, match="int64"):
        stream.update(np.ones((2, 33), np.int64))
    assert same_state(before, stream.state())


@both
def test_fewer_rows_than_columns(method: Method) -> None:
    rows = shapes.gaussian((5, 64))
    truth, uncertainty = reference.singular_values(rows)
    result = streamed([rows[:2], rows[2:]], method).result()
    assert len(result) == 5
    assert_within_bounds(result, truth, uncertainty)


@both
def test_mixed_dtypes(method: Method) -> None:
    blocks = [
        shapes.gaussian((40, 24)).astype(dtype)
        for dtype in (np.float32, ml_dtypes.bfloat16, np.float16, float)
    ]
    whole = np.vstack([block.astype(np.float64) for block in blocks])
    assert_within_bounds(streamed(blocks, method).result(), *reference.singular_values(whole))


@both
@pytest.mark.parametrize(
    "scales",
    [
        (1e200, 1e-200),
        (1e-200, 1e200),
        (0.0, 1e-200),
        (1e-200, 0.0),
        (1e200, 0.0, 1e200),
        (1e-160, 1e-150, 1.0),
        (1e-200, 1e-201, 0.0, 1e-199),
        (1e-308, 1e-300),
    ],
    ids=str,
)
def test_scales(method: Method, scales: tuple[float, ...]) -> None:
    blocks = [shapes.gaussian((30 + i, 20)) * scale for i, scale in enumerate(scales)]
    truth, uncertainty = reference.singular_values(np.vstack(blocks))
    stream = streamed(blocks, method)
    assert stream.rows == sum(map(len, blocks))
    assert_within_bounds(stream.result(), truth, uncertainty)
    # Bounds are relative to the largest value whatever the scale.
    assert stream.result().bounds[0] < 1e-13 * stream.result().values[0]
    merged = streamed([blocks[0]], method)
    for block in blocks[1:]:
        merged.merge(streamed([block], method))
    assert_within_bounds(merged.result(), truth, uncertainty)


@both
def test_float32_zeros_do_not_hide_tiny_float64_rows(method: Method) -> None:
    tiny = shapes.gaussian((30, 8)) * 1e-200
    zeros = np.zeros((4, 8), np.float32)
    truth, uncertainty = reference.singular_values(tiny)
    for blocks in ([zeros, tiny], [tiny, zeros], [-zeros, tiny, -zeros]):
        assert_within_bounds(streamed(blocks, method).result(), truth, uncertainty)


@both
def test_many_equal_rows(method: Method) -> None:
    """Equal additions to one sum: their rounding errors all have one sign."""
    row = np.full((1, 3), 1 / 3)
    stream = StreamingSingularValues(3, method=method)
    for _ in range(3000):
        stream.update(row)
    truth = np.array([np.longdouble(1 / 3) * np.sqrt(np.longdouble(9000)), 0, 0])
    assert_within_bounds(stream.result(), truth, 4e-18 * truth[0])


def test_wrong_use() -> None:
    for columns in (0, -3, 2**32):
        with pytest.raises(ValueError, match=f"columns must lie between 1 and 16777216, got {columns}"):
            StreamingSingularValues(columns)
    with pytest.raises(ValueError, match="method must be 'gram' or 'qr', got 'auto'"):
        StreamingSingularValues(3, method="auto")  # type: ignore[arg-type]
    stream = StreamingSingularValues(3)
    with pytest.raises(ValueError, match="no rows yet"):
        stream.result()
    with pytest.raises(ValueError, match="4 columns and method 'gram'; this stream has 3"):
        stream.merge(StreamingSingularValues(4))
    with pytest.raises(ValueError, match="3 columns and method 'qr'; this stream has 3 and 'gram'"):
        stream.merge(StreamingSingularValues(3, method="qr"))
    with pytest.raises(ValueError, match="merged with itself"):
        stream.merge(stream)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"rows": -1}, "rows -1"),
        ({"additions": -1}, "additions -1"),
        ({"exponent": 5000}, "exponent 5000"),
        ({"columns": 4}, "shape"),
        ({"triangle": np.full((3, 3), np.nan)}, "row 0, column 0"),
        ({"method": "svd"}, "method"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_damaged_state(damage: dict[str, Any], message: str) -> None:
    state = streamed([shapes.gaussian((5, 3))], "gram").state()
    with pytest.raises(ValueError, match=message):
        StreamingSingularValues.from_state({**state, **damage})
    del state["rows"]
    with pytest.raises(KeyError, match="rows"):
        StreamingSingularValues.from_state(state)


@pytest.mark.parametrize("scale", [1.0, 1e-160, 1e150])
def test_the_gram_matrix_of_all_rows(scale: float) -> None:
    matrix = scale * np.random.default_rng(8).standard_normal((90, 17))
    stream = streamed([matrix[:20], matrix[20:]], "gram")
    gram = stream.gram()
    expected = matrix.T @ matrix
    np.testing.assert_allclose(gram, expected, rtol=0, atol=1e-14 * max(expected.max(), 1e-300))
    np.testing.assert_array_equal(gram, gram.T)
    gram[:] = 0
    assert stream.gram().any()
    assert not StreamingSingularValues(3).gram().any()
    with pytest.raises(ValueError, match="keeps a triangular factor, no Gram matrix"):
        streamed([matrix], "qr").gram()
