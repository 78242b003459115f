"""Fused tensors fall into the right parts, data files are read strictly, guesses are marked."""

from __future__ import annotations

import numpy as np
import pytest

from lmscope.architectures import ROLES, StoredTensor, load_architecture, registered, resolve
from lmscope.architectures.cut import Cut
from lmscope.architectures.data_files import parse_architecture
from lmscope.architectures.guess import guess_expert, guess_layer, guess_role
from lmscope.architectures.resolve import natural_key, parts_of


def stored(*shape: int, dtype: str = "float32") -> StoredTensor:
    return StoredTensor(dtype, shape, int(np.prod(shape)) * 4)


FUSED = """
[tensors]
"h.{layer}.attn.c_attn.weight" = { parts = ["query", "key", "value"], transposed = true }
"layers.{layer}.qkv.weight" = { parts = ["query", "key", "value"], groups = "num_attention_heads" }
"layers.{layer}.experts.{expert}.w.weight" = { parts = ["gate", "up"] }
"""
ROWS = ["query", "key", "value"]


def split(name: str, tensor: StoredTensor) -> list:
    architecture = parse_architecture("fused", FUSED)
    return list(parts_of(name, tensor, architecture, {"num_attention_heads": 4}))


def test_contiguous_transposed() -> None:
    """GPT-2's Conv1D: in x (3 out)."""
    weights = {role: np.random.default_rng(i).normal(size=(6, 5)) for i, role in enumerate(ROWS)}
    fused = np.concatenate([weights[role].T for role in ROWS], axis=1)
    parts = split("h.11.attn.c_attn.weight", stored(*fused.shape))
    assert [part.info.name for part in parts] == [f"h.11.attn.c_attn.weight#{role}" for role in ROWS]
    for part in parts:
        info = part.info
        assert (info.layer, info.shape, info.stored_shape) == (11, (6, 5), (5, 18))
        view = part.cut.apply(fused)
        np.testing.assert_array_equal(view, weights[info.role])
        assert np.shares_memory(view, fused)
    assert sum(part.info.elements for part in parts) == fused.size
    assert sum(part.info.nbytes for part in parts) == stored(*fused.shape).nbytes


def test_interleaved_by_head() -> None:
    """GPT-NeoX: heads x (query, key, value) x head size."""
    heads, head_size, inputs = 4, 2, 5
    weights = {role: np.random.default_rng(i).normal(size=(8, inputs)) for i, role in enumerate(ROWS)}
    by_head = [weights[role].reshape(heads, head_size, inputs) for role in ROWS]
    fused = np.stack(by_head, axis=1).reshape(-1, inputs)
    for part in split("layers.0.qkv.weight", stored(*fused.shape)):
        assert part.info.shape == (8, inputs)
        np.testing.assert_array_equal(part.cut.apply(fused), weights[part.info.role])


def test_expert_number() -> None:
    gate, up = (part.info for part in split("layers.3.experts.17.w.weight", stored(6, 4)))
    assert (gate.role, gate.layer, gate.expert, gate.shape) == ("gate", 3, 17, (3, 4))
    assert (up.role, up.layer, up.expert, up.shape) == ("up", 3, 17, (3, 4))


@pytest.mark.parametrize("shape", [(10, 5), (24,), (12, 2, 5)])
def test_misfit_is_refused_whole_with_its_reason(shape: tuple[int, ...]) -> None:
    (part,) = split("layers.0.qkv.weight", stored(*shape))
    assert (part.info.status, part.info.shape, part.cut) == ("refused", shape, Cut())
    assert "3 fused parts in num_attention_heads = 4 groups" in part.info.reason


def test_unknown_number_of_groups_is_refused() -> None:
    architecture = parse_architecture("fused", FUSED)
    (part,) = parts_of("layers.0.qkv.weight", stored(24, 5), architecture, {})
    assert part.info.status == "refused"


@pytest.mark.parametrize(
    "text",
    [
        '[tensors]\n"w" = "quary"',
        '[tensors]\n"w" = { parts = ["query"], transpose = true }',
        '[tensors]\n"w" = { parts = [] }',
        'prefix = "model."\n[tensors]\n"w" = "query"',
    ],
)
def test_data_files_are_read_strictly(text: str) -> None:
    with pytest.raises(ValueError, match=r"odd.toml"):
        parse_architecture("odd", text)


def test_registered_data_files_parse() -> None:
    assert set(registered()) >= {"bert", "llama"}
    for model_type in registered():
        assert {role for rule in load_architecture(model_type).rules for role in rule.roles} <= set(ROLES)
    with pytest.raises(KeyError):
        load_architecture("no such type")


GUESSES = {
    "transformer.h.3.attn.c_proj.weight": "attention_output",
    "transformer.h.3.mlp.c_fc.weight": "up",
    "transformer.h.3.mlp.c_proj.weight": "down",
    "transformer.wte.weight": "token_embedding",
    "transformer.wpe.weight": "position_embedding",
    "decoder.layers.3.self_attn.out_proj.weight": "attention_output",
    "layer.3.attention.q_lin.weight": "query",
    "layers.3.mlp.gate.weight": "router",
    "layers.3.mlp.experts.5.gate_proj.weight": "gate",
    "layers.3.attention.query_key_value.weight": "other",
    "monkey.weight": "other",
    "embed_out.weight": "unembedding",
}


@pytest.mark.parametrize(("name", "role"), GUESSES.items())
def test_guessed_matrix(name: str, role: str) -> None:
    assert guess_role(name, (4, 4)) == role
    assert guess_layer(name) == (3 if ".3." in name else None)
    assert guess_expert(name) == (5 if "experts.5" in name else None)


@pytest.mark.parametrize(
    ("name", "role"),
    {"ln_1.weight": "norm", "q_proj.bias": "bias", "norm.beta": "bias", "mystery": "other"}.items(),
)
def test_guessed_vector(name: str, role: str) -> None:
    assert guess_role(name, (4,)) == role


def test_unknown_model_type_loses_nothing() -> None:
    tensors = {name: stored(4, 4) for name in GUESSES} | {"ln.weight": stored(4)}
    resolution = resolve({"model_type": "martian"}, tensors)
    assert {part.info.name for part in resolution.parts} == set(tensors)
    assert all("guessed" in part.info.reason for part in resolution.parts)
    assert {part.info.name for part in resolution.parts if part.info.status == "planned"} == set(GUESSES)
    (warning,) = resolution.warnings
    assert warning == "model type 'martian' is not known: all roles are guessed from names and shapes"


def test_unknown_name_in_a_known_type_is_marked() -> None:
    tensors = {
        "model.embed_tokens.weight": stored(9, 4),
        "model.layers.0.self_attn.extra.weight": stored(4, 4),
    }
    known, extra = sorted((part.info for part in resolve({"model_type": "llama"}, tensors).parts), key=str)
    assert (known.role, known.reason) == ("token_embedding", "")
    assert (extra.status, extra.layer, extra.reason) == ("planned", 0, "role guessed from the name")
    (warning,) = resolve({"model_type": "llama"}, tensors).warnings
    assert warning.startswith("1 of 2 tensors are unknown to llama")


def test_natural_key_survives_odd_numbers() -> None:
    names = ["a.10", "a.9", "a.²", "a." + "1" * 5000, "a", "10", ""]
    assert sorted(names, key=natural_key)[:4] == ["", "10", "a", "a.9"]
    assert guess_layer("a." + "1" * 5000 + ".b") is None
