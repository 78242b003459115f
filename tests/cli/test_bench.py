"""`lmscope bench` in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

COMPETITORS = ("lmscope", "torch float64", "torch float32", "numpy", "scipy")


def bench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lmscope", "bench", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
    )


def test_table_and_file(tmp_path: Path) -> None:
    done = bench("--quick", "--shape", "64x48", "--seeds", "1", "-o", "out/found.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["64x48", "seconds", "GFLOP/s", "dgemm", "times", "ours", "target", "error"]
    assert [line[:13].rstrip() for line in lines[1:6]] == ["lmscope, gram", *COMPETITORS[1:]]
    assert any(line.startswith("gaussian 0: method gram, ") for line in lines)
    assert max(map(len, lines[:6])) <= 80
    assert "of 10 samples" in done.stderr
    record = json.loads((tmp_path / "out" / "found.json").read_text())
    assert record["cases"][0]["shape"] == [64, 48]
    assert record["machine"]["commit"] is None


def test_json_alone_on_stdout(tmp_path: Path) -> None:
    done = bench("--quick", "--shape", "32x16", "--seeds", "1", "--json", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["benchmark"] == "singular_values"
    assert done.stderr == ""


def test_wrong_shape_is_wrong_usage(tmp_path: Path) -> None:
    done = bench("--shape", "sixty", cwd=tmp_path)
    assert done.returncode == 2
    assert "ROWSxCOLUMNS" in done.stderr


def test_another_family(tmp_path: Path) -> None:
    done = bench(
        *("--quick", "--family", "column_cosine", "--shape", "64x80", "--seeds", "1", "-o", "found.json"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["64x80", "seconds", "GFLOP/s", "peak", "times", "ours", "target", "error"]
    names = ["lmscope", "lmscope packed", "torch", "torch amax histc", "numpy"]
    assert [line[:16].rstrip() for line in lines[1:6]] == names
    assert any(line.startswith("torch: blocks ") for line in lines)
    assert max(map(len, lines[:6])) <= 80
    assert "bf16 peak" in done.stdout
    record = json.loads((tmp_path / "found.json").read_text())
    assert record["benchmark"] == "column_cosine"
    assert record["bfloat16_peak_gflops"] >= 0.8 * record["float32_peak_gflops"] > 0


def test_a_shape_for_two_families_is_wrong_usage(tmp_path: Path) -> None:
    done = bench(
        *("--family", "singular_values", "--family", "column_cosine", "--shape", "9x9"), cwd=tmp_path
    )
    assert done.returncode == 2
    assert "--shape goes with one --family" in done.stderr
    assert "none of singular_values" in bench("--family", "ising", cwd=tmp_path).stderr
