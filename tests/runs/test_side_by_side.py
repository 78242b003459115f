"""Tasks side by side: how many, how large, and what happens to errors and interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import lmscope
from lmscope.runs.side_by_side import SideBySide

from ..written_llama import llama_tensors, save_llama


class Gauge:
    """How many tasks, and how many bytes, are at work at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: list[int] = []
        self.most_tasks = self.most_bytes = self.done = 0

    def task(self, need: int) -> None:
        with self._lock:
            self._now.append(need)
            self.most_tasks = max(self.most_tasks, len(self._now))
            if len(self._now) > 1:
                self.most_bytes = max(self.most_bytes, sum(self._now))
        time.sleep(0.01)
        with self._lock:
            self._now.remove(need)
            self.done += 1


def test_workers_and_budget_bound_what_runs_together() -> None:
    gauge = Gauge()
    needs = [3, 3, 3, 3, 8, 30, 8, 1, 1, 1, 1, 1]
    with SideBySide(3, 10) as tasks:
        for need in needs:
            tasks.start(lambda need=need: gauge.task(need), need)
    assert gauge.done == len(needs)
    assert gauge.most_tasks == 3
    assert 0 < gauge.most_bytes <= 10


def test_tasks_do_run_together() -> None:
    together = threading.Barrier(3, timeout=10)
    with SideBySide(3, 10) as tasks:
        for _ in range(3):
            tasks.start(lambda: together.wait() and None, 1)


def test_room_is_made_before_the_task_is_there() -> None:
    gate = threading.Event()
    with SideBySide(2, 10) as tasks:
        tasks.start(lambda: gate.wait() and None, 8)
        threading.Timer(0.05, gate.set).start()
        tasks.make_room(5)
        assert gate.is_set()


@pytest.mark.parametrize("tasks_after", [0, 5])
def test_first_exception_surfaces(tasks_after: int) -> None:
    gauge = Gauge()

    def fail() -> None:
        raise OSError("disk full")

    def run() -> None:
        with SideBySide(2, 10) as tasks:
            tasks.start(fail, 1)
            for _ in range(tasks_after):
                tasks.start(lambda: gauge.task(1), 1)
                time.sleep(0.02)

    with pytest.raises(OSError, match="disk full"):
        run()
    assert gauge.done < max(tasks_after, 1)


@pytest.fixture
def interruptible() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_after(seconds: float) -> None:
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()


@pytest.mark.usefixtures("interruptible")
def test_interrupt_waits_for_what_is_under_way(caplog: pytest.LogCaptureFixture) -> None:
    gauge = Gauge()

    def run() -> None:
        with SideBySide(2, 10) as tasks:
            tasks.start(lambda: time.sleep(0.4) or gauge.task(1), 1)
            interrupt_after(0.1)
            time.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert gauge.done == 1
    assert "waiting for 1 matrix under way" in caplog.text


@pytest.mark.usefixtures("interruptible")
def test_tasks_may_end_early_on_an_interrupt(caplog: pytest.LogCaptureFixture) -> None:
    def run() -> None:
        with SideBySide(2, 10, one="record", many="records") as tasks:

            def task() -> None:
                deadline = time.monotonic() + 30
                while not tasks.interrupted and time.monotonic() < deadline:
                    time.sleep(0.01)
                assert tasks.interrupted

            assert not tasks.interrupted
            tasks.start(task, 1)
            tasks.start(task, 1)
            interrupt_after(0.1)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run()
    assert time.monotonic() - began < 20
    assert "waiting for 2 records under way" in caplog.text


@pytest.mark.usefixtures("interruptible")
def test_another_interrupt_leaves_it_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SideBySide, "left_behind", False)
    gate, left = threading.Event(), threading.Event()

    def run() -> None:
        with SideBySide(2, 10) as tasks:
            tasks.start(lambda: gate.wait() and left.set(), 1)
            interrupt_after(0.1)
            interrupt_after(0.3)
            time.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert SideBySide.left_behind
    assert not left.is_set()
    gate.set()
    assert left.wait(10)


# An interrupt before every line in turn that the main thread runs in the block, those of the standard library
# included; a run that hangs is ended with its stacks.
EVERY_LINE = """
import faulthandler, sys, time
from lmscope.runs.side_by_side import SideBySide

def hand_out():
    with SideBySide(2, 10) as tasks:
        for _ in range(6):
            tasks.start(lambda: time.sleep(0.001), 4)

def interrupted_at(number):
    lines = 0
    def trace(frame, event, argument):
        nonlocal lines
        lines += event == "line"
        if event == "line" and lines == number:
            raise KeyboardInterrupt
        return trace
    sys.settrace(trace)
    try:
        hand_out()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False

number = 1
while True:
    faulthandler.dump_traceback_later(20, exit=True)
    if not interrupted_at(number):
        break
    number += 1
print(number)
"""


def test_an_interrupt_at_any_line_ends_it() -> None:
    done = subprocess.run([sys.executable, "-c", EVERY_LINE], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 50


def test_two_interrupts_end_a_run_at_once(tmp_path: Path) -> None:
    source = save_llama(tmp_path / "llama", llama_tensors(2), 2)
    run = tmp_path / "run"
    command = [sys.executable, "-m", "lmscope", "spectra", source, "-o", run, "--draws", "2000000"]
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while not (run / "ledger.parquet").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(1)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(1)
    # The matrices under way would take hours.
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1, errors
    assert "interrupt again to leave now" in errors
    assert "what is done is kept" in errors
    assert "terminate called" not in errors
    assert "Traceback" not in errors


def test_records_do_not_depend_on_how_many_run_together(tmp_path: Path) -> None:
    source = save_llama(tmp_path / "llama", llama_tensors(2), 2)
    before = lmscope.get_num_threads()
    tables = []
    try:
        for threads in (1, 3):
            lmscope.set_num_threads(threads)
            run = lmscope.spectra(source, out=tmp_path / f"run{threads}", progress=False)
            tables.append(run.table("spectra").drop_columns(["seconds"]).combine_chunks())
    finally:
        lmscope.set_num_threads(before)
    assert tables[0].equals(tables[1])
