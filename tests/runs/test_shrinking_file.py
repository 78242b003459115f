"""A shard that shrinks once its header is read: its tensors fail, the others are done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from safetensors.numpy import load_file, save_file

import lmscope

LAYERS = 6


def test_shard_that_shrinks_after_it_was_opened(make_llama: Callable[..., Path], tmp_path: Path) -> None:
    source, run = make_llama(layers=LAYERS), tmp_path / "run"
    tensors = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    late = {name for name in tensors if f"layers.{LAYERS - 1}." in name}
    shards = {"early.safetensors": tensors.keys() - late, "late.safetensors": late}
    for file, names in shards.items():
        save_file({name: tensors[name] for name in names}, source / file)
    index = {name: file for file, names in shards.items() for name in names}
    (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))

    checkpoint = lmscope.open_checkpoint(source)
    shard = source / "late.safetensors"
    os.truncate(shard, shard.stat().st_size // 2)
    lmscope.analyze(checkpoint, out=run, draws=2, progress=False)
    ledger = lmscope.open_run(run).ledger.to_pylist()
    failed = {row["name"]: row["reason"] for row in ledger if row["status"] == "failed"}
    assert failed.keys() == {name for name in late if tensors[name].ndim == 2}
    assert sum(row["status"] == "analysed" for row in ledger) == 2 + 7 * (LAYERS - 1)
    page = (run / "report.html").read_text(encoding="utf-8")
    for name, reason in failed.items():
        assert str(shard) in reason
        assert name in reason
        assert name in page
