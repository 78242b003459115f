"""Kills of `tokens`: what stands is kept, and the finished records are those of an undisturbed run."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import lmscope
from lmscope.results import TOKEN_ANALYSES

from ..read_models import prose, save_causal

# The command line itself; it stops behind the record whose number is given.
STOPPED = """
import os, sys, time
from lmscope.cli import main
from lmscope.runs.record_store import RecordStore

last, mark = int(sys.argv.pop(1)), sys.argv.pop(1)
write, written = RecordStore.write, []

def counted(self, *arguments):
    write(self, *arguments)
    written.append(arguments[:2])
    if len(written) == last:
        open(mark, "w").close()
        time.sleep(600)

RecordStore.write = counted
main()
"""


def states(run: Path) -> dict[str, tuple[int, int]]:
    found = {f"{path.parent.name}/{path.name}": path.stat() for path in run.glob("*/*.parquet")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def test_kills(tmp_path: Path) -> None:
    source = save_causal(tmp_path / "tiny-causal")
    text = tmp_path / "notes.txt"
    text.write_text(prose(500), encoding="utf-8")
    options = ("--positions", 12, "--min-context", 8, "-k", "1,2", "--no-untrained", "-q")

    def command(run: Path, last: int, mark: Path) -> list[str]:
        given = ["-c", STOPPED, last, mark, "tokens", source, "--text", text, "-o", run, *options]
        return [sys.executable, *map(str, given)]

    undisturbed, run = tmp_path / "undisturbed", tmp_path / "run"
    subprocess.run(command(undisturbed, 0, tmp_path / "none"), check=True, capture_output=True)
    # Behind the second layer; then behind the first passage and one table of the second.
    for attempt, last in enumerate((2, 5)):
        standing = states(run)
        mark = tmp_path / f"mark-{attempt}"
        process = subprocess.Popen(
            command(run, last, mark), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        while not mark.exists():
            assert process.poll() is None, process.communicate()[1].decode()
            time.sleep(0.01)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        after = states(run)
        assert len(after) == len(standing) + last
        assert standing.items() <= after.items()
    standing = states(run)
    assert 0 < lmscope.open_run(run).table("positions").num_rows < 12
    subprocess.run(command(run, 0, tmp_path / "none"), check=True, capture_output=True)
    assert standing.items() <= states(run).items()
    assert states(run).keys() == states(undisturbed).keys()
    for name in TOKEN_ANALYSES:
        assert lmscope.open_run(run).table(name).equals(lmscope.open_run(undisturbed).table(name)), name
    assert not list(run.rglob("*.tmp"))
