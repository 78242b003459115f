"""What a timing depends on: processor, cores, instruction set, libraries, date, commit."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from lmscope.runs.machine import machine

_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "MKL_NUM_THREADS",
    "LMSCOPE_ISA",
)


def fingerprint(libraries: dict[str, dict[str, Any]], *, source: Path | None = None) -> dict[str, Any]:
    """`libraries` is what the workers said of themselves, `source` a checkout whose commit to name.

    No host name.
    """
    found = machine()
    found["kernel"] = platform.release().partition("-")[0]
    found["memory_bytes"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found["libraries"] = libraries
    found["environment"] = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    found["date"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    found["commit"] = commit(source) if source is not None else None
    return found


def commit(source: Path) -> str | None:
    """Commit of a checkout, with ``-dirty`` where tracked files differ from it; None outside one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(source), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
