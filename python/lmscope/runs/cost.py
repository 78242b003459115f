"""What an analysis will cost: seconds and memory, from shapes alone.

A model, not a promise: it weighs the progress bar and gives `lmscope inspect` its projection. The rates are
those of one core of a 2020s server; the projection divides by the cores that this process may use.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmscope.runs.settings import SpectraSettings

if TYPE_CHECKING:
    from lmscope.architectures import TensorInfo

# Measured on one core with AVX-512; the symmetric half of a Gram matrix takes larger * smaller^2 operations.
_GRAM_FLOPS = 2.5e10
_EIGENVALUE_FLOPS = 2.4e10
_SECONDS_PER_DRAWN_ENTRY = {"permutation": 1.0e-8, "sign_flip": 3.5e-9}
_SECONDS_PER_ROUNDING_ENTRY = 2.0e-8
_SECONDS_PER_CALIBRATED_VALUE = 1.6e-7
_OVERHEAD_SECONDS = 0.01
_WORK_BYTES = 128_000_000
_BUFFER_BYTES = 8_000_000

# Of the comparison of columns and the packing before it, on one core with AVX-512 bf16.
_COSINE_FLOPS = 1e11
_PACKED_ENTRIES = 3e8
_PAIR_OVERHEAD_SECONDS = 0.003
_COLUMN_PADDING, _BYTES_A_COLUMN = 32, 24

SIDE_BY_SIDE_BYTES = 96_000_000
"""What matrices that are analysed side by side may need together; one that needs more is analysed alone."""


@dataclass(frozen=True, repr=False)
class Projection:
    """What `analyze` will need for a checkpoint, as `lmscope inspect` prints it.

    Bytes and seconds; `calibration_seconds` of the `seconds` fall away where this machine has seen the shapes
    before, and `memory_bytes` comes on top of the process after its imports: 1.5 times the largest
    Gram matrix (float64, smaller side squared), twice the largest stored tensor (fused ones whole), 128 MB,
    and files that can only be loaded whole.
    """

    matrices: int
    read_bytes: int
    largest_tensor_bytes: int
    largest_gram_bytes: int
    memory_bytes: int
    seconds: float
    calibration_seconds: float
    cores: int
    assumption: str

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def sentence(self) -> str:
        """What an analysis will need, in words and without a full stop."""
        from lmscope.runs.progress import format_bytes, format_seconds

        if not self.matrices:
            return "There is no matrix to analyse"
        return (
            f"An analysis needs about {format_bytes(self.memory_bytes)} of memory and "
            f"{format_seconds(self.seconds)} on an idle machine ({self.assumption}); "
            f"{format_seconds(self.calibration_seconds)} of that calibrate shapes new to this machine, once"
        )

    def __repr__(self) -> str:
        return f"<Projection of {self.matrices} matrices: {self.sentence()}>"


def cores() -> int:
    """Cores that this process may use: its affinity, or the container's quota where that is less."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        granted = int(int(quota) / int(period) + 0.5)
    except (OSError, ValueError):
        return found
    return min(found, max(1, granted))


def spectra_seconds(shape: tuple[int, ...], settings: SpectraSettings, *, threads: int = 1) -> float:
    """Estimated seconds of one `spectrum_verdict`: Gram matrix, eigenvalues, the top value of every draw."""
    larger, smaller = max(shape), min(shape)
    gram = larger * smaller**2 / _GRAM_FLOPS
    eigenvalues = 4 / 3 * smaller**3 / _EIGENVALUE_FLOPS
    drawn = settings.draws * sum(_SECONDS_PER_DRAWN_ENTRY.get(null, 0.0) for null in settings.nulls)
    return (gram + eigenvalues + drawn * larger * smaller + _OVERHEAD_SECONDS) / threads


def verdict_bytes(shape: tuple[int, ...], nbytes: int) -> int:
    """Bytes that one `spectrum_verdict` holds: the matrix and a permuted copy, 1.5 Gram matrices, buffers."""
    return 2 * nbytes + 12 * min(shape) ** 2 + _BUFFER_BYTES


def difference_seconds(shape: tuple[int, ...], draws: int, *, threads: int = 1) -> float:
    """Estimated seconds of one `difference_verdict`: spectrum and sign flips, and drawn rounding errors."""
    spectrum = spectra_seconds(shape, SpectraSettings(nulls=("sign_flip",), draws=draws), threads=threads)
    return spectrum + draws * _SECONDS_PER_ROUNDING_ENTRY * math.prod(shape) / threads


def difference_bytes(shape: tuple[int, ...], nbytes: int) -> int:
    """Bytes that one `difference_verdict` holds: both matrices (`nbytes`), their difference in float64, 1.5
    Gram matrices, buffers."""
    return nbytes + 8 * math.prod(shape) + 12 * min(shape) ** 2 + _BUFFER_BYTES


def calibration_seconds(shape: tuple[int, ...], *, threads: int = 1) -> float:
    """Estimated seconds that the first verdict on a shape adds: thousands of bidiagonal draws."""
    return _SECONDS_PER_CALIBRATED_VALUE * min(shape) * max(8192, min(20480, 2**25 // min(shape))) / threads


def comparison_seconds(flops: float) -> float:
    """Estimated seconds of one pair of matrices, 2 operations a product."""
    return flops / (_COSINE_FLOPS * cores()) + _PAIR_OVERHEAD_SECONDS


def packing_seconds(elements: int) -> float:
    """Estimated seconds of reading and packing a matrix."""
    return elements / _PACKED_ENTRIES


def packed_bytes(depth: int, columns: int, dtype: str) -> int:
    """Bytes of `PackedColumns`, less where columns are zero: see csrc/column_cosine/packed.h."""
    element = {"bfloat16": 2, "float64": 8}.get(dtype, 4)
    padded = -(-columns // _COLUMN_PADDING) * _COLUMN_PADDING
    return padded * (depth + depth % 2) * element + padded * _BYTES_A_COLUMN + 128


def bytes_of_stored(tensors: Iterable[TensorInfo]) -> dict[str, int]:
    """Stored name -> bytes, all parts of a fused tensor together."""
    found: defaultdict[str, int] = defaultdict(int)
    for tensor in tensors:
        found[tensor.stored_name] += tensor.nbytes
    return found


def project(tensors: Iterable[TensorInfo], settings: SpectraSettings, *, loaded_bytes: int = 0) -> Projection:
    """Projection for the planned tensors among `tensors`; `loaded_bytes` of files stay in memory."""
    tensors = list(tensors)
    stored = bytes_of_stored(tensors)
    planned = [tensor for tensor in tensors if tensor.status == "planned"]
    threads = cores()
    shapes = {(min(tensor.shape), max(tensor.shape)) for tensor in planned}
    largest_tensor = max((stored[tensor.stored_name] for tensor in planned), default=0)
    largest_gram = max((8 * min(tensor.shape) ** 2 for tensor in planned), default=0)
    calibrating = sum(calibration_seconds(shape, threads=threads) for shape in shapes)
    return Projection(
        matrices=len(planned),
        read_bytes=sum(tensor.nbytes for tensor in planned),
        largest_tensor_bytes=largest_tensor,
        largest_gram_bytes=largest_gram,
        memory_bytes=3 * largest_gram // 2 + 2 * largest_tensor + _WORK_BYTES + loaded_bytes
        if planned
        else 0,
        seconds=sum(spectra_seconds(tensor.shape, settings, threads=threads) for tensor in planned)
        + calibrating,
        calibration_seconds=calibrating,
        cores=threads,
        assumption=f"{threads} core{'s' * (threads > 1)}, a fast disk, {settings.draws} draws",
    )
