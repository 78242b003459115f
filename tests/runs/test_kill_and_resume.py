"""Thirty kills of one analysis: nothing lost, nothing written twice, nothing computed that stood already."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest

import lmscope
from lmscope.results import ResultsError, RunFolder

from ..written_llama import llama_tensors, save_llama

LAYERS, KILLS = 8, 30
MATRICES = 2 + 7 * LAYERS

# Imports once, and for every line on stdin forks a process for spectra and the page, which writes down each
# matrix that it is about to analyse.
SERVER = """
import hashlib, os, sys
import pandas, plotly, pyarrow.compute, scipy.stats
import lmscope, lmscope.report
from lmscope.analyses import spectra
from lmscope.kernels import singular_values

verdict = spectra.spectrum_verdict
for line in sys.stdin:
    source, run, log = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if not child:
        log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

        def counted(weights, *arguments, **settings):
            os.write(log, hashlib.sha256(weights.tobytes()).hexdigest().encode() + b"\\n")
            return verdict(weights, *arguments, **settings)

        spectra.spectrum_verdict = counted
        try:
            lmscope.analyze(source, out=run, analyses="spectra", draws=39, progress=False)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Runs:
    """Processes that analyse, one at a time."""

    def __init__(self) -> None:
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, source: Path, run: Path, log: Path) -> int:
        """Gives its process number."""
        print(source, run, log, sep="\t", file=self.server.stdin, flush=True)
        return self._number()

    def end(self) -> int:
        """Exit status of the one that runs, once it is over."""
        return self._number()

    def finish(self, source: Path, run: Path, log: Path) -> float:
        """Seconds that it took."""
        start = time.monotonic()
        self.start(source, run, log)
        assert self.end() == 0
        return time.monotonic() - start

    def _number(self) -> int:
        assert self.server.stdout is not None
        return int(self.server.stdout.readline())


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    found = Runs()
    yield found
    found.server.communicate()


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


def test_thirty_kills(runs: Runs, source: Path, tmp_path: Path) -> None:
    undisturbed, run, log = tmp_path / "undisturbed", tmp_path / "run", tmp_path / "log"
    runs.finish(source, undisturbed, tmp_path / "undisturbed.log")
    assert len(computed(tmp_path / "undisturbed.log")) == MATRICES
    # Nothing to compute: start and page alone.
    idle = runs.finish(source, undisturbed, tmp_path / "idle.log")
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
        process = runs.start(source, run, log)
        if len(standing) == MATRICES:
            time.sleep(chance.uniform(0, idle))
        else:
            # At some matrix of the next few, so that the kills span all the work and then the page.
            until = before + chance.randint(0, 3 * MATRICES // KILLS + 2)
            while len(computed(log)) < until and Path(f"/proc/{process}").exists():
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.01))
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        status = runs.end()
        assert status in (0, -signal.SIGKILL)
        after = states(run)
        assert {name: after[name] for name in standing} == standing
        records = [record_of[tensor_of[digest]] for digest in computed(log)[before:]]
        assert len(set(records)) == len(records)
        assert not set(records) & set(standing)
        if status != 0:
            kills.append(len(after))
    assert len({count for count in kills if 0 < count < MATRICES}) >= 5, kills
    assert MATRICES in kills, kills  # while the page was made

    standing = states(run)
    runs.finish(source, run, log)
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


def test_folder_of_a_run_killed_before_its_ledger(runs: Runs, source: Path, tmp_path: Path) -> None:
    """The manifest is written first: what can be read then says what to do, and the same command goes on."""
    run = tmp_path / "run"
    runs.finish(source, run, tmp_path / "log")
    (run / "ledger.parquet").unlink()
    (run / "report.html").unlink()
    with pytest.raises(ResultsError, match=r"ledger.parquet.*the command that made it"):
        lmscope.open_run(run).report()
    runs.finish(source, run, tmp_path / "log")
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
