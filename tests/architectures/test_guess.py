"""Unknown model types: likely roles, none that is wrong, every guess marked, nothing lost."""

from __future__ import annotations

from typing import Any

import pytest

from lmscope.architectures import TensorInfo, resolve
from lmscope.architectures.guess import guess_expert, guess_layer, guess_role
from lmscope.architectures.parts import GUESSED

from .headers import stored

LAYER, ROW = "model.layers.3.", (8, 4)
# By family, as transformers or the authors name them; what a name does not settle is "other".
GUESSES: dict[str, dict[str, str]] = {
    "gpt_neo": {
        "transformer.h.3.attn.attention.q_proj.weight": "query",
        "transformer.h.3.attn.attention.out_proj.weight": "attention_output",
        "transformer.h.3.mlp.c_fc.weight": "up",
        "transformer.h.3.mlp.c_proj.weight": "down",
        "transformer.wpe.weight": "position_embedding",
    },
    "gptj": {
        "transformer.h.3.attn.v_proj.weight": "value",
        "transformer.h.3.mlp.fc_in.weight": "up",
        "transformer.h.3.mlp.fc_out.weight": "down",
    },
    "falcon, bloom": {
        "transformer.h.3.self_attention.query_key_value.weight": "other",
        "transformer.h.3.self_attention.dense.weight": "attention_output",
        "transformer.h.3.mlp.dense_h_to_4h.weight": "up",
        "transformer.word_embeddings.weight": "token_embedding",
    },
    "mpt": {
        "transformer.blocks.3.attn.Wqkv.weight": "other",
        "transformer.blocks.3.attn.out_proj.weight": "attention_output",
        "transformer.blocks.3.ffn.up_proj.weight": "up",
    },
    "t5": {
        "shared.weight": "token_embedding",
        "encoder.block.3.layer.0.SelfAttention.q.weight": "query",
        "encoder.block.3.layer.0.SelfAttention.o.weight": "attention_output",
        "encoder.block.3.layer.0.SelfAttention.relative_attention_bias.weight": "other",
        "decoder.block.3.layer.1.EncDecAttention.k.weight": "key",
        "encoder.block.3.layer.1.DenseReluDense.wi_0.weight": "gate",
        "encoder.block.3.layer.1.DenseReluDense.wi_1.weight": "up",
        "encoder.block.3.layer.1.DenseReluDense.wo.weight": "down",
    },
    "phi": {
        LAYER + "self_attn.dense.weight": "attention_output",
        LAYER + "mlp.fc1.weight": "up",
        LAYER + "mlp.fc2.weight": "down",
    },
    "starcoder2": {LAYER + "mlp.c_fc.weight": "up", LAYER + "mlp.c_proj.weight": "down"},
    "stablelm, cohere, granite": {
        LAYER + "self_attn.k_proj.weight": "key",
        LAYER + "self_attn.o_proj.weight": "attention_output",
        LAYER + "mlp.gate_proj.weight": "gate",
    },
    "mamba": {
        "backbone.embeddings.weight": "token_embedding",
        "backbone.layers.3.mixer.in_proj.weight": "other",
        "backbone.layers.3.mixer.out_proj.weight": "other",
        "backbone.layers.3.mixer.A_log": "other",
    },
    "qwen2_moe": {
        LAYER + "mlp.experts.5.gate_proj.weight": "gate",
        LAYER + "mlp.shared_expert.down_proj.weight": "down",
        LAYER + "mlp.shared_expert_gate.weight": "other",
    },
    "qwen3_next": {
        LAYER + "linear_attn.in_proj_qkvz.weight": "other",
        LAYER + "linear_attn.out_proj.weight": "attention_output",
    },
    "llama4": {LAYER + "feed_forward.shared_expert.up_proj.weight": "up"},
    "meta": {
        "layers.3.attention.wo.weight": "attention_output",
        "layers.3.feed_forward.w1.weight": "gate",
        "layers.3.feed_forward.w2.weight": "down",
        "output.weight": "unembedding",
    },
    "qwen": {"transformer.h.3.mlp.w1.weight": "other", "transformer.h.3.mlp.w2.weight": "other"},
    "dbrx": {"transformer.blocks.3.ffn.experts.mlp.w1": "other"},
    "bart": {
        "model.decoder.layers.3.encoder_attn.out_proj.weight": "attention_output",
        "model.shared.weight": "token_embedding",
    },
    "rwkv": {
        "rwkv.blocks.3.feed_forward.key.weight": "other",
        "rwkv.blocks.3.feed_forward.value.weight": "other",
    },
    "encoders": {
        "encoder.layer.3.crossattention.output.dense.weight": "attention_output",
        "encoder.layer.3.output.dense.weight": "down",
        "layer.3.attention.q_lin.weight": "query",
        "lm_head.dense.weight": "other",
        "classifier.dense.weight": "other",
    },
    "granitemoe": {
        LAYER + "shared_mlp.input_linear.weight": "other",
        LAYER + "shared_mlp.output_linear.weight": "down",
    },
    "albert": {
        "albert.encoder.albert_layer_groups.3.albert_layers.0.ffn.weight": "up",
        "albert.encoder.albert_layer_groups.3.albert_layers.0.ffn_output.weight": "down",
        "albert.encoder.albert_layer_groups.3.albert_layers.0.attention.dense.weight": "attention_output",
    },
    "weight norm": {
        LAYER + "self_attn.q_proj.parametrizations.weight.original0": "other",
        LAYER + "self_attn.q_proj.parametrizations.weight.original1": "other",
        LAYER + "self_attn.q_proj.weight_v": "other",
    },
    "adapters": {"base_model.model." + LAYER + "self_attn.q_proj.lora_A.weight": "other"},
    "no family": {"monkey.weight": "other", "embed_out.weight": "unembedding"},
}
NAMES = {name: role for family in GUESSES.values() for name, role in family.items()}


@pytest.mark.parametrize(("name", "role"), NAMES.items())
def test_guessed_matrix(name: str, role: str) -> None:
    assert guess_role(name, ROW) == role
    assert guess_layer(name) == (3 if ".3." in name else None)
    assert guess_expert(name) == (5 if "experts.5" in name else None)


@pytest.mark.parametrize(
    ("name", "shape", "role"),
    [
        ("ln_1.weight", (4,), "norm"),
        ("q_proj.bias", (4,), "bias"),
        ("norm.beta", (4,), "bias"),
        ("mystery", (4,), "other"),
        ("transformer.h.0.attn.attention.bias", (1, 1, 8, 8), "buffer"),
        ("transformer.h.0.attn.masked_bias", (), "buffer"),
        ("layers.3.mlp.gate.weight", (4, 8), "router"),
        ("layers.3.mlp.gate.weight", (8, 4), "other"),
        ("mlp.experts.gate_up_proj_bias", (4, 8), "bias"),
    ],
)
def test_guess_by_shape(name: str, shape: tuple[int, ...], role: str) -> None:
    assert guess_role(name, shape) == role


def guessed(tensors: dict[str, Any], **config: Any) -> dict[str, TensorInfo]:
    resolution = resolve({"model_type": "martian", **config}, tensors)
    assert all(GUESSED in part.info.reason for part in resolution.parts)
    assert resolution.warnings == (
        "model type 'martian' is not known: all roles are guessed from names and shapes",
    )
    return {part.info.name: part.info for part in resolution.parts}


def test_unknown_model_type_loses_nothing() -> None:
    tensors = {name: stored(*ROW) for name in NAMES} | {
        "ln.weight": stored(4),
        "conv.weight": stored(4, 1, 3),
    }
    rows = guessed(tensors)
    assert set(rows) == set(tensors)
    assert {name for name, row in rows.items() if row.status == "planned"} == set(NAMES)
    assert (rows["ln.weight"].status, rows["conv.weight"].status) == ("skipped", "refused")
    assert "3 dimensions" in rows["conv.weight"].reason


@pytest.mark.parametrize(
    ("hidden", "shape", "role", "out_by_in", "remark"),
    [
        (4, (3, 4, 10), "other", (10, 4), "stored in x out"),  # gpt_oss, llama4
        (4, (3, 10, 4), "other", (10, 4), "one of packed experts"),
        (4, (3, 4, 4), "other", (4, 4), "which dimension is the output is not known"),
        (None, (3, 10, 4), "other", (10, 4), "which dimension is the output is not known"),
    ],
)
def test_packed_experts(hidden: int | None, shape: Any, role: str, out_by_in: Any, remark: str) -> None:
    rows = guessed({LAYER + "mlp.experts.gate_up_proj": stored(*shape)}, hidden_size=hidden)
    assert list(rows) == [f"{LAYER}mlp.experts.gate_up_proj#expert{expert}" for expert in range(3)]
    for expert, row in enumerate(rows.values()):
        assert (row.role, row.layer, row.expert, row.shape) == (role, 3, expert, out_by_in)
        assert row.status == "planned"
        assert "gate and up stay together" in row.reason
        assert remark in row.reason
    down = guessed({"mlp.experts.down_proj": stored(2, 4, 10)}, hidden_size=4)
    assert {(row.role, row.shape) for row in down.values()} == {("down", (4, 10))}


def test_packed_down_matrices_of_granitemoe_are_not_turned() -> None:
    module = "model.layers.0.block_sparse_moe."
    tensors = {
        module + "input_linear.weight": stored(2, 20, 4),
        module + "output_linear.weight": stored(2, 4, 10),
    }
    rows = guessed(tensors, hidden_size=4)
    assert {(row.role, row.shape) for row in rows.values()} == {("other", (20, 4)), ("down", (4, 10))}


def test_packed_experts_of_an_unknown_text_model_are_turned_by_its_sizes() -> None:
    text = {"model_type": "llama4_text", "hidden_size": 4}
    rows = guessed({"language_model.layers.0.experts.down_proj": stored(2, 10, 4)}, text_config=text)
    assert {row.shape for row in rows.values()} == {(4, 10)}


def test_biases_of_packed_experts_are_no_matrices() -> None:
    row = guessed({"mlp.experts.gate_up_proj_bias": stored(3, 10)})["mlp.experts.gate_up_proj_bias"]
    assert (row.role, row.status) == ("bias", "skipped")


@pytest.mark.parametrize(("inner", "config"), [(10, {"n_embd": 4, "n_inner": 10}), (16, {"n_embd": 4})])
def test_an_mlp_stored_in_x_out_is_turned(inner: int, config: dict[str, int]) -> None:
    up, down = "h.0.mlp.c_fc.weight", "h.0.mlp.c_proj.weight"
    turned = guessed({up: stored(4, inner), down: stored(inner, 4)}, **config)
    assert {row.role: row.shape for row in turned.values()} == {"up": (inner, 4), "down": (4, inner)}
    assert all("stored in x out" in row.reason for row in turned.values())
    straight = guessed({up: stored(inner, 4), down: stored(4, inner)}, **config)
    assert {row.role: row.shape for row in straight.values()} == {"up": (inner, 4), "down": (4, inner)}
    assert all(row.reason == GUESSED for row in straight.values())


def test_a_vision_tower_is_not_turned_by_the_text_model_s_sizes() -> None:
    """LLaVA's CLIP has as many inner dimensions as its Llama has hidden ones."""
    sizes = {"hidden_size": 16, "intermediate_size": 44}
    name = "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight"
    row = guessed({name: stored(16, 4)}, text_config=sizes)[name]
    assert (row.role, row.shape) == ("up", (16, 4))


def test_a_query_that_holds_a_gate_is_no_query() -> None:
    """Qwen3-Next fuses an output gate into q_proj."""
    name = LAYER + "self_attn.q_proj.weight"
    output = {LAYER + "self_attn.o_proj.weight": stored(4, 6)}
    assert guessed({name: stored(6, 4), **output})[name].role == "query"
    row = guessed({name: stored(12, 4), **output})[name]
    assert row.role == "other"
    assert "twice as many outputs" in row.reason


def test_unknown_name_in_a_known_type_is_marked() -> None:
    tensors = {
        "model.embed_tokens.weight": stored(9, 4),
        "model.layers.0.self_attn.extra.weight": stored(4, 4),
    }
    resolution = resolve({"model_type": "llama"}, tensors)
    known, extra = (part.info for part in resolution.parts)
    assert (known.role, known.reason) == ("token_embedding", "")
    assert (extra.status, extra.layer, extra.reason) == ("planned", 0, GUESSED)
    (warning,) = resolution.warnings
    assert warning.startswith("1 of 2 tensors are unknown to llama")


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model."])
def test_text_model_inside_an_unknown_model(prefix: str) -> None:
    config = {
        "model_type": "martian_vision",
        "architectures": ["MartianForConditionalGeneration"],
        "text_config": {"model_type": "gemma3_text", "hidden_size": 4},
    }
    tensors = {
        prefix + "embed_tokens.weight": stored(9, 4),
        prefix + "layers.0.self_attn.q_proj.weight": stored(6, 4),
        "vision_tower.encoder.layers.0.self_attn.q_proj.weight": stored(5, 5),
    }
    resolution = resolve(config, tensors)
    rows = {part.info.name: part.info for part in resolution.parts}
    assert rows[prefix + "layers.0.self_attn.q_proj.weight"].reason == ""
    assert rows["lm_head.weight"].tied_to == prefix + "embed_tokens.weight"
    assert GUESSED in rows["vision_tower.encoder.layers.0.self_attn.q_proj.weight"].reason
    (warning,) = resolution.warnings
    assert warning.startswith("1 of 3 tensors are unknown to gemma3_text")


def test_text_model_of_other_names_is_guessed() -> None:
    config = {"model_type": "martian", "text_config": {"model_type": "gpt2", "n_embd": 4}}
    resolution = resolve(config, {"decoder.q_proj.weight": stored(4, 4)})
    assert resolution.warnings[0].startswith("model type 'martian' is not known")


def test_layer_numbers_beyond_reason_are_none() -> None:
    assert guess_layer("a." + "1" * 5000 + ".b") is None
