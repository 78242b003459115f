"""Checkpoints of any size without their bytes: real headers, weights that are holes in a sparse file."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

_BYTES = {"BF16": 2, "F16": 2, "F32": 4}
Tensors = Mapping[str, tuple[str, tuple[int, ...]]]


def write_sparse(path: Path, tensors: Tensors) -> None:
    """A .safetensors file of these dtypes and shapes, all zeros that take no room."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + _BYTES[dtype] * math.prod(shape)
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + end)


def write_sparse_shards(folder: Path, tensors: Tensors, shards: int) -> None:
    """The tensors in order, over so many shards, with their index."""
    names = list(tensors)
    index = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        held = names[number * len(names) // shards : (number + 1) * len(names) // shards]
        write_sparse(folder / file, {name: tensors[name] for name in held})
        index |= dict.fromkeys(held, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def llama_3_70b(folder: Path) -> Path:
    """The headers of Llama-3-70B: 80 layers, 723 tensors, 141 GB in 30 shards."""
    hidden, intermediate, grouped, vocabulary, layers = 8192, 28672, 1024, 128256, 80
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {
        "model.embed_tokens.weight": ("BF16", (vocabulary, hidden))
    }
    for layer in range(layers):
        shapes = {
            "self_attn.q_proj": (hidden, hidden),
            "self_attn.k_proj": (grouped, hidden),
            "self_attn.v_proj": (grouped, hidden),
            "self_attn.o_proj": (hidden, hidden),
            "mlp.gate_proj": (intermediate, hidden),
            "mlp.up_proj": (intermediate, hidden),
            "mlp.down_proj": (hidden, intermediate),
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
        }
        tensors |= {f"model.layers.{layer}.{name}.weight": ("BF16", shape) for name, shape in shapes.items()}
    tensors |= {"model.norm.weight": ("BF16", (hidden,)), "lm_head.weight": ("BF16", (vocabulary, hidden))}
    folder.mkdir(parents=True, exist_ok=True)
    write_sparse_shards(folder, tensors, 30)
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "vocab_size": vocabulary,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder
