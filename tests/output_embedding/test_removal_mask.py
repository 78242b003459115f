"""The removable set, its file, and a model that runs without the dimensions."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import lmscope

from ..representations.models import TEXTS, tiny_model
from .heads import log_probabilities, states_of

LIMIT = 0.02
MEASURED = {
    "share": 0.5,
    "js": 0.01,
    "js_low": None,
    "js_high": None,
    "checked_js": None,
    "checked_low": None,
    "checked_high": None,
    "limit": 0.01,
    "fill": "mean",
    "identity": None,
}


def noisy(positions: int = 160) -> tuple[lmscope.OutputHead, lmscope.NextStates, lmscope.DimensionSaliency]:
    """A head whose dimensions matter the more, the higher their number."""
    generator = np.random.default_rng(3)
    weight = generator.standard_normal((200, 32)) * np.linspace(0.02, 0.8, 32)
    states = states_of(generator.standard_normal((positions, 32)), window=10)
    return lmscope.OutputHead(weight), states, lmscope.dimension_saliency(slope=np.arange(32), by="slope")


@pytest.mark.parametrize("positions", [160, 60])
@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_refined_to_a_single_dimension(positions: int, fill: Any) -> None:
    """16 windows have an interval, whose upper end counts; 6 windows have none."""
    curve = partial(lmscope.removal_curve, *noisy(positions), orders=["least"], fill=fill)
    every = list(curve(shares=[count / 32 for count in range(1, 33)]))
    upper = [point.js if point.js_high is None else point.js_high for point in every]
    expected = next(count for count, end in enumerate(upper) if end > LIMIT)
    assert 5 < expected < 30
    mask = lmscope.removable_set(
        curve(shares=[0.05, 0.9]), js=LIMIT, refine=lambda shares: curve(shares=shares)
    )
    assert mask.removed == expected
    assert mask.share == expected / 32
    assert mask.js == pytest.approx(every[expected - 1].js)
    assert (mask.js_high is None) == (positions == 60)
    assert np.array_equal(mask.keep, np.arange(32) >= expected)
    # Without measuring again, the largest share that was measured and holds.
    assert lmscope.removable_set(curve(shares=[0.1, 0.2, 0.9]), js=LIMIT).removed == 6


def test_the_ends_of_the_range() -> None:
    curve = partial(lmscope.removal_curve, *noisy(), orders=["least"])
    refine = lambda shares: curve(shares=shares)  # noqa: E731
    nothing = lmscope.removable_set(curve(shares=[0.5]), js=1e-9, refine=refine)
    assert (nothing.removed, nothing.share, nothing.js) == (0, 0.0, 0.0)
    assert nothing.keep.all()
    assert lmscope.removable_set(curve(shares=[0.5]), js=0.69, refine=refine).removed == 32


def test_a_larger_share_that_holds_by_chance_does_not_count() -> None:
    points = list(lmscope.removal_curve(*noisy(), shares=[0.2, 0.4, 0.6], orders=["least"]))
    limit = points[0].js_high
    assert limit is not None
    object.__setattr__(points[2], "js_high", 0.0)
    assert lmscope.removable_set(points, js=limit).removed == points[0].dimensions


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_a_mask_is_measured_on_other_states(fill: Any) -> None:
    head, states, saliency = noisy(400)
    curve = partial(lmscope.removal_curve, head, saliency=saliency, orders=["least"], fill=fill)
    mask = lmscope.removable_set(curve(states=states.part(states.unit < 20)), js=LIMIT)
    rest = states.part(states.unit >= 20)
    checked = mask.checked(head, rest)
    (point,) = curve(states=rest, shares=[mask.share], mean=mask.mean)
    assert (checked.checked_js, checked.checked_low, checked.checked_high) == (
        point.js,
        point.js_low,
        point.js_high,
    )
    assert checked.js == mask.js != checked.checked_js
    nothing = lmscope.removable_set(curve(states=rest, shares=[0.5]), js=1e-9)
    assert nothing.checked(head, rest).checked_js == 0


def unlike(generator: np.random.Generator, windows: int) -> lmscope.NextStates:
    """Windows whose states are of unlike scale, and so of unlike divergence."""
    scales = np.exp(0.7 * generator.standard_normal((windows, 1, 1)))
    return states_of((scales * generator.standard_normal((windows, 5, 48))).reshape(-1, 48), window=5)


def test_how_often_a_mask_exceeds_its_limit_on_fresh_windows() -> None:
    generator = np.random.default_rng(5)
    head = lmscope.OutputHead(generator.standard_normal((30, 48)) * 0.1)
    saliency = lmscope.dimension_saliency(slope=np.arange(48), by="slope")
    curve = partial(lmscope.removal_curve, head, saliency=saliency, orders=["least"])
    shares = [count / 48 for count in range(1, 49)]
    truth = [point.js for point in curve(states=unlike(generator, 4000), shares=shares)]
    limit, draws, masks = truth[20], 150, []
    for _ in range(draws):
        mask = lmscope.removable_set(curve(states=unlike(generator, 12), shares=shares[2::2]), js=limit)
        masks.append(mask.checked(head, unlike(generator, 12)))
    exceeding = [mask.removed > 21 for mask in masks]
    confirmed = [mask.checked_high is not None and mask.checked_high <= limit for mask in masks]
    # Where it was chosen, every one of them was within the limit.
    assert all(mask.js_high is None or mask.js_high <= limit for mask in masks)
    assert 0.03 * draws < sum(exceeding) < 0.2 * draws
    assert sum(np.logical_and(exceeding, confirmed)) <= 0.025 * draws
    assert sum(confirmed) > 0.3 * draws


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_a_mask_comes_back_from_its_file(fill: Any, tmp_path: Path) -> None:
    points = lmscope.removal_curve(*noisy(), orders=["least"], fill=fill)
    head, states, _ = noisy()
    mask = lmscope.removable_set(points, js=LIMIT, identity="0123").checked(
        head, states.part(states.unit > 4)
    )
    assert mask.removed
    mask.save(tmp_path / "mask.safetensors")
    found = lmscope.load_mask(tmp_path / "mask.safetensors")
    for name in MEASURED:
        assert getattr(found, name) == getattr(mask, name)
    assert np.array_equal(found.keep, mask.keep)
    assert (found.mean is None) == (mask.mean is None) == (fill == "zero")
    if mask.mean is not None:
        assert found.mean is not None
        assert np.array_equal(found.mean, mask.mean)


def test_files_that_are_no_masks(tmp_path: Path) -> None:
    path = tmp_path / "mask.safetensors"
    with pytest.raises(lmscope.CheckpointError, match=r"mask\.safetensors: the mask cannot be read"):
        lmscope.load_mask(path)
    path.write_bytes(b"not a file of tensors")
    with pytest.raises(lmscope.CheckpointError, match="the mask cannot be read"):
        lmscope.load_mask(path)
    save_file({"keep": np.ones(3, dtype=bool)}, path)
    with pytest.raises(
        lmscope.CheckpointError, match=r"is no mask of dimensions \(expected lmscope dimensions 1"
    ):
        lmscope.load_mask(path)
    metadata = {"format": "lmscope dimensions 1", "mask": json.dumps(MEASURED)}
    save_file({"keep": np.ones(3)}, path, metadata=metadata)
    with pytest.raises(lmscope.CheckpointError, match=r"tensor keep.*expected bool.*found float64 \[3\]"):
        lmscope.load_mask(path)
    save_file({"keep": np.ones(3, dtype=bool), "mean": np.ones(2)}, path, metadata=metadata)
    with pytest.raises(lmscope.CheckpointError, match=r"tensor mean.*found float64 \[2\]"):
        lmscope.load_mask(path)
    save_file({"keep": np.ones(3, dtype=bool)}, path, metadata=metadata)
    with pytest.raises(lmscope.CheckpointError, match="has no tensor mean"):
        lmscope.load_mask(path)
    save_file({"keep": np.ones(3, dtype=bool)}, path, metadata=metadata | {"mask": "{}"})
    with pytest.raises(lmscope.CheckpointError, match="does not say what was measured: 'share'"):
        lmscope.load_mask(path)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3_text"])
@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_the_masked_model_gives_the_logits_of_the_arrays(kind: str, fill: str) -> None:
    model = tiny_model(kind)
    head = lmscope.output_head(model)
    rows = [[1, 7, 9, 12, 30]]
    states = model.forward(rows).last_hidden_state[0].double().numpy()
    generator = np.random.default_rng(0)
    keep = generator.random(head.dimensions) < 0.6
    mean = generator.standard_normal(head.dimensions) if fill == "mean" else None
    before = model.outputs(rows).logits
    with lmscope.masked(model, keep, mean=mean):
        logits = model.outputs(rows).logits[0].double()
    expected = log_probabilities(head, np.where(keep, states, 0.0 if mean is None else mean))
    np.testing.assert_allclose(logits.log_softmax(1).numpy(), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits, before[0].double(), atol=1e-2)
    assert torch.equal(model.outputs(rows).logits, before)


def test_the_curve_of_a_model_is_that_of_its_masked_passes() -> None:
    model = tiny_model("llama")
    states = lmscope.next_states(model, TEXTS, window=12)
    saliency = lmscope.dimension_saliency(slope=np.arange(32), by="slope")
    head = lmscope.output_head(model)
    for point in lmscope.removal_curve(head, states, saliency, shares=[0.3, 0.8], orders=["least", "most"]):
        with lmscope.masked(model, point.keep):
            losses = lmscope.average_probabilities(
                states.states * torch.from_numpy(point.keep), head.weight, targets=states.targets
            ).losses
        assert losses is not None
        assert point.loss == pytest.approx(losses.mean(), rel=1e-5)


def test_generations_of_a_masked_model_are_its_own() -> None:
    model = tiny_model("llama")
    prompts = [[1, 7, 9], [1, 5]]
    keep = np.arange(32) % 3 > 0
    untouched = lmscope.generate(model, prompts, new_tokens=8)
    with lmscope.masked(model, keep):
        found = lmscope.generate(model, prompts, new_tokens=8)
        for prompt, tokens in zip(prompts, found, strict=True):
            logits = model.outputs([prompt + tokens]).logits[0]
            assert logits[len(prompt) - 1 : -1].argmax(1).tolist() == tokens
    assert found != untouched
    assert lmscope.generate(model, prompts, new_tokens=8) == untouched


def test_nothing_stays_masked_after_an_exception() -> None:
    model = tiny_model("gpt2")
    before = model.outputs([[1, 2]]).logits
    with pytest.raises(KeyError), lmscope.masked(model, np.zeros(32, dtype=bool)):
        raise KeyError
    assert torch.equal(model.outputs([[1, 2]]).logits, before)


def test_refusals() -> None:
    points = list(lmscope.removal_curve(*noisy(), shares=[0.5]))
    with pytest.raises(ValueError, match="js: the limit must be above 0"):
        lmscope.removable_set(points, js=0.0)
    with pytest.raises(ValueError, match="none of them removes the least salient"):
        lmscope.removable_set(points[1:])
    filled = lmscope.removal_curve(*noisy(), shares=[0.4], orders=["least"], fill="mean")
    with pytest.raises(ValueError, match="some are filled with zero and some with the mean"):
        lmscope.removable_set([*points, *filled])
    with (
        pytest.raises(ValueError, match="an encoder: it has no head"),
        lmscope.masked(tiny_model("bert"), np.ones(32, dtype=bool)),
    ):
        pass
    model = tiny_model("llama")
    with (
        pytest.raises(ValueError, match=r"keep has shape \[3\], but the head of tiny llama reads 32"),
        lmscope.masked(model, np.ones(3, dtype=bool)),
    ):
        pass
    mask = lmscope.removable_set(points, identity="aa")
    object.__setattr__(model, "identity", "bb")
    with (
        pytest.raises(ValueError, match="it was made for the checkpoint aa, but tiny llama is bb"),
        mask.applied(model),
    ):
        pass
