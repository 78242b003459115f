"""How long `lmscope inspect` takes, process start included; writes benchmarks/results/inspect.json.

Sparse files with real headers: a Llama-3-70B (80 layers, 30 shards, 723 tensors) and 500 tensors in one
file; as a table and as JSON.

    python benchmarks/evidence_inspect.py [--rounds 9] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lmscope.runs.benchmarks.fingerprint import fingerprint

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests import sparse_checkpoints


def seconds(checkpoint: Path, *options: str) -> float:
    command = [sys.executable, "-m", "lmscope", "inspect", str(checkpoint), *options]
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/inspect.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        large, single = Path(scratch) / "llama-3-70b", Path(scratch) / "single"
        for folder in (large, single):
            folder.mkdir()
        sparse_checkpoints.llama_3_70b(large)
        sparse_checkpoints.write_sparse(
            single / "model.safetensors",
            {f"model.layers.{n}.mlp.up_proj.weight": ("BF16", (64, 64)) for n in range(500)},
        )
        cases = {
            "70B, table": (large,),
            "70B, JSON": (large, "--json"),
            "500 tensors, table": (single,),
            "500 tensors, JSON": (single, "--json"),
        }
        taken = {name: [seconds(*case) for _ in range(arguments.rounds)] for name, case in cases.items()}
    result = {
        "machine": fingerprint({}, source=Path(__file__).parents[1]),
        "median_seconds": {name: statistics.median(times) for name, times in taken.items()},
        "largest_seconds": {name: max(times) for name, times in taken.items()},
    }
    print(json.dumps(result["median_seconds"], indent=1))
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
