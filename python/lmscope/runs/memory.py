"""Memory that a run may take."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lmscope.runs.errors import UsageError

_UNITS = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGT", 1):
    _UNITS |= {_letter: 1000**_power, f"{_letter}B": 1000**_power, f"{_letter}IB": 1024**_power}

# Version 2 and version 1 of control groups: limit, and what is taken of it.
_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def memory_budget(memory: int | str | None) -> int:
    """Bytes from ``8GB``, ``512MiB`` or a number; None: half of what is free now.

    Raises `UsageError`.
    """
    if memory is None:
        return free_memory() // 2
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(memory))
    unit = found[2].upper() if found else ""
    if isinstance(memory, bool) or found is None or unit not in _UNITS or not float(found[1]) > 0:
        raise UsageError(f"memory: {memory!r} is no amount of memory; write for example 8GB")
    return int(float(found[1]) * _UNITS[unit])


def free_memory() -> int:
    """Bytes that may still be taken: of the machine, or of the container where that is less."""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        free = pages
    for limit, taken in _LIMITS:
        try:
            left = int(Path(limit).read_text(encoding="ascii")) - int(Path(taken).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        free = min(free, max(left, 0))
    return free
