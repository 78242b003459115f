"""A tensor that cannot be read is asked for once, however many rows it holds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import lmscope
from lmscope.checkpoints import Checkpoint


def test_packed_experts_fail_with_one_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = "model.layers.0.mlp.experts.gate_up_proj"
    rng = np.random.default_rng(0)
    tensors = {
        packed: rng.standard_normal((4, 24, 16)).astype(np.float32),
        "model.layers.0.self_attn.q_proj.weight": rng.standard_normal((16, 16)).astype(np.float32),
    }
    source = tmp_path / "moe"
    source.mkdir()
    shards = dict(zip(tensors, ("a.safetensors", "b.safetensors"), strict=True))
    for name, file in shards.items():
        save_file({name: tensors[name]}, source / file)
    (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    (source / "config.json").write_text(json.dumps({"model_type": "qwen3_moe", "hidden_size": 16}))
    checkpoint = lmscope.open_checkpoint(source)
    os.truncate(source / "a.safetensors", 100)

    reads = []
    read = Checkpoint._read

    def counted(self: Checkpoint, name: str) -> Any:
        reads.append(name)
        return read(self, name)

    monkeypatch.setattr(Checkpoint, "_read", counted)
    run = lmscope.spectra(checkpoint, out=tmp_path / "run", draws=2, progress=False)
    ledger = {row["name"]: row for row in run.ledger.to_pylist()}
    failed = [name for name, row in ledger.items() if row["status"] == "failed"]
    assert failed == [f"{packed}#expert{e}.{part}" for e in range(4) for part in ("gate", "up")]
    assert all("a.safetensors" in ledger[name]["reason"] for name in failed)
    assert ledger["model.layers.0.self_attn.q_proj.weight"]["status"] == "analysed"
    assert sorted(reads) == sorted(tensors)


def test_projection_counts_a_fused_tensor_whole(tmp_path: Path) -> None:
    packed = {"model.layers.0.mlp.experts.gate_up_proj": np.zeros((4, 24, 16), np.float32)}
    save_file(packed, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3_moe", "hidden_size": 16}))
    projection = lmscope.inspect(tmp_path).projection
    assert projection.matrices == 8
    assert projection.largest_tensor_bytes == 4 * 4 * 24 * 16
    assert projection.memory_bytes == 12 * 12**2 + 2 * projection.largest_tensor_bytes + 128_000_000
