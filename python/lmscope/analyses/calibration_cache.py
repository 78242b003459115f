"""Draws of noise on disk, under $XDG_CACHE_HOME/lmscope (else ~/.cache/lmscope).

The one place in the analyses that touches a file: drawing again costs seconds a shape and changes nothing.

LMSCOPE_CACHE=0 in the environment turns it off. A file that cannot be read or written is as good as none.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_lock = threading.Lock()
_turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def turn(name: str) -> threading.Lock:
    """One thread draws what has this name; others that want it wait, and those that want another do not."""
    with _lock:
        return _turns[name]


def _path(name: str) -> Path | None:
    if os.environ.get("LMSCOPE_CACHE", "1") == "0":
        return None
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: relative paths are to be ignored.
    root = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~")) / ".cache"
    return root / "lmscope" / f"{name}.npz"


def read(name: str, arrays: tuple[str, ...], draws: int) -> dict[str, Floats] | None:
    """The stored arrays, each of `draws` finite numbers, or None."""
    path = _path(name)
    if path is None:
        return None
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            stored = {name: np.asarray(file[name], dtype=np.float64) for name in arrays}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    sound = all(array.shape == (draws,) and np.isfinite(array).all() for array in stored.values())
    return stored if sound else None


def write(name: str, stored: dict[str, Floats]) -> None:
    path = _path(name)
    if path is None:
        return
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_leftovers(path)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f"{path.stem}-", suffix=".tmp", delete=False
        ) as file:
            temporary = file.name
            np.savez(file, allow_pickle=False, **stored)
        os.replace(temporary, path)
    except OSError:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _clear_leftovers(path: Path) -> None:
    """What killed writers of this file left behind: writing takes milliseconds, so an hour is old."""
    for leftover in path.parent.glob(f"{path.stem}-*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > 3600:
                leftover.unlink()
