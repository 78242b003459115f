"""Rows whose values another row holds: by the config, or as the same bytes; each value counts once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lmscope.architectures import TensorInfo, resolve
from lmscope.checkpoints import open_checkpoint

from .headers import stored

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TIED = {"model_type": "llama", "tie_word_embeddings": True, "architectures": ["LlamaForCausalLM"]}


def rows(config: dict[str, Any] | None, tensors: dict, shared: dict | None = None) -> dict[str, TensorInfo]:
    return {part.info.name: part.info for part in resolve(config, tensors, shared).parts}


def test_a_stored_head_is_an_alias_and_falls_back_to_its_own_row() -> None:
    parts = {p.info.name: p for p in resolve(TIED, {EMBED: stored(9, 4), HEAD: stored(9, 4)}).parts}
    head = parts[HEAD].info
    assert (head.role, head.tied_to, head.status, head.elements, head.nbytes) == (
        "unembedding",
        EMBED,
        "skipped",
        0,
        0,
    )
    untied = parts[HEAD].untied
    assert untied is not None
    assert (untied.status, untied.elements, untied.nbytes, untied.tied_to) == ("planned", 36, 144, None)


def test_a_head_without_its_embedding_is_an_ordinary_row() -> None:
    row = rows(TIED, {HEAD: stored(9, 4), "model.layers.0.mlp.up_proj.weight": stored(6, 4)})[HEAD]
    assert (row.role, row.tied_to, row.status, row.elements) == ("unembedding", None, "planned", 36)


def test_a_head_of_another_shape_or_dtype_is_an_ordinary_row() -> None:
    assert rows(TIED, {EMBED: stored(9, 4), HEAD: stored(8, 4)})[HEAD].tied_to is None
    assert rows(TIED, {EMBED: stored(9, 4), HEAD: stored(9, 4, dtype="float16")})[HEAD].tied_to is None


@pytest.mark.parametrize("says", [None, "yes", 1, {}])
def test_what_is_no_truth_value_ties_nothing_beyond_the_default(says: Any) -> None:
    tensors = {EMBED: stored(9, 4), HEAD: stored(9, 4)}
    for model_type, tied_to in (("llama", None), ("gemma", EMBED)):
        config = {"model_type": model_type, "tie_word_embeddings": says}
        assert rows(config, tensors)[HEAD].tied_to == tied_to


@pytest.mark.parametrize(
    ("model_type", "alias", "source"),
    [
        ("bert", "cls.predictions.decoder.bias", "cls.predictions.bias"),
        ("roberta", "lm_head.decoder.bias", "lm_head.bias"),
    ],
)
def test_biases_are_tied_too(model_type: str, alias: str, source: str) -> None:
    tensors = {f"{model_type}.embeddings.word_embeddings.weight": stored(9, 4)}
    tensors |= {alias: stored(9), source: stored(9)}
    found = rows({"model_type": model_type}, tensors)
    assert (found[alias].tied_to, found[alias].elements) == (source, 0)
    assert (found[source].tied_to, found[source].elements) == (None, 9)
    untied = rows({"model_type": model_type, "tie_word_embeddings": False}, tensors)
    assert untied[alias].tied_to is None


@pytest.mark.parametrize("equal", [True, False])
def test_stored_biases_are_compared_by_value(tmp_path: Path, equal: bool) -> None:
    alias, source = "cls.predictions.decoder.bias", "cls.predictions.bias"
    bias = np.arange(9, dtype=np.float32)
    other = bias if equal else bias + np.float32(1)
    tensors = {"bert.embeddings.word_embeddings.weight": np.eye(9, 4, dtype=np.float32)}
    save_file(tensors | {source: bias, alias: other}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 4}))
    row = {info.name: info for info in open_checkpoint(tmp_path)}[alias]
    assert (row.role, row.status, row.elements) == ("bias", "skipped", 0 if equal else 9)
    if equal:
        assert row.tied_to == source
    else:
        assert row.tied_to is None
        assert row.reason == (
            "the config ties it to cls.predictions.bias, but its values differ; "
            "vector: only matrices are analysed"
        )
    np.testing.assert_array_equal(open_checkpoint(tmp_path).load(alias), other)


def test_only_one_of_two_names_of_a_head_is_added() -> None:
    """GPT-NeoX's head has had two names."""
    config = {"model_type": "gpt_neox", "tie_word_embeddings": True, "architectures": ["GPTNeoXForCausalLM"]}
    embed = {"gpt_neox.embed_in.weight": stored(9, 4)}
    added = set(rows(config, embed)) - set(embed)
    assert added == {"embed_out.weight"}
    assert set(rows(config, embed | {HEAD: stored(9, 4)})) == {*embed, HEAD}


@pytest.mark.parametrize("shared", [{HEAD: EMBED}, {EMBED: HEAD}])
@pytest.mark.parametrize("config", [TIED, {"model_type": "llama"}, {"model_type": "martian"}, None])
def test_shared_bytes_stay_with_the_embedding(config: dict[str, Any] | None, shared: dict) -> None:
    resolution = resolve(config, {EMBED: stored(9, 4), HEAD: stored(9, 4)}, shared)
    parts = {part.info.name: part for part in resolution.parts}
    assert {name: part.info.tied_to for name, part in parts.items()} == {EMBED: None, HEAD: EMBED}
    assert sum(part.info.elements for part in resolution.parts) == 36
    assert parts[HEAD].info.status == "skipped"
    assert parts[HEAD].untied is None  # the file has no values of its own to compare


def test_shared_bytes_without_an_embedding_stay_with_the_target() -> None:
    up, gate, down = (f"model.layers.0.mlp.{name}_proj.weight" for name in ("up", "gate", "down"))
    tensors = {up: stored(4, 4), gate: stored(4, 4), down: stored(4, 4)}
    found = rows({"model_type": "llama"}, tensors, {gate: up, down: gate})
    assert {name: row.tied_to for name, row in found.items()} == {up: None, gate: up, down: up}


def test_shared_fused_tensors_are_tied_part_by_part() -> None:
    names = [f"transformer.h.{layer}.attn.c_attn.weight" for layer in (0, 1)]
    found = rows({"model_type": "gpt2"}, {name: stored(4, 12) for name in names}, {names[1]: names[0]})
    assert found[f"{names[1]}#key"].tied_to == f"{names[0]}#key"
    assert sum(row.elements for row in found.values()) == 48
