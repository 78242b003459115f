"""The machine that a run ran on, as its manifest records it."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from lmscope.runs.cost import cores


def machine() -> dict[str, Any]:
    """Processor, cores that the process may use, system and Python version; no host name."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
