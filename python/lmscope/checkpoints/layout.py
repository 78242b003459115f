"""What the files of a checkpoint are called."""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path

from lmscope.checkpoints.errors import CheckpointError

CONFIG = "config.json"
INDEX_SUFFIX = ".index.json"
GGUF = ".gguf"

# The first that is there wins: safetensors before torch's files, as transformers does.
_EXACT = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_PATTERNS = ("*.safetensors", "pytorch_model*.bin")
_SPLIT = re.compile(r"(.+)-[0-9]+-of-([0-9]+)(\.[a-z]+)")
EXPECTED = (
    "model.safetensors, pytorch_model.bin, the index of either, one *.safetensors file of any name, "
    "or a .gguf file"
)


def choose_weights(where: Path | str, names: Collection[str]) -> tuple[str, ...]:
    """What to open of a folder's or repository's files: an index, one file, or a split's; empty if unclear.

    Names in subfolders do not count. CheckpointError, naming ``where``, for a split that is not all there.
    """
    here = sorted(name for name in names if "/" not in name)
    for name in _EXACT:
        if name in here:
            return (name,)
    for pattern in _PATTERNS:
        matching = [name for name in here if fnmatchcase(name, pattern)]
        if matching:
            return tuple(matching) if is_one(where, matching) else ()
    return ()


def has_weights(names: Collection[str]) -> bool:
    """Whether any of a folder's files looks like weights."""
    return any(fnmatchcase(name, pattern) for name in names for pattern in _PATTERNS)


def is_one(where: Path | str, names: Collection[str]) -> bool:
    """Whether files make up one checkpoint: a single file, or by their names all files of one split."""
    splits = [_SPLIT.fullmatch(name) for name in names]
    kinds = {split.groups() for split in splits if split}
    if len(kinds) != 1 or None in splits:
        return len(names) == 1
    ((stem, count, suffix),) = kinds
    if len(names) != int(count):
        raise CheckpointError(
            "missing shard" if len(names) < int(count) else "more shards than their names say",
            file=where,
            expected=f"{int(count)} files {stem}-*{suffix}",
            found=f"{len(names)}: {', '.join(sorted(names)[:8])}",
        )
    return True
