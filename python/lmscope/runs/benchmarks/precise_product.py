"""Products of matrices beyond float64, at the speed of float64 products."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

_SLICES = 3


def precise_product(left: Doubles, right: Doubles) -> npt.NDArray[np.longdouble]:
    """``left @ right`` in extended precision, off by some 2**-60 of each row's and column's largest entries.

    Both sides are cut into slices of so few bits that float64 sums of their products are exact (Ozaki,
    Ogita, Oishi and Rump, Numerical Algorithms 59, 2012).
    """
    inner = left.shape[1]
    bits = (53 - (inner - 1).bit_length()) // 2
    lefts, rights = _slices(left, bits, axis=1), _slices(right, bits, axis=0)
    total = np.zeros((len(left), right.shape[1]), np.longdouble)
    # From the smallest, so that the sum of them loses nothing.
    for order in reversed(range(_SLICES)):
        for index in range(order + 1):
            if index < len(lefts) and order - index < len(rights):
                total += lefts[index] @ rights[order - index]
    return total


def _slices(matrix: Doubles, bits: int, axis: int) -> list[Doubles]:
    """Parts that add up to `matrix`, each of whole multiples of a power of two; no more than are not zero."""
    found: list[Doubles] = []
    rest: Any = matrix
    while len(found) < _SLICES:
        exponents = np.frexp(np.abs(rest).max(axis=axis, keepdims=True))[1]
        # Adding and taking away rounds to multiples of its last place.
        shift = np.ldexp(1.5, exponents + 52 - bits)
        part = (rest + shift) - shift
        found.append(part)
        rest = rest - part
        if not rest.any():
            break
    return found
