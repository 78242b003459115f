"""Matrices to time on: Gaussian noise and a spectrum like that of a trained square matrix, in bfloat16."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SMALLEST = 1e-5
SPIKES = 0.1
_BULK_EDGE = 0.25
# Gaussian matrices this much longer than wide have singular values within a factor of three of each other.
_TALL = 4
_BLOCK_ROWS = 4096


def gaussian(rows: int, columns: int, seed: int) -> npt.NDArray[Any]:
    """Independent entries of standard deviation 0.02, rows x columns, bfloat16."""
    entries = np.random.default_rng(seed).standard_normal((rows, columns), dtype=np.float32)
    entries *= np.float32(0.02)
    return _rounded(entries)


def trained_spectrum(count: int) -> npt.NDArray[np.float64]:
    """`count` singular values, descending: a tenth are spikes, the rest falls linearly to 1e-5."""
    spikes = max(1, round(SPIKES * count))
    return np.concatenate(
        [
            np.geomspace(1.0, _BULK_EDGE, spikes, endpoint=False),
            np.linspace(_BULK_EDGE, SMALLEST, count - spikes),
        ]
    )


def trained_like(rows: int, columns: int, seed: int) -> npt.NDArray[Any]:
    """`trained_spectrum` between random orthogonal factors, then rounded to bfloat16, rows x columns.

    Rounding adds noise of about 2e-3 of an entry, which lifts the smallest values as it does in a checkpoint.
    """
    generator = np.random.default_rng(seed)
    count = min(rows, columns)
    if rows >= _TALL * columns:
        return _tall_trained_like(rows, columns, generator)
    left = np.linalg.qr(generator.standard_normal((rows, count), dtype=np.float32))[0]
    right = np.linalg.qr(generator.standard_normal((columns, count), dtype=np.float32))[0]
    return _rounded((left * trained_spectrum(count).astype(np.float32)) @ right.T)


def _tall_trained_like(rows: int, columns: int, generator: np.random.Generator) -> npt.NDArray[Any]:
    """The left factor by Cholesky QR, never formed: a QR of 128256 x 4096 would take minutes and 13 GB."""
    import ml_dtypes

    noise = generator.standard_normal((rows, columns), dtype=np.float32)
    gram = np.zeros((columns, columns))
    for start in range(0, rows, _BLOCK_ROWS):
        block = noise[start : start + _BLOCK_ROWS]
        gram += block.T @ block
    right = np.linalg.qr(generator.standard_normal((columns, columns), dtype=np.float32))[0]
    small = (trained_spectrum(columns)[:, None] * right.T).astype(np.float64)
    factor = np.linalg.solve(np.linalg.cholesky(gram).T, small).astype(np.float32)
    found = np.empty((rows, columns), ml_dtypes.bfloat16)
    for start in range(0, rows, _BLOCK_ROWS):
        found[start : start + _BLOCK_ROWS] = noise[start : start + _BLOCK_ROWS] @ factor
    return found


def _rounded(entries: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    import ml_dtypes

    return entries.astype(ml_dtypes.bfloat16)
