"""Lesions in running models: what the modules give changes by what was removed, and every bit comes back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lmscope import (
    LanguageModel,
    Removal,
    lesioned,
    open_checkpoint,
    random_removal,
    singular_vectors,
    slice_removal,
)
from lmscope.analyses.slices import slice_ranks
from lmscope.representations.weight_sites import WeightSite, weight_sites

from .models import tiny_model

# Llama and BERT: parameters of their own. GPT-2: transposed; query, key and value in one. GPT-NeoX: the same,
# interleaved by head. Phi-3: gate and up in one as well.
KINDS = ("llama", "gpt2", "gpt_neox", "phi3", "bert")


class Sited:
    """A tiny model, its checkpoint on disk and the sites of its matrices."""

    def __init__(self, model: LanguageModel, path: Path) -> None:
        self.model = model
        model.model.save_pretrained(path)
        self.sites = {
            name: site
            for name, site in weight_sites(model, open_checkpoint(path)).items()
            if isinstance(site, WeightSite)
        }

    def of(self, role: str, layer: int) -> WeightSite:
        (site,) = (site for site in self.sites.values() if (site.info.role, site.info.layer) == (role, layer))
        return site

    def digest(self) -> dict[str, str]:
        """Of the bytes of every parameter and buffer."""
        return {
            name: hashlib.sha256(value.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
            for name, value in self.model.model.state_dict(keep_vars=False).items()
        }

    def states(self) -> torch.Tensor:
        states: torch.Tensor = self.model.forward([list(range(1, 13))]).last_hidden_state
        return states


@pytest.fixture(scope="module")
def sited(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Sited]:
    made: dict[str, Sited] = {}

    def get(kind: str) -> Sited:
        if kind not in made:
            made[kind] = Sited(tiny_model(kind), tmp_path_factory.mktemp(kind))
        return made[kind]

    return get


def removal_of(site: WeightSite, places: Sequence[int] = (10,)) -> Removal:
    vectors = singular_vectors(site.weights())
    slices = slice_ranks(len(vectors.values))
    return slice_removal(vectors, [rank for place in places for rank in slices[place - 1]])


def calls_of(site: WeightSite, run: Callable[[], Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """What the site's module was given and gave."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    handle = site.module.register_forward_hook(
        lambda _, given, made: seen.append((given[0].detach().double(), made.detach().double()))
    )
    try:
        run()
    finally:
        handle.remove()
    ((given, made),) = seen
    return given.flatten(0, -2), made.flatten(0, -2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_module_gives_its_input_times_what_is_left(sited: Callable[[str], Sited], kind: str) -> None:
    """In the first layer, whose input no lesion changes: the outputs of the part move by the removed part's
    product, those of the other parts of a fused parameter do not."""
    found = sited(kind)
    for role in ("query", "value"):
        site = found.of(role, 0)
        removal = removal_of(site, (1, 10))
        before, outputs = calls_of(site, found.states)
        with lesioned(found.model, {site: removal}):
            after, changed = calls_of(site, found.states)
        assert torch.equal(before, after)
        moved = (changed - outputs).numpy()
        expected = -before.numpy() @ removal.right @ removal.left.T
        scale = np.abs(outputs.numpy()).max()
        # The part's columns among the outputs, found by where they move.
        columns = np.flatnonzero(np.abs(moved).max(axis=0) > 1e-4 * scale)
        assert len(columns) == site.info.shape[0]
        assert np.abs(moved[:, columns] - expected).max() < 1e-5 * scale
        others = np.delete(moved, columns, axis=1)
        assert np.abs(others).max(initial=0) < 1e-5 * scale


@pytest.mark.parametrize("kind", KINDS)
def test_every_bit_comes_back(sited: Callable[[str], Sited], kind: str) -> None:
    found = sited(kind)
    before, states = found.digest(), found.states()
    places = {name: value.data_ptr() for name, value in found.model.model.named_parameters()}
    with lesioned(found.model, {site: removal_of(site) for site in found.sites.values()}):
        during = found.digest()
        assert not torch.equal(found.states(), states)
    changed = {name for name in before if before[name] != during[name]}
    assert changed == {site.parameter_name for site in found.sites.values()}
    assert found.digest() == before
    assert torch.equal(found.states(), states)
    # Back where they were, not in a copy.
    assert {name: value.data_ptr() for name, value in found.model.model.named_parameters()} == places


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_every_bit_comes_back_after_an_exception(
    sited: Callable[[str], Sited], error: type[BaseException]
) -> None:
    found = sited("gpt2")
    before = found.digest()
    removals = {found.of(role, 1): removal_of(found.of(role, 1)) for role in ("query", "value", "down")}
    during = {}

    def interrupted() -> None:
        with lesioned(found.model, removals):
            during.update(found.digest())
            raise error("within")

    with pytest.raises(error, match="within"):
        interrupted()
    assert during != before
    assert found.digest() == before
    with lesioned(found.model, removals):  # nothing says that they are still lesioned
        pass


def test_an_exception_while_the_lesion_is_made(sited: Callable[[str], Sited]) -> None:
    found = sited("llama")
    before = found.digest()
    good, bad = found.of("query", 0), found.of("query", 1)
    removal = removal_of(bad)
    cut_off = removal_of(bad)
    # No removal can be made like this; it stands for memory that runs out half-way.
    object.__setattr__(cut_off, "right", removal.right[:, :-1])
    with pytest.raises(RuntimeError), lesioned(found.model, {good: removal_of(good), bad: cut_off}):
        pytest.fail("must not be reached")
    assert found.digest() == before
    with lesioned(found.model, {good: removal_of(good)}):
        pass


def test_nothing_removed_leaves_every_output_bit(sited: Callable[[str], Sited]) -> None:
    found = sited("gpt2")
    before, states = found.digest(), found.states()
    removals = {site: removal_of(site, ()) for site in found.sites.values()}
    with lesioned(found.model, removals) as lesion:
        assert found.digest() == before
        assert torch.equal(found.states(), states)
    assert (lesion.directions, lesion.energy, lesion.energy_share, lesion.rounding) == (0, 0, 0, 0)
    with lesioned(found.model, {}) as nothing:
        assert torch.equal(found.states(), states)
    assert (nothing.names, nothing.energy_share) == ((), 0)


def test_parts_of_one_parameter_together(sited: Callable[[str], Sited]) -> None:
    found = sited("gpt_neox")
    sites = [found.of(role, 2) for role in ("query", "key", "value")]
    assert len({id(site.parameter) for site in sites}) == 1
    expected = []
    for site in sites:
        weights = site.weights().double().numpy()
        removal = removal_of(site)
        expected.append((weights - removal.left @ removal.right.T).astype(np.float32))
    with lesioned(found.model, {site: removal_of(site) for site in sites}):
        for site, part in zip(sites, expected, strict=True):
            assert np.abs(site.weights().numpy() - part).max() < 1e-6


def test_sums_over_the_matrices(sited: Callable[[str], Sited]) -> None:
    found = sited("llama")
    sites = [found.of("down", layer) for layer in range(3)]
    removals = {
        site: random_removal(singular_vectors(site.weights()), directions=4, seed=place)
        for place, site in enumerate(sites)
    }
    with lesioned(found.model, removals) as lesion:
        pass
    norms = [float(site.weights().double().square().sum()) for site in sites]
    energy = sum(removal.energy for removal in removals.values())
    assert lesion.names == tuple(site.info.name for site in sites)
    assert lesion.directions == 12
    assert lesion.energy == pytest.approx(energy, rel=1e-12)
    assert lesion.energy_share == pytest.approx(energy / sum(norms), rel=1e-12)
    # Entries are off by at most half a unit in the last place.
    assert 0 < lesion.rounding < sum(norms) * 2.0**-48
    assert repr(lesion).startswith(
        f"Lesion({lesion.energy_share:.4g} of the energy, matrices=3, directions=12"
    )
    assert f"{lesion.energy_share:.4g}" in lesion._repr_html_()


def test_bfloat16_weights_say_what_rounding_made_of_it(tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.model.to(torch.bfloat16)
    found = Sited(model, tmp_path)
    site = found.of("up", 1)
    before = site.weights().double()
    removal = removal_of(site, (1,))
    with lesioned(model, {site: removal}) as lesion:
        assert site.parameter.dtype == torch.bfloat16
        change = (before - site.weights().double()).numpy()
    missed = np.sum((change - removal.left @ removal.right.T) ** 2)
    assert lesion.rounding == pytest.approx(missed, rel=1e-9)
    assert lesion.rounding > 1e-4 * lesion.energy


def test_lesions_nest_in_different_parameters_only(sited: Callable[[str], Sited]) -> None:
    found = sited("gpt2")
    query, key, down = found.of("query", 0), found.of("key", 0), found.of("down", 0)
    before = found.digest()
    with lesioned(found.model, {query: removal_of(query)}):
        once = found.digest()
        with lesioned(found.model, {down: removal_of(down)}):
            assert found.digest() not in (once, before)
        assert found.digest() == once
        refused = f"{key.info.name}: .* is lesioned already, for {query.info.name}"
        with pytest.raises(ValueError, match=refused), lesioned(found.model, {key: removal_of(key)}):
            pass
        assert found.digest() == once
    assert found.digest() == before


def test_what_is_trained_within_is_undone(sited: Callable[[str], Sited]) -> None:
    found = sited("llama")
    site = found.of("gate", 0)
    before = found.digest()
    with lesioned(found.model, {site: removal_of(site)}):
        site.parameter.data.add_(1)
    assert found.digest() == before


@pytest.mark.parametrize("tied", [True, False], ids=["one parameter", "two in one memory"])
def test_ties(tmp_path: Path, tied: bool) -> None:
    """One parameter under two names changes under both or not at all; two parameters in one memory never."""
    model = tiny_model("llama")
    first, last = (model.layers[place].mlp.up_proj for place in (0, 2))
    last.weight.data.copy_(first.weight)
    model.model.save_pretrained(tmp_path)
    last.weight = first.weight if tied else torch.nn.Parameter(first.weight.data, requires_grad=False)
    sites = weight_sites(model, open_checkpoint(tmp_path))
    name, other = (f"model.layers.{place}.mlp.up_proj.weight" for place in (0, 2))
    site, twin = sites[name], sites[other]
    assert isinstance(site, WeightSite)
    assert isinstance(twin, WeightSite)
    before = first.weight.detach().clone()
    removal = removal_of(site)

    def refused(sentence: str, sites: Sequence[WeightSite], along: Sequence[str] = ()) -> None:
        with (
            pytest.raises(ValueError, match=sentence),
            lesioned(model, dict.fromkeys(sites, removal), along=along),
        ):
            pass
        assert torch.equal(first.weight, before)

    if not tied:
        refused(f"{name} and {other} are two parameters in the same memory", [site], [other])
        return
    refused(rf"{name}: its weights are also {other}, .* give along=\['{other}'\]", [site])
    refused(f"{other}: its weights are those of {name}", [site, twin], [name, other])
    with lesioned(model, {site: removal}, along=[other]):
        assert last.weight is first.weight
        assert not torch.equal(last.weight, before)
    assert torch.equal(last.weight, before)


def test_refusals(sited: Callable[[str], Sited]) -> None:
    llama, bert = sited("llama"), sited("bert")
    query, down = llama.of("query", 0), llama.of("down", 0)
    before = llama.digest()
    other = f"{query.info.name}: its site is of another model than tiny bert"
    with pytest.raises(ValueError, match=other), lesioned(bert.model, {query: removal_of(query)}):
        pass
    shape = rf"{down.info.name}: a removal from a matrix of shape \[32, 32\], but its shape is \[32, 48\]"
    removals = {query: removal_of(query), down: removal_of(query)}
    with pytest.raises(ValueError, match=shape), lesioned(llama.model, removals):
        pass
    assert llama.digest() == before


def test_what_is_not_lesioned_is_not_copied(sited: Callable[[str], Sited]) -> None:
    """Parameters that are not lesioned keep their memory within the lesion."""
    found = sited("llama")
    site = found.of("gate", 1)
    places = {name: value.data_ptr() for name, value in found.model.model.named_parameters()}
    with lesioned(found.model, {site: removal_of(site)}):
        within = {name: value.data_ptr() for name, value in found.model.model.named_parameters()}
    assert {name for name in places if places[name] != within[name]} == {site.parameter_name}


@pytest.mark.parametrize("kind", ["mixtral", "deepseek_v3"])
def test_packed_experts_are_lesioned_as_their_saved_matrices(tmp_path: Path, kind: str) -> None:
    """The lesioned model gives what one gives whose file lacks the same parts."""
    found = Sited(tiny_model(kind), tmp_path)
    sites = [site for site in found.sites.values() if site.info.expert is not None and site.info.role == "up"]
    assert len(sites) > 2
    assert all(site.hidden_input for site in sites)
    before, states = found.digest(), found.states()
    removals = {site: removal_of(site) for site in sites}
    rest = {name: site.weights().clone() for name, site in found.sites.items() if site not in removals}
    with lesioned(found.model, removals) as lesion:
        assert lesion.names == tuple(site.info.name for site in sites)
        lesioned_states = found.states()
        assert all(torch.equal(found.sites[name].weights(), weights) for name, weights in rest.items())
        found.model.model.save_pretrained(tmp_path / "lesioned")
    assert found.digest() == before
    assert torch.equal(found.states(), states)
    assert not torch.allclose(lesioned_states, states, atol=1e-4)
    written = open_checkpoint(tmp_path / "lesioned")
    original = open_checkpoint(tmp_path)
    for site, removal in removals.items():
        expected = original.load(site.info.name).astype(np.float64) - removal.left @ removal.right.T
        np.testing.assert_allclose(written.load(site.info.name), expected, rtol=0, atol=1e-6)


def test_nothing_removed_still_brings_every_bit_back(sited: Callable[[str], Sited]) -> None:
    found = sited("llama")
    site, before = found.of("up", 0), found.digest()
    vectors = singular_vectors(site.weights())
    for nothing in (slice_removal(vectors, []), random_removal(vectors, energy=0, seed=0)):
        with lesioned(found.model, {site: nothing}) as lesion:
            assert (lesion.directions, lesion.energy, lesion.rounding) == (0, 0.0, 0.0)
            assert found.digest() == before
            site.parameter.add_(1)
            assert found.digest() != before
        assert found.digest() == before


def test_removals_that_are_none_are_refused() -> None:
    left, right = np.ones((4, 2)), np.ones((3, 2))
    with pytest.raises(
        ValueError, match=r"right: should have 2 columns, one a direction; its shape is \[3, 1\]"
    ):
        Removal(left, right[:, :1], 2, 1.0, 0.1)
    with pytest.raises(
        ValueError, match=r"left: should have 1 columns, one a direction; its shape is \[4, 2\]"
    ):
        Removal(left, right, 1, 1.0, 0.1)
    left[1, 1] = np.nan
    with pytest.raises(ValueError, match="left: is not finite in 1 of its entries"):
        Removal(left, right, 2, 1.0, 0.1)
