from __future__ import annotations

import math
from dataclasses import fields

import ml_dtypes
import numpy as np
import pytest
from scipy import stats

from lmscope import DifferenceVerdict, difference_verdict
from lmscope.results.schemas import DIFFERENCE_COLUMNS

RANK = 16
KINDS = {"bfloat16": ml_dtypes.bfloat16, "float32": np.float32}


def weights(shape, kind=np.float64, seed=0):
    return (0.02 * np.random.default_rng(seed).standard_normal(shape)).astype(kind)


def update(shape, deviation, seed=1):
    """Of rank 16, with entries of this standard deviation, in float64."""
    random = np.random.default_rng(seed)
    left, right = random.standard_normal((shape[0], RANK)), random.standard_normal((RANK, shape[1]))
    return left @ right * (deviation / math.sqrt(RANK))


def test_fields_are_columns_of_the_record():
    names = [field.name for field in fields(DifferenceVerdict)]
    assert [name for name in DIFFERENCE_COLUMNS if name in names] == names


@pytest.mark.parametrize("deviation", [1e-4, 3e-4, 1e-3, 3e-3])
@pytest.mark.parametrize("base_type", KINDS)
@pytest.mark.parametrize("tuned_type", KINDS)
@pytest.mark.parametrize("shape", [(256, 256), (256, 384)])
def test_a_merged_update_of_rank_16_has_16_values_above_the_rounding(shape, base_type, tuned_type, deviation):
    base = weights(shape, KINDS[base_type])
    moved = base.astype(np.float64) + update(shape, deviation)
    found = difference_verdict(base, moved.astype(KINDS[tuned_type]))
    assert found.n_above_rounding == RANK
    assert found.rounding_p_value == 1 / 20
    assert (found.base_precision, found.tuned_precision) == (base_type, tuned_type)
    assert found.learnt == RANK
    # Well apart: chance decides on neither side of the edge.
    values = found.singular_values / found.rounding_edge
    assert values[RANK - 1] > 2.5
    assert values[RANK] < 0.99
    assert found.energy_above_rounding > 0.85
    assert found.relative_change == pytest.approx(deviation / 0.02, rel=0.15)


@pytest.mark.parametrize("rounding", ["both", "tuned"])
def test_rounding_alone_is_flagged_once_in_draws_plus_one(rounding):
    """tuned: float32 weights stored in bfloat16. both: of float64 weights, float32 against bfloat16."""
    matrices, flagged, shares = 400, 0, []
    for seed in range(matrices):
        true = weights((64, 40), np.float64, seed)
        base = true.astype(np.float32)
        tuned = (base if rounding == "tuned" else true).astype(ml_dtypes.bfloat16)
        found = difference_verdict(base, tuned, rounding=rounding, seed=seed)
        assert (found.n_above_rounding > 0) == (found.rounding_p_value <= 1 / 20 + 1e-12)
        flagged += found.n_above_rounding > 0
        shares.append(found.rounding_share)
    low, high = stats.binom.interval(0.999, matrices, 1 / 20)
    assert low <= flagged <= high
    assert np.mean(shares) == pytest.approx(1, rel=0.005)


def test_copies_of_one_model_on_nested_grids_are_flagged_no_more_often():
    """bfloat16 against float16, each rounded from float32: their errors are not independent."""
    matrices, flagged, shares = 100, 0, []
    for seed in range(matrices):
        true = weights((256, 256), np.float32, seed)
        base, tuned = true.astype(ml_dtypes.bfloat16), true.astype(np.float16)
        found = difference_verdict(base, tuned, seed=seed)
        flagged += found.n_above_rounding > 0
        shares.append(found.rounding_share)
    assert flagged <= stats.binom.ppf(0.999, matrices, 1 / 20)
    assert np.mean(shares) == pytest.approx(1, rel=0.005)


def test_both_roundings_have_an_edge_sqrt_2_higher_where_the_types_are_one():
    base = weights((256, 256), ml_dtypes.bfloat16)
    tuned = (base.astype(np.float64) + update(base.shape, 1e-3)).astype(ml_dtypes.bfloat16)
    both, one = (difference_verdict(base, tuned, rounding=which) for which in ("both", "tuned"))
    assert both.rounding_edge / one.rounding_edge == pytest.approx(math.sqrt(2), rel=0.02)
    assert both.rounding_share / one.rounding_share == pytest.approx(2, rel=0.02)
    assert both.sign_flip_edge == one.sign_flip_edge


@pytest.mark.parametrize("kept", [1.0, 0.25, 0.05])
def test_the_uniform_law_is_an_upper_bound_for_small_gaussian_updates(kept):
    """Updates of `kept` spacings: the variance left by rounding never exceeds that of the model."""
    base = np.full((200, 200), 0.75, ml_dtypes.bfloat16)
    spacing = 2.0**-8
    true = 0.75 + kept * spacing * np.random.default_rng(0).standard_normal(base.shape)
    left = true.astype(ml_dtypes.bfloat16).astype(np.float64) - true
    assert np.mean(left**2) < spacing**2 / 12 * (1 + 4 * math.sqrt(0.8 / left.size))


def test_an_update_far_below_the_spacing_warns_and_finds_nothing():
    base = weights((128, 128), ml_dtypes.bfloat16)
    tuned = (base.astype(np.float64) + update(base.shape, 3e-7)).astype(ml_dtypes.bfloat16)
    found = difference_verdict(base, tuned)
    assert 0 < found.changed_share < 0.1
    assert found.n_above_rounding == 0
    assert found.rounding_share > 5
    assert 0.9 < found.change_in_spacings < 1.1
    assert f"only {found.changed_share:.2g} of the entries changed" in found.warning
    assert "bfloat16" in found.warning


@pytest.mark.parametrize("change", ["ten rows trained", "a fifth pruned"])
def test_entries_left_alone_are_no_lost_update(change):
    base = weights((128, 64), ml_dtypes.bfloat16)
    tuned = base.copy()
    if change == "ten rows trained":
        tuned[5:15] = weights((10, 64), ml_dtypes.bfloat16, 1)
    else:
        tuned[:, ::5] = 0
    found = difference_verdict(base, tuned, draws=3)
    assert (found.changed_rows, found.changed_columns) == ((10, 64) if "ten" in change else (128, 13))
    assert found.changed_share < 0.5
    assert found.change_in_spacings > 50
    assert found.warning == ""


@pytest.mark.parametrize("exponent", [-664, 664])
def test_the_ends_of_float64_give_what_the_middle_does(exponent):
    base, tuned = weights((40, 30)), weights((40, 30), seed=1)
    expected = difference_verdict(base, tuned, draws=3)
    found = difference_verdict(np.ldexp(base, exponent), np.ldexp(tuned, exponent), draws=3)
    for name in ("relative_change", "cosine", "n_above_rounding", "learnt", "rounding_share", "stable_rank"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9)
    for name in ("sv_max", "rounding_edge", "sign_flip_edge"):
        assert getattr(found, name) == pytest.approx(math.ldexp(getattr(expected, name), exponent), rel=1e-9)
    assert found.warning == ("squared norms exceed float64" if exponent > 0 else "")
    same = difference_verdict(np.ldexp(base, exponent), np.ldexp(base, exponent))
    assert same.identical


def test_a_difference_beyond_float64_is_named():
    base = 1.7e308 * np.eye(4)
    with pytest.raises(ValueError, match="tuned - base exceeds float64"):
        difference_verdict(base, -base)


def test_numbers_against_numpy():
    base, tuned = weights((50, 40), np.float32), weights((50, 40), np.float16, 1)
    found = difference_verdict(base, tuned, draws=3)
    a, b = base.astype(np.float64), tuned.astype(np.float64)
    values = np.linalg.svd(b - a, compute_uv=False)
    assert np.abs(found.singular_values - values).max() < 1e-9
    assert found.norm == pytest.approx(np.sum(values**2))
    assert found.sv_max == found.singular_values[0]
    assert found.relative_change == pytest.approx(np.linalg.norm(b - a) / np.linalg.norm(a))
    assert found.cosine == pytest.approx(np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b))
    assert found.stable_rank == pytest.approx(np.sum(values**2) / values[0] ** 2)
    assert found.changed_share == 1
    # Everything is far above the rounding here, so all the energy is.
    assert found.n_above_rounding == 40
    assert found.energy_above_rounding == pytest.approx(1)
    assert found.warning == ""


def test_values_that_are_known_no_better_than_the_edge_are_not_counted():
    """float64 rounds below what any solver resolves: values count by what their bounds leave."""
    base = weights((128, 128))
    found = difference_verdict(base, base + update(base.shape, 3e-3))
    assert found.base_precision == "float64"
    assert found.bounds[RANK] > found.rounding_edge
    assert found.n_above_rounding == RANK


@pytest.mark.parametrize("others", [np.float32, ml_dtypes.bfloat16])
def test_equal_entries_are_identical_in_whatever_type(others):
    base = weights((30, 20), ml_dtypes.bfloat16)
    found = difference_verdict(base, base.astype(others))
    assert found.identical
    assert found.n_above_rounding == found.learnt == 0
    assert found.relative_change == found.changed_share == found.norm == 0
    assert found.cosine == 1
    assert math.isnan(found.rounding_edge)
    assert not found.singular_values.any()
    assert found.singular_values.shape == (20,)


def test_zeros_have_no_relative_change():
    zeros = np.zeros((6, 5), np.float32)
    assert math.isnan(difference_verdict(zeros, zeros).relative_change)
    found = difference_verdict(zeros, np.ones((6, 5), np.float32))
    assert math.isnan(found.relative_change)
    assert math.isnan(found.cosine)


def test_one_entry_of_bfloat16_in_float32_decides_the_type():
    base = weights((64, 64), ml_dtypes.bfloat16).astype(np.float32)
    tuned = base.copy()
    tuned[3, 4] *= np.float32(1 + 2.0**-20)
    found = difference_verdict(base, tuned)
    assert (found.base_precision, found.tuned_precision) == ("bfloat16", "float32")
    assert found.changed_share == 1 / 64**2


def test_torch_tensors_and_strides_give_the_same():
    import torch

    base, tuned = weights((48, 32), np.float32), weights((48, 32), np.float32, 1)
    short = torch.from_numpy(base).to(torch.bfloat16)
    expected = difference_verdict(base.astype(ml_dtypes.bfloat16), tuned, draws=2)
    found = difference_verdict(short, torch.from_numpy(tuned).requires_grad_(), draws=2)
    strided = difference_verdict(short.T.contiguous().T, np.asfortranarray(tuned), draws=2)
    for name in ("sv_max", "rounding_edge", "sign_flip_edge", "norm"):
        assert getattr(found, name) == getattr(expected, name)
        assert getattr(strided, name) == pytest.approx(getattr(expected, name), rel=1e-6)


def test_same_seed_same_edges_and_other_seed_others():
    base, tuned = weights((48, 32), np.float32), weights((48, 32), np.float32, 1)
    first, again, other = (difference_verdict(base, tuned, seed=seed) for seed in (3, 3, 4))
    assert first.rounding_edge == again.rounding_edge != other.rounding_edge
    assert first.sign_flip_edge == again.sign_flip_edge != other.sign_flip_edge


def test_a_notebook_shows_both_counts():
    base = weights((256, 256), np.float32)
    found = difference_verdict(base, (base + update(base.shape, 1e-3)).astype(np.float32))
    assert "above rounding=16, learnt=16" in repr(found)
    assert "rounding</td>" in found._repr_html_()
    assert repr(difference_verdict(base, base)) == "DifferenceVerdict(identical)"
    assert "identical" in difference_verdict(base, base)._repr_html_()


@pytest.mark.parametrize("side", ["base", "tuned"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_what_is_not_finite_is_named(side, value):
    matrices = {"base": weights((600, 500), np.float32), "tuned": weights((600, 500), np.float32, 1)}
    matrices[side][577, 31] = value
    with pytest.raises(ValueError, match=rf"^{side} has {value} at row 577, column 31$"):
        difference_verdict(**matrices)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"tuned": np.ones((4, 3))}, ValueError, r"one shape, got \(3, 4\) and \(4, 3\)"),
        ({"base": np.ones(4)}, ValueError, r"base must be a matrix .* shape \(4,\)"),
        ({"base": np.ones((0, 4))}, ValueError, r"base must be a matrix .* shape \(0, 4\)"),
        ({"tuned": np.ones((3, 4), np.int8)}, TypeError, "tuned must be float64, .* got int8"),
        ({"tuned": [[1.0]]}, TypeError, "tuned must be a numpy array or a torch tensor, got list"),
        ({"rounding": "base"}, ValueError, "rounding may be 'both' or 'tuned', got 'base'"),
        ({"draws": 0}, ValueError, "draws must be from 1 up"),
        ({"draws": 1.5}, TypeError, "draws must be a whole number"),
        ({"seed": -1}, ValueError, "seed must be from 0 up"),
    ],
)
def test_wrong_arguments(arguments, error, text):
    given = {"base": np.ones((3, 4)), "tuned": np.ones((3, 4)), **arguments}
    with pytest.raises(error, match=text):
        difference_verdict(**given)
