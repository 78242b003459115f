"""What is left to say about a token once its context is known: measured, and by the skill-graph theory."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import positive, vector
from lmscope.analyses.intervals import confidence_of, ratio_interval

__all__ = ["ConditionalEntropy", "conditional_entropy", "skill_entropy"]


@dataclass(frozen=True, repr=False)
class ConditionalEntropy:
    """Nats per token: the model's cross-entropy, an upper bound on the text's own conditional entropy.

    Attributes:
        mean: over all tokens of all texts.
        low, high: interval for texts like these; NaN for one text.
        texts, tokens: how many.
        confidence: of the interval.
    """

    mean: float
    low: float
    high: float
    texts: int
    tokens: int
    confidence: float

    @property
    def perplexity(self) -> float:
        return math.exp(self.mean)

    def __repr__(self) -> str:
        return (
            f"ConditionalEntropy({self.mean:.6g} nats per token ({self.low:.6g} to {self.high:.6g}), "
            f"texts={self.texts}, tokens={self.tokens})"
        )

    def _repr_html_(self) -> str:
        return html_repr.block(
            "Conditional entropy of a token given its context",
            html_repr.facts(
                [
                    ("nats per token", html_repr.number(self.mean)),
                    (
                        f"{self.confidence:.0%} interval",
                        f"{html_repr.number(self.low)} to {html_repr.number(self.high)}",
                    ),
                    ("perplexity", html_repr.number(self.perplexity)),
                    ("texts, tokens", f"{self.texts}, {self.tokens}"),
                ]
            ),
        )


def conditional_entropy(losses_per_text: Iterable[Any], *, confidence: float = 0.95) -> ConditionalEntropy:
    """Mean next-token loss with its interval over texts.

    The mean is a ratio, nats over tokens; its error is that of the ratio's linearisation, Student t over
    texts, which are taken as independent (tokens of one text are not).

    Args:
        losses_per_text: for each text an array of its tokens' losses, nats, shape (tokens,); those of all its
            windows in one.
        confidence: of the interval.

    Raises:
        ValueError: no texts, a text without tokens, NaN/Inf, a loss below 0, or a confidence outside (0, 1).
    """
    confidence_of(confidence)
    texts = [vector(f"losses of text {text}", losses) for text, losses in enumerate(losses_per_text)]
    if not texts:
        raise ValueError("losses_per_text holds no text")
    for text, losses in enumerate(texts):
        if losses.min() < 0:
            raise ValueError(f"text {text} has a loss of {losses.min()}, and no probability is above 1")
    counts = np.array([losses.size for losses in texts])
    nats = np.array([losses.sum() for losses in texts])
    mean, low, high = ratio_interval(nats, counts, confidence)
    return ConditionalEntropy(mean, low, high, len(texts), int(counts.sum()), confidence)


def skill_entropy(
    learnt: npt.ArrayLike, *, alpha: float, a: float, b: float, asymptotic: bool = False
) -> npt.NDArray[np.float64]:
    """Loss of a model that has learnt the ``learnt`` most frequent of infinitely many skills.

    Skill k is needed with probability ``p_k = k^-(1 + alpha) / zeta(1 + alpha)``; it costs a nats where
    learnt and
    b where not: ``a + (b - a) * sum of p_k over k > learnt``. For many skills the sum becomes
    ``learnt^-alpha / (alpha * zeta(1 + alpha))``, so that ``log(loss - a)`` falls with slope ``-alpha``. A
    reading of the skill-graph theory of arXiv 2402.03471, whose own constants are not public.

    Args:
        learnt: skills, from 0 up (from 1 up for the asymptote); any shape.
        alpha: above 0.
        asymptotic: the second form instead of the exact sum.

    Returns:
        float64 of the shape of ``learnt``.

    Raises:
        ValueError: an argument out of range.
    """
    from scipy.special import zeta

    alpha = positive("alpha", alpha)
    skills = np.asarray(learnt, dtype=np.float64)
    least = 1 if asymptotic else 0
    if not (np.isfinite(skills).all() and (skills >= least).all()):
        raise ValueError(f"learnt must be from {least} up, got {learnt!r}")
    if asymptotic:
        tail = skills**-alpha / (alpha * zeta(1 + alpha))
    else:
        tail = zeta(1 + alpha, skills + 1) / zeta(1 + alpha)
    loss: npt.NDArray[np.float64] = a + (b - a) * tail
    return loss
