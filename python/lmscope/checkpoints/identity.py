"""What makes two checkpoints the same: names, sizes, times and headers of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol


class _Described(Protocol):
    @property
    def path(self) -> Path: ...
    @property
    def size(self) -> int: ...
    @property
    def mtime_ns(self) -> int: ...
    @property
    def header(self) -> bytes: ...


def checkpoint_identity(weights: Iterable[_Described], descriptions: Iterable[Path]) -> str:
    """SHA-256 (hex) over each file's name, size, modification time and header bytes.

    ``descriptions`` are the small JSON files, which count as all header. No weights are read: values changed
    in place without touching size and time go unseen.
    """
    digest = hashlib.sha256()
    entries = [(file.path.name, file.size, file.mtime_ns, file.header) for file in weights]
    for path in descriptions:
        stat = path.stat()
        entries.append((path.name, stat.st_size, stat.st_mtime_ns, path.read_bytes()))
    for name, size, mtime_ns, header in sorted(entries):
        digest.update(f"{name}\0{size}\0{mtime_ns}\0{len(header)}\0".encode())
        digest.update(header)
    return digest.hexdigest()
