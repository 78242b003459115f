"""Commands of other tools: their failure is one line, after what they said themselves."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    """Leaves with a message where the command is missing or fails."""
    parts = [str(part) for part in command]
    try:
        done = subprocess.run(parts, cwd=cwd, env=env, check=False)
    except OSError as error:
        sys.exit(f"packaging: {parts[0]} cannot be run: {error.strerror}")
    if done.returncode:
        sys.exit(f"packaging: {shlex.join(parts)} left with exit status {done.returncode}")


def output(*command: str | Path, cwd: Path | None = None, hint: str) -> str:
    """What the command writes to stdout; ``hint`` ends the message where it cannot be had."""
    parts = [str(part) for part in command]
    try:
        done = subprocess.run(parts, cwd=cwd, capture_output=True, text=True, check=False)
    except OSError as error:
        sys.exit(f"packaging: {parts[0]} cannot be run ({error.strerror}): {hint}")
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no word"]
        sys.exit(f"packaging: {shlex.join(parts)} failed ({said[-1]}): {hint}")
    return done.stdout
