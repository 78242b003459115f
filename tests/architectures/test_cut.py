"""Cuts hold every stored element once, lie where the layouts say, and are views wherever strides can be."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmscope.architectures.cut import Cut, cut_apart

SIZES = st.integers(1, 4)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[tuple[int, ...], int, dict]:
    """A shape that holds the blocks, the number of parts, and the layout."""
    sizes = draw(st.lists(SIZES, min_size=1, max_size=4))
    equal, transposed, packed = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    if equal:
        sizes = [sizes[0]] * len(sizes)
    groups, inputs, experts = draw(SIZES), draw(SIZES), draw(SIZES)
    matrix = (inputs, sum(sizes) * groups) if transposed else (sum(sizes) * groups, inputs)
    layout = {"groups": groups, "transposed": transposed, "packed": packed}
    layout["sizes"] = None if equal else sizes
    return (experts, *matrix) if packed else matrix, len(sizes), layout


@given(layouts())
def test_parts_hold_every_stored_element_once(case: tuple[tuple[int, ...], int, dict]) -> None:
    shape, parts, layout = case
    stored = np.arange(np.prod(shape)).reshape(shape)
    cuts = cut_apart(shape, parts, **layout)
    assert cuts is not None
    assert len(cuts) == parts * (shape[0] if layout["packed"] else 1)
    cut_out = [cut.apply(stored) for cut in cuts]
    assert [part.shape for part in cut_out] == [cut.shape(shape) for cut in cuts]
    np.testing.assert_array_equal(np.sort(np.concatenate([part.ravel() for part in cut_out])), stored.ravel())
    for cut, part in zip(cuts, cut_out, strict=True):
        assert cut.groups > 1 or np.shares_memory(part, stored)
        assert (np.diff(part, axis=1) == (np.prod(shape[-1:]) if layout["transposed"] else 1)).all()


@given(layouts(), st.integers(-3, 3).filter(bool))
def test_sizes_that_do_not_add_up_are_not_cut(case: tuple[tuple[int, ...], int, dict], wrong: int) -> None:
    shape, parts, layout = case
    sizes = layout["sizes"] or [1] * parts
    outputs = shape[-1] if layout["transposed"] else shape[-2]
    too_many = [*sizes[:-1], outputs // layout["groups"] - sum(sizes[:-1]) + wrong]
    assert cut_apart(shape, parts, **layout | {"sizes": too_many}) is None
    assert cut_apart((*shape, 1), parts, **layout) is None


def test_contiguous_transposed() -> None:
    """GPT-2's Conv1D: in x (3 out)."""
    parts = [np.random.default_rng(i).normal(size=(6, 5)) for i in range(3)]
    fused = np.concatenate([part.T for part in parts], axis=1)
    for cut, part in zip(cut_apart(fused.shape, 3, transposed=True) or (), parts, strict=True):
        np.testing.assert_array_equal(cut.apply(fused), part)


def test_interleaved_by_head_in_unequal_blocks() -> None:
    """DeepSeek's kv_b_proj: heads x (key rows, then value rows)."""
    heads, inputs = 4, 5
    keys, values = (np.random.default_rng(rows).normal(size=(heads, rows, inputs)) for rows in (3, 2))
    fused = np.concatenate([keys, values], axis=1).reshape(-1, inputs)
    key, value = cut_apart(fused.shape, 2, sizes=[3, 2], groups=heads) or ()
    np.testing.assert_array_equal(key.apply(fused), keys.reshape(-1, inputs))
    np.testing.assert_array_equal(value.apply(fused), values.reshape(-1, inputs))


def test_one_expert_of_a_packed_tensor_is_a_view() -> None:
    packed = np.arange(3 * 8 * 5).reshape(3, 8, 5)
    gate, up = (cut_apart(packed.shape, 2, packed=True) or ())[4:]
    assert (gate, up) == (Cut(expert=2, rows=4), Cut(expert=2, start=4, rows=4))
    for cut, rows in ((gate, slice(0, 4)), (up, slice(4, 8))):
        part = cut.apply(packed)
        np.testing.assert_array_equal(part, packed[2, rows])
        assert np.shares_memory(part, packed)
