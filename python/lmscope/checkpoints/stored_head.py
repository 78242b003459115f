"""Where a checkpoint keeps the rows of its head, and single rows of it by their bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lmscope.architectures.data_files import load_architecture, registered
from lmscope.checkpoints.checkpoint import Checkpoint
from lmscope.checkpoints.errors import CheckpointError
from lmscope.checkpoints.weight_file import WeightFile

_BLOCK_BYTES = 1 << 24
_FLOATS = ("float64", "float32", "float16", "bfloat16")


@dataclass(frozen=True)
class StoredHead:
    """The rows of the head in a safetensors file.

    Attributes:
        name: the head's, such as lm_head.weight.
        stored_name, file: the tensor that holds the rows, and its file.
        tie: "own": the config does not tie it. "stored": the config ties it, and its tensor is stored beside
            the embedding's. "absent": the config ties it, and the embedding's tensor is all there is.
        embedding: the row of the token embedding that it is tied to; None for "own".
        aliases: for "absent": every tensor that a checkpoint without the tie must have besides, by its name,
            and the stored tensor that it equals.
    """

    name: str
    stored_name: str
    file: WeightFile
    tie: Literal["own", "stored", "absent"]
    embedding: str | None
    aliases: dict[str, str]

    @property
    def shape(self) -> tuple[int, int]:
        vocabulary, dimensions = self.file.tensors[self.stored_name].shape
        return vocabulary, dimensions

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.file.dtype(self.stored_name)

    def rows(self, tokens: Sequence[int]) -> NDArray[Any]:
        """Rows of the head, read one by one."""
        size = self.shape[1] * self.dtype.itemsize
        found = [self.file.piece(self.stored_name, token * size, size) for token in tokens]
        return np.stack(found).view(self.dtype)

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """All rows, some at a time: (first row, rows)."""
        vocabulary, dimensions = self.shape
        size = dimensions * self.dtype.itemsize
        step = max(1, _BLOCK_BYTES // size)
        for start in range(0, vocabulary, step):
            count = min(step, vocabulary - start)
            block = self.file.piece(self.stored_name, start * size, count * size)
            yield start, block.view(self.dtype).reshape(count, dimensions)


def stored_head(checkpoint: Checkpoint) -> StoredHead:
    """CheckpointError for a checkpoint without a head, or one whose rows cannot be swapped."""
    _refuse(checkpoint)
    checkpoint.confirm_ties()
    heads = [info for info in checkpoint if info.role == "unembedding" and len(info.shape) == 2]
    if len(heads) != 1:
        names = ", ".join(info.name for info in heads[:4])
        raise CheckpointError(
            "its head is not known",
            file=checkpoint.path,
            expected="one tensor of role unembedding",
            found=names or "none",
        )
    (info,) = heads
    if info.tied_to is None and info.status == "refused":
        raise CheckpointError(info.reason, file=checkpoint.path, tensor=info.name)
    file = checkpoint.stored_file(info.name)
    if info.shape != info.stored_shape or info.dtype not in _FLOATS:
        raise CheckpointError(
            "its rows cannot be swapped",
            file=file.path,
            tensor=info.name,
            expected=f"{list(info.shape)} in one of {', '.join(_FLOATS)}",
            found=f"{list(info.stored_shape)} {info.dtype}",
        )
    if info.tied_to is None:
        return StoredHead(info.name, info.stored_name, file, "own", None, {})
    stored = {row.stored_name for row in checkpoint if row.name == info.tied_to}
    if info.stored_name not in stored:
        return StoredHead(info.name, info.stored_name, file, "stored", info.tied_to, {})
    aliases = {info.name: info.stored_name} | _other_aliases(checkpoint)
    return StoredHead(info.name, info.stored_name, file, "absent", info.tied_to, aliases)


def _other_aliases(checkpoint: Checkpoint) -> dict[str, str]:
    """What the config ties besides the head, such as the bias of BERT's: alias and stored source."""
    if checkpoint.model_type not in registered():
        return {}
    architecture = load_architecture(checkpoint.model_type)
    stored = {architecture.bare(info.stored_name): info for info in checkpoint}
    return {
        alias: stored[source].stored_name
        for alias, source in architecture.tied.items()
        if source in stored and alias not in stored and len(stored[source].stored_shape) == 1
    }


def _refuse(checkpoint: Checkpoint) -> None:
    path = Path(checkpoint.path)
    if not path.is_dir():
        raise CheckpointError("give the folder that holds the weights and config.json", file=path)
    if "quantization_config" in checkpoint.config:
        raise CheckpointError(
            "rows of a quantised checkpoint are not swapped: dequantise it and save it again",
            file=path / "config.json",
        )
    for file in checkpoint.weight_files:
        if file.path.suffix != ".safetensors":
            raise CheckpointError(
                "rows are swapped in safetensors files only: load the model with transformers and save it "
                "with save_pretrained, which writes those",
                file=file.path,
                expected="*.safetensors",
                found=file.path.name,
            )
    if not checkpoint.config:
        raise CheckpointError(
            "no config.json: it says whether head and embedding are tied", file=path, expected="config.json"
        )
