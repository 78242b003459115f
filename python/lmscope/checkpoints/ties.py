"""Whether a head that is stored beside the embedding it is tied to holds the same values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscope.checkpoints.weight_file import WeightFile

_BLOCK_BYTES = 2**24
_SAMPLES = 64
_SAMPLE_BYTES = 2**12


def equal_samples(one: WeightFile, name: str, other: WeightFile, other_name: str) -> bool:
    """Whether 64 evenly spread blocks of 4 KiB agree: at most half a megabyte is read, whatever the size.

    False is certain. Of a tensor that does not lie in C order all is read. Heads that were trained apart from
    their embedding differ nearly everywhere.
    """
    nbytes = one.tensors[name].nbytes
    last = max(nbytes - _SAMPLE_BYTES, 0)
    starts = sorted({last * index // (_SAMPLES - 1) for index in range(_SAMPLES)})
    return _equal(one, name, other, other_name, ((start, min(_SAMPLE_BYTES, nbytes)) for start in starts))


def equal_values(one: WeightFile, name: str, other: WeightFile, other_name: str) -> bool:
    """Whether all bytes agree; reads up to the first difference."""
    nbytes = one.tensors[name].nbytes
    starts = range(0, nbytes, _BLOCK_BYTES)
    blocks = ((start, min(_BLOCK_BYTES, nbytes - start)) for start in starts)
    return _equal(one, name, other, other_name, blocks)


def _equal(
    one: WeightFile, name: str, other: WeightFile, other_name: str, blocks: Iterator[tuple[int, int]]
) -> bool:
    if one.tensors[name].nbytes != other.tensors[other_name].nbytes:
        return False
    if not (one.has_pieces(name) and other.has_pieces(other_name)):
        return np.array_equal(_bytes(one.read(name)), _bytes(other.read(other_name)))
    return all(
        np.array_equal(one.piece(name, start, nbytes), other.piece(other_name, start, nbytes))
        for start, nbytes in blocks
    )


def _bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """In C order, so that two layouts of the same values agree; -0 and NaN compare as they are stored."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)
