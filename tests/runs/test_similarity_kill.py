"""Kills of a pass over pairs: what stands is kept, at most one file's pairs are computed again."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet

import lmscope

from ..written_llama import llama_tensors, save_llama

LAYERS, KILLS, PAIRS_A_FILE = 10, 5, 12
PAIRS = 7 * LAYERS * (LAYERS - 1) // 2

# The command line itself with small files; each comparison leaves a byte.
COUNTED = f"""
import os, sys
from lmscope.analyses import pair
from lmscope.cli import main
from lmscope.runs import pair_pass

pair_pass.MOST_PAIRS = {PAIRS_A_FILE}
log = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
compare = pair.compare_pair

def counted(*arguments, **settings):
    os.write(log, b".")
    return compare(*arguments, **settings)

pair.compare_pair = counted
main()
"""


def compare(source: Path, run: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", COUNTED, log, "similarity", source, "-o", run, "--null-draws", "2", "-q"]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(source: Path, run: Path, log: Path) -> None:
    process = compare(source, run, log)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()


def compared(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def wait_for(process: subprocess.Popen[bytes], log: Path, pairs: int) -> None:
    while compared(log) < pairs and process.poll() is None:
        time.sleep(0.001)


def states(run: Path) -> dict[str, tuple[int, int]]:
    found = {path.name: path.stat() for path in (run / "similarity").glob("*.parquet")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def told(run: Path) -> list[str]:
    rows = lmscope.open_run(run).table("similarity").to_pylist()
    return [repr({**row, "seconds": 0}) for row in rows]


def test_kills(tmp_path: Path) -> None:
    source = save_llama(tmp_path / "llama", llama_tensors(LAYERS), LAYERS)
    undisturbed, run, log = tmp_path / "undisturbed", tmp_path / "run", tmp_path / "log"
    finish(source, undisturbed, tmp_path / "undisturbed.log")
    assert compared(tmp_path / "undisturbed.log") == PAIRS

    chance = random.Random(0)
    for _ in range(KILLS):
        standing = states(run)
        process = compare(source, run, log)
        wait_for(process, log, compared(log) + chance.randint(1, PAIRS // (KILLS + 2)))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        after = states(run)
        assert {name: after[name] for name in standing} == standing
        left = lmscope.open_run(run)
        assert 0 <= len(left.table("similarity")) < PAIRS
        assert "planned" in left.ledger.column("status").to_pylist()
    assert len(states(run)) >= 3

    finish(source, run, log)
    assert PAIRS < compared(log) <= PAIRS + KILLS * PAIRS_A_FILE
    assert told(run) == told(undisturbed)
    assert not list(run.rglob("*.tmp"))
    names = [
        pair
        for path in (run / "similarity").glob("*.parquet")
        for row in pyarrow.parquet.read_table(path, columns=["name_x", "name_y"]).to_pylist()
        for pair in [(row["name_x"], row["name_y"])]
    ]
    assert len(set(names)) == len(names) == PAIRS
    assert lmscope.open_run(run).ledger.equals(lmscope.open_run(undisturbed).ledger)


def test_an_interrupt_keeps_the_pairs_in_hand(tmp_path: Path) -> None:
    source = save_llama(tmp_path / "llama", llama_tensors(LAYERS), LAYERS)
    run, log = tmp_path / "run", tmp_path / "log"
    process = compare(source, run, log)
    wait_for(process, log, 10)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"the same command continues in it" in errors
    kept = lmscope.open_run(run).table("similarity").num_rows
    assert compared(log) - 1 <= kept <= compared(log)
