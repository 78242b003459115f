"""Byte ranges of one file, read by offset.

A memory map would kill the process where a file shrinks or a disk fails, and every page touched would count
as its memory. Reading by offset gives an error and holds each byte once.
"""

from __future__ import annotations

import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscope.checkpoints.errors import CheckpointError

CHUNK_BYTES = 2**24
_READERS = 4
MAPPED_BYTES = 2**20


def _memory(nbytes: int) -> NDArray[np.uint8]:
    """Uninitialised bytes; large ones return to the system at once, which the heap of a thread delays."""
    if nbytes < MAPPED_BYTES:
        return np.empty(nbytes, np.uint8)
    return np.frombuffer(mmap.mmap(-1, nbytes), np.uint8)


@dataclass(frozen=True)
class FileBytes:
    """A file as it was when its header was read; one that has changed since is not read."""

    path: Path
    size: int
    mtime_ns: int

    @staticmethod
    def of(path: Path, status: os.stat_result) -> FileBytes:
        return FileBytes(path, status.st_size, status.st_mtime_ns)

    def read(self, tensor: str | None, start: int, nbytes: int) -> NDArray[np.uint8]:
        """``nbytes`` from ``start`` in a fresh array; CheckpointError names file and ``tensor``.

        What is longer than a chunk is read by several threads, as one request at a time leaves most of a
        network mount's throughput unused.
        """
        buffer = _memory(nbytes)
        chunks = range(0, nbytes, CHUNK_BYTES)
        try:
            with self.path.open("rb", buffering=0) as file:
                self._check_unchanged(file.fileno(), tensor)

                def fill(first: int) -> None:
                    part = buffer[first : first + CHUNK_BYTES]
                    self._fill(file.fileno(), part.data, start + first, tensor)

                if len(chunks) > 1:
                    with ThreadPoolExecutor(min(_READERS, len(chunks)), "lmscope-chunk") as threads:
                        list(threads.map(fill, chunks))
                elif chunks:
                    fill(0)
                self._check_unchanged(file.fileno(), tensor)
        except OSError as error:
            raise CheckpointError(
                f"cannot be read: {error.strerror or error}",
                file=self.path,
                tensor=tensor,
                expected=f"{nbytes} bytes at {start}",
            ) from error
        return buffer

    def check_unchanged(self, tensor: str) -> None:
        """CheckpointError where the file is no longer the one that was opened."""
        self.read(tensor, 0, 0)

    def _check_unchanged(self, descriptor: int, tensor: str | None) -> None:
        now = os.fstat(descriptor)
        if (now.st_size, now.st_mtime_ns) != (self.size, self.mtime_ns):
            raise CheckpointError(
                "the file changed after it was opened",
                file=self.path,
                tensor=tensor,
                expected=f"{self.size} bytes, modified at {self.mtime_ns} ns",
                found=f"{now.st_size} bytes, modified at {now.st_mtime_ns} ns",
            )

    def _fill(self, descriptor: int, view: Any, start: int, tensor: str | None) -> None:
        done = 0
        while done < len(view):
            got = os.preadv(descriptor, [view[done:]], start + done)
            if got == 0:
                raise CheckpointError(
                    "the file ends too early",
                    file=self.path,
                    tensor=tensor,
                    expected=f"{len(view)} bytes at {start}",
                    found=f"{done} bytes",
                )
            done += got
