"""Matrices whose spectra are known or hard, and the shapes and layouts that every kernel meets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DTYPES: dict[str, Any] = {
    "bfloat16": ml_dtypes.bfloat16,
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
}
SMALL_SHAPES = [(1, 1), (1, 7), (7, 1), (2, 2), (33, 33), (150, 40), (40, 150), (129, 128)]


def random_orthogonal(rows: int, columns: int, seed: int) -> Floats:
    """rows x columns, rows >= columns, orthonormal columns."""
    rng = np.random.default_rng(seed)
    q: Floats = np.linalg.qr(rng.standard_normal((rows, columns)))[0]
    return q


def with_values(shape: tuple[int, int], values: Floats, seed: int = 0) -> Floats:
    """A float64 matrix whose singular values are about the given ones."""
    small = min(shape)
    left = random_orthogonal(shape[0], small, seed)
    right = random_orthogonal(shape[1], small, seed + 1)
    product: Floats = (left * values) @ right.T
    return product


def gaussian(shape: tuple[int, int]) -> Floats:
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def spiked(shape: tuple[int, int]) -> Floats:
    """Gaussian noise and five strong directions."""
    rng = np.random.default_rng(shape[0])
    spikes = (
        rng.standard_normal((shape[0], 5)) @ np.diag([5, 3, 2, 1, 0.5]) @ rng.standard_normal((5, shape[1]))
    )
    return rng.standard_normal(shape) + spikes


def geometric(shape: tuple[int, int]) -> Floats:
    """Values from 1 down to 1e-9, as far as the dtype keeps them."""
    return with_values(shape, np.geomspace(1, 1e-9, min(shape)))


RANDOM_KINDS: dict[str, Callable[[tuple[int, int]], Floats]] = {
    "gaussian": gaussian,
    "spiked": spiked,
    "geometric": geometric,
}


def hadamard_times_diagonal(order: int, side: str) -> tuple[Floats, Floats]:
    """Sylvester-Hadamard times diag(2^0 .. 2^-30) on one side, exact in bfloat16; its values are sqrt(order)
    2^-k.
    """
    diagonal = 2.0 ** -np.round(np.linspace(0, 30, order))
    hadamard = scipy.linalg.hadamard(order).astype(np.float64)
    matrix = hadamard * diagonal if side == "right" else diagonal[:, None] * hadamard
    return matrix, np.sqrt(float(order)) * diagonal


def with_eigenvalues(values: NDArray[np.int64]) -> Floats:
    """A symmetric matrix with exactly these eigenvalues, integers of magnitudes below 2**12: two
    reflections of their diagonal by vectors of ones and minus ones, 2, 4, .. 512 long, so that nothing is
    rounded.
    """
    order = len(values)
    matrix = np.diag(values.astype(np.float64))
    if order == 1:
        return matrix
    rng = np.random.default_rng(order)
    length = 2 ** min(9, int(np.log2(order)))
    for first in (0, order - length):
        vector = np.zeros(order)
        vector[first : first + length] = rng.choice([-1.0, 1.0], length)
        matrix -= np.outer(vector, 2 / length * (vector @ matrix))
        matrix -= np.outer(2 / length * (matrix @ vector), vector)
    return matrix


def lauchli(columns: int, epsilon: float) -> tuple[Floats, Floats]:
    """A row of ones over epsilon I: sqrt(columns + epsilon^2) once, epsilon columns - 1 times."""
    values = np.full(columns, epsilon)
    values[0] = np.sqrt(columns + epsilon * epsilon)
    return np.concatenate([np.ones((1, columns)), epsilon * np.eye(columns)]), values


HARD = ("graded columns", "graded rows", "integers", "sparse", "blocks", "repeated", "spectrum", "wild")


def hard(kind: str, shape: tuple[int, int], decades: float, seed: int, *, wild: float) -> Floats:
    """One of the families `HARD`; the last one spreads its entries over ``wild`` times ``decades``."""
    rows, columns = shape
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(shape)
    made: dict[str, Callable[[], Floats]] = {
        "graded columns": lambda: noise * 10 ** (-decades * rng.random(columns)),
        "graded rows": lambda: noise * 10 ** (-decades * rng.random((rows, 1))),
        "integers": lambda: rng.integers(-2, 3, shape).astype(np.float64),
        "sparse": lambda: noise * (rng.random(shape) < 0.1),
        "blocks": lambda: np.kron(np.diag(10.0 ** -rng.integers(0, 9, 6)), noise[:9, :9]),
        "repeated": lambda: noise[rng.integers(0, max(1, rows // 3), rows)],
        "spectrum": lambda: with_values(
            shape, np.sort(10 ** (-decades * rng.random(min(shape))))[::-1], seed
        ),
        "wild": lambda: noise * 10 ** rng.uniform(-wild * decades, wild * decades, shape),
    }
    return made[kind]()


def layouts(matrix: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    """The same elements in every memory layout that numpy can express without a copy of its own."""
    rows, columns = matrix.shape
    yield "C", np.ascontiguousarray(matrix)
    yield "Fortran", np.asfortranarray(matrix)
    stepped = np.zeros((3 * rows, 2 * columns), dtype=matrix.dtype)
    stepped[1::3, ::2] = matrix
    yield "steps", stepped[1::3, ::2]
    wide = np.zeros((rows, columns + 5), dtype=matrix.dtype)
    wide[:, 2:-3] = matrix
    yield "slice", wide[:, 2:-3]
    yield "negative", np.ascontiguousarray(matrix[::-1, ::-1])[::-1, ::-1]
    yield "negative Fortran", np.asfortranarray(matrix[::-1])[::-1]
    read_only = np.array(matrix)
    read_only.setflags(write=False)
    yield "read-only", read_only
    unaligned = np.frombuffer(b"\0" + matrix.tobytes(), dtype=np.uint8)[1:].view(matrix.dtype)
    yield "unaligned", unaligned.reshape(matrix.shape)
