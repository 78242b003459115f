"""One .safetensors file: its header, checked by the safetensors package."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from lmscope.architectures import StoredTensor
from lmscope.checkpoints.dtypes import NAMES
from lmscope.checkpoints.errors import CheckpointError
from lmscope.checkpoints.file_bytes import FileBytes
from lmscope.checkpoints.not_weights import LOOK_AT_BYTES, refuse_if_not_downloaded
from lmscope.checkpoints.safetensors_diagnosis import LENGTH_BYTES, diagnosis, first_duplicate
from lmscope.checkpoints.weight_file import Place, WeightFile


def open_safetensors(path: Path) -> WeightFile:
    """Reads and checks the header only."""
    try:
        with path.open("rb") as file:
            start = file.read(LOOK_AT_BYTES)
            refuse_if_not_downloaded(path, start, "a safetensors file")
            with safe_open(path, framework="numpy"):
                status = os.fstat(file.fileno())
                length = int.from_bytes(start[:LENGTH_BYTES], "little")
                header = start[: LENGTH_BYTES + length]
                header += file.read(LENGTH_BYTES + length - len(header))
                if (status.st_ino, status.st_mtime_ns) != _inode_and_time(path):
                    raise CheckpointError("the file was replaced while it was opened", file=path)
    except SafetensorError as error:
        raise diagnosis(path, error) from error
    except OSError as error:
        raise CheckpointError(error.strerror or str(error), file=path) from error
    entries = json.loads(header[LENGTH_BYTES:], object_pairs_hook=lambda pairs: _unique(path, pairs))
    entries.pop("__metadata__", None)
    tensors, places = {}, {}
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        tensors[name] = StoredTensor(NAMES[entry["dtype"]], tuple(entry["shape"]), end - begin)
        places[name] = Place(len(header) + begin)
    return WeightFile(FileBytes.of(path, status), header, tensors, places)


def _inode_and_time(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    twice = first_duplicate(key for key, _ in pairs)
    if twice is not None:
        raise CheckpointError("the header names it twice", file=path, tensor=twice)
    return dict(pairs)
