"""Opens weight files by their format."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from lmscope.checkpoints.errors import CheckpointError
from lmscope.checkpoints.file_bytes import FileBytes
from lmscope.checkpoints.gguf_file import open_gguf
from lmscope.checkpoints.layout import GGUF
from lmscope.checkpoints.not_weights import LOOK_AT_BYTES, refuse_if_not_downloaded
from lmscope.checkpoints.safetensors_file import open_safetensors
from lmscope.checkpoints.torch_zip_file import MAGIC, open_torch_zip
from lmscope.checkpoints.weight_file import WeightFile
from lmscope.checkpoints.whole_torch_file import LoadedFile, open_legacy_torch_file

_TORCH_SUFFIXES = (".bin", ".pt", ".pth")


def open_weight_files(paths: Iterable[Path]) -> list[WeightFile]:
    """Headers of one checkpoint's files, no weights (but see :mod:`whole_torch_file`)."""
    loaded = LoadedFile()
    return [_open(path, loaded) for path in paths]


def _open(path: Path, loaded: LoadedFile) -> WeightFile:
    if path.suffix == GGUF:
        return open_gguf(path)
    return _open_torch(path, loaded) if path.suffix in _TORCH_SUFFIXES else open_safetensors(path)


def _open_torch(path: Path, loaded: LoadedFile) -> WeightFile:
    try:
        with path.open("rb") as file:
            opened = FileBytes.of(path, os.fstat(file.fileno()))
            start = file.read(LOOK_AT_BYTES)
    except OSError as error:
        raise CheckpointError(error.strerror or str(error), file=path) from error
    refuse_if_not_downloaded(path, start, "a file of torch.save")
    return (
        open_torch_zip(opened, loaded) if start.startswith(MAGIC) else open_legacy_torch_file(opened, loaded)
    )
