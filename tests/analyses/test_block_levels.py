"""Weights quantised here and written out again, weights that never were, and MiniLM's."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch

import lmscope
from lmscope import levels_per_block
from lmscope.analyses.stored_precision import stored_precision


def gaussian(shape=(96, 256), seed=0):
    return 0.02 * np.random.default_rng(seed).standard_normal(shape)


def quantised(weights, bits, group):
    """To integers with one scale for each group of weights along the input, and back."""
    groups = weights.reshape(-1, group)
    scale = np.abs(groups).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
    return (np.round(groups / scale) * scale).reshape(weights.shape).astype(np.float32)


@pytest.mark.parametrize("stored", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize(
    ("bits", "group", "levels"), [(4, 32, 12), (4, 128, 10), (3, 32, 6), (2, 32, 3), (5, 32, 18), (6, 32, 24)]
)
def test_integers_of_few_bits_show(bits, group, levels, stored):
    found = levels_per_block(quantised(gaussian(), bits, group).astype(stored))
    assert found.levels == pytest.approx(levels, abs=1)
    assert found.quantised
    assert f"only {found.levels:g} different values" in found.warning
    assert ("4 bits or fewer" if bits <= 4 else "5 to 8 bits") in found.warning


@pytest.mark.parametrize(
    ("narrow", "bits"),
    [("float4_e2m1fn", "4 bits or fewer"), ("float8_e4m3fn", "5 to 8"), ("float8_e5m2", "5 to 8")],
)
def test_short_floats_show(narrow, bits):
    kind = np.dtype(getattr(ml_dtypes, narrow))
    blocks = gaussian().reshape(-1, 32)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / float(ml_dtypes.finfo(kind).max)
    weights = ((blocks / scale).astype(kind).astype(np.float32) * scale).reshape(96, 256)
    assert bits in levels_per_block(weights.astype(np.float32)).warning


def test_eight_bit_integers_of_short_blocks_do_not():
    """The limit that the documentation states."""
    found = levels_per_block(quantised(gaussian(), 8, 32))
    assert found.levels == pytest.approx(30, abs=1)
    assert not found.quantised
    assert found.warning == ""


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("law", ["gaussian", "t3", "uniform", "pruned"])
def test_weights_that_never_were_quantised_do_not(kind, law):
    rng = np.random.default_rng(1)
    weights = {
        "gaussian": gaussian(),
        "t3": 0.02 * rng.standard_t(3, (96, 256)),
        "uniform": rng.uniform(-0.05, 0.05, (96, 256)),
        "pruned": gaussian() * (rng.random((96, 256)) < 0.4),
    }[law].astype(kind)
    found = levels_per_block(weights)
    assert not found.quantised
    assert found.warning == ""
    assert found.levels >= (12 if law == "pruned" else 31)


def test_rate_on_bfloat16_noise():
    """As stated for matrices of one block of 32, and of 9."""
    rng = np.random.default_rng(2)
    drawn = rng.standard_normal((9 * 4000, 32)).astype(ml_dtypes.bfloat16)
    one = np.mean([levels_per_block(drawn[n : n + 1]).quantised for n in range(4000)])
    assert 0.003 < one < 0.01
    assert not any(levels_per_block(drawn[9 * n : 9 * n + 9]).quantised for n in range(2000))


def test_counts_by_hand():
    # Between the ends 4 repeats among 8, and 1 among 9; 0 is no level of its own.
    weights = np.zeros((2, 13))
    weights[0] = [0, 0, -0.0, 1, 5, 5, 5, 7, 7, 8, 9, 9, 11]
    weights[1] = [1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 10]
    found = levels_per_block(weights, block=13)
    assert (found.levels, found.blocks, found.equal, found.adjacent) == (8.5, 2, 6, 0)
    assert found.repeated == pytest.approx((1 / 2 + 1 / 9) / 2)
    # What is left of a row is not read, nor does a block run over its end.
    assert levels_per_block(gaussian((2, 30)), block=14).blocks == 4
    # Numbers of bfloat16 from 1 to 2 lie 1/128 apart; the ends are not counted.
    steps = np.array([[0, 1, 2, 2, 3, 3, 3, 9, 9, 20]]) / 128 + 1
    found = levels_per_block(steps.astype(ml_dtypes.bfloat16), block=10)
    assert (found.equal, found.adjacent, found.repeated) == (1, 2 + 6, 0.5)
    short = levels_per_block(weights)
    assert (short.levels, short.blocks, short.quantised, short.warning) == (None, 0, False, "")
    assert "quantised=False" in repr(short)


BFLOAT16 = ml_dtypes.bfloat16


def unlike_quantised():
    rng = np.random.default_rng(4)
    noise = rng.standard_normal((96, 512))
    padded = noise.copy()
    padded[:58] = 0.01
    return {
        "padded rows": padded.astype(np.float32),
        "clipped": np.clip(noise, -1, 1).astype(BFLOAT16),
        "clipped hard": np.clip(noise, -0.3, 0.3).astype(np.float32),
        "clipped above": np.clip(noise, None, 0.3).astype(BFLOAT16),
        "around 1": (1 + 0.02 * noise).astype(BFLOAT16),
        "around 1 in float32": (1 + 0.02 * noise).astype(BFLOAT16).astype(np.float32),
        "close to 1": (1 + 0.001 * noise).astype(BFLOAT16),
        "around 0.5": (0.5 + 0.1 * noise).astype(BFLOAT16),
        "uniform": rng.uniform(0.5, 1, noise.shape).astype(BFLOAT16),
        "subnormal": (1e-6 * noise).astype(np.float16),
        "subnormal in float32": (1e-6 * noise).astype(np.float16).astype(np.float32),
        "repeated columns": np.repeat(noise[:, :128], 4, axis=1).astype(np.float32),
        "tiled columns": np.tile(noise[:, :8], (1, 64)).astype(BFLOAT16),
        "repeated rows": np.repeat(noise[:8], 12, axis=0),
        "pruned to 6 %": noise * (rng.random(noise.shape) < 0.06),
        "zeros": np.zeros((20, 64)),
        "ones": np.ones((20, 64)),
        "identity": np.eye(256),
    }


@pytest.mark.parametrize("name", unlike_quantised())
def test_repeats_of_other_causes(name):
    found = levels_per_block(unlike_quantised()[name])
    assert not found.quantised
    assert found.warning == ""


@pytest.mark.parametrize("stored", [np.float32, BFLOAT16])
@pytest.mark.parametrize(("kept", "block"), [(1, 32), (0.5, 32), (0.06, 288)])
def test_ternary_weights_show_however_sparse(kept, block, stored):
    rng = np.random.default_rng(5)
    signs = np.sign(rng.standard_normal((96, 512))) * (rng.random((96, 512)) < kept)
    found = levels_per_block((0.03 * signs).astype(stored))
    assert found.quantised
    assert found.levels == 2 + (kept < 1)
    assert abs(found.block - block) <= 32


@pytest.mark.parametrize("group", [128, 512])
def test_sparse_integers_show(group):
    kept = np.random.default_rng(6).random((96, 512)) < 0.12
    found = levels_per_block(quantised(gaussian((96, 512)), 4, group) * kept)
    assert found.quantised
    assert "4 bits or fewer" in found.warning


def test_what_the_documentation_says_cannot_be_told():
    """Levels that are neighbouring numbers of the type."""
    around = (1 + quantised(gaussian((96, 512)), 4, 32)).astype(BFLOAT16)
    assert not levels_per_block(around).quantised
    assert levels_per_block(0.03 * np.sign(gaussian((96, 512)))).levels == 2


def test_few_blocks_of_many_tell_the_same():
    weights = quantised(gaussian((500, 512)), 4, 32)
    few, all_blocks = levels_per_block(weights, blocks=200), levels_per_block(weights, blocks=10**6)
    assert (few.blocks, all_blocks.blocks) == (200, 8000)
    assert few.levels == pytest.approx(all_blocks.levels, abs=1)
    assert levels_per_block(torch.tensor(weights).bfloat16(), blocks=200) == levels_per_block(
        weights.astype(ml_dtypes.bfloat16), blocks=200
    )
    assert "4 bits or fewer" in few._repr_html_()


def test_arguments():
    with pytest.raises(ValueError, match="w must be a matrix"):
        levels_per_block(np.zeros(5))
    with pytest.raises(ValueError, match="block must be from 2 up"):
        levels_per_block(np.zeros((5, 5)), block=1)


@pytest.mark.parametrize("kind", [ml_dtypes.bfloat16, np.float16])
def test_singular_values_below_rounding_are_counted(kind):
    """A matrix of rank 40 whose other 20 singular values are those of the rounding of its entries."""
    rng = np.random.default_rng(3)
    exact = 0.02 * rng.standard_normal((60, 40)) @ rng.standard_normal((40, 80))
    stored = exact.astype(kind)
    values = np.linalg.svd(stored.astype(np.float64), compute_uv=False)
    error = np.linalg.svd(stored.astype(np.float64) - exact, compute_uv=False)[0]
    found = stored_precision(stored, values)
    assert found.rounding == pytest.approx(error, rel=0.1)
    assert found.n_below == 20
    assert "20 of the 60 are not larger" in found.warning
    # What the file says makes no difference.
    wide = stored_precision(stored.astype(np.float32), values)
    assert (wide.precision, wide.rounding, wide.n_below) == (found.precision, found.rounding, 20)
    full = stored_precision(exact.astype(np.float32), values)
    assert (full.precision, full.rounding, full.n_below, full.warning) == ("float32", None, None, "")


def test_both_warnings_together():
    weights = quantised(gaussian((64, 64)), 4, 32).astype(ml_dtypes.bfloat16)
    values = np.linalg.svd(weights.astype(np.float64), compute_uv=False)
    values[-3:] = 0
    found = stored_precision(weights, values)
    assert found.n_below >= 3
    assert "4 bits or fewer" in found.warning
    assert "Rounding to bfloat16" in found.warning
    assert "held by bfloat16" in found._repr_html_()
    with pytest.raises(ValueError, match=r"values must be of shape \(64,\)"):
        stored_precision(weights, values[:5])
    nothing = stored_precision(np.zeros((4, 4), np.float32), np.zeros(4))
    assert nothing.warning == ""


def test_minilm_never_was_quantised(minilm_path):
    checkpoint = lmscope.open_checkpoint(minilm_path)
    found = [
        levels_per_block(checkpoint.load(row.name))
        for row in checkpoint
        if row.layer is not None and len(row.shape) == 2
    ]
    assert len(found) == 36
    assert {one.levels for one in found} == {32.0}
    assert not any(one.quantised for one in found)
