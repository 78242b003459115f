"""Where a checkpoint keeps the rows of its head, and single rows of it by their bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
class StoredMatrix:
    """A tensor that lies row by row in a safetensors file."""

    stored_name: str
    file: WeightFile

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.file.tensors[self.stored_name].shape
        return rows, columns

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.file.dtype(self.stored_name)

    @property
    def row_bytes(self) -> int:
        return self.shape[1] * self.dtype.itemsize

    def rows(self, indices: Iterable[int]) -> NDArray[Any]:
        """Single rows, and no others read."""
        size = self.row_bytes
        found = [self.file.piece(self.stored_name, int(index) * size, size) for index in indices]
        return np.stack(found).view(self.dtype)

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """All rows, up to 16 MB at a time: (first row, rows)."""
        rows, columns = self.shape
        step = max(1, _BLOCK_BYTES // self.row_bytes)
        for start in range(0, rows, step):
            count = min(step, rows - start)
            block = self.file.piece(self.stored_name, start * self.row_bytes, count * self.row_bytes)
            yield start, block.view(self.dtype).reshape(count, columns)


@dataclass(frozen=True)
class StoredHead:
    """The rows of a checkpoint's head.

    Attributes:
        name: the head's, such as lm_head.weight.
        matrix: the tensor that holds the rows.
        tie: "own": the config does not tie it. "stored": the config ties it, and its tensor is stored beside
            the embedding's. "absent": the config ties it, and the embedding's tensor is all there is.
        embedding: the row of the token embedding that it is tied to; None for "own".
        aliases: for "absent": every tensor that a checkpoint without the tie has besides, by its name, and
            the row that it equals.
    """

    name: str
    matrix: StoredMatrix
    tie: Literal["own", "stored", "absent"]
    embedding: str | None
    aliases: dict[str, str]


def stored_matrix(checkpoint: Checkpoint, row: str) -> StoredMatrix:
    """The stored tensor of a row that is a whole tensor; CheckpointError where there is no such row."""
    for info in checkpoint:
        if info.name == row:
            return StoredMatrix(info.stored_name, checkpoint.stored_file(row))
    raise CheckpointError("no such tensor", file=checkpoint.path, tensor=row)


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
    matrix = StoredMatrix(info.stored_name, file)
    if info.tied_to is None:
        return StoredHead(info.name, matrix, "own", None, {})
    if info.stored_name != stored_matrix(checkpoint, info.tied_to).stored_name:
        return StoredHead(info.name, matrix, "stored", info.tied_to, {})
    aliases = {info.name: info.tied_to} | _other_aliases(checkpoint)
    return StoredHead(info.name, matrix, "absent", info.tied_to, aliases)


def _other_aliases(checkpoint: Checkpoint) -> dict[str, str]:
    """What the config ties besides the head, such as the bias of BERT's: alias and the row it equals."""
    if checkpoint.model_type not in registered():
        return {}
    architecture = load_architecture(checkpoint.model_type)
    vectors = {architecture.bare(info.name): info.name for info in checkpoint if len(info.shape) == 1}
    return {
        alias: vectors[source]
        for alias, source in architecture.tied.items()
        if source in vectors and alias not in vectors
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
