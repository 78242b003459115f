"""Slices against hand-made arrays, and scores of noise, which are 0 on average whatever the shape."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from lmscope import slice_ranks, slice_scores
from lmscope.analyses import edge_calibration as calibration
from lmscope.analyses import value_noise
from lmscope.analyses.marchenko_pastur import cdf


def median_scale(values, shape):
    ascending = np.sort(values)
    low, high = calibration.middle_ranks(min(shape))
    return float(calibration.median_scale(ascending[low], ascending[high], *sorted(shape)))


def gaussian_values(shape, seed):
    return np.linalg.svd(np.random.default_rng(seed).standard_normal(shape), compute_uv=False)


@given(some.integers(1, 500), some.integers(1, 40))
def test_slices_hold_every_rank_once_and_differ_by_one_at_most(count, slices):
    if count < slices:
        with pytest.raises(ValueError, match=f"{count} singular values cannot be cut into {slices} slices"):
            slice_ranks(count, slices)
        return
    found = slice_ranks(count, slices)
    assert [rank for own in reversed(found) for rank in own] == list(range(count))
    sizes = [len(own) for own in found]
    assert max(sizes) - min(sizes) <= 1
    # Slice 1 holds the smallest value, the last one the largest.
    assert found[0][-1] == count - 1
    assert found[-1][0] == 0


def test_scores_of_arrays_by_hand():
    values = [8.0, 4.0, 4.0, 2.0, 1.0, 0.5]
    scores = slice_scores(
        values,
        (6, 9),
        lower_edge=0.75,
        upper_edge=5.0,
        deviation_right=[6, 5, 4, 3, 2, 1],
        deviation_left=[0, 1, 0, 1, 0, 3],
        overlap=[0.9, 0.5, 0.4, 0.2, 0.3, 0.5],
        null_location=0.2,
        top_share=[1, 0.5, 0, 0, 0, 0.2],
        slices=3,
    )
    assert [(one.slice, one.first_rank, one.last_rank) for one in scores] == [(1, 4, 5), (2, 2, 3), (3, 0, 1)]
    assert [one.vector_deviation for one in scores] == [1.5, 2.0, 3.0]
    assert [one.outside for one in scores] == [1, 0, 1]
    assert [one.energy_share for one in scores] == pytest.approx([1.25 / 101.25, 20 / 101.25, 80 / 101.25])
    assert [one.overlap_excess for one in scores] == pytest.approx([1.0, 0.5, 2.5])
    assert [one.top_share for one in scores] == pytest.approx([0.1, 0.0, 0.75])
    assert all(one.value_deviation is one.value_noise is None for one in scores)
    assert "1 of 3, ranks 4 to 5" in repr(scores[0])
    assert "beyond the edges" in scores[0]._repr_html_()


@pytest.mark.parametrize("shape", [(96, 96), (200, 64)])
def test_values_of_noise_deviate_by_nothing_on_average(shape):
    """Square ones too, whose law reaches down to 0 and whose smallest values stray the most."""
    drawn = 40
    found = []
    for seed in range(drawn):
        values = gaussian_values(shape, seed)
        found.append(slice_scores(values, shape, scale=median_scale(values, shape)))
    deviations = np.array([[one.value_deviation for one in scores] for scores in found])
    noise = np.array([one.value_noise for one in found[0]])
    spread = np.array([one.value_noise_sd for one in found[0]])
    draws = value_noise.draws_for(min(shape))
    error = spread * math.sqrt(1 / drawn + 1 / draws)
    assert np.abs(deviations.mean(axis=0) / error).max() < 4
    assert deviations.std(axis=0) == pytest.approx(spread, rel=0.6)
    assert (noise > 0).all()
    assert noise[0] == noise.max()


def test_what_is_taken_off_depends_on_the_shape():
    """Without it, a role of square matrices would differ from one of oblong ones by its shape alone."""
    square, oblong = (
        slice_scores(values, shape, scale=median_scale(values, shape))[0].value_noise
        for shape in ((96, 96), (96, 400))
        for values in [gaussian_values(shape, 1)]
    )
    assert square > 5 * oblong


def test_deviations_are_logarithms_over_quantiles_of_the_fitted_law():
    shape, scale = (40, 90), 0.3
    quantiles = scale * value_noise._quantiles(*shape)
    assert cdf(quantiles, scale, shape) == pytest.approx((np.arange(40, 0, -1) - 0.5) / 40)
    values = quantiles * np.exp(np.where(np.arange(40) < 4, 0.5, 0.0))
    first = slice_scores(values, shape, scale=scale)
    assert [one.value_deviation + one.value_noise for one in first] == pytest.approx(
        [0] * 9 + [0.5], abs=1e-9
    )
    # The unit of the weights makes no difference.
    scaled = slice_scores(1e-30 * values, shape, scale=1e-30 * scale)
    assert [one.value_deviation for one in scaled] == pytest.approx(
        [one.value_deviation for one in first], abs=1e-9
    )
    assert [one.energy_share for one in scaled] == pytest.approx([one.energy_share for one in first])


def test_a_planted_signal_shows_in_its_slice():
    shape = (96, 400)
    values = gaussian_values(shape, 0)
    values[:9] *= 1.5
    values[-9:] *= 0.5
    scores = slice_scores(values, shape, scale=median_scale(values, shape))
    z = [one.value_deviation / one.value_noise_sd for one in scores]
    assert min(z[0], z[-1]) > 30
    assert np.abs(z[1:-1]).max() < 5


def test_zero_values_and_what_is_missing():
    values = gaussian_values((30, 50), 0)
    values[-2:] = 0
    scores = slice_scores(
        values, (30, 50), scale=1.0, lower_edge=math.nan, upper_edge=3.0, overlap=[0.5] * 30
    )
    assert math.isfinite(scores[0].value_deviation)
    assert scores[0].value_deviation > 10
    assert all(one.outside is one.vector_deviation is one.overlap_excess is None for one in scores)
    nothing = slice_scores(np.zeros(30), (30, 50), deviation_right=[math.nan] * 30, deviation_left=[0.0] * 30)
    assert all(one.energy_share is one.vector_deviation is None for one in nothing)


def test_draws_are_kept_and_are_a_function_of_the_seed(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ranks = slice_ranks(20, 4)
    call = value_noise.value_noise.__wrapped__
    first = call(20, 31, ranks, seed=5)
    assert [path.name for path in (tmp_path / "lmscope").iterdir()] == [
        "values-v2-20x31-slices4-draws1024-seed5.npz"
    ]
    assert first.draws == 1024
    monkeypatch.setattr(value_noise, "_simulate", None)
    again = call(20, 31, ranks, seed=5)
    assert np.array_equal(first.mean, again.mean)
    monkeypatch.undo()
    assert not np.array_equal(first.mean, call(20, 31, ranks, seed=6).mean)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": [1.0, 2.0, 3.0]}, "values must be descending"),
        ({"values": [1.0, 1.0, -1.0]}, "not negative"),
        ({"values": [1.0, 1.0]}, r"values must be of shape \(3,\)"),
        ({"values": [1.0, math.nan, 1.0]}, "values has nan at row 0, column 1"),
        ({"overlap": [1.0]}, "overlap must hold 3 numbers"),
        ({"slices": 4}, "3 singular values cannot be cut into 4 slices"),
        ({"slices": 0}, "slices must be from 1 up"),
    ],
)
def test_bad_arguments(change, message):
    given = {"values": [3.0, 2.0, 1.0], "shape": (3, 4), "slices": 2, **change}
    with pytest.raises(ValueError, match=message):
        slice_scores(given.pop("values"), given.pop("shape"), **given)
