"""What the files of a checkpoint are called."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase

CONFIG = "config.json"
INDEX_SUFFIX = ".index.json"
GGUF = ".gguf"

# One file, an index of shards, and what counts where it is the only match; the first family found wins.
_FAMILIES = (
    ("model.safetensors", "model.safetensors.index.json", "*.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model*.bin"),
)
EXPECTED = "model.safetensors, pytorch_model.bin, the index of either, or a .gguf file"


def weights_or_index(names: Collection[str]) -> str | None:
    """The file to open of a folder's: safetensors before torch's, as transformers does; None if unclear."""
    for single, index, pattern in _FAMILIES:
        if single in names:
            return single
        if index in names:
            return index
        matching = [name for name in names if fnmatchcase(name, pattern)]
        if matching:
            return matching[0] if len(matching) == 1 else None
    return None


def has_weights(names: Collection[str]) -> bool:
    """Whether any of a folder's files looks like weights."""
    return any(fnmatchcase(name, pattern) for name in names for *_, pattern in _FAMILIES)
