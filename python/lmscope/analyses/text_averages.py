"""Entropies averaged over texts, with intervals, and against an untrained twin."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intervals import t_interval
from lmscope.analyses.representation_entropy import Entropy

__all__ = [
    "AverageEntropy",
    "DiffErank",
    "average_entropies",
    "diff_erank",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class AverageEntropy:
    """Means over texts with Student t intervals; NaN ends for one text.

    Attributes:
        normalized, normalized_low, normalized_high: mean of the texts' ``normalized``.
        matrix_entropy: mean of the texts' ``matrix_entropy``, nats.
        effective_rank, effective_rank_low, effective_rank_high: exponential of that mean and of its interval.
        texts: how many.
        confidence: of the intervals.
    """

    normalized: float
    normalized_low: float
    normalized_high: float
    matrix_entropy: float
    effective_rank: float
    effective_rank_low: float
    effective_rank_high: float
    texts: int
    confidence: float

    def __repr__(self) -> str:
        return (
            f"AverageEntropy(normalized={self.normalized:.6g} ({self.normalized_low:.6g} to "
            f"{self.normalized_high:.6g}), effective_rank={self.effective_rank:.6g} "
            f"({self.effective_rank_low:.6g} to {self.effective_rank_high:.6g}), texts={self.texts})"
        )

    def _repr_html_(self) -> str:
        ends = [
            ("normalised", self.normalized, self.normalized_low, self.normalized_high),
            ("effective rank", self.effective_rank, self.effective_rank_low, self.effective_rank_high),
        ]
        return html_repr.block(
            f"Entropy averaged over {self.texts} texts",
            html_repr.table(
                ("measure", "mean", f"{self.confidence:.0%} interval from", "to"),
                [(name, *map(html_repr.number, numbers)) for name, *numbers in ends],
            ),
        )


@dataclass(frozen=True, repr=False)
class DiffErank:
    """Effective rank that training took away: untrained less trained, above 0 where training compressed.

    Attributes:
        difference, low, high: ``exp(mean untrained matrix entropy) - exp(mean trained one)`` over texts, and
            its interval (linearised, Student t over pairs).
        pairwise, pairwise_low, pairwise_high: mean over texts of the difference of the text's effective
            ranks.
        texts: how many; for one, the ends are NaN.
        confidence: of the intervals.
    """

    difference: float
    low: float
    high: float
    pairwise: float
    pairwise_low: float
    pairwise_high: float
    texts: int
    confidence: float

    def __repr__(self) -> str:
        return f"DiffErank({self.difference:.6g} ({self.low:.6g} to {self.high:.6g}), texts={self.texts})"

    def _repr_html_(self) -> str:
        ends = [
            ("mean entropy, then exponential", self.difference, self.low, self.high),
            ("mean of the texts' differences", self.pairwise, self.pairwise_low, self.pairwise_high),
        ]
        return html_repr.block(
            f"Diff-eRank over {self.texts} texts",
            html_repr.table(
                ("convention", "untrained less trained", f"{self.confidence:.0%} interval from", "to"),
                [(name, *map(html_repr.number, numbers)) for name, *numbers in ends],
            ),
        )


def average_entropies(
    entropies: Iterable[Entropy], *, texts: Sequence[int] | None = None, confidence: float = 0.95
) -> AverageEntropy:
    """Means over texts of the entropies of each, with intervals for the mean over texts like these.

    Matrix entropies are averaged first and exponentiated then, as in Diff-eRank's code (Wei et al., arXiv
    2401.17139). Texts are taken as independent; each counts once, whatever its length.

    Args:
        entropies: one for each text, or for each of its windows.
        texts: the text of each, where several are of one: these are averaged first.
        confidence: of the intervals.

    Raises:
        ValueError: no entropies, different settings or dimensions, texts of another length, or a confidence
            outside (0, 1).
    """
    found = _alike(entropies)
    means = _by_text(np.array([one.normalized for one in found]), texts)
    normalized = t_interval(means, confidence)
    matrix = t_interval(_by_text(np.array([one.matrix_entropy for one in found]), texts), confidence)
    rank, low, high = (math.exp(end) for end in matrix)
    return AverageEntropy(*normalized, matrix[0], rank, low, high, len(means), confidence)


def diff_erank(
    trained: Entropy | Iterable[Entropy],
    untrained: Entropy | Iterable[Entropy],
    *,
    texts: Sequence[int] | None = None,
    confidence: float = 0.95,
) -> DiffErank:
    """Effective rank of an untrained twin less that of the trained model, on the same texts in the same
    order.

    Args:
        trained, untrained: one entropy each, or one for each text or window.
        texts: as in :func:`lmscope.average_entropies`.
        confidence: of the intervals.

    Raises:
        ValueError: different numbers of texts, settings, tokens or dimensions, or none.
    """
    pair = [_alike([one] if isinstance(one, Entropy) else one) for one in (trained, untrained)]
    if len(pair[0]) != len(pair[1]):
        raise ValueError(f"trained has {len(pair[0])} texts, untrained {len(pair[1])}")
    for text, (one, other) in enumerate(zip(*pair, strict=True)):
        if (one.tokens, one.dimensions, one.settings) != (other.tokens, other.dimensions, other.settings):
            raise ValueError(f"text {text} is not the same in trained and untrained: {one} and {other}")
    windows = [np.array([one.matrix_entropy for one in side]) for side in pair]
    after, before = (_by_text(side, texts) for side in windows)
    pairwise = _by_text(np.exp(windows[1]) - np.exp(windows[0]), texts)
    ranks = math.exp(before.mean()), math.exp(after.mean())
    # To first order, the difference moves with the mean of these.
    linear = ranks[0] * before - ranks[1] * after
    middle, low, high = t_interval(linear, confidence)
    difference = ranks[0] - ranks[1]
    return DiffErank(
        difference,
        difference + (low - middle),
        difference + (high - middle),
        *t_interval(pairwise, confidence),
        len(before),
        confidence,
    )


def _by_text(values: Floats, texts: Sequence[int] | None) -> Floats:
    """Means over the entropies of each text."""
    if texts is None:
        return values
    if len(texts) != len(values):
        raise ValueError(f"texts must name the text of each of {len(values)} entropies, got {len(texts)}")
    _, places, counts = np.unique(np.asarray(texts), return_inverse=True, return_counts=True)
    means: Floats = np.bincount(places, values) / counts
    return means


def _alike(entropies: Iterable[Entropy]) -> list[Entropy]:
    found = list(entropies)
    if not found:
        raise ValueError("entropies holds none: give one for each text")
    for text, one in enumerate(found):
        if (one.dimensions, one.settings) != (found[0].dimensions, found[0].settings):
            raise ValueError(
                f"text {text} has other dimensions or settings than text 0: {one} and {found[0]}"
            )
    return found
