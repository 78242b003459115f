"""Moments of tasks whose tokens share a part, which makes the query depend on the context."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["TeacherMoments", "shared_dependence", "shared_field", "shared_gram"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TeacherMoments:
    """Expectations over teachers a = w / sqrt(dimension)."""

    second: Floats
    """aa', dimension x dimension."""
    third: Floats
    """a_i a_j a_k, dimension x dimension x dimension."""
    fourth: Floats
    """|a|^2 aa', dimension x dimension."""

    @property
    def cubic(self) -> Floats:
        """|a|^2 a, (dimension,)."""
        cubic: Floats = np.einsum("ijj->i", self.third)
        return cubic


def shared_gram(moments: TeacherMoments, length: int, correlation: float) -> Floats:
    """Expectation of context context', (dimension + 1) x (dimension + 1)."""
    c, apart = correlation, 1 - correlation**2
    size = len(moments.second)
    gram = np.empty((size + 1, size + 1))
    gram[:-1, :-1] = (2 * c**2 + (1 + 1 / length) * apart) * moments.second
    gram[:-1, :-1] += (c**2 + apart / length) * np.trace(moments.second) * np.eye(size)
    gram[:-1, -1] = gram[-1, :-1] = (3 * c**2 + (1 + 2 / length) * apart) * moments.cubic
    gram[-1, -1] = (3 * c**2 + (1 + 2 / length) * apart) * np.trace(moments.fourth)
    return gram


def shared_field(moments: TeacherMoments, correlation: float) -> Floats:
    """Expectation of target context query', (dimension + 1) x dimension."""
    c = correlation
    block = (1 + c**2) * moments.second + c**2 * np.trace(moments.second) * np.eye(len(moments.second))
    return np.vstack([block, (1 + 2 * c**2) * moments.cubic])


def shared_dependence(moments: TeacherMoments, length: int, correlation: float) -> Floats:
    """Gram matrix of the features less what it would be if context and query were independent, spins x spins:
    Gaussian moments of the shared part, with each pairing of one index of the contexts and one of the
    queries.
    """
    size = len(moments.second)
    c, s = correlation, 1 - correlation
    second, power, third, cubic = moments.second, np.trace(moments.second), moments.third, moments.cubic
    whole = np.zeros((size + 1, size, size + 1, size))

    block = whole[:-1, :, :-1]
    paired = c**2 * (c + s / length)
    crossed = c**2 * (2 * c + (1 + 1 / length) * s)
    np.einsum("iijj->ij", block)[...] += paired * power
    np.einsum("ijji->ij", block)[...] += paired * power
    np.einsum("inik->ink", block)[...] += 2 * paired * second
    for diagonal in ("mnjj->mnj", "mjjn->mnj", "jnmj->mnj", "jjmn->mnj"):
        np.einsum(diagonal, block)[...] += crossed * second[:, :, None]

    cross = np.zeros((size, size, size))
    label = c**2 * (3 * c + (1 + 2 / length) * s)
    np.einsum("ini->in", cross)[...] += label * cubic
    np.einsum("iin->in", cross)[...] += label * cubic
    cross += 2 * label * third
    whole[:-1, :, -1] += cross
    whole[-1, :, :-1] += cross.transpose(2, 0, 1)

    whole[-1, :, -1] += 4 * label * moments.fourth
    spins = size * (size + 1)
    return whole.reshape(spins, spins)
