"""CPU time of the whole machine, to tell whether other processes disturbed a measurement."""

from __future__ import annotations

import os
import time
from pathlib import Path

TICK = 1.0 / os.sysconf("SC_CLK_TCK")
_USER, _NICE, _SYSTEM, _IRQ, _SOFTIRQ, _STEAL = 0, 1, 2, 5, 6, 7


def busy_seconds(stat: str | None = None, cpus: set[int] | None = None) -> float:
    """Seconds that the CPUs this process may use have been busy since the machine started, for anybody.

    Time that a hypervisor took away counts as busy. `stat` is the text of /proc/stat, read here when None.
    """
    stat = Path("/proc/stat").read_text(encoding="ascii") if stat is None else stat
    cpus = os.sched_getaffinity(0) if cpus is None else cpus
    ticks = 0
    for line in stat.splitlines():
        label, *fields = line.split()
        if label.startswith("cpu") and label[3:].isdigit() and int(label[3:]) in cpus:
            numbers = [int(field) for field in fields]
            ticks += sum(numbers[place] for place in (_USER, _NICE, _SYSTEM, _IRQ, _SOFTIRQ, _STEAL))
    return ticks * TICK


def foreign_share(*, seconds: float, own: float, busy: float, cpus: int) -> float:
    """Share of the CPUs' time that others took during `seconds`; `own` and `busy` are CPU seconds.

    /proc/stat counts in ticks: one tick per CPU is within its resolution and counts as nobody's.
    """
    return max(0.0, busy - own - cpus * TICK) / max(seconds * cpus, TICK)


def share_now(seconds: float = 0.5) -> float:
    """Share of the CPUs' time that others take, watched for so long."""
    started, busy, own = time.monotonic(), busy_seconds(), time.process_time()
    time.sleep(seconds)
    return foreign_share(
        seconds=time.monotonic() - started,
        own=time.process_time() - own,
        busy=busy_seconds() - busy,
        cpus=len(os.sched_getaffinity(0)),
    )
