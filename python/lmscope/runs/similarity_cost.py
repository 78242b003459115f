"""What the similarities of a checkpoint will cost, from shapes alone and without listing the pairs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lmscope.runs.cost import comparison_seconds, packed_bytes, packing_seconds
from lmscope.runs.pair_pass import WORK_BYTES, stored_bytes
from lmscope.runs.progress import format_bytes, format_seconds
from lmscope.runs.settings import SimilaritySettings
from lmscope.runs.vectors import count_pairs, layer_groups

if TYPE_CHECKING:
    from lmscope.architectures import TensorInfo


@dataclass(frozen=True)
class SimilarityProjection:
    """What `similarity` will need for a checkpoint.

    Bytes and seconds; `flops` are two for every pair of vectors and coordinate, draws of the null included.
    With `memory_bytes` every matrix is read once, and more is never taken; with less they are read more
    often, down to `least_memory_bytes`, which hold two of the largest. `read_bytes` and `seconds` are for
    reading once.
    """

    pairs: int
    flops: float
    read_bytes: int
    memory_bytes: int
    least_memory_bytes: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        """Without a full stop."""
        return (
            f"Similarities of {self.pairs} pairs of matrices are {format_seconds(self.seconds)} of that; "
            f"they take half of the free memory, or what --memory says, at least "
            f"{format_bytes(self.least_memory_bytes)} and at most {format_bytes(self.memory_bytes)}"
        )


def project_similarity(tensors: Iterable[TensorInfo], settings: SimilaritySettings) -> SimilarityProjection:
    """Projection for the pairs of layers and experts among the planned `tensors`."""
    pairs, flops, seconds, read_bytes, memory, least = 0, 0.0, 0.0, 0, 0, 0
    for group in layer_groups(tensors, settings.vectors):
        group_pairs, group_flops = count_pairs(group, settings.null_draws)
        if not group_pairs:
            continue
        members = [matrix for layer in group for matrix in layer]
        sizes = sorted(packed_bytes(m.depth, m.count, m.tensor.dtype) for m in members)
        copy = 0 if settings.null_draws == 0 else sizes[-1]
        beside = WORK_BYTES + max(map(stored_bytes, members)) + copy
        pairs += group_pairs
        flops += group_flops
        read_bytes += sum(matrix.tensor.nbytes for matrix in members)
        memory = max(memory, beside + sum(sizes))
        least = max(least, beside + sum(sizes[-2:]))
        seconds += comparison_seconds(group_flops, group_pairs)
        seconds += sum(packing_seconds(matrix.tensor.elements) for matrix in members)
    return SimilarityProjection(pairs, flops, read_bytes, memory, least, seconds)
