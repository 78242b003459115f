"""Memory that a run may take."""

from __future__ import annotations

import re

from lmscope.free_memory import free_memory
from lmscope.runs.errors import UsageError

_UNITS = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGT", 1):
    _UNITS |= {_letter: 1000**_power, f"{_letter}B": 1000**_power, f"{_letter}IB": 1024**_power}


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
