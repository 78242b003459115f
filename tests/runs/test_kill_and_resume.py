"""Thirty kills of one analysis: nothing lost, nothing written twice, nothing computed that stood already."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet
import pytest

import lmscope
from lmscope.results import ResultsError, RunFolder

from ..written_llama import llama_tensors, save_llama

LAYERS, KILLS = 12, 30
MATRICES = 2 + 7 * LAYERS

# The command line itself; before each computation it writes down which matrix it is about to analyse.
COUNTED = """
import hashlib, os, sys
from lmscope.analyses import spectra
from lmscope.cli import main

log = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
verdict = spectra.spectrum_verdict

def counted(weights, *arguments, **settings):
    os.write(log, hashlib.sha256(weights.tobytes()).hexdigest().encode() + b"\\n")
    return verdict(weights, *arguments, **settings)

spectra.spectrum_verdict = counted
main()
"""


def analyse(source: Path, run: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", COUNTED, log, "spectra", source, "-o", run, "--draws", "99", "-q"]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(source: Path, run: Path, log: Path) -> tuple[float, float]:
    """Seconds until the first record stood, and until the end."""
    start = time.monotonic()
    process = analyse(source, run, log)
    while not states(run) and process.poll() is None:
        time.sleep(0.005)
    begun = time.monotonic() - start
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    return begun, time.monotonic() - start


def computed(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def states(run: Path) -> dict[str, tuple[int, int]]:
    """Record -> inode and modification time: a file that is written again changes both."""
    found = {path.name: path.stat() for path in (run / "spectra").glob("*.parquet")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def column_bits(path: Path) -> dict[str, list[bytes | None]]:
    table = pyarrow.parquet.read_table(path).combine_chunks()
    return {
        name: [None if buffer is None else buffer.to_pybytes() for buffer in column.chunk(0).buffers()]
        for name, column in zip(table.column_names, table.columns, strict=True)
        if name != "seconds"
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama"), llama_tensors(LAYERS), LAYERS)


def test_thirty_kills(source: Path, tmp_path: Path) -> None:
    undisturbed, run, log = tmp_path / "undisturbed", tmp_path / "run", tmp_path / "log"
    begun, whole = finish(source, undisturbed, tmp_path / "undisturbed.log")
    assert len(computed(tmp_path / "undisturbed.log")) == MATRICES
    # Nothing to compute: start and page alone.
    _, idle = finish(source, undisturbed, tmp_path / "idle.log")
    assert computed(tmp_path / "idle.log") == []

    tensor_of = {
        hashlib.sha256(weights.tobytes()).hexdigest(): info.name
        for info, weights in lmscope.open_checkpoint(source).stream()
    }
    record_of = {
        row.column("name")[0].as_py(): path.name
        for path in (undisturbed / "spectra").glob("*.parquet")
        for row in [pyarrow.parquet.read_table(path, columns=["name"])]
    }
    assert len(tensor_of) == len(record_of) == MATRICES

    chance = random.Random(0)
    kills: list[int] = []
    while len(kills) < KILLS:
        standing = states(run)
        before = len(computed(log))
        # From the start over a third of the work, or to the end of the page: thirty of these span it all.
        last = idle if len(standing) == MATRICES else begun + (whole - idle) / 3
        process = analyse(source, run, log)
        time.sleep(chance.uniform(0, last))
        process.kill()
        process.communicate()
        assert process.returncode in (0, -signal.SIGKILL)
        after = states(run)
        assert {name: after[name] for name in standing} == standing
        records = [record_of[tensor_of[digest]] for digest in computed(log)[before:]]
        assert len(set(records)) == len(records)
        assert not set(records) & set(standing)
        if process.returncode != 0:
            kills.append(len(after))
    assert any(0 < count < MATRICES for count in kills), kills

    standing = states(run)
    finish(source, run, log)
    after = states(run)
    assert {name: after[name] for name in standing} == standing
    assert not list(run.rglob("*.tmp"))
    ours, theirs = sorted((run / "spectra").iterdir()), sorted((undisturbed / "spectra").iterdir())
    assert [path.name for path in ours] == [path.name for path in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert column_bits(mine) == column_bits(other), mine.name
    left, right = lmscope.open_run(run), lmscope.open_run(undisturbed)
    assert left.ledger.equals(right.ledger)
    assert {**left.manifest, "created": ""} == {**right.manifest, "created": ""}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in record_of)
    assert page.rstrip().endswith("</html>")


def test_folder_of_a_run_killed_before_its_ledger(source: Path, tmp_path: Path) -> None:
    """The manifest is written first: what can be read then says what to do, and the same command goes on."""
    run = tmp_path / "run"
    finish(source, run, tmp_path / "log")
    (run / "ledger.parquet").unlink()
    (run / "report.html").unlink()
    with pytest.raises(ResultsError, match=r"ledger.parquet.*the command that made it"):
        lmscope.open_run(run).report()
    finish(source, run, tmp_path / "log")
    assert len(computed(tmp_path / "log")) == MATRICES
    assert lmscope.open_run(run).table("spectra").num_rows == MATRICES
    assert (run / "report.html").is_file()


def test_page_of_a_living_process_is_not_cleared_away(tmp_path: Path) -> None:
    """Pages are built without the lock: whoever takes it clears only what the dead left."""
    folder = RunFolder.create(tmp_path / "run", "id")
    with subprocess.Popen(["sleep", "60"]) as living:
        theirs = folder.path / f".report.html.{living.pid}.tmp"
        theirs.touch()
        with folder.lock():
            assert theirs.exists()
        living.kill()
    with folder.lock():
        assert not theirs.exists()
