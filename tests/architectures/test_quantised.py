"""Codes and scales of every known layout are refused by name; plain numbers beside them are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lmscope.architectures import StoredTensor, TensorInfo, resolve

Layout = dict[str, tuple[str, tuple[int, ...]]]

Q = "model.layers.0.self_attn.q_proj"
EXPERTS = "model.layers.0.mlp.experts"
PLAIN: Layout = {
    "model.norm.weight": ("bfloat16", (64,)),
    "model.embed_tokens.weight": ("bfloat16", (128, 64)),
    f"{Q}.bias": ("bfloat16", (64,)),
}


def of(module: str, **leaves: tuple[str, tuple[int, ...]]) -> Layout:
    return {f"{module}.{leaf.replace('__', '.', 1)}": stored for leaf, stored in leaves.items()}


GPTQ = of(
    Q,
    qweight=("int32", (8, 64)),
    qzeros=("int32", (1, 8)),
    scales=("float16", (1, 64)),
    g_idx=("int32", (64,)),
)
AWQ = of(Q, qweight=("int32", (64, 8)), qzeros=("int32", (1, 8)), scales=("float16", (1, 64)))
NF4 = of(
    Q,
    weight=("uint8", (2048, 1)),
    weight__absmax=("uint8", (64,)),
    weight__quant_map=("float32", (16,)),
    weight__nested_absmax=("float32", (1,)),
    weight__nested_quant_map=("float32", (256,)),
) | {f"{Q}.weight.quant_state.bitsandbytes__nf4": ("uint8", (90,))}
PACKED = of(
    Q,
    weight_packed=("int32", (64, 8)),
    weight_scale=("bfloat16", (64, 1)),
    weight_zero_point=("int32", (8, 1)),
    weight_shape=("int64", (2,)),
)
NVFP4 = of(
    Q,
    weight_packed=("uint8", (64, 32)),
    weight_scale=("float8_e4m3fn", (64, 4)),
    weight_global_scale=("float32", (1,)),
    input_global_scale=("float32", (1,)),
)
MXFP4 = of(
    EXPERTS,
    gate_up_proj_blocks=("uint8", (4, 128, 2, 16)),
    gate_up_proj_scales=("uint8", (4, 128, 2)),
    down_proj_blocks=("uint8", (4, 64, 2, 16)),
    down_proj_scales=("uint8", (4, 64, 2)),
)
AQLM = of(
    Q, codes=("int16", (64, 8, 1)), codebooks=("float16", (1, 65536, 1, 8)), scales=("float16", (64, 1, 1, 1))
)
VPTQ = of(Q, indices=("uint16", (1, 64, 8)), centroids__weight=("float16", (1, 2048)))

# id: config entry, tensors, words in the reason of each that is refused
LAYOUTS: dict[str, tuple[dict[str, Any] | None, Layout, dict[str, str]]] = {
    "fp8 in blocks": (
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
        of(Q, weight=("float8_e4m3fn", (64, 64)), weight_scale_inv=("float32", (1, 1))),
        {
            "weight": f"(fp8): float8_e4m3fn codes that need {Q}.weight_scale_inv",
            "weight_scale_inv": "scales of",
        },
    ),
    "fp8 per channel": (
        None,
        of(
            Q,
            weight=("float8_e5m2", (64, 64)),
            weight_scale=("float32", (64, 1)),
            input_scale=("float32", ()),
        ),
        {
            "weight": f"(fp8): float8_e5m2 codes that need {Q}.weight_scale",
            "weight_scale": f"scales of the quantised {Q}.weight",
        },
    ),
    "fp8 scale_weight": (
        None,
        of(
            Q,
            weight=("float8_e4m3fn", (64, 64)),
            scale_weight=("float32", (1, 1)),
            scale_input=("float32", (1, 1)),
        ),
        {"weight": f"need {Q}.scale_weight", "scale_weight": "scales of", "scale_input": "activations"},
    ),
    "fp8 deepseek": (
        None,
        of(Q, weight=("float8_e4m3fn", (64, 64)), scale=("float8_e8m0fnu", (1, 1))),
        {"weight": f"need {Q}.scale", "scale": "scales of"},
    ),
    "fp8 alone": (None, of(Q, weight=("float8_e4m3fn", (64, 64))), {"weight": "without scales"}),
    "gptq": (
        {"quant_method": "gptq", "bits": 4},
        GPTQ,
        {"qweight": "(gptq): int32", "qzeros": "zero points of", "scales": "scales of"},
    ),
    "gptq without config": (
        None,
        GPTQ,
        {"qweight": "(gptq): int32", "qzeros": "zero points of", "scales": "scales of"},
    ),
    "awq": (
        {"quant_method": "awq"},
        AWQ,
        {"qweight": "(awq): int32", "qzeros": "zero points of", "scales": "scales of"},
    ),
    "awq without config": (
        None,
        AWQ,
        {"qweight": "(gptq or awq)", "qzeros": "zero points of", "scales": "scales of"},
    ),
    "bitsandbytes nf4": (
        {"load_in_4bit": True},
        NF4,
        {"weight": f"(bitsandbytes nf4): uint8 codes that need {Q}.weight.absmax"},
    ),
    "bitsandbytes nf4 in bfloat16": (
        None,
        NF4 | {f"{Q}.weight": ("bfloat16", (1024, 1))},
        {"weight": "(bitsandbytes nf4): bfloat16 numbers that need"},
    ),
    "bitsandbytes int8": (
        {"quant_method": "bitsandbytes", "load_in_8bit": True},
        of(Q, weight=("int8", (64, 64)), SCB=("float32", (64,)), weight_format=("uint8", ())),
        {"weight": f"(bitsandbytes 8-bit): int8 codes that need {Q}.SCB"},
    ),
    "compressed-tensors packed": (
        {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"]},
        PACKED,
        {
            "weight_packed": f"(compressed-tensors pack-quantized): int32 codes that need {Q}.weight_scale",
            "weight_scale": f"scales of the quantised {Q}.weight_packed",
            "weight_zero_point": "zero points of",
        },
    ),
    "compressed-tensors without config": (
        None,
        PACKED,
        {
            "weight_packed": "(compressed-tensors)",
            "weight_scale": "scales of",
            "weight_zero_point": "zero points of",
        },
    ),
    "compressed-tensors float": (
        {"quant_method": "compressed-tensors", "format": "float-quantized"},
        of(Q, weight=("float8_e4m3fn", (64, 64)), weight_scale=("bfloat16", (64, 1))),
        {"weight": "(compressed-tensors float-quantized)", "weight_scale": "scales of"},
    ),
    "compressed-tensors int": (
        {"quant_method": "compressed-tensors", "format": "int-quantized"},
        of(Q, weight=("int8", (64, 64)), weight_scale=("bfloat16", (64, 1)), input_scale=("bfloat16", (1,))),
        {"weight": "(compressed-tensors int-quantized): int8", "weight_scale": "scales of"},
    ),
    "compressed-tensors nvfp4": (
        None,
        NVFP4,
        {"weight_packed": "(compressed-tensors nvfp4)", "weight_scale": "scales of"},
    ),
    "nvfp4": (
        {"quant_method": "modelopt", "quant_algo": "NVFP4"},
        of(
            Q,
            weight=("uint8", (64, 32)),
            weight_scale=("float8_e4m3fn", (64, 4)),
            weight_scale_2=("float32", ()),
        ),
        {"weight": "(modelopt): uint8", "weight_scale": "scales of"},
    ),
    "not yet compressed": (
        {"quant_method": "compressed-tensors", "quantization_status": "frozen"},
        of(Q, weight=("bfloat16", (64, 64)), weight_scale=("bfloat16", (64, 1))),
        {
            "weight": f"bfloat16 numbers that need {Q}.weight_scale",
            "weight_scale": f"scales of the quantised {Q}.weight",
        },
    ),
    "mxfp4": (
        {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]},
        MXFP4 | {f"{EXPERTS}.down_proj_bias": ("bfloat16", (4, 64))},
        {
            "gate_up_proj_blocks": f"(mxfp4): uint8 codes that need {EXPERTS}.gate_up_proj_scales",
            "gate_up_proj_scales": f"scales of the quantised {EXPERTS}.gate_up_proj_blocks",
            "down_proj_blocks": f"need {EXPERTS}.down_proj_scales",
            "down_proj_scales": f"scales of the quantised {EXPERTS}.down_proj_blocks",
        },
    ),
    "fp8 packed experts": (
        {"quant_method": "fp8"},
        of(
            EXPERTS,
            gate_up_proj=("float8_e4m3fn", (4, 128, 64)),
            gate_up_proj_scale_inv=("float32", (4, 1, 1)),
        ),
        {"gate_up_proj": f"need {EXPERTS}.gate_up_proj_scale_inv", "gate_up_proj_scale_inv": "scales of"},
    ),
    "hqq": (
        {"quant_method": "hqq"},
        of(Q, W_q=("uint8", (32, 64)), scale=("float16", (64, 1)), zero=("float16", (64, 1))),
        {"W_q": "(hqq): uint8", "scale": "scales of", "zero": "zero points of"},
    ),
    "quanto": (
        {"quant_method": "quanto"},
        of(
            Q,
            weight___data=("int8", (64, 64)),
            weight___scale=("bfloat16", (64, 1)),
            input_scale=("bfloat16", ()),
        ),
        {"weight._data": "(quanto): int8", "weight._scale": "scales of"},
    ),
    "torchao": (
        {"quant_method": "torchao"},
        of(Q, _weight_qdata=("int8", (64, 64)), _weight_scale=("bfloat16", (64, 1))),
        {"_weight_qdata": "(torchao): int8", "_weight_scale": "scales of"},
    ),
    "eetq": (
        None,
        of(Q, weight=("int8", (64, 64)), weight_scales=("float16", (64,))),
        {"weight": "(eetq): int8"},
    ),
    "aqlm": (
        {"quant_method": "aqlm"},
        AQLM,
        {"codes": "(aqlm): int16", "codebooks": "code book of", "scales": "scales of"},
    ),
    "vptq": (None, VPTQ, {"indices": "(vptq): uint16", "centroids.weight": "code book of"}),
    "exl2": (
        None,
        of(Q, q_weight=("int32", (8, 64)), q_scale=("int32", (1, 8)), q_scale_max=("float16", (1,))),
        {"q_weight": "(exl2): int32", "q_scale": "scales of"},
    ),
    "mlx": (
        {"group_size": 64, "bits": 4},
        of(Q, weight=("uint32", (64, 8)), scales=("float16", (64, 1)), biases=("float16", (64, 1))),
        {"weight": "(mlx): uint32 codes", "scales": "scales of", "biases": "zero points of"},
    ),
    "marlin": (
        None,
        of(Q, B=("int32", (4, 128)), s=("float16", (1, 64)), workspace=("int32", (16,))),
        {"B": f"(marlin): int32 codes that need {Q}.s", "s": f"scales of the quantised {Q}.B"},
    ),
    "float codes": (
        None,
        of(Q, weight=("float16", (64, 64)), scales=("float16", (64, 2))),
        {"weight": f"float16 numbers that need {Q}.scales", "scales": f"scales of the quantised {Q}.weight"},
    ),
    "float codes, one scale": (
        None,
        of(Q, weight=("float16", (64, 64)), scale=("float16", (64, 1))),
        {"weight": f"float16 numbers that need {Q}.scale", "scale": "scales of"},
    ),
    "a method of tomorrow": (
        {"quant_method": "tomorrow"},
        of(Q, blob=("int16", (64, 8)), twist=("float16", (64, 64))),
        {"blob": "(tomorrow): int16 codes without scales", "twist": f"part of the quantised {Q}.blob"},
    ),
}


def rows(config: dict[str, Any], layout: Layout) -> dict[str, TensorInfo]:
    stored = {
        name: StoredTensor(dtype, shape, int(np.prod(shape)) * 2) for name, (dtype, shape) in layout.items()
    }
    return {part.info.name: part.info for part in resolve(config, stored).parts}


@pytest.mark.parametrize(("entry", "layout", "words"), LAYOUTS.values(), ids=LAYOUTS)
def test_codes_and_scales_are_refused_and_plain_tensors_are_not(
    entry: dict[str, Any] | None, layout: Layout, words: dict[str, str]
) -> None:
    config: dict[str, Any] = {"model_type": "llama"}
    if entry is not None:
        config["quantization_config"] = entry
    parts = rows(config, PLAIN | layout)
    # Packed experts may be a row each; all parts of one tensor share its fate.
    found = {row.stored_name: row for row in parts.values()}
    assert found.keys() == PLAIN.keys() | layout.keys()
    assert all(row.status == found[row.stored_name].status for row in parts.values())
    module = EXPERTS if any(name.startswith(EXPERTS) for name in layout) else Q
    expected = {f"{module}.{leaf}": reason for leaf, reason in words.items()}
    assert {name for name, row in found.items() if row.status == "refused"} == expected.keys()
    for name, reason in expected.items():
        assert reason in found[name].reason
    for name, (_, shape) in PLAIN.items():
        assert found[name].status == ("planned" if len(shape) > 1 else "skipped")
    for name, row in found.items():
        if len(row.stored_shape) < 2:
            assert row.status == "skipped", name


PLAIN_BESIDE: dict[str, tuple[dict[str, Any] | None, Layout]] = {
    "scale of activations alone": (
        None,
        of(Q, weight=("bfloat16", (64, 64)), input_scale=("float32", ()), k_scale=("float32", ())),
    ),
    "a method, but plain tensors": ({"quant_method": "tomorrow"}, of(Q, weight=("bfloat16", (64, 64)))),
    "a layer left out": (
        {"quant_method": "gptq", "modules_to_not_convert": ["q_proj"]},
        of(Q, weight=("float16", (64, 64))),
    ),
    "biases of packed experts": (None, of(EXPERTS, down_proj_bias=("bfloat16", (4, 64)))),
    "an adapter": (
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        of(f"{Q}.lora_A.default", weight=("float32", (8, 64))),
    ),
    "an integer buffer": (
        {"quant_method": "gptq"},
        of("embeddings", position_ids=("int32", (24,)), position_embedding=("float32", (24, 64))),
    ),
    "a vector that scales outputs": (
        None,
        of("norm", weight=("float32", (64, 64)), scale=("float32", (64,))),
    ),
    "a temperature": (None, {"logit_scale": ("float32", ()), "projection": ("float32", (64, 64))}),
}


@pytest.mark.parametrize(("entry", "layout"), PLAIN_BESIDE.values(), ids=PLAIN_BESIDE)
def test_plain_matrices_stay_plain(entry: dict[str, Any] | None, layout: Layout) -> None:
    found = rows({"model_type": "llama", "quantization_config": entry}, layout)
    for name, row in found.items():
        assert row.status != "refused", (name, row.reason)
        if "bias" not in name:
            assert row.status == ("planned" if len(row.shape) > 1 else "skipped"), (name, row.reason)


def test_integers_of_unknown_meaning_are_refused_too() -> None:
    (row,) = rows({}, of(Q, weight=("int8", (64, 64)))).values()
    assert row.status == "refused"
    assert "unknown meaning" in row.reason


def test_tensors_without_a_module_do_not_belong_together() -> None:
    found = rows({}, {"zero": ("float32", (8, 8)), "table": ("int8", (8, 8)), "w": ("float32", (8, 8))})
    assert {name: row.status for name, row in found.items()} == {
        "table": "refused",
        "w": "planned",
        "zero": "planned",
    }
    assert "zero" not in found["table"].reason


def test_quantised_head_is_no_alias() -> None:
    """A tie is confirmed by reading values, and these are none."""
    packed = ("uint8", (128, 64))
    found = rows(
        {"model_type": "llama", "tie_word_embeddings": True, "quantization_config": {"quant_method": "x"}},
        {"model.embed_tokens.weight": packed, "lm_head.weight": packed},
    )
    assert [row.status for row in found.values()] == ["refused", "refused"]
    assert all(row.elements == 128 * 64 for row in found.values())
