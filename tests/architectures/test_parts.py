"""Stored tensors fall into the right rows, or are refused whole with the reason; nothing is lost."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lmscope.architectures import Part, StoredTensor, TensorInfo, resolve
from lmscope.architectures.cut import Cut
from lmscope.architectures.data_files import parse_architecture
from lmscope.architectures.parts import PartFinder
from lmscope.architectures.resolve import natural_key

from .headers import stored

HEADS = {"num_attention_heads": 4}
FUSED = """
[tensors]
"h.{layer}.attn.c_attn.weight" = { parts = ["query", "key", "value"], transposed = true }
"h.{layer}.mlp.c_fc.weight" = { parts = ["up"], transposed = true, inputs = "width" }
"layers.{layer}.qkv.weight" = { parts = ["query", "key", "value"], groups = "num_attention_heads" }
"layers.{layer}.kv.weight" = { parts = { latent = "other", rotary = "key" }, sizes = ["rank", "2"] }
"layers.{layer}.experts.{expert}.w.weight" = { parts = ["gate", "up"] }
"layers.{layer}.experts.gate_up" = { parts = ["gate", "up"], packed = { inputs = "width" } }
"layers.{layer}.experts.down" = { parts = ["down"], packed = { outputs = "width" } }
"""


def cut(name: str, tensor: StoredTensor, config: dict[str, Any]) -> list[Part]:
    return list(PartFinder(parse_architecture("fused", FUSED), config, {name: tensor}).rows(name, tensor))


def split(name: str, tensor: StoredTensor, **config: Any) -> list[TensorInfo]:
    return [part.info for part in cut(name, tensor, config)]


def test_rows_of_a_fused_tensor() -> None:
    name = "h.11.attn.c_attn.weight"
    rows = split(name, stored(5, 18))
    assert [row.name for row in rows] == [f"{name}#query", f"{name}#key", f"{name}#value"]
    assert {(row.layer, row.shape, row.stored_name, row.stored_shape) for row in rows} == {
        (11, (6, 5), name, (5, 18))
    }
    assert sum(row.elements for row in rows) == 90
    assert sum(row.nbytes for row in rows) == 360


def test_labels_other_than_roles() -> None:
    latent, rotary = split("layers.0.kv.weight", stored(8, 5), rank=6)
    assert (latent.name, latent.role, latent.shape) == ("layers.0.kv.weight#latent", "other", (6, 5))
    assert (rotary.name, rotary.role, rotary.shape) == ("layers.0.kv.weight#rotary", "key", (2, 5))


def test_expert_number() -> None:
    gate, up = split("layers.3.experts.17.w.weight", stored(6, 4))
    assert (gate.role, gate.layer, gate.expert, gate.shape) == ("gate", 3, 17, (3, 4))
    assert (up.role, up.layer, up.expert, up.shape) == ("up", 3, 17, (3, 4))


def test_rows_of_packed_experts() -> None:
    rows = split("layers.3.experts.gate_up", stored(2, 6, 4), width=4)
    names = ["expert0.gate", "expert0.up", "expert1.gate", "expert1.up"]
    assert [row.name.partition("#")[2] for row in rows] == names
    assert [(row.role, row.expert, row.shape) for row in rows[2:]] == [("gate", 1, (3, 4)), ("up", 1, (3, 4))]
    rows = split("layers.3.experts.down", stored(2, 4, 3), width=4)
    assert [row.name for row in rows] == [f"layers.3.experts.down#expert{i}" for i in range(2)]


@pytest.mark.parametrize(
    ("tensor", "shape", "transposed"),
    [
        ("gate_up", (2, 6, 4), False),
        ("gate_up", (2, 4, 6), True),
        ("gate_up", (2, 4, 4), False),
        ("down", (2, 4, 3), False),
        ("down", (2, 3, 4), True),
        ("down", (2, 4, 4), False),
    ],
)
def test_orientation_of_packed_experts(tensor: str, shape: tuple[int, ...], transposed: bool) -> None:
    """By the config's hidden size; where both sizes are that, as transformers writes it now."""
    parts = cut(f"layers.0.experts.{tensor}", stored(*shape), {"width": 4})
    assert {part.cut.transposed for part in parts} == {transposed}
    hidden_axis = 1 if tensor == "gate_up" else 0
    assert {part.info.shape[hidden_axis] for part in parts} == {4}


@pytest.mark.parametrize(
    ("name", "shape", "config", "reason"),
    [
        ("layers.0.qkv.weight", (10, 5), HEADS, "query, key, value with num_attention_heads = 4"),
        ("layers.0.qkv.weight", (24,), HEADS, "shape [24] does not hold"),
        ("layers.0.qkv.weight", (12, 2, 5), HEADS, "shape [12, 2, 5] does not hold"),
        ("layers.0.qkv.weight", (24, 5), {}, "with no num_attention_heads"),
        ("layers.0.qkv.weight", (24, 5), {"num_attention_heads": "many"}, "num_attention_heads = 'many'"),
        ("layers.0.qkv.weight", (24, 5), {"num_attention_heads": -1}, "num_attention_heads = -1"),
        ("layers.0.qkv.weight", (24, 5), {"num_attention_heads": 0}, "num_attention_heads = 0"),
        ("layers.0.qkv.weight", (24, 5), {"num_attention_heads": 10**300}, "num_attention_heads = 1000"),
        ("layers.0.qkv.weight", (24, 5), {"num_attention_heads": [{"a": 1}]}, "num_attention_heads = [{"),
        ("layers.0.kv.weight", (8, 5), {"rank": 7}, "latent, rotary with rank = 7"),
        ("layers.0.experts.gate_up", (2, 6, 4), {"width": 5}, "gate, up for each expert with width = 5"),
        ("layers.0.experts.gate_up", (2, 5, 4), {"width": 4}, "does not hold gate, up for each expert"),
        ("layers.0.experts.down", (6, 4), {"width": 4}, "does not hold down for each expert"),
        ("layers.0.qkv.weight", (10, 5), HEADS, "expected [a multiple of 12, inputs]"),
        ("layers.0.kv.weight", (8, 5), {"rank": 7}, "expected [9, inputs]"),
        (
            "h.0.mlp.c_fc.weight",
            (16, 4),
            {"width": 4},
            "[16, 4] does not hold up with width = 4; expected [4, outputs]",
        ),
        ("h.0.mlp.c_fc.weight", (4,), {"width": 4}, "expected [4, outputs]"),
        (
            "layers.0.experts.gate_up",
            (2, 6, 4),
            {"width": 5},
            "expected [experts, a multiple of 2, 5] or [experts, 5, a multiple of 2]",
        ),
    ],
)
def test_misfit_is_refused_whole_with_its_reason(
    name: str, shape: tuple[int, ...], config: dict[str, Any], reason: str
) -> None:
    (part,) = cut(name, stored(*shape), config)
    assert (part.info.name, part.info.status, part.info.shape) == (name, "refused", shape)
    assert part.cut == Cut()
    assert reason in part.info.reason
    assert len(part.info.reason) < 200


PACKED = "model.layers.0.mlp.experts.gate_up_proj"


@pytest.mark.parametrize("model_type", ["qwen3_moe", "martian"])
@pytest.mark.parametrize(
    ("shape", "status", "reason"),
    [
        ((0, 6, 4), "skipped", "no elements"),
        ((2**40, 0, 4), "skipped", "no elements"),
        ((2, 6, 0), "skipped", "no elements"),
        ((2**14, 0, 4), "skipped", "no elements"),
        ((2**15, 2, 4), "refused", ""),
    ],
)
def test_packed_experts_of_absurd_numbers_are_one_row(
    model_type: str, shape: tuple[int, ...], status: str, reason: str
) -> None:
    tensors = {"model.embed_tokens.weight": stored(9, 4), PACKED: stored(*shape)}
    parts = resolve({"model_type": model_type, "hidden_size": 4}, tensors).parts
    rows = [part.info for part in parts if part.info.stored_name == PACKED]
    assert {row.status for row in rows} == {status}
    assert len(rows) == 1
    assert all(reason in row.reason for row in rows)
    assert sum(row.elements for row in rows) == rows[0].stored_shape[0] * shape[1] * shape[2]


@pytest.mark.parametrize("model_type", ["qwen3_moe", "martian"])
def test_experts_that_the_file_has_no_bytes_for_are_one_row(model_type: str) -> None:
    """As an expanded view, or codes of less than a byte: the header claims what the file does not hold."""
    tensors = {"model.embed_tokens.weight": stored(9, 4), PACKED: StoredTensor("float32", (2**10, 2, 4), 32)}
    parts = resolve({"model_type": model_type, "hidden_size": 4}, tensors).parts
    (row,) = (part.info for part in parts if part.info.stored_name == PACKED)
    assert row.status == "refused"


MOE = "model.layers.0.mlp.experts."


@pytest.mark.parametrize("model_type", ["qwen3_moe", "martian"])
@pytest.mark.parametrize(
    ("gate_up", "down", "turned"),
    [
        ((2, 8, 8), (2, 8, 4), False),  # hidden = 2 x intermediate
        ((2, 8, 8), (2, 4, 8), True),
        ((2, 16, 8), (2, 8, 8), False),  # hidden = intermediate
        ((2, 8, 16), (2, 8, 8), True),
    ],
)
def test_square_packed_experts_lie_as_the_matrices_beside_them(
    model_type: str, gate_up: tuple[int, ...], down: tuple[int, ...], turned: bool
) -> None:
    tensors = {
        "model.embed_tokens.weight": stored(9, 8),
        MOE + "gate_up_proj": stored(*gate_up),
        MOE + "down_proj": stored(*down),
    }
    parts = resolve({"model_type": model_type, "hidden_size": 8}, tensors).parts
    packed = [part for part in parts if part.cut.expert is not None]
    assert {part.cut.transposed for part in packed} == {turned}
    assert not any("square" in part.info.reason or "which dimension" in part.info.reason for part in packed)


def test_square_packed_experts_with_nothing_beside_them_say_so() -> None:
    tensors = {"model.embed_tokens.weight": stored(9, 8), MOE + "gate_up_proj": stored(2, 8, 8)}
    parts = resolve({"model_type": "qwen3_moe", "hidden_size": 8}, tensors).parts
    assert [part.info.reason.partition(":")[0] for part in parts[1:]] == ["packed matrices are square"] * 4


def test_a_part_never_takes_the_name_of_another_tensor() -> None:
    name = "h.0.attn.c_attn.weight"
    tensors = {name: stored(4, 12), f"{name}#key": stored(3, 3)}
    resolution = resolve({"model_type": "gpt2"}, tensors)
    rows = {part.info.name: part.info for part in resolution.parts}
    assert set(rows) == set(tensors)
    assert (rows[name].status, rows[name].layer) == ("refused", 0)
    assert rows[name].reason == f"another tensor has the name of its part {name}#key"


def test_multi_token_prediction_layers_of_deepseek() -> None:
    names = {
        "embed_tokens.weight": "token_embedding",
        "eh_proj.weight": "other",
        "shared_head.head.weight": "unembedding",
        "self_attn.q_b_proj.weight": "query",
        "mlp.experts.3.down_proj.weight": "down",
        "mlp.shared_experts.up_proj.weight": "up",
    }
    norms = ["enorm.weight", "hnorm.weight", "shared_head.norm.weight"]
    tensors = {f"model.layers.61.{name}": stored(4, 4) for name in names}
    tensors |= {f"model.layers.61.{name}": stored(4) for name in norms}
    resolution = resolve({"model_type": "deepseek_v3", "hidden_size": 4}, tensors)
    rows = {part.info.name.removeprefix("model.layers.61."): part.info for part in resolution.parts}
    assert resolution.warnings == ()
    assert {name: row.role for name, row in rows.items()} == names | dict.fromkeys(norms, "norm")
    assert {row.layer for row in rows.values()} == {61}
    assert rows["mlp.experts.3.down_proj.weight"].expert == 3


@pytest.mark.parametrize(
    ("model_type", "name", "shape"),
    [
        ("gpt2", "h.0.attn.bias", (1, 1, 8, 8)),
        ("gpt2", "transformer.h.0.attn.masked_bias", ()),
        ("gpt_neox", "gpt_neox.layers.0.attention.bias", (1, 1, 8, 8)),
        ("gpt_neox", "gpt_neox.layers.0.attention.masked_bias", ()),
        ("gpt_neox", "gpt_neox.layers.0.attention.rotary_emb.inv_freq", (8,)),
        ("mistral", "model.layers.0.self_attn.rotary_emb.inv_freq", (8,)),
        ("roberta", "roberta.embeddings.position_ids", (1, 8)),
        ("distilbert", "distilbert.embeddings.position_ids", (1, 8)),
    ],
)
def test_old_buffers_are_skipped(model_type: str, name: str, shape: tuple[int, ...]) -> None:
    tensors = {name: stored(*shape)}
    tensors |= {"embed_in.weight" if model_type == "gpt_neox" else "wte.weight": stored(9, 4)}
    tensors |= {"embed_tokens.weight": stored(9, 4), "embeddings.word_embeddings.weight": stored(9, 4)}
    rows = {part.info.name: part.info for part in resolve({"model_type": model_type}, tensors).parts}
    assert (rows[name].role, rows[name].status, rows[name].reason) == (
        "buffer",
        "skipped",
        "buffer: not a weight",
    )


def test_a_hundred_packed_layers_resolve_fast() -> None:
    """94 layers of 128 experts; the bound is ten times what it takes, not a benchmark."""
    experts, hidden, inner = 128, 64, 24
    tensors = {"model.embed_tokens.weight": stored(9, hidden)}
    for layer in range(94):
        tensors[f"model.layers.{layer}.mlp.experts.gate_up_proj"] = stored(experts, 2 * inner, hidden)
        tensors[f"model.layers.{layer}.mlp.experts.down_proj"] = stored(experts, hidden, inner)
    start = time.process_time()
    parts = resolve({"model_type": "qwen3_moe", "hidden_size": hidden}, tensors).parts
    assert time.process_time() - start < 5
    assert len(parts) == 1 + 94 * 128 * 3
    assert sum(part.info.elements for part in parts) == 9 * hidden + 94 * experts * 3 * inner * hidden


def test_natural_key_survives_odd_numbers() -> None:
    names = ["a.10", "a.9", "a.²", "a." + "1" * 5000, "a", "10", ""]
    assert sorted(names, key=natural_key)[:4] == ["", "10", "a", "a.9"]
