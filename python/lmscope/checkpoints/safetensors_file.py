"""One .safetensors file: its header, checked by the safetensors package, and its tensors, read by offset.

The package itself reads through a memory map: a file that shrinks or a disk that fails then kills the
process, and every page touched counts as its memory. Reading by offset gives an error and holds the tensor
once.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from lmscope.architectures import StoredTensor
from lmscope.checkpoints.dtypes import NAMES, readable
from lmscope.checkpoints.errors import CheckpointError

_LENGTH_BYTES = 8


@dataclass(frozen=True)
class SafetensorsFile:
    """The header of one file; ``offsets`` are absolute byte positions in it."""

    path: Path
    size: int
    mtime_ns: int
    header: bytes
    tensors: dict[str, StoredTensor]
    offsets: dict[str, int]

    def read(self, name: str) -> NDArray[Any]:
        """One tensor as stored, C-contiguous, in a fresh array; CheckpointError names file and tensor."""
        stored = self.tensors[name]
        dtype = readable(stored.dtype)
        if dtype is None:
            raise CheckpointError(f"{stored.dtype} values cannot be read alone", file=self.path, tensor=name)
        buffer = self._read_bytes(name, self.offsets[name], stored.nbytes)
        return buffer.view(dtype).reshape(stored.shape)

    def blocks(self, name: str, *, block_bytes: int = 2**24) -> Iterator[NDArray[np.uint8]]:
        """One tensor's bytes, block by block."""
        start, nbytes = self.offsets[name], self.tensors[name].nbytes
        for first in range(0, nbytes, block_bytes):
            yield self._read_bytes(name, start + first, min(block_bytes, nbytes - first))

    def _read_bytes(self, name: str, start: int, nbytes: int) -> NDArray[np.uint8]:
        buffer = np.empty(nbytes, np.uint8)
        view = buffer.data
        done = 0
        try:
            with self.path.open("rb", buffering=0) as file:
                now = os.fstat(file.fileno())
                if (now.st_size, now.st_mtime_ns) != (self.size, self.mtime_ns):
                    raise CheckpointError(
                        "the file changed after it was opened",
                        file=self.path,
                        tensor=name,
                        expected=f"{self.size} bytes",
                        found=f"{now.st_size} bytes",
                    )
                while done < nbytes:
                    got = os.preadv(file.fileno(), [view[done:]], start + done)
                    if got == 0:
                        break
                    done += got
        except OSError as error:
            raise CheckpointError(str(error), file=self.path, tensor=name) from error
        if done < nbytes:
            raise CheckpointError(
                "the file ends too early",
                file=self.path,
                tensor=name,
                expected=f"{nbytes} bytes at {start}",
                found=f"{done}",
            )
        return buffer


def open_safetensors(path: Path) -> SafetensorsFile:
    """Reads and checks the header only."""
    try:
        with safe_open(path, framework="numpy"), path.open("rb") as file:
            stat = os.fstat(file.fileno())
            length = file.read(_LENGTH_BYTES)
            header = length + file.read(int.from_bytes(length, "little"))
    except SafetensorError as error:
        raise _diagnosis(path, error) from error
    except OSError as error:
        raise CheckpointError(error.strerror or str(error), file=path) from error
    entries = json.loads(header[_LENGTH_BYTES:], object_pairs_hook=lambda pairs: _unique(path, pairs))
    entries.pop("__metadata__", None)
    tensors, offsets = {}, {}
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        tensors[name] = StoredTensor(NAMES[entry["dtype"]], tuple(entry["shape"]), end - begin)
        offsets[name] = len(header) + begin
    return SafetensorsFile(path, stat.st_size, stat.st_mtime_ns, header, tensors, offsets)


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise CheckpointError("the header names it twice", file=path, tensor=twice[0])
    return dict(pairs)


def _diagnosis(path: Path, error: SafetensorError) -> CheckpointError:
    """What is wrong with a file that the safetensors package refuses, with the sizes where they tell."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(64)
        if size == 0:
            return CheckpointError("empty file", file=path, expected="a safetensors file", found="0 bytes")
        if start.startswith(b"version https://git-lfs"):
            return CheckpointError(
                "not downloaded", file=path, expected="a safetensors file", found="a git-LFS pointer"
            )
        if start.lstrip()[:1] == b"<":
            return CheckpointError(
                "not weights", file=path, expected="a safetensors file", found="an HTML page"
            )
        length = int.from_bytes(start[:_LENGTH_BYTES], "little")
        if size < _LENGTH_BYTES + length:
            return CheckpointError(
                f"truncated, or not a safetensors file: {error}",
                file=path,
                expected=f"a header of {length} bytes",
                found=f"{max(size - _LENGTH_BYTES, 0)} bytes",
            )
        file.seek(_LENGTH_BYTES)
        expected = _expected_size(file.read(length) if length <= 100_000_000 else b"")
    if expected is not None and expected != size:
        problem = "truncated" if size < expected else "longer than its header says"
        return CheckpointError(problem, file=path, expected=f"{expected} bytes", found=f"{size} bytes")
    return CheckpointError(str(error), file=path)


def _expected_size(header: bytes) -> int | None:
    try:
        entries = json.loads(header)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        return _LENGTH_BYTES + len(header) + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
