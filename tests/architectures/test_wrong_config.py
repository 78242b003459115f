"""A config.json of another model is an error where sizes show it, and a warning where only names do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmscope.architectures import ConfigMismatch, load_architecture, registered, resolve
from lmscope.checkpoints import CheckpointError, open_checkpoint

from ..written_llama import HIDDEN
from .headers import stored


def test_checkpoint_names_file_tensor_expected_found_and_the_way_out(make_llama: Callable[..., Path]) -> None:
    path = make_llama()
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"hidden_size": 2 * HIDDEN}))
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    error = caught.value
    assert Path(str(error.file)).name == "config.json"
    assert error.tensor == "model.embed_tokens.weight"
    assert error.expected == "hidden_size = 128"
    assert error.found == "[128, 64], that is 64"
    assert "put the right config.json beside the weights, or remove it" in str(error)
    (path / "config.json").unlink()
    assert len(open_checkpoint(path)) > 10


@pytest.mark.parametrize("model_type", registered())
def test_every_type_pins_its_embedding(model_type: str) -> None:
    architecture = load_architecture(model_type)
    embedding = f"{architecture.prefixes[0]}{next(iter(architecture.tied.values()))}"
    _, entry = architecture.pinned[0]
    right = {"model_type": model_type, entry: 4, "hidden_size": 4}
    resolve(right, {embedding: stored(9, 4)})
    with pytest.raises(ConfigMismatch, match=rf"{embedding}: expected {entry} = 5, found \[9, 4\]"):
        resolve(right | {entry: 5}, {embedding: stored(9, 4)})


def test_another_matrix_is_looked_at_where_the_embedding_is_in_no_file() -> None:
    tensors = {"h.0.attn.c_attn.weight": stored(4, 12)}
    resolve({"model_type": "gpt2", "n_embd": 4}, tensors)
    with pytest.raises(ConfigMismatch, match=r"h.0.attn.c_attn.weight: expected n_embd = 12"):
        resolve({"model_type": "gpt2", "n_embd": 12}, tensors)


def test_gpt2_stored_as_linear_layers_is_no_gpt2_of_transformers() -> None:
    """nanoGPT keeps GPT-2's names; its square c_proj would be turned wrongly without a sign of it."""
    linear = {"wte.weight": stored(9, 6), "h.0.attn.c_attn.weight": stored(18, 6)}
    with pytest.raises(ConfigMismatch) as caught:
        resolve({"model_type": "gpt2", "n_embd": 6}, linear)
    assert caught.value.tensor == "h.0.attn.c_attn.weight"
    assert caught.value.expected == "n_embd = 6 rows (it is stored in x out)"
    assert caught.value.found == "[18, 6], that is 18"


@pytest.mark.parametrize(
    ("name", "right", "expected"),
    [
        ("h.0.mlp.c_fc.weight", (6, 24), "[6, outputs]"),
        ("h.0.mlp.c_proj.weight", (24, 6), "[24, outputs]"),
        ("h.0.crossattention.c_attn.weight", (6, 12), "[6, a multiple of 2]"),
    ],
)
def test_one_linear_layer_in_gpt2_is_refused_with_the_shape_expected(
    name: str, right: tuple[int, int], expected: str
) -> None:
    config = {"model_type": "gpt2", "n_embd": 6}
    assert {part.info.status for part in resolve(config, {name: stored(*right)}).parts} == {"planned"}
    (part,) = resolve(config, {name: stored(*right[::-1])}).parts
    assert part.info.status == "refused"
    assert part.info.reason.endswith(f"expected {expected}")


LAYERED = {
    "llama": ("model.layers.{}.mlp.up_proj.weight", "num_hidden_layers"),
    "bert": ("bert.encoder.layer.{}.output.dense.weight", "num_hidden_layers"),
    "distilbert": ("transformer.layer.{}.ffn.lin1.weight", "n_layers"),
    "gpt2": ("h.{}.ln_1.weight", "n_layer"),
    "gpt_neox": ("gpt_neox.layers.{}.mlp.dense_h_to_4h.weight", "num_hidden_layers"),
    "opt": ("model.decoder.layers.{}.fc1.weight", "num_hidden_layers"),
    "qwen3_moe": ("model.layers.{}.mlp.gate.weight", "num_hidden_layers"),
}


@pytest.mark.parametrize("model_type", LAYERED)
def test_more_layers_than_the_config_has(model_type: str) -> None:
    name, entry = LAYERED[model_type]
    architecture = load_architecture(model_type)
    embedding = f"{architecture.prefixes[0]}{next(iter(architecture.tied.values()))}"
    tensors = {name.format(layer): stored(4, 4) for layer in range(3)} | {embedding: stored(9, 4)}
    for layers in (3, 12):
        resolve({"model_type": model_type, entry: layers}, tensors)
    with pytest.raises(ConfigMismatch) as caught:
        resolve({"model_type": model_type, entry: 2}, tensors)
    assert caught.value.tensor == name.format(2)
    assert (caught.value.expected, caught.value.found) == (f"{entry} = 2", "layer 2, that is 3 layers")


def test_every_type_says_which_entry_counts_its_layers() -> None:
    assert all(load_architecture(model_type).layers for model_type in registered())


@pytest.mark.parametrize(("predicting", "stored_layers"), [({}, 4), ({"num_nextn_predict_layers": 2}, 5)])
def test_multi_token_prediction_layers_lie_behind_the_last(
    predicting: dict[str, int], stored_layers: int
) -> None:
    config = {"model_type": "deepseek_v3", "num_hidden_layers": 3, **predicting}
    tensors = {f"model.layers.{layer}.mlp.up_proj.weight": stored(4, 4) for layer in range(stored_layers)}
    resolve(config, tensors)
    tensors[f"model.layers.{stored_layers}.mlp.up_proj.weight"] = stored(4, 4)
    with pytest.raises(ConfigMismatch, match=r"num_hidden_layers = 3 and \d behind them, found layer"):
        resolve(config, tensors)


def test_layers_of_another_part_of_the_model_are_not_counted() -> None:
    text = {"model_type": "gemma3_text", "hidden_size": 4, "num_hidden_layers": 1}
    tensors = {
        "language_model.model.embed_tokens.weight": stored(9, 4),
        "vision_tower.encoder.layers.7.self_attn.q_proj.weight": stored(5, 5),
    }
    resolve({"model_type": "martian_vision", "text_config": text}, tensors)


def test_interleaved_queries_have_the_head_size_of_the_config() -> None:
    config = {"model_type": "gpt_neox", "hidden_size": 8, "num_attention_heads": 2}
    name = "gpt_neox.layers.0.attention.query_key_value.weight"
    rows = resolve(config, {name: stored(24, 8)}).parts
    assert [part.info.shape for part in rows] == [(8, 8)] * 3
    (part,) = resolve(config, {name: stored(18, 8)}).parts
    assert part.info.status == "refused"
    assert part.info.reason.endswith("num_attention_heads = 2; expected [24, inputs]")


@pytest.mark.parametrize(("shape", "status"), [((18, 1), "refused"), ((18,), "skipped")])
def test_a_quantised_embedding_says_nothing_of_its_size(shape: tuple[int, ...], status: str) -> None:
    tensors = {"embed_tokens.weight": stored(*shape, dtype="uint8"), "lm_head.weight": stored(9, 4)}
    parts = resolve({"model_type": "llama", "hidden_size": 4}, tensors).parts
    rows = {part.info.name: part.info for part in parts}
    assert rows["embed_tokens.weight"].status == status


def test_a_fused_matrix_that_cannot_be_cut_says_nothing_of_its_inputs() -> None:
    (part,) = resolve({"model_type": "gpt2", "n_embd": 4}, {"h.0.attn.c_attn.weight": stored(4, 13)}).parts
    assert part.info.status == "refused"


@pytest.mark.parametrize("hidden", ["many", -1, 0, None, 1.5, True, [], {}])
def test_a_hidden_size_that_is_none_is_no_contradiction(hidden: Any) -> None:
    (part,) = resolve(
        {"model_type": "llama", "hidden_size": hidden}, {"embed_tokens.weight": stored(9, 4)}
    ).parts
    assert (part.info.role, part.info.status) == ("token_embedding", "planned")


def test_known_type_of_which_no_matrix_has_a_name_is_guessed_whole() -> None:
    tensors = {"encoder.0.q_proj.weight": stored(4, 4), "norm.weight": stored(4)}
    resolution = resolve({"model_type": "llama"}, tensors)
    assert all("guessed" in part.info.reason for part in resolution.parts)
    assert resolution.warnings == (
        "config.json says model type 'llama', but no matrix has a name of it (the first tensor is "
        "encoder.0.q_proj.weight, expected model.embed_tokens.weight or embed_tokens.weight): all roles are "
        "guessed from names and shapes",
    )


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": ["llama"]},
        {"model_type": {}, "architectures": 5, "text_config": "none"},
        {"model_type": 7, "text_config": {"model_type": ["llama"]}},
        {"model_type": "llama", "architectures": {"a": 1}, "tie_word_embeddings": []},
    ],
)
def test_entries_of_any_type_do_no_harm(config: dict[str, Any]) -> None:
    tensors = {"model.embed_tokens.weight": stored(9, 4)}
    assert [part.info.role for part in resolve(config, tensors).parts] == ["token_embedding"]
