"""Memory that this process may still take."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["free_memory"]

# Version 2 and version 1 of control groups: limit, and what is taken of it.
_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


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
