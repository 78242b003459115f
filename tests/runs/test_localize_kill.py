"""Kills of `localize`: what stands is kept, and the finished records are those of an undisturbed run."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import lmscope
from lmscope.results import LOCATION_ANALYSES

from ..read_models import prose, save_causal

# The command line itself; it stops behind the record whose number is given.
STOPPED = """
import sys, time
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
    options = ("--role", "key", "--slices", 2, "--eval-tokens", 128, "-q")

    def command(run: Path, last: int, mark: Path) -> list[str]:
        given = ["-c", STOPPED, last, mark, "localize", source, "--text", text, "-o", run, *options]
        return [sys.executable, *map(str, given)]

    undisturbed, run = tmp_path / "undisturbed", tmp_path / "run"
    subprocess.run(command(undisturbed, 0, tmp_path / "none"), check=True, capture_output=True)
    # Between the two tables of the second matrix; then behind the third of six lesions.
    for attempt, last in enumerate((3, 4)):
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
    assert (run / "lesions" / "scratch").is_dir()
    standing = states(run)
    assert lmscope.open_run(run).table("lesions").num_rows == 3
    subprocess.run(command(run, 0, tmp_path / "none"), check=True, capture_output=True)
    assert standing.items() <= states(run).items()
    assert states(run).keys() == states(undisturbed).keys()
    for name in LOCATION_ANALYSES:
        tables = [lmscope.open_run(one).table(name) for one in (run, undisturbed)]
        if "seconds" in tables[0].column_names:
            tables = [table.drop_columns(["seconds"]) for table in tables]
        assert tables[0].equals(tables[1]), name
    for leftover in ("*.tmp", "scratch", "*.stage.json"):
        assert not list(run.rglob(leftover))
