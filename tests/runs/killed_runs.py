"""Runs of a verb that are killed behind a record, and go on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# The command line itself; it stops behind the record whose number is given.
STOPPED = """
import sys, threading, time
from lmscope.cli import main
from lmscope.runs.record_store import RecordStore

last, mark = int(sys.argv.pop(1)), sys.argv.pop(1)
write, written, one_at_a_time = RecordStore.write, [], threading.Lock()

def counted(self, *arguments):
    with one_at_a_time:
        write(self, *arguments)
        written.append(arguments[:2])
        if len(written) == last:
            open(mark, "w").close()
            time.sleep(600)

RecordStore.write = counted
main()
"""


def states(run: Path) -> dict[str, tuple[int, int]]:
    """Of every record: a file that stands is the same one with the same time."""
    found = {f"{path.parent.name}/{path.name}": path.stat() for path in run.glob("*/*.parquet")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def run_whole(command: Sequence[object]) -> None:
    subprocess.run(_arguments(command, 0, "none"), check=True, capture_output=True)


def kill_behind(last: int, command: Sequence[object], run: Path) -> None:
    """SIGKILL once the call has written `last` records; what stood before and these stand."""
    standing = states(run)
    mark = run.with_name(f"mark-{len(standing)}")
    process = subprocess.Popen(
        _arguments(command, last, mark), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
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


def _arguments(command: Sequence[object], last: int, mark: object) -> list[str]:
    return [sys.executable, "-c", STOPPED, str(last), str(mark), *map(str, command)]
