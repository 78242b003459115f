"""Removal curves against dense distributions, closed forms and the paper's regimes."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lmscope
from lmscope.output_embedding.removal_effects import removal_effects

from .heads import jensen_shannon, log_probabilities, states_of

HEADS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bias": {"bias": np.random.default_rng(9).standard_normal(300)},
    "capped": {"softcap": 3.0},
    "all": {"bias": np.random.default_rng(9).standard_normal(300), "scale": 0.4, "softcap": 5.0},
}


def head_of(options: dict[str, Any], dtype: Any = np.float64, *, spread: float = 0.6) -> lmscope.OutputHead:
    weight = spread * np.random.default_rng(1).standard_normal((300, 24))
    own = {name: value.astype(dtype) if name == "bias" else value for name, value in options.items()}
    return lmscope.OutputHead(weight.astype(dtype), **own)


def some_states(positions: int = 200, dtype: Any = np.float64, *, mean: float = 0.5) -> lmscope.NextStates:
    generator = np.random.default_rng(2)
    states = (generator.standard_normal((positions, 24)) + mean).astype(dtype)
    return states_of(states, generator.integers(0, 300, positions))


def in_order(dimensions: int = 24) -> lmscope.DimensionSaliency:
    return lmscope.dimension_saliency(slope=np.arange(dimensions), by="slope")


@pytest.mark.parametrize("fill", ["zero", "mean"])
@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize(("dtype", "precision"), [(np.float64, 1e-11), (np.float32, 2e-5)])
def test_points_are_those_of_dense_distributions(kind: str, fill: Any, dtype: Any, precision: float) -> None:
    head, states = head_of(HEADS[kind], dtype), some_states(dtype=dtype)
    array = states.states.double().numpy()
    before = log_probabilities(head, array)
    places = np.arange(len(array))
    for point in lmscope.removal_curve(head, states, in_order(), shares=[0.1, 0.5, 0.9], fill=fill, draws=2):
        assert (~point.keep).sum() == point.dimensions == round(point.share * 24)
        other = 0.0 if point.mean is None else point.mean
        after = log_probabilities(head, np.where(point.keep, array, other))
        assert point.js == pytest.approx(jensen_shannon(before, after).mean(), rel=precision)
        assert point.kl == pytest.approx((np.exp(before) * (before - after)).sum(1).mean(), rel=precision)
        assert point.loss == pytest.approx(-after[places, states.targets].mean(), rel=precision)
        assert point.baseline_loss == pytest.approx(-before[places, states.targets].mean(), rel=precision)
        # Float32 may tie or turn two tokens that float64 tells apart.
        same = (before.argmax(1) == after.argmax(1)).mean()
        assert point.same_top == pytest.approx(same, abs=1 / 200 if dtype == np.float32 else 0)
        if fill == "mean":
            np.testing.assert_allclose(point.mean, array.mean(0), rtol=1e-12)


def test_orders_and_shares() -> None:
    points = list(lmscope.removal_curve(head_of({}), some_states(), in_order(), shares=[0.5, 0.25], seed=4))
    assert [(point.order, point.draw, point.share) for point in points] == [
        (order, draw, share)
        for order, draw in [("least", 0), ("most", 0), ("random", 0), ("random", 1), ("random", 2)]
        for share in (0.25, 0.5)
    ]
    removed = [set(np.flatnonzero(~point.keep).tolist()) for point in points]
    assert removed[0] == set(range(6))
    assert removed[2] == set(range(18, 24))
    # Nested in each draw, other dimensions in each.
    assert all(few < many for few, many in zip(removed[::2], removed[1::2], strict=True))
    assert len({tuple(sorted(one)) for one in removed[4::2]}) == 3
    again, other = (
        list(lmscope.removal_curve(head_of({}), some_states(), in_order(), shares=[0.25], seed=seed))
        for seed in (4, 5)
    )
    assert all(np.array_equal(one.keep, two.keep) for one, two in zip(points[::2], again, strict=True))
    assert not np.array_equal(again[2].keep, other[2].keep)


def test_blocks_and_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    head, states = head_of(HEADS["all"], np.float32), some_states(dtype=np.float32)
    arguments = (head, states, in_order())
    whole = list(lmscope.removal_curve(*arguments, shares=[0.2, 0.6]))
    module = "lmscope.output_embedding.removal_effects"
    monkeypatch.setattr(f"{module}._SCORES_BYTES", 300 * 4 * 33)
    monkeypatch.setattr(f"{module}._TILE_ON_CPU", 33 * 7)
    monkeypatch.setattr(f"{module}._WEIGHTS_BYTES", 4 * 5 * 11)
    for one, other in zip(whole, lmscope.removal_curve(*arguments, shares=[0.2, 0.6]), strict=True):
        assert one.js == pytest.approx(other.js, rel=1e-5)
        assert one.kl == pytest.approx(other.kl, rel=1e-5)
        assert one.loss == pytest.approx(other.loss, rel=1e-6)


@pytest.mark.parametrize("size", [1e-2, 1e-4, 1e-8])
@pytest.mark.parametrize("softcap", [None, 4.0])
def test_tiny_divergences_keep_their_digits(size: float, softcap: float | None) -> None:
    """Float32 weights; the truth in 40 digits. JS from 1e-5 down to 1e-20."""
    generator = np.random.default_rng(5)
    weight = generator.standard_normal((60, 6)).astype(np.float32)
    states = generator.standard_normal((3, 6)).astype(np.float32)
    states[:, 0] *= size
    head = lmscope.OutputHead(weight, softcap=softcap)
    found = removal_effects(
        head, torch.from_numpy(states), np.zeros(3, dtype=np.int64), [[np.array([0])]], np.zeros(6)
    )
    with mpmath.workdps(40):
        for position, row in enumerate(states):
            p, q = (
                distribution(weight, [mpmath.mpf(float(value)) for value in values], softcap)
                for values in (row, [0.0, *row[1:]])
            )
            js = mpmath.fsum(
                (a * mpmath.log(2 * a / (a + b)) + b * mpmath.log(2 * b / (a + b))) / 2
                for a, b in zip(p, q, strict=True)
            )
            kl = mpmath.fsum(a * mpmath.log(a / b) for a, b in zip(p, q, strict=True))
            assert js > 1e-21
            assert found.js[0, position] == pytest.approx(float(js), rel=1e-4, abs=0)
            assert found.kl[0, position] == pytest.approx(float(kl), rel=1e-4, abs=0)


def distribution(weight: Any, state: list[Any], softcap: float | None) -> list[Any]:
    scores = [
        mpmath.fsum(mpmath.mpf(float(one)) * value for one, value in zip(row, state, strict=True))
        for row in weight
    ]
    if softcap is not None:
        scores = [softcap * mpmath.tanh(score / softcap) for score in scores]
    powers = [mpmath.exp(score) for score in scores]
    total = mpmath.fsum(powers)
    return [power / total for power in powers]


def test_a_dimension_that_is_zero_everywhere_is_removed_exactly() -> None:
    states = some_states()
    states.states[:, 3] = 0.0
    saliency = lmscope.dimension_saliency(slope=np.where(np.arange(24) == 3, 0.0, 1.0), by="slope")
    head = head_of(HEADS["all"])
    (point,) = lmscope.removal_curve(head, states, saliency, shares=[1 / 24], orders=["least"])
    assert (point.js, point.kl, point.loss, point.same_top) == (0.0, 0.0, point.baseline_loss, 1.0)
    assert not point.keep[3]


def test_a_dimension_with_one_value_is_removed_exactly_by_its_mean() -> None:
    states = some_states()
    states.states[:, 3] = 0.75
    saliency = lmscope.dimension_saliency(slope=np.where(np.arange(24) == 3, 0.0, 1.0), by="slope")
    arguments = (head_of(HEADS["bias"]), states, saliency)
    (mean,) = lmscope.removal_curve(*arguments, shares=[1 / 24], orders=["least"], fill="mean")
    (zero,) = lmscope.removal_curve(*arguments, shares=[1 / 24], orders=["least"])
    assert (mean.js, mean.kl) == (0.0, 0.0)
    assert zero.js > 1e-3


def test_a_column_that_is_one_value_tells_no_token_from_another() -> None:
    head = head_of({})
    head.weight[:, 3] = 2.0
    saliency = lmscope.dimension_saliency(slope=np.where(np.arange(24) == 3, 0.0, 1.0), by="slope")
    (point,) = lmscope.removal_curve(head, some_states(), saliency, shares=[1 / 24], orders=["least"])
    assert point.js < 1e-28
    assert point.loss == pytest.approx(point.baseline_loss, rel=1e-13)


def test_the_mean_is_a_bias() -> None:
    """Dimensions at m give what zeroed dimensions give under the bias E m."""
    head, states = head_of(HEADS["bias"]), some_states()
    mean = np.linspace(-1, 1, 24)
    assert head.bias is not None
    arguments = {"shares": [0.25], "orders": ["least"]}
    (filled,) = lmscope.removal_curve(head, states, in_order(), fill="mean", mean=mean, **arguments)
    moved = lmscope.OutputHead(head.weight, head.bias + head.weight[:, :6] @ torch.from_numpy(mean[:6]))
    (zeroed,) = lmscope.removal_curve(moved, states, in_order(), **arguments)
    assert filled.loss == pytest.approx(zeroed.loss, rel=1e-12)
    assert filled.loss != pytest.approx(filled.baseline_loss, rel=1e-3)


@pytest.mark.parametrize(("spread", "least", "most"), [(0.02, 0.0008, 0.452), (0.1, 0.0195, 0.447)])
def test_the_regimes_of_the_theory(spread: float, least: float, most: float) -> None:
    """Gaussian rows, states around a sparse mean: 30 % of the dimensions, by the fitted encoding.

    The divergences are those of an independent computation; of single draws they differ by 10 %.
    """
    generator = np.random.default_rng(7)
    weight = generator.standard_normal((4000, 64))
    mean = np.zeros(64)
    mean[generator.permutation(64)[:7]] = generator.choice([-1.0, 1.0], 7)
    states = mean + spread * generator.standard_normal((400, 64))
    averages = lmscope.average_probabilities(states, weight)
    encoding = lmscope.fit_token_encoding(weight, averages.log_probability)
    first, last = lmscope.removal_curve(
        lmscope.OutputHead(weight),
        states_of(states),
        lmscope.dimension_saliency(encoding),
        shares=[0.3],
        orders=["least", "most"],
    )
    assert first.js == pytest.approx(least, rel=0.3)
    assert last.js == pytest.approx(most, rel=0.3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.01, 60), st.sampled_from([None, 2.0, 30.0]))
def test_divergences_stay_within_their_bounds(seed: int, size: float, softcap: float | None) -> None:
    generator = np.random.default_rng(seed)
    weight = size * generator.standard_normal((40, 5)).astype(np.float32)
    states = generator.standard_normal((4, 5)).astype(np.float32)
    head = lmscope.OutputHead(weight, softcap=softcap)
    order = generator.permutation(5)
    chain = [order[:1], order[1:3], order[3:]]
    found = removal_effects(
        head, torch.from_numpy(states), np.zeros(4, dtype=np.int64), [chain], generator.standard_normal(5)
    )
    assert (found.js >= 0).all()
    assert (found.js <= np.log(2) * (1 + 1e-12)).all()
    assert np.isfinite(found.kl).all()
    assert (found.kl >= 0).all()
    assert np.isfinite(found.loss).all()


def test_an_interval_needs_eight_windows() -> None:
    arguments = {"shares": [0.3], "orders": ["least"]}
    (many,) = lmscope.removal_curve(head_of({}), some_states(200), in_order(), **arguments)
    (few,) = lmscope.removal_curve(head_of({}), some_states(140), in_order(), **arguments)
    assert many.js_low is not None
    assert many.js_high is not None
    assert 0 <= many.js_low < many.js < many.js_high
    assert (few.js_low, few.js_high) == (None, None)


def test_progress_counts_each_position_once_a_point() -> None:
    done: list[int] = []
    points = list(lmscope.removal_curve(head_of({}), some_states(), in_order(), advance=done.append))
    assert sum(done) == 200 * len(points)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"shares": []}, "shares: give at least one"),
        ({"shares": [0.0]}, r"shares: 0\.0 is not above 0"),
        ({"shares": [0.01]}, r"shares: 0\.01 of 24 dimensions rounds to none; one is 0\.04167"),
        ({"shares": [0.3, 0.25, 0.26]}, r"shares: 0\.25 and 0\.26 of 24 dimensions both round to 6"),
        ({"shares": [1.5]}, r"shares: 1\.5 is not above 0 and at most 1"),
        ({"orders": ["worst"]}, r"orders: \['worst'\] must name some of least, most, random"),
        ({"orders": ["least", "least"]}, "each once"),
        ({"draws": 0}, "draws: 0 random orders"),
        ({"fill": "one"}, "fill: 'one' is neither"),
        ({"mean": np.zeros(24)}, "mean: used only with fill='mean'"),
        ({"fill": "mean", "mean": np.zeros(3)}, r"mean must hold 24 finite values.*found shape \[3\]"),
        ({"saliency": in_order(23)}, "saliency: of 23 dimensions, but the head reads 24"),
        ({"states": states_of(np.zeros((9, 5)))}, "states have 5 dimensions, but the head reads 24"),
    ],
)
def test_refusals_come_with_the_call(options: dict[str, Any], sentence: str) -> None:
    arguments = {"head": head_of({}), "states": some_states(), "saliency": in_order(), **options}
    with pytest.raises(ValueError, match=sentence):
        lmscope.removal_curve(**arguments)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("kind", HEADS)
def test_on_a_gpu_the_points_are_the_same(kind: str) -> None:
    head, states = head_of(HEADS[kind], np.float32), some_states(dtype=np.float32)
    bias = None if head.bias is None else head.bias.cuda()
    there = dataclasses.replace(head, weight=head.weight.cuda(), bias=bias)
    moved = dataclasses.replace(states, states=states.states.cuda())
    both = (
        lmscope.removal_curve(*one, in_order(), shares=[0.2, 0.6], fill="mean")
        for one in ((head, states), (there, moved))
    )
    for one, other in zip(*both, strict=True):
        assert other.js == pytest.approx(one.js, rel=1e-5)
        assert other.kl == pytest.approx(one.kl, rel=1e-5)
        assert other.loss == pytest.approx(one.loss, rel=1e-6)


def test_scores_that_are_not_finite_are_refused() -> None:
    states = some_states()
    states.states[103, 3] = np.nan
    with pytest.raises(ValueError, match="the head's scores are not finite at position 103: token 0 has nan"):
        next(lmscope.removal_curve(head_of({}), states, in_order()))
    head = head_of({})
    head.weight[7, 2] = np.inf
    with pytest.raises(ValueError, match=r"scores are not finite at position 0: token 7 has -?inf"):
        next(lmscope.removal_curve(head, some_states(), in_order()))
    # The token has no probability: the normaliser is finite.
    bias = np.where(np.arange(300) == 9, -np.inf, 0.0)
    with pytest.raises(ValueError, match=r"not finite at position 0: token 9 has -inf"):
        next(lmscope.removal_curve(head_of({"bias": bias}), some_states(), in_order()))


def test_positions_are_named_over_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmscope.output_embedding.removal_effects._SCORES_BYTES", 300 * 8 * 33)
    states = some_states()
    states.states[103, 3] = np.nan
    with pytest.raises(ValueError, match="at position 103: token 0 has nan"):
        next(lmscope.removal_curve(head_of({}), states, in_order()))
    states, head = some_states(), head_of({})
    # What is removed and what takes its place are finite, their difference is not.
    states.states[50, 0] = 1e307
    head.weight[:, 0] = 0.0
    head.weight[4, 0] = 1.0
    mean = np.where(np.arange(24) == 0, -1.7e308, 0.0)
    with pytest.raises(ValueError, match="position 50 once dimensions are removed: token 0 has nan"):
        next(lmscope.removal_curve(head, states, in_order(), fill="mean", mean=mean))


MEASURE = """
import json
import numpy as np, torch
import lmscope
from lmscope.runs.benchmarks.peak_memory import PeakMemory
from lmscope.representations.next_states import NextStates

weight = torch.randn(262144, 16).to(torch.bfloat16)
def curve(positions):
    places = np.arange(positions)
    states = NextStates(torch.randn(positions, 16), places, places, 1, positions, positions)
    saliency = lmscope.dimension_saliency(slope=np.ones(16), by="slope")
    head = lmscope.OutputHead(weight)
    return list(lmscope.removal_curve(head, states, saliency, shares=[0.5, 0.9], orders=["least"]))
curve(8)
peak = PeakMemory()
curve(130)
print(json.dumps(peak.extra_bytes()))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure a peak")
def test_memory_of_a_quarter_million_tokens_is_bounded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    # Scores of 64 positions and their changes, 64 MiB each, of one block at a time; the rest is tiles, pieces
    # of the weights and what the libraries take when they first run.
    peak = json.loads(done.stdout)
    # Pages that were free before count for nothing, so that the least is less than both.
    assert 96 << 20 <= peak <= 168 << 20
