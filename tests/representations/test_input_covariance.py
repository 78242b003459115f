"""Covariances of inputs are numpy's of inputs recorded otherwise, whatever the batches and the passes."""

from __future__ import annotations

import gc
import itertools
import math
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmscope.checkpoints import open_checkpoint
from lmscope.representations import LanguageModel, StatesError, TextError, input_reading
from lmscope.representations.input_covariance import (
    InputCovariance,
    full_rank_problem,
    input_covariances,
    passes_over,
)
from lmscope.representations.input_moments import InputMean, InputMoments
from lmscope.representations.input_reading import SharedInput
from lmscope.representations.weight_sites import WeightSite, weight_sites
from lmscope.representations.windows import Window, cut

from .models import TEXTS, tiny_model

MANY = [*TEXTS, "short", "other", "and here is another one of the long ones", "the last, of middling size"]


def sites_of(model: LanguageModel, path: Path) -> list[WeightSite]:
    model.model.save_pretrained(path)
    found = weight_sites(model, open_checkpoint(path)).values()
    return [site for site in found if isinstance(site, WeightSite) and not site.hidden_input]


def in_double(model_type: str) -> LanguageModel:
    """In float64, so that batches differ by less than any mistake would."""
    model = tiny_model(model_type)
    model.model.double()
    return model


def windows_of(model: LanguageModel, texts: Iterable[str] = MANY) -> list[Window]:
    return list(cut(model, texts, 24))


def recorded(model: LanguageModel, site: WeightSite, windows: list[Window]) -> list[np.ndarray]:
    """What the module is given for each window alone: tokens x inputs."""
    seen: list[np.ndarray] = []

    def keep(module: Any, given: tuple[torch.Tensor, ...]) -> None:
        seen.append(given[0].detach().reshape(-1, given[0].shape[-1]).clone().numpy())

    hook = site.module.register_forward_pre_hook(keep)
    with torch.no_grad():
        for window in windows:
            model.model(torch.tensor([window.ids]))
    hook.remove()
    return seen


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageModel, list[WeightSite]]:
    model = in_double("llama")
    return model, sites_of(model, tmp_path_factory.mktemp("llama"))


TOGETHER = {
    "llama": ["query key value", "attention_output", "gate up", "down"],
    "gpt2": ["query key value", "attention_output", "up", "down"],
    "gpt_neox": ["query key value", "attention_output", "up", "down"],
    "phi3": ["query key value", "attention_output", "gate up", "down"],
    "mixtral": ["query key value", "attention_output", "router"],
    "bert": ["query key value", "attention_output", "up", "down"],
    "gemma3_text": ["query key value", "attention_output", "gate up", "down"],
    "deepseek_v3": [
        "other other other",
        "other",
        "other other",
        "attention_output",
        "router gate up",
        "down",
    ],
}


@pytest.mark.parametrize("model_type", TOGETHER)
def test_as_numpy_of_inputs_recorded_alone(model_type: str, tmp_path: Path) -> None:
    # torch has no product of grouped experts in float64.
    routed = model_type in ("mixtral", "deepseek_v3")
    model, rounding = (tiny_model(model_type), 1e-5) if routed else (in_double(model_type), 1e-9)
    sites = {site.info.name: site for site in sites_of(model, tmp_path)}
    windows = windows_of(model)
    assert len({len(window.ids) for window in windows}) < len(windows)
    found = list(input_covariances(model, windows, sites.values()))
    assert sorted(name for one in found for name in one.names) == sorted(sites)
    block = [one for one in found if sites[one.names[0]].info.layer == 1]
    roles = [" ".join(sites[name].info.role for name in one.names) for one in block]
    if model_type != "deepseek_v3":
        assert roles == TOGETHER[model_type]
    else:
        assert [role.count(" ") for role in roles] == [2, 0, 1, 0, 2, 0]
    for one in found:
        assert one.problem == ""
        own = recorded(model, sites[one.names[0]], windows)
        every = np.concatenate(own).astype(np.float64)
        assert one.tokens == len(every)
        different = len(np.unique(np.round(every, 4), axis=0))
        # Products may round equal rows otherwise, by their place in a batch; the first norm does not.
        assert min(different, one.inputs + 1) <= one.different <= one.inputs + 1
        if one is found[0]:
            assert one.different == min(different, one.inputs + 1)
        assert one.rank == min(one.inputs, one.different - 1)
        np.testing.assert_allclose(one.mean, every.mean(0), rtol=0, atol=rounding * np.abs(every).max())
        expected = np.cov(every, rowvar=False)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(one.covariance, expected, rtol=0, atol=rounding * scale)
        np.testing.assert_array_equal(one.covariance, one.covariance.T)
        between = sum(np.square((part - one.mean).sum(0)).sum() for part in own)
        effect = between * len(own) / (len(own) - 1) / (one.tokens * np.trace(expected))
        assert one.effective_sample == pytest.approx(one.tokens / max(1.0, effect), rel=1e3 * rounding)


def test_without_the_mean_taken_off(llama: tuple[LanguageModel, list[WeightSite]]) -> None:
    model, sites = llama
    windows = windows_of(model)
    centred, plain = (
        list(input_covariances(model, windows, sites, center=center)) for center in (True, False)
    )
    for one, other in zip(centred, plain, strict=True):
        every = np.concatenate(
            recorded(model, next(s for s in sites if s.info.name == one.names[0]), windows)
        )
        moment = every.T @ every / len(every)
        np.testing.assert_allclose(other.covariance, moment, rtol=0, atol=1e-9 * np.abs(moment).max())
        np.testing.assert_array_equal(other.mean, one.mean)
        assert (other.centered, other.rank) == (False, min(other.inputs, other.different))
        assert other.effective_sample == pytest.approx(one.effective_sample)


def test_batches_and_layers_at_once_do_not_matter(
    llama: tuple[LanguageModel, list[WeightSite]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, sites = llama
    windows = windows_of(model)
    whole = list(input_covariances(model, windows, sites))
    for layers in (2, 9):
        told: list[int] = []
        at_once = list(input_covariances(model, windows, sites, layers_per_pass=layers, advance=told.append))
        passes = passes_over(sites, layers)
        assert passes == (3 if layers == 2 else 2)
        assert sum(told) == passes * sum(len(window.ids) for window in windows)
        assert len(told) == passes * len(windows)
        for one, other in zip(whole, at_once, strict=True):
            assert one.names == other.names
            np.testing.assert_array_equal(one.covariance, other.covariance)
    assert passes_over(sites) == 1 + model.depth + 1
    monkeypatch.setattr(input_reading, "tokens_at_once", lambda model: 1)
    for one, other in zip(whole, input_covariances(model, windows[::-1], sites), strict=True):
        np.testing.assert_allclose(
            one.covariance, other.covariance, rtol=0, atol=1e-10 * np.abs(one.covariance).max()
        )
        assert other.effective_sample == pytest.approx(one.effective_sample)
    assert passes_over([]) == 0
    assert list(input_covariances(model, windows, [])) == []


def test_texts_may_be_given(llama: tuple[LanguageModel, list[WeightSite]]) -> None:
    model, sites = llama
    windows = list(cut(model, TEXTS, 64))
    pairs = zip(input_covariances(model, TEXTS, sites), input_covariances(model, windows, sites), strict=True)
    for one, other in pairs:
        np.testing.assert_array_equal(one.covariance, other.covariance)


def test_nothing_runs_behind_the_last_input_and_hooks_go(
    llama: tuple[LanguageModel, list[WeightSite]],
) -> None:
    model, sites = llama
    windows = windows_of(model)
    ran: list[str] = []
    watched = {
        "output of layer 0": model.layers[0].self_attn.o_proj,
        "up of layer 0": model.layers[0].mlp.up_proj,
    }
    hooks = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, module in watched.items()
    ]
    queries = [site for site in sites if site.info.layer == 0 and site.info.role == "query"]
    reading = input_covariances(model, windows, queries)
    one = next(reading)
    assert one.names == ("model.layers.0.self_attn.q_proj.weight",)
    # The look at a few tokens that tells which inputs are the same runs to the end.
    assert ran == ["output of layer 0", "up of layer 0"]
    for hook in hooks:
        hook.remove()
    assert not any(module._forward_pre_hooks for module in model.model.modules())

    def stop(tokens: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(input_covariances(model, windows, sites, advance=stop))
    broken = model.layers[1].mlp.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(input_covariances(model, windows, sites))
    broken.remove()
    reading = input_covariances(model, windows, sites)
    next(reading)
    assert not any(module._forward_pre_hooks for module in model.model.modules())


def test_inputs_that_are_changed_between_two_modules_are_not_shared(tmp_path: Path) -> None:
    model = in_double("llama")
    sites = [site for site in sites_of(model, tmp_path) if site.info.layer == 0]

    # In place, between query and key: the same tensor with other values.
    def double(module: Any, given: tuple[torch.Tensor, ...]) -> None:
        given[0].mul_(2)

    model.layers[0].self_attn.k_proj.register_forward_pre_hook(double)
    windows = windows_of(model)
    names = [one.names for one in input_covariances(model, windows, sites)]
    assert names[:2] == [
        ("model.layers.0.self_attn.q_proj.weight",),
        ("model.layers.0.self_attn.k_proj.weight", "model.layers.0.self_attn.v_proj.weight"),
    ]


def test_memory_does_not_grow_with_the_text(llama: tuple[LanguageModel, list[WeightSite]]) -> None:
    model, sites = llama
    of_layer = [site for site in sites if site.info.layer == 1]

    def most(copies: int) -> int:
        windows = [window for window in windows_of(model) for _ in range(copies)]
        held: list[int] = []
        calls = itertools.count(1)

        def weigh(tokens: int) -> None:
            if next(calls) % len(windows) == 0:
                tensors = sum(
                    one.nbytes for one in gc.get_objects() if type(one) is torch.Tensor and not one.is_sparse
                )
                held.append(tensors + tracemalloc.get_traced_memory()[0])

        for _ in input_covariances(model, windows, of_layer, advance=weigh):
            pass
        assert len(held) == 2
        return max(held)

    most(1)
    tracemalloc.start()
    try:
        most(1)
        small = most(2)
        # 400 tokens more at least; the inputs of the layer take 8 * 144 bytes a token.
        assert most(6) < small + 8 * 144 * 100
    finally:
        tracemalloc.stop()


def test_a_text_with_nan_is_named_and_others_go_on(tmp_path: Path) -> None:
    model = in_double("bert")
    sites = sites_of(model, tmp_path)
    windows = windows_of(model)
    broken = model.model.encoder.layer[1].attention.output.dense
    marked = windows[5].ids

    def spoil(module: Any, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> torch.Tensor:
        for row, states in enumerate(made):
            if len(states) == len(marked) and len(windows[5].ids) == states.shape[0]:
                made[row, 1] += math.nan if seen[row].tolist() == marked else 0.0
        return made

    seen = torch.zeros(0)

    def keep(module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        nonlocal seen
        seen = named["input_ids"]

    model.model.register_forward_pre_hook(keep, with_kwargs=True)
    broken.register_forward_hook(spoil)
    found = {name: one for one in input_covariances(model, windows, sites) for name in one.names}
    assert found["encoder.layer.1.attention.output.dense.weight"].problem == ""
    bad = found["encoder.layer.1.intermediate.dense.weight"]
    assert bad.problem == (
        f"encoder.layer.1.intermediate.dense.weight: its input is not finite in text {windows[5].text}, "
        f"window {windows[5].window}"
    )
    assert np.isnan(bad.covariance).all()
    assert full_rank_problem(bad) == bad.problem
    with pytest.raises(StatesError, match="not finite"):
        bad.eigenvectors()
    assert "not finite" in repr(bad)
    assert "not finite" in bad._repr_html_()


def test_experts_of_their_own_modules_count_the_tokens_sent_to_them(tmp_path: Path) -> None:
    model = in_double("llama")
    like = next(site for site in sites_of(model, tmp_path) if site.info.role == "up")
    torch.manual_seed(1)

    class Routed(torch.nn.Module):
        """One expert each for the signs of the first dimension, and one that nothing is sent to."""

        def __init__(self) -> None:
            super().__init__()
            self.experts = torch.nn.ModuleList(torch.nn.Linear(32, 32, dtype=torch.float64) for _ in range(3))

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            flat = states.reshape(-1, 32)
            made = torch.zeros_like(flat)
            for number, mask in enumerate((flat[:, 0] > 0, flat[:, 0] <= 0)):
                if mask.any():
                    made[mask] = self.experts[number](flat[mask])
            return made.view_as(states)

    routed = Routed()
    model.layers[1].mlp = routed
    sites = []
    for number, module in enumerate(routed.experts):
        name = f"model.layers.1.mlp.experts.{number}"
        info = replace(like.info, name=f"{name}.weight", shape=(32, 32), layer=1, expert=number)
        sites.append(WeightSite(info, module.weight, f"{name}.weight", module, name, like.cut))
    windows = windows_of(model)
    found = {one.names[0]: one for one in input_covariances(model, windows, sites)}
    counts = []
    for site in sites[:2]:
        one = found[site.info.name]
        every = np.concatenate(recorded(model, site, windows))
        np.testing.assert_allclose(one.covariance, np.cov(every, rowvar=False), rtol=0, atol=1e-8)
        assert one.tokens == len(every)
        assert one.effective_sample is None
        counts.append(one.tokens)
    assert sum(counts) == sum(len(window.ids) for window in windows)
    assert min(counts) > 0
    nothing = found[sites[2].info.name]
    assert nothing.tokens == 0
    assert full_rank_problem(nothing) == (
        "model.layers.1.mlp.experts.2.weight: no token of the text was sent to its module "
        "model.layers.1.mlp.experts.2"
    )


def test_an_input_that_is_always_the_same_has_no_covariance(
    llama: tuple[LanguageModel, list[WeightSite]],
) -> None:
    model, sites = llama
    special = np.zeros(10, bool)
    windows = [Window(number, 0, 1, 0, [7] * 10, special) for number in range(9)]
    queries = [site for site in sites if site.info.role == "query" and site.info.layer == 0]
    (one,) = input_covariances(model, windows, queries)
    name = "model.layers.0.self_attn.q_proj.weight"
    assert full_rank_problem(one) == f"{name}: its input is the same for all 90 tokens"
    assert np.isfinite(one.mean).all()
    (one,) = input_covariances(model, [Window(0, 0, 1, 0, [7], special[:1])], queries)
    assert one.problem == f"{name}: its input is that of only 1 token"
    (one,) = input_covariances(model, windows, queries, center=False)
    assert one.problem == f"{name}: its input is the same for all 90 tokens"


def test_too_few_tokens_for_full_rank_say_how_many_are_lacking(
    llama: tuple[LanguageModel, list[WeightSite]],
) -> None:
    model, sites = llama
    windows = windows_of(model, ["a few characters ab"])
    assert [len(window.ids) for window in windows] == [20]
    assert len(set(windows[0].ids)) == 12
    for center in (True, False):
        first, second, *_ = input_covariances(model, windows, sites, center=center)
        for one, different, way_out in (
            (first, 12, "20 tokens with 12 different inputs give"),
            (second, 20, "20 tokens give"),
        ):
            rank = different - center
            assert (one.different, one.rank) == (different, rank)
            assert np.linalg.matrix_rank(one.covariance) == rank
            assert one.effective_sample is None
            more = f"{32 - rank} tokens more{' that differ' if different < 20 else ''}"
            assert full_rank_problem(one) == (
                f"{one.names[0]}: {way_out} a covariance of rank {rank} at most, but it has 32 inputs: "
                f"directions without variance are arbitrary; give at least {more}"
            )
    enough = replace(one, rank=32)
    assert full_rank_problem(enough) == ""


def made_of(covariance: np.ndarray) -> InputCovariance:
    size = len(covariance)
    return InputCovariance(("a",), covariance, np.zeros(size), 1000, size + 1, None, size, True)


@pytest.mark.parametrize("kind", ["spread", "few directions", "clustered"])
def test_eigenvectors_are_orthonormal_and_descending(kind: str) -> None:
    generator = np.random.default_rng(3)
    basis = np.linalg.qr(generator.normal(size=(120, 120)))[0]
    planted = {
        "spread": np.logspace(3, -9, 120),
        "few directions": np.where(np.arange(120) < 10, np.arange(120, 0, -1.0), 0.0),
        "clustered": np.repeat([5.0, 1.0, 1.0 - 1e-12], 40),
    }[kind]
    covariance = basis * planted @ basis.T
    one = made_of((covariance + covariance.T) / 2)
    variances, directions = one.eigenvectors()
    assert (variances.dtype, directions.dtype) == (np.float64, np.float64)
    assert (np.diff(variances) <= 0).all()
    np.testing.assert_allclose(variances, planted, rtol=0, atol=1e-13 * planted[0])
    np.testing.assert_allclose(directions.T @ directions, np.eye(120), rtol=0, atol=1e-11)
    np.testing.assert_allclose(
        directions * variances @ directions.T, one.covariance, rtol=0, atol=1e-12 * planted[0]
    )
    if kind == "spread":
        np.testing.assert_allclose(np.abs((basis * directions).sum(0))[:60], 1.0, rtol=0, atol=1e-6)


def test_the_effective_sample_of_alike_and_of_independent_tokens(
    llama: tuple[LanguageModel, list[WeightSite]],
) -> None:
    """Rows of a window alike count once; independent rows count each."""
    _, sites = llama
    shared = SharedInput(("a",), sites[0].module, "a", 16, 0, routed=False)
    generator = torch.Generator().manual_seed(5)
    windows = [Window(number, 0, 1, 0, [0] * 20, np.zeros(20, bool)) for number in range(400)]
    for alike, expected in ((True, 400), (False, 8000)):
        rows = torch.randn((400, 1 if alike else 20, 16), generator=generator, dtype=torch.float64)
        given = rows.expand(400, 20, 16).reshape(-1, 16)
        mean = InputMean(shared)
        mean.add(given, windows)
        moments = InputMoments(mean, True)
        moments.add(given, windows)
        effective = moments.effective_sample()
        assert effective == pytest.approx(expected, rel=0.05)


def test_wrong_arguments(llama: tuple[LanguageModel, list[WeightSite]]) -> None:
    model, sites = llama
    with pytest.raises(ValueError, match="windows: there are none"):
        input_covariances(model, [], sites)
    with pytest.raises(TypeError, match="one text was given"):
        input_covariances(model, "a text", sites)
    with pytest.raises(ValueError, match="layers_per_pass: 0 is less than 1"):
        input_covariances(model, TEXTS, sites, layers_per_pass=0)
    with pytest.raises(ValueError, match="layers_per_pass: 0 is less than 1"):
        passes_over(sites, 0)
    with pytest.raises(TextError, match="text 0 is empty"):
        input_covariances(model, [""], sites)


def test_dead_units_are_found_in_the_spectrum(tmp_path: Path) -> None:
    """OPT's ReLU: more tokens than inputs, and still directions without variance."""
    model = tiny_model("opt")
    sites = {site.info.name: site for site in sites_of(model, tmp_path)}
    (up,) = (site for site in sites.values() if (site.info.role, site.info.layer) == ("up", 1))
    (down,) = (site for site in sites.values() if (site.info.role, site.info.layer) == ("down", 1))
    with torch.no_grad():
        up.module.bias[:3] = -1e4
    one, two = input_covariances(model, MANY, [up, down])
    # What a LayerNorm gives lacks one direction at most, which is well defined.
    assert full_rank_problem(one, one.eigenvectors()[0]) == ""
    assert full_rank_problem(two) == ""
    variances, _ = two.eigenvectors()
    rank = int(np.linalg.matrix_rank(two.covariance, hermitian=True))
    assert rank <= two.inputs - 3
    problem = full_rank_problem(two, variances)
    assert f"give a covariance of rank {rank}, but it has 48 inputs: {48 - rank} directions are" in problem
    constant = int((np.diagonal(two.covariance) == 0).sum())
    assert constant >= 3
    assert f"{constant} inputs are the same for all tokens (dead units); more text does not help" in problem


def test_one_direction_without_variance_is_well_defined() -> None:
    basis = np.linalg.qr(np.random.default_rng(5).normal(size=(20, 20)))[0]
    for lacking in (0, 1, 2):
        spectrum = np.where(np.arange(20) < 20 - lacking, 1.0, 0.0)
        one = made_of(basis * spectrum @ basis.T)
        problem = full_rank_problem(one, one.eigenvectors()[0])
        assert ("2 directions are without variance" in problem) == (lacking == 2)
        assert bool(problem) == (lacking == 2)
