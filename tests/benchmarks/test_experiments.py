"""The frame of the scripts of real experiments, around an experiment that takes a second."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import BENCHMARKS

SCRIPT = f"""
import sys
import time
from pathlib import Path

sys.path.insert(0, {str(BENCHMARKS)!r})
import lmscope
from experiments import folder_of, in_a_process, main

CHECKPOINT, DRAWS = {{checkpoint!r}}, {{draws}}


def measure(name, folder, quick):
    began = time.monotonic()
    lmscope.spectra(CHECKPOINT, layers=0, roles=name, draws=DRAWS, out=folder / "run", progress=False)
    return {{{{"seconds": time.monotonic() - began, "peak_bytes": 1, "texts": 3}}}}


def kept(name, runs, quick):
    folder = folder_of(name, runs, quick)
    cost = in_a_process(__file__, name, folder, quick)
    return {{{{"cost": cost, "matrices": len(lmscope.open_run(folder / "run").table("spectra"))}}}}


if __name__ == "__main__":
    main(
        __file__,
        "A test",
        experiments=("query", "key"),
        runs=Path("runs"),
        result="none.json",
        measure=measure,
        kept=kept,
    )
"""


def test_experiments_are_kept_one_by_one(tiny_llama_path: Path, tmp_path: Path) -> None:
    script, out = tmp_path / "evidence_test.py", tmp_path / "results" / "test.json"

    def run(*options: str, draws: int = 19) -> dict[str, Any]:
        script.write_text(SCRIPT.format(checkpoint=str(tiny_llama_path), draws=draws))
        command = [sys.executable, script, "--out", out, *options]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
        found: dict[str, Any] = json.loads(out.read_text())
        return found

    first = run("--only", "query")
    assert first["query"]["matrices"] == 1
    assert first["query"]["cost"]["seconds"] > 0
    assert first["command"] == "python benchmarks/evidence_test.py"
    assert set(first["machine"]["libraries"]) == {"numpy", "scipy", "torch", "transformers"}
    assert "key" not in first

    # What is there is not computed again, and keeps its time.
    second = run()
    assert second["query"] == first["query"]
    assert second["key"]["cost"]["peak_bytes"] == 1

    # A run that was made in parts has none.
    third = run("--only", "key", draws=39)
    assert third["key"]["cost"] == {"seconds": None, "peak_bytes": None, "texts": 3}
    assert third["query"] == first["query"]

    with pytest.raises(subprocess.CalledProcessError):
        run("--only", "value")
