"""Whole runs over quantised checkpoints: what is refused, what goes on, and with which exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter, quants

import lmscope

from ..written_llama import quantise

Tensors = dict[str, np.ndarray]


def analyse(source: Path, run: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lmscope", "analyze", source, "-o", run, "--draws", "1"]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)


def statuses(run: Path) -> dict[str, tuple[str, str]]:
    return {row["name"]: (row["status"], row["reason"]) for row in lmscope.open_run(run).ledger.to_pylist()}


def test_float_tensors_beside_are_analysed(make_llama: Callable[..., Path], tmp_path: Path) -> None:
    source = make_llama(layers=1, change=lambda tensors: quantise(tensors, only="mlp"))
    result = analyse(source, tmp_path / "run")
    assert result.returncode == 4, result.stderr
    found = statuses(tmp_path / "run")
    analysed = {name for name, (status, _) in found.items() if status == "analysed"}
    attention = {f"model.layers.0.self_attn.{role}_proj.weight" for role in "qkvo"}
    assert analysed == attention | {"lm_head.weight", "model.embed_tokens.weight"}
    refused = {name: reason for name, (status, reason) in found.items() if status == "refused"}
    for role in ("gate", "up", "down"):
        name = f"model.layers.0.mlp.{role}_proj.weight"
        codes = refused.pop(f"{name}_packed")
        assert codes.startswith(f"quantised (compressed-tensors): int32 codes that need {name}_scale")
        assert refused.pop(f"{name}_scale").startswith(f"scales of the quantised {name}_packed")
        assert found[f"{name}_shape"][0] == "skipped"
        assert f"{name}_packed: refused: quantised" in result.stderr
    assert refused == {}
    assert "6 analysed" in result.stdout
    assert "6 refused" in result.stdout
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "quantised (compressed-tensors)" in page


def test_all_refused_is_3_and_says_so_once_for_many(make_llama: Callable[..., Path], tmp_path: Path) -> None:
    result = analyse(make_llama(layers=2, change=quantise), tmp_path / "run")
    assert result.returncode == 3, result.stderr
    assert {status for status, _ in statuses(tmp_path / "run").values()} == {"refused", "skipped"}
    lines = [line for line in result.stderr.splitlines() if "refused" in line]
    assert len(lines) == 11
    assert lines[-1] == (
        f"lmscope: warning: 22 more tensors refused: {tmp_path / 'run' / 'ledger.parquet'} "
        "gives each with its reason"
    )
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.parametrize("as_folder", [False, True])
def test_gguf_is_refused_matrix_by_matrix(tmp_path: Path, as_folder: bool) -> None:
    matrix = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
    folder = tmp_path / "model"
    folder.mkdir()
    writer = GGUFWriter(folder / "model.gguf", "llama")
    kind = GGMLQuantizationType.Q8_0
    writer.add_tensor("blk.0.attn_k.weight", quants.quantize(matrix, kind), raw_dtype=kind)
    writer.add_tensor("blk.0.attn_q.weight", matrix)
    writer.add_tensor("blk.0.attn_norm.weight", matrix[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    result = analyse(folder if as_folder else folder / "model.gguf", tmp_path / "run")
    assert result.returncode == 3, result.stderr
    found = statuses(tmp_path / "run")
    assert {name: status for name, (status, _) in found.items()} == {
        "blk.0.attn_k.weight": "refused",
        "blk.0.attn_q.weight": "refused",
        "blk.0.attn_norm.weight": "skipped",
    }
    assert "GGUF Q8_0" in found["blk.0.attn_k.weight"][1]
    assert "f32 in a GGUF file" in found["blk.0.attn_q.weight"][1]


def test_fp8_with_scales_is_not_read_as_numbers(make_llama: Callable[..., Path], tmp_path: Path) -> None:
    name = "model.layers.0.mlp.up_proj.weight"

    def change(tensors: Tensors) -> None:
        tensors[name] = tensors[name].astype(ml_dtypes.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = np.full((1, 1), 0.5, np.float32)

    assert analyse(make_llama(layers=1, change=change), tmp_path / "run").returncode == 4
    found = statuses(tmp_path / "run")
    assert found[name][0] == found[f"{name}_scale_inv"][0] == "refused"
    assert sum(status == "analysed" for status, _ in found.values()) == 8
