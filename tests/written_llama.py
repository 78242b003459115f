"""Llama checkpoints written tensor by tensor, so that tests can spoil one; quick, as no torch is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

HIDDEN, INTERMEDIATE, VOCABULARY = 64, 96, 128


def llama_tensors(layers: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights of a Llama with grouped keys and values, bfloat16."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return (0.02 * rng.standard_normal(shape)).astype(ml_dtypes.bfloat16)

    tensors = {
        "model.embed_tokens.weight": normal(VOCABULARY, HIDDEN),
        "model.norm.weight": np.ones(HIDDEN, ml_dtypes.bfloat16),
        "lm_head.weight": normal(VOCABULARY, HIDDEN),
    }
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        tensors |= {
            prefix + "self_attn.q_proj.weight": normal(HIDDEN, HIDDEN),
            prefix + "self_attn.k_proj.weight": normal(HIDDEN // 2, HIDDEN),
            prefix + "self_attn.v_proj.weight": normal(HIDDEN // 2, HIDDEN),
            prefix + "self_attn.o_proj.weight": normal(HIDDEN, HIDDEN),
            prefix + "mlp.gate_proj.weight": normal(INTERMEDIATE, HIDDEN),
            prefix + "mlp.up_proj.weight": normal(INTERMEDIATE, HIDDEN),
            prefix + "mlp.down_proj.weight": normal(HIDDEN, INTERMEDIATE),
            prefix + "input_layernorm.weight": np.ones(HIDDEN, ml_dtypes.bfloat16),
            prefix + "post_attention_layernorm.weight": np.ones(HIDDEN, ml_dtypes.bfloat16),
        }
    return tensors


def save_llama(
    folder: Path,
    tensors: dict[str, np.ndarray],
    layers: int,
    *,
    hidden: int = HIDDEN,
    intermediate: int = INTERMEDIATE,
) -> Path:
    """A checkpoint folder as transformers writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "vocab_size": VOCABULARY,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    return folder


def quantise(tensors: dict[str, np.ndarray], *, only: str = "") -> None:
    """Symmetric, four bits in blocks of a row, as compressed-tensors packs them."""
    for name in [name for name, tensor in tensors.items() if tensor.ndim == 2 and only in name]:
        weight = tensors.pop(name).astype(np.float32)
        rows, columns = weight.shape
        scale = np.abs(weight).max(axis=1, keepdims=True) / 7
        codes = (np.round(weight / scale) + 8).astype(np.uint32).reshape(rows, columns // 8, 8)
        packed = (codes << (4 * np.arange(8, dtype=np.uint32))).sum(axis=2, dtype=np.uint32)
        tensors[f"{name}_packed"] = packed.view(np.int32)
        tensors[f"{name}_scale"] = scale.astype(ml_dtypes.bfloat16)
        tensors[f"{name}_shape"] = np.array([rows, columns])
