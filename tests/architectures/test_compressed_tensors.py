"""Checkpoints that the compressed-tensors package wrote: codes and scales are refused, the rest is plain."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import lmscope

PRESETS = ("W4A16", "W4A16_ASYM", "W8A8", "FP8_DYNAMIC", "FP8_BLOCK", "NVFP4A16", "MXFP4")

# In a process of its own: the package warns and logs as it likes.
BUILD = """
import json, sys
from pathlib import Path

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import (
    QuantizationConfig, apply_quantization_config, preset_name_to_scheme
)
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

small = dict(num_hidden_layers=1, num_attention_heads=4, vocab_size=64)
for preset in sys.argv[2:]:
    config = LlamaConfig(hidden_size=128, intermediate_size=256, **small)
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    groups = {"group": preset_name_to_scheme(preset, ["Linear"])}
    apply_quantization_config(model, QuantizationConfig(config_groups=groups, ignore=["lm_head"]))
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith("scale"):
            tensor.data.fill_(0.01)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    folder = Path(sys.argv[1]) / preset
    folder.mkdir()
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    quantization = json.loads(compressor.quantization_config.model_dump_json())
    quantization["quant_method"] = "compressed-tensors"
    described = {**config.to_dict(), "quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(described, default=str))
"""


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compressed")
    command = [sys.executable, "-W", "ignore", "-c", BUILD, str(folder), *PRESETS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("with_config", [True, False])
@pytest.mark.parametrize("preset", PRESETS)
def test_codes_and_scales_are_refused(compressed: Path, preset: str, with_config: bool) -> None:
    folder = compressed / preset
    rows = {row.name: row for row in lmscope.inspect(folder if with_config else _bare(folder)).tensors}
    assert len([name for name in rows if ".q_proj." in name]) >= 2
    for name, row in rows.items():
        if "_proj." not in name:
            assert row.status == ("planned" if len(row.shape) == 2 else "skipped"), (name, row.reason)
        elif len(row.shape) < 2:
            assert row.status == "skipped", name
        else:
            leaf = name.rpartition(".")[2]
            assert row.status == "refused", name
            words = {"weight": "quantised", "weight_packed": "quantised", "weight_scale": "scales of"}
            assert row.reason.startswith(words.get(leaf, "zero points of")), (name, row.reason)
            assert "(compressed-tensors " in row.reason or not with_config or words.get(leaf) != "quantised"


def _bare(folder: Path) -> Path:
    """The same weights without a config beside them."""
    alone = folder / "alone"
    alone.mkdir(exist_ok=True)
    link = alone / "model.safetensors"
    if not link.exists():
        link.hardlink_to(folder / "model.safetensors")
    return alone
