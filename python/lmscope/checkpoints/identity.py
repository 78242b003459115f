"""What makes two checkpoints the same: names, sizes, times and headers of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from lmscope.checkpoints.errors import CheckpointError
from lmscope.checkpoints.weight_file import WeightFile


def checkpoint_identity(weights: Iterable[WeightFile], descriptions: Iterable[Path]) -> str:
    """SHA-256 (hex) over each file's name, size, modification time and header bytes.

    Header is that of a safetensors file, the pickle of a torch zip, the first 64 kB of an older torch file;
    ``descriptions`` are the small JSON files, which count as all header. No weights are read: values changed
    in place without touching size and time go unseen.
    """
    digest = hashlib.sha256()
    entries = [(file.path.name, file.raw.size, file.raw.mtime_ns, file.header) for file in weights]
    for path in descriptions:
        try:
            stat = path.stat()
            entries.append((path.name, stat.st_size, stat.st_mtime_ns, path.read_bytes()))
        except OSError as error:
            raise CheckpointError(error.strerror or str(error), file=path) from error
    for name, size, mtime_ns, header in sorted(entries):
        digest.update(f"{name}\0{size}\0{mtime_ns}\0{len(header)}\0".encode("utf-8", "surrogateescape"))
        digest.update(header)
    return digest.hexdigest()
