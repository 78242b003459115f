"""Every planned matrix is found where the model really applies it, or gets the reason why it has no place."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AlbertConfig, AlbertModel, BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM

from lmscope.architectures.cut import Cut
from lmscope.checkpoints import Checkpoint, open_checkpoint
from lmscope.representations import LanguageModel
from lmscope.representations.input_covariance import input_covariances
from lmscope.representations.weight_sites import WeightSite, same_sites, weight_sites

from ..tiny_models import TINY, TINY_BERT, TINY_LLAMA, random_model
from ..tiny_tokenizers import character_tokenizer
from .models import TEXTS, tiny_model

Sites = dict[str, WeightSite | str]


def saved(model: LanguageModel, path: Path) -> Checkpoint:
    model.model.save_pretrained(path)
    return open_checkpoint(path)


def reloaded(model: LanguageModel, path: Path, **options: Any) -> tuple[LanguageModel, Checkpoint]:
    """What transformers makes of the file: renamed, merged and cast as for any checkpoint."""
    checkpoint = saved(model, path)
    loaded = type(model.model).from_pretrained(path, **options)
    return LanguageModel(loaded, model.tokenizer, model.kind, model.label), checkpoint


def of(sites: Sites) -> list[WeightSite]:
    return [site for site in sites.values() if isinstance(site, WeightSite)]


def reasons(sites: Sites) -> dict[str, str]:
    return {name: site for name, site in sites.items() if isinstance(site, str)}


def llama(model: Any, label: str = "tiny llama") -> LanguageModel:
    return LanguageModel(model, character_tokenizer(50), "causal", label)


@pytest.mark.parametrize("model_type", TINY)
def test_each_module_multiplies_its_input_with_the_files_matrix(model_type: str, tmp_path: Path) -> None:
    model, checkpoint = reloaded(tiny_model(model_type), tmp_path)
    sites = weight_sites(model, checkpoint)
    assert list(sites) == [info.name for info in checkpoint if info.status == "planned"]
    tables = [info.name for info in checkpoint if info.role.endswith("_embedding") and info.name in sites]
    experts = [info.name for info in checkpoint if info.expert is not None and info.name in sites]
    assert set(reasons(sites)) == set(tables)
    assert all("looked up" in sites[name] for name in tables)
    hidden = {site.info.name: site for site in of(sites) if site.hidden_input}
    assert set(hidden) == set(experts)
    for name, site in hidden.items():
        assert "packed with the layer's other experts" in site.hidden_input
        assert site.weights().numpy().tobytes() == np.ascontiguousarray(checkpoint.load(name)).tobytes()
    if hidden:
        with pytest.raises(ValueError, match=f"{experts[0]}: packed with the layer's other experts"):
            input_covariances(model, TEXTS, of(sites))
    plain = [site for site in of(sites) if not site.hidden_input]

    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def keep(name: str, given: tuple[Any, ...], made: Any) -> None:
        made = made[0] if isinstance(made, tuple) else made
        seen[name] = (given[0].clone(), made.clone())

    for site in plain:
        site.module.register_forward_hook(lambda _, given, made, name=site.info.name: keep(name, given, made))
    for text in TEXTS[:2]:
        model.model(torch.tensor([model.tokenizer(text)["input_ids"]]))
        for site in plain:
            weights = checkpoint.load(site.info.name)
            assert site.weights().numpy().tobytes() == np.ascontiguousarray(weights).tobytes()
            given, made = (one.reshape(-1, one.shape[-1]).double() for one in seen[site.info.name])
            # Where the matrix' outputs are among those of its module, by the cut that the file is read by.
            numbers = np.arange(made.shape[1])[:, None]
            places = site.cut.apply(numbers.T if site.cut.transposed else numbers)[:, 0]
            bias = getattr(site.module, "bias", None)
            shift = 0 if bias is None else bias.double()[places]
            expected = given @ torch.from_numpy(weights.astype(np.float64)).T + shift
            torch.testing.assert_close(made[:, places], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gpt_neox", "phi3", "deepseek_v3"])
def test_a_part_put_in_is_the_row_of_the_saved_model(model_type: str, tmp_path: Path) -> None:
    model, checkpoint = reloaded(tiny_model(model_type), tmp_path / "before")
    before = {info.name: checkpoint.load(info.name) for info in checkpoint}
    roles = {site.info.role: site for site in of(weight_sites(model, checkpoint)) if site.info.layer == 1}
    for site in roles.values():
        part = torch.randn(site.info.shape, dtype=torch.float64)
        kept = site.parameter.detach().clone()
        changed = site.with_part(part)
        assert torch.equal(site.parameter, kept)
        site.parameter.data = changed
        after = saved(model, tmp_path / site.info.role)
        site.parameter.data = kept
        for name, weights in before.items():
            expected = part.float().numpy() if name == site.info.name else weights
            np.testing.assert_array_equal(after.load(name), expected, err_msg=name)
    assert len(roles) >= 4


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("expert", [None, 2])
def test_weights_are_cut_as_the_file_is(
    expert: int | None, transposed: bool, groups: int, tmp_path: Path
) -> None:
    model = tiny_model("llama")
    site = of(weight_sites(model, saved(model, tmp_path)))[0]
    shape = (24, 7)[:: -1 if transposed else 1]
    parameter = torch.nn.Parameter(torch.randn(shape if expert is None else (5, *shape)))
    cut = Cut(transposed, expert, start=1, rows=2, groups=groups)
    info = replace(site.info, shape=(2 * groups, 7))
    made = WeightSite(info, parameter, "weight", site.module, "", cut)
    expected = cut.apply(parameter.detach().numpy())
    np.testing.assert_array_equal(made.weights(), expected)
    assert groups > 1 or made.weights().untyped_storage().data_ptr() == parameter.untyped_storage().data_ptr()
    changed = made.with_part(torch.full(info.shape, math.pi)).numpy()
    assert (cut.apply(changed) == np.float32(math.pi)).all()
    assert (changed != parameter.detach().numpy()).sum() == expected.size
    with pytest.raises(ValueError, match=r"part: .* is \[\d+, 7\] \(out x in\), not \[7, \d+\]"):
        made.with_part(torch.zeros(info.shape[::-1]))


def test_a_file_is_compared_in_the_models_dtype(tmp_path: Path) -> None:
    model, checkpoint = reloaded(tiny_model("llama"), tmp_path, dtype=torch.bfloat16)
    sites = weight_sites(model, checkpoint)
    assert list(reasons(sites)) == ["model.embed_tokens.weight"]
    assert {site.weights().dtype for site in of(sites)} == {torch.bfloat16}


def test_other_values_under_the_name_are_no_site(tmp_path: Path) -> None:
    model = tiny_model("bert")
    checkpoint = saved(model, tmp_path)
    attention = model.model.encoder.layer[1].attention.self
    query, key = attention.query.weight, attention.key.weight
    query.data, key.data = key.data, query.data
    with torch.no_grad():
        model.model.encoder.layer[2].intermediate.dense.weight[-1, -1] += 0.01
    found = reasons(weight_sites(model, checkpoint))
    for name in (
        "encoder.layer.1.attention.self.query.weight",
        "encoder.layer.1.attention.self.key.weight",
        "encoder.layer.2.intermediate.dense.weight",
    ):
        assert found.pop(name) == f"{name} of the loaded model has other values"
    assert all("looked up" in reason for reason in found.values())


def test_prefixes_may_differ_and_a_head_may_be_dropped(tmp_path: Path) -> None:
    whole = random_model(BertForMaskedLM, BertConfig(**TINY_BERT))
    whole.save_pretrained(tmp_path / "masked")
    encoder = LanguageModel(whole.bert, character_tokenizer(50), "encoder", "without its head")
    found = weight_sites(encoder, open_checkpoint(tmp_path / "masked"))
    assert len(of(found)) == 18
    assert all(site.parameter_name == site.info.name.removeprefix("bert.") for site in of(found))
    head = "cls.predictions.transform.dense.weight"
    assert found[head] == "the loaded model does not hold it: no parameter has its name or its values"
    assert (
        "shares its weights with cls.predictions" in reasons(found)["bert.embeddings.word_embeddings.weight"]
    )

    whole.bert.save_pretrained(tmp_path / "encoder")
    masked = LanguageModel(whole, character_tokenizer(50), "encoder", "with its head")
    found = weight_sites(masked, open_checkpoint(tmp_path / "encoder"))
    assert len(of(found)) == 18
    assert all(site.parameter_name == f"bert.{site.info.name}" for site in of(found))


def test_a_module_of_several_layers_runs_more_than_once(tmp_path: Path) -> None:
    sizes = TINY_BERT | {"embedding_size": 16}
    model = random_model(AlbertModel, AlbertConfig(**sizes))
    albert = LanguageModel(model, character_tokenizer(50), "encoder", "tiny albert")
    found = weight_sites(albert, saved(albert, tmp_path))
    shared = "encoder.albert_layer_groups.0.albert_layers.0.attention.query"
    assert found[f"{shared}.weight"] == (
        f"{shared} (Linear) runs 3 times in one pass, each time on another input"
    )
    assert {site.info.name for site in of(found)} == {
        "encoder.embedding_hidden_mapping_in.weight",
        "pooler.weight",
    }


def test_tied_heads_and_shared_parameters_are_named(tmp_path: Path) -> None:
    config = LlamaConfig(**TINY_LLAMA | {"tie_word_embeddings": True, "mlp_bias": False})
    made = random_model(LlamaForCausalLM, config)
    first, second = (made.model.layers[layer].mlp for layer in (0, 1))
    with torch.no_grad():
        second.up_proj.weight.copy_(first.up_proj.weight)
        second.gate_proj.weight.copy_(first.gate_proj.weight)
    made.save_pretrained(tmp_path)
    second.up_proj.weight = first.up_proj.weight
    # Another parameter, but in the same memory.
    second.gate_proj.weight = torch.nn.Parameter(first.gate_proj.weight.detach().view(-1).view(48, 32))
    sites = weight_sites(llama(made), open_checkpoint(tmp_path))
    assert reasons(sites) == {
        "model.embed_tokens.weight": "an embedding table: it is looked up, not multiplied with an input; "
        "shares its weights with lm_head.weight: a lesion would change both"
    }
    shared = {site.info.name: site.shared for site in of(sites) if site.shared}
    for kind in ("up", "gate"):
        names = [f"model.layers.{layer}.mlp.{kind}_proj.weight" for layer in (0, 1)]
        assert shared.pop(names[0]) == (names[1],)
        assert shared.pop(names[1]) == (names[0],)
    assert not shared
    assert "shared with model.layers.1.mlp.up_proj.weight" in repr(sites["model.layers.0.mlp.up_proj.weight"])


def test_a_head_that_shares_its_embeddings_memory_has_no_site(tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.model.lm_head.weight.data.copy_(model.model.model.embed_tokens.weight)
    checkpoint = saved(model, tmp_path)
    assert isinstance(weight_sites(model, checkpoint)["lm_head.weight"], WeightSite)
    model.model.lm_head.weight = model.model.model.embed_tokens.weight
    assert weight_sites(model, checkpoint)["lm_head.weight"] == (
        "shares its weights with the embedding model.embed_tokens.weight: a lesion would change both"
    )


def test_modules_that_do_not_just_multiply_have_no_site(tmp_path: Path) -> None:
    model = tiny_model("llama")
    checkpoint = saved(model, tmp_path)
    layers = model.model.model.layers
    layers[0].mlp.down_proj.register_forward_hook(lambda module, given, made: 2 * made)
    up = layers[1].mlp.up_proj
    layers[1].mlp.forward = lambda states: layers[1].mlp.down_proj(
        torch.nn.functional.silu(layers[1].mlp.gate_proj(states))
        * torch.nn.functional.linear(states, up.weight, up.bias)
    )
    found = reasons(weight_sites(model, checkpoint))
    del found["model.embed_tokens.weight"]
    assert found == {
        "model.layers.0.mlp.down_proj.weight": "what model.layers.0.mlp.down_proj (Linear) gives is not its "
        "input times this matrix",
        "model.layers.1.mlp.up_proj.weight": "model.layers.1.mlp.up_proj (Linear) does not run when the "
        "model reads text",
    }
    assert not any(module._forward_pre_hooks for module in model.model.modules())


def test_nan_weights_say_what_cannot_be_confirmed(tmp_path: Path) -> None:
    model = tiny_model("llama")
    # Behind the check of the causal mask, as a damaged checkpoint would fail it.
    with torch.no_grad():
        model.model.model.layers[2].mlp.up_proj.weight[0, 0] = math.nan
    sites = weight_sites(model, saved(model, tmp_path))
    assert sites["model.layers.2.mlp.up_proj.weight"] == (
        "what model.layers.2.mlp.up_proj (Linear) is given, or its matrix, is not finite on a few tokens"
    )
    assert isinstance(sites["model.layers.2.mlp.gate_proj.weight"], WeightSite)
    assert "not finite" in str(sites["lm_head.weight"])


def test_a_matrix_that_cannot_be_read_keeps_its_error(tmp_path: Path) -> None:
    model = tiny_model("llama")
    checkpoint = saved(model, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    found = reasons(weight_sites(model, checkpoint))
    assert "model.safetensors" in found["model.layers.0.mlp.up_proj.weight"]


@pytest.mark.parametrize("model_type", ["gpt2", "mixtral"])
def test_the_untrained_twin_has_the_same_sites(model_type: str, tmp_path: Path) -> None:
    model, checkpoint = reloaded(tiny_model(model_type), tmp_path)
    sites = weight_sites(model, checkpoint)
    twin = model.untrained()
    moved = same_sites(sites, twin)
    assert reasons(moved) == reasons(sites)
    for site, other in zip(of(sites), of(moved), strict=True):
        assert (other.info, other.cut, other.module_name) == (site.info, site.cut, site.module_name)
        assert other.parameter is twin.model.get_parameter(site.parameter_name)
        assert other.module is twin.model.get_submodule(site.module_name)
        assert not torch.equal(other.weights(), site.weights())
    with pytest.raises(
        ValueError, match=r"tiny llama is not of the same configuration: .* no such parameter"
    ):
        same_sites(sites, tiny_model("llama"))


def test_minilm_has_a_site_for_every_encoder_matrix(minilm_path: Path) -> None:
    from lmscope.representations import load_model

    checkpoint = open_checkpoint(minilm_path)
    model = load_model(checkpoint)
    sites = weight_sites(model, checkpoint)
    assert len(of(sites)) == 37
    assert {sites[name] for name in reasons(sites)} == {
        "an embedding table: it is looked up, not multiplied with an input"
    }
