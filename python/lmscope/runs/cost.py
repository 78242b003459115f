"""What an analysis will cost: seconds and memory, from shapes alone.

A model, not a promise: it weighs the progress bar and is what `lmscope inspect` projects from. The rates are
those of one core of a 2020s server; the projection divides by the cores that this process may use.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lmscope.runs.settings import SpectraSettings

if TYPE_CHECKING:
    from lmscope.architectures import TensorInfo

# Measured on one core with AVX-512; the symmetric half of a Gram matrix takes larger * smaller^2 operations.
_GRAM_FLOPS = 4.5e10
_EIGENVALUE_FLOPS = 3.8e10
_SECONDS_PER_DRAWN_ENTRY = {"permutation": 1.0e-8, "sign_flip": 3.5e-9}
_SECONDS_PER_ROUNDING_ENTRY = 2.0e-8
_SECONDS_PER_CALIBRATED_VALUE = 1.6e-7
_SECONDS_PER_SORTED_ENTRY = 1.0e-7
_OVERHEAD_SECONDS = 0.01
WORK_BYTES = 128_000_000
"""Of the spectra, whatever the shapes."""

_BUFFER_BYTES = 8_000_000

_FORWARD_FLOPS = 4e10
"""Of a model on two cores."""

_SECONDS_PER_EXPONENTIAL = 2.0e-9
_SECONDS_PER_DIVERGENCE = 1.2e-8
_WEIGHT_BYTES_A_SECOND = 1e10
_SECONDS_A_BLOCK = 0.002
"""Of one step of generation, whatever the sizes: what torch and transformers take between the products."""

_SECONDS_PER_CHARACTER = 1.5e-6

# Of comparing columns, packing included, on one core with AVX-512: float32; bfloat16 is twice as fast.
_COSINE_FLOPS = 1.5e11
_PACKED_ENTRIES = 3e8
_PAIR_OVERHEAD_SECONDS = 0.003
_COLUMN_PADDING, _DEPTH_PADDING, _BYTES_A_COLUMN = 32, 32, 24

SIDE_BY_SIDE_BYTES = 96_000_000
"""What matrices that are analysed side by side may need together; one that needs more is analysed alone."""


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
    """Bytes that one `spectrum_verdict` holds: the matrix and a permuted copy, the Gram matrix, half of one
    more or the digits of 4096 rows, buffers.
    """
    larger, smaller = max(shape), min(shape)
    return 2 * nbytes + 8 * smaller**2 + 4 * smaller * max(smaller, min(larger, 4096)) + _BUFFER_BYTES


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


def comparison_seconds(flops: float, pairs: int = 1) -> float:
    """Estimated seconds of pairs of matrices, 2 operations a product."""
    return flops / (_COSINE_FLOPS * cores()) + pairs * _PAIR_OVERHEAD_SECONDS


def packing_seconds(elements: int) -> float:
    """Estimated seconds of reading and packing a matrix."""
    return elements / _PACKED_ENTRIES


def packed_bytes(depth: int, columns: int, dtype: str) -> int:
    """Bytes of `PackedColumns`, less where columns are zero: see csrc/column_cosine/packed.h."""
    element = {"bfloat16": 2, "float64": 8}.get(dtype, 4)
    padded = -(-columns // _COLUMN_PADDING) * _COLUMN_PADDING
    padded_depth = -(-depth // _DEPTH_PADDING) * _DEPTH_PADDING
    return padded * padded_depth * element + padded * _BYTES_A_COLUMN + 128


class Sized(Protocol):
    """A model, or what is known of its sizes."""

    @property
    def parameters_without_embedding(self) -> int: ...


class Generating(Sized, Protocol):
    """The same, of a model with a head."""

    @property
    def vocabulary(self) -> int: ...

    @property
    def dimensions(self) -> int: ...

    @property
    def depth(self) -> int: ...


def forward_seconds(model: Sized, tokens: int) -> float:
    """Estimated seconds of one pass over so many tokens."""
    return 2 * model.parameters_without_embedding * tokens / _FORWARD_FLOPS


def vectors_seconds(shape: tuple[int, ...]) -> float:
    """Estimated seconds of all singular vectors of a matrix, and of the Porter-Thomas test of them."""
    larger, smaller = max(shape), min(shape)
    products = 4 * larger * smaller**2 + 9 * smaller**3
    return products / _GRAM_FLOPS + sum(shape) * smaller * _SECONDS_PER_SORTED_ENTRY + _OVERHEAD_SECONDS


def overlap_seconds(inputs: int, tokens: int) -> float:
    """Estimated seconds of the covariance of inputs, and of its eigenvectors."""
    return (2 * tokens * inputs**2 + 9 * inputs**3) / _GRAM_FLOPS


def head_seconds(positions: int, vocabulary: int, dimensions: int) -> float:
    """Estimated seconds of the next-token distributions at so many positions."""
    return positions * vocabulary * (2 * dimensions / _FORWARD_FLOPS + _SECONDS_PER_EXPONENTIAL)


def generation_seconds(model: Generating, prompts: int, prompt: int, new_tokens: int) -> float:
    """Estimated seconds of greedy continuations: the prompts in one pass, then a step for each new token,
    which reads all weights once."""
    parameters = model.parameters_without_embedding + model.vocabulary * model.dimensions
    read = 4 * parameters / _WEIGHT_BYTES_A_SECOND
    step = max(read, 2 * parameters * prompts / _FORWARD_FLOPS) + _SECONDS_A_BLOCK * (model.depth + 1)
    return forward_seconds(model, prompts * prompt) + new_tokens * step


def divergence_seconds(positions: int, vocabulary: int, dimensions: int) -> float:
    """Estimated seconds of a changed head's distributions, and of their divergences from the head's own."""
    changed = head_seconds(positions, vocabulary, dimensions)
    return changed + positions * vocabulary * _SECONDS_PER_DIVERGENCE


def tokenizing_seconds(characters: int) -> float:
    """Estimated seconds of cutting text into tokens."""
    return characters * _SECONDS_PER_CHARACTER


def regression_seconds(tokens: int, dimensions: int) -> float:
    """Estimated seconds of a regression on the rows of an output embedding."""
    return (2 * tokens * dimensions**2 + 9 * dimensions**3) / _GRAM_FLOPS + _OVERHEAD_SECONDS


def bytes_of_stored(tensors: Iterable[TensorInfo]) -> dict[str, int]:
    """Stored name -> bytes, all parts of a fused tensor together."""
    found: defaultdict[str, int] = defaultdict(int)
    for tensor in tensors:
        found[tensor.stored_name] += tensor.nbytes
    return found
