"""A real disk that is full or read-only: a small tmpfs in a mount namespace of the test's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..written_llama import llama_tensors, save_llama

LAYERS = 4
MATRICES = 2 + 7 * LAYERS

# Runs as root of a new namespace, which is gone with its mounts when this process ends.
DRIVER = """
import json, subprocess, sys
from pathlib import Path

source, disk, run, steps = sys.argv[1], sys.argv[2], Path(sys.argv[3]), json.loads(sys.argv[4])

def records():
    return {path.name: [path.stat().st_ino, path.stat().st_mtime_ns, path.stat().st_size]
            for path in run.glob("spectra/*.parquet")}

answers = []
for step in steps:
    if step["mount"]:
        subprocess.run(["mount", *step["mount"], "tmpfs", disk], check=True)
    command = [sys.executable, "-m", "lmscope", *step["command"]]
    done = subprocess.run(command, capture_output=True, text=True)
    readable = 0
    for path in run.glob("spectra/*.parquet"):
        import pyarrow.parquet
        readable += pyarrow.parquet.read_table(path).num_rows
    answers.append({
        "code": done.returncode, "stderr": done.stderr, "stdout": done.stdout, "records": records(),
        "readable": readable, "left": [str(path) for path in run.rglob("*.tmp")],
    })
print(json.dumps(answers))
"""


def on_tmpfs(source: Path, disk: Path, run: Path, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    disk.mkdir(exist_ok=True)
    if subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", disk], capture_output=True
    ).returncode:
        pytest.skip("this machine lets no test mount a tmpfs (unshare -rm)")
    command = ["unshare", "-rm", sys.executable, "-c", DRIVER, source, disk, run, json.dumps(steps)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama"), llama_tensors(LAYERS), LAYERS)


def test_full_disk_stops_the_run_and_the_next_one_goes_on(source: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    run = disk / "run"
    command = ["analyze", str(source), "-o", str(run), "--draws", "2", "-q"]
    full, spacious = on_tmpfs(
        source,
        disk,
        run,
        [
            {"mount": ["-t", "tmpfs", "-o", "size=400k"], "command": command},
            {"mount": ["-o", "remount,size=50m"], "command": command},
        ],
    )
    assert full["code"] == 1
    (line,) = full["stderr"].splitlines()
    assert line.startswith(f"lmscope: error: {run}")
    assert ".parquet: No space left on device; what was written before is kept" in line
    assert 0 < len(full["records"]) == full["readable"] < MATRICES
    assert full["left"] == []
    assert spacious["code"] == 0, spacious["stderr"]
    assert len(spacious["records"]) == spacious["readable"] == MATRICES
    assert {name: spacious["records"][name] for name in full["records"]} == full["records"]


def test_disk_full_at_the_page(source: Path, tmp_path: Path) -> None:
    """The page with plotly.js inside is megabytes: the records are done, and `report` builds it later."""
    disk = tmp_path / "disk"
    run = disk / "run"
    full, page = on_tmpfs(
        source,
        disk,
        run,
        [
            {
                "mount": ["-t", "tmpfs", "-o", "size=3m"],
                "command": ["analyze", str(source), "-o", str(run), "--draws", "2", "-q", "--json"],
            },
            {"mount": ["-o", "remount,size=50m"], "command": ["report", str(run)]},
        ],
    )
    assert full["code"] == 1
    assert f"{run / 'report.html'}: No space left on device" in json.loads(full["stdout"])["error"]["message"]
    assert full["readable"] == MATRICES
    assert full["left"] == []
    assert (page["code"], page["stdout"]) == (0, f"{run / 'report.html'}\n")


def test_read_only_disk(source: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    run = disk / "run"
    command = ["analyze", str(source), "-o", str(run), "--draws", "2", "--roles", "key", "-q"]
    nothing, written, again, page = on_tmpfs(
        source,
        disk,
        run,
        [
            {"mount": ["-t", "tmpfs", "-o", "ro"], "command": command},
            {"mount": ["-o", "remount,rw"], "command": command},
            {"mount": ["-o", "remount,ro"], "command": command},
            {"mount": [], "command": ["report", str(run)]},
        ],
    )
    assert (nothing["code"], nothing["stderr"]) == (
        1,
        f"lmscope: error: {run}: cannot be made: Read-only file system\n",
    )
    assert written["code"] == 0
    assert again["code"] == 1
    assert again["stderr"] == f"lmscope: error: {run}: cannot be written to: Read-only file system\n"
    assert page["code"] == 1
    assert f"{run / 'report.html'}: Read-only file system" in page["stderr"]
