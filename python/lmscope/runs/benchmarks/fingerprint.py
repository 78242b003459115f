"""What a timing depends on: processor, cores, instruction set, libraries, date, commit."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from lmscope.runs.machine import machine

_VARIABLES = ("GOMP_", "KMP_", "LMSCOPE_", "MKL_", "OMP_", "OPENBLAS_")


def fingerprint(libraries: dict[str, dict[str, Any]], *, source: Path | None = None) -> dict[str, Any]:
    """`libraries` is what the workers said of themselves, `source` a checkout whose commit to name.

    No host name.
    """
    found = machine()
    found["kernel"] = platform.release().partition("-")[0]
    found["memory_bytes"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found["libraries"] = libraries
    found["environment"] = {
        name: value for name, value in sorted(os.environ.items()) if name.startswith(_VARIABLES)
    }
    found["date"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    found["commit"] = commit(source) if source is not None else None
    return found


def commit(source: Path) -> str | None:
    """Commit of a checkout of lmscope, with ``-dirty`` where its sources differ from it; None elsewhere."""
    if not (source / "csrc" / "include" / "lmscope").is_dir():
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(source), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        name = git("rev-parse", "HEAD")
        changed = git(
            "status", "--porcelain", "--", "csrc", "python", "cmake", "CMakeLists.txt", "constraints.txt"
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{name}-dirty" if changed else name
