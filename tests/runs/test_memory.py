"""Memory of a run: bounded by one matrix and its Gram matrix, whatever the number of layers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

HIDDEN, INTERMEDIATE, VOCABULARY = 1024, 2816, 32000
MEASURE = Path(__file__).parents[2] / "benchmarks" / "evidence_whole_run.py"
LIMIT = 12 * HIDDEN**2 + 2 * (2 * VOCABULARY * HIDDEN) + 128_000_000


def write_llama(folder: Path, layers: int) -> Path:
    generator = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return (0.02 * generator.standard_normal(shape, np.float32)).astype(ml_dtypes.bfloat16)

    tensors = {
        "model.embed_tokens.weight": normal(VOCABULARY, HIDDEN),
        "lm_head.weight": normal(VOCABULARY, HIDDEN),
    }
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        tensors |= {f"{prefix}self_attn.{one}_proj.weight": normal(HIDDEN, HIDDEN) for one in "qkvo"}
        tensors |= {f"{prefix}mlp.{one}_proj.weight": normal(INTERMEDIATE, HIDDEN) for one in ("gate", "up")}
        tensors[f"{prefix}mlp.down_proj.weight"] = normal(HIDDEN, INTERMEDIATE)
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": HIDDEN}))
    return folder


def peak_bytes(checkpoint: Path, cache: Path) -> int:
    """Peak of a whole `analyze` with one draw a null, above what the process holds after all imports."""
    command = [sys.executable, str(MEASURE), "--draws", "1", "--measure", "analyze", str(checkpoint)]
    done = subprocess.run(
        [*command, str(checkpoint.with_suffix(".run"))],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout.splitlines()[-1])["peak_bytes"])


def test_memory_is_bounded_and_flat_in_layers(tmp_path: Path) -> None:
    peaks = [peak_bytes(write_llama(tmp_path / f"l{layers}", layers), tmp_path) for layers in (2, 4)]
    assert max(peaks) <= LIMIT
    assert peaks[1] == pytest.approx(peaks[0], rel=0.1)
