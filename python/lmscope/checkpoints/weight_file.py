"""One file of weights: its tensors, where they lie in it, and their values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmscope.architectures import StoredTensor
from lmscope.checkpoints.dtypes import readable
from lmscope.checkpoints.errors import CheckpointError
from lmscope.checkpoints.file_bytes import FileBytes


class Place(NamedTuple):
    """Where a tensor's first element lies in its file, and its strides in elements (None: C order)."""

    offset: int
    strides: tuple[int, ...] | None = None


@dataclass(frozen=True)
class WeightFile:
    """``header`` is what identifies the content; ``shared`` maps a tensor to the first one of equal bytes.

    ``unreadable`` says of tensors whose values the file lacks, why.
    """

    raw: FileBytes
    header: bytes
    tensors: Mapping[str, StoredTensor]
    places: Mapping[str, Place]
    shared: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.raw.path

    @property
    def loaded_bytes(self) -> int:
        """What stays in memory beside the tensors that are read."""
        return 0

    def dtype(self, name: str) -> np.dtype[Any]:
        """Numpy's for the values of a tensor; CheckpointError where they cannot be read."""
        dtype = readable(self.tensors[name].dtype)
        if dtype is None:
            problem = f"{self.tensors[name].dtype} values cannot be read alone"
            raise CheckpointError(problem, file=self.path, tensor=name)
        if name in self.unreadable:
            raise CheckpointError(self.unreadable[name], file=self.path, tensor=name)
        return dtype

    def read(self, name: str) -> NDArray[Any]:
        """One tensor as stored, in memory of its own; CheckpointError names file and tensor."""
        stored, dtype = self.tensors[name], self.dtype(name)
        offset, strides = self.places[name]
        if strides is None:
            return self.raw.read(name, offset, stored.nbytes).view(dtype).reshape(stored.shape)
        elements = math.prod(stored.shape)
        span = 1 + sum((size - 1) * stride for size, stride in zip(stored.shape, strides, strict=True))
        values = np.lib.stride_tricks.as_strided(
            self.raw.read(name, offset, span * dtype.itemsize).view(dtype),
            stored.shape,
            [stride * dtype.itemsize for stride in strides],
        )
        # A view into a larger storage would keep all of it in memory.
        return values if span == elements else values.copy()

    def has_pieces(self, name: str) -> bool:
        """Whether the tensor lies in the file in C order, so that :meth:`piece` reads no more than asked."""
        return name in self.places and self.places[name].strides is None

    def piece(self, name: str, start: int, nbytes: int) -> NDArray[np.uint8]:
        """``nbytes`` of a tensor that has pieces, from byte ``start`` of it."""
        return self.raw.read(name, self.places[name].offset + start, nbytes)
