"""What a measure of a model is, and which there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lmscope import html_repr

__all__ = ["MEASURES", "Measure", "MeasureInfo", "Scores"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class MeasureInfo:
    """What the numbers of a measure mean.

    Attributes:
        unit: of its values.
        harm: 1 where a higher value is worse, -1 where a lower one is.
        words: what it measures, as a sentence.
    """

    unit: str
    harm: int
    words: str


@dataclass(frozen=True, repr=False, eq=False)
class Scores:
    """A measure's value on each unit of text.

    Attributes:
        values: float64, shape (units,): one for each window or text.
        weights: float64, shape (units,), above 0: how much of the text each stands for, as scored tokens.
    """

    values: Floats
    weights: Floats

    @property
    def mean(self) -> float:
        """The weighted mean over units."""
        return float(np.average(self.values, weights=self.weights))

    def __repr__(self) -> str:
        return f"Scores(mean={self.mean:.6g}, units={len(self.values)})"

    def _repr_html_(self) -> str:
        facts = [("weighted mean", html_repr.number(self.mean)), ("units", len(self.values))]
        return html_repr.block("Scores", html_repr.facts(facts))


class Measure(Protocol):
    """What is measured of a model, again and again; made on the untouched model.

    Attributes:
        names: keys of what :meth:`evaluate` gives.
        chance: by name, the value of a model that knows nothing of the text, where there is one.
        notes: by name, a sentence on what was measured: how much text, what was fitted to what.
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def chance(self) -> Mapping[str, float]: ...

    @property
    def notes(self) -> Mapping[str, str]: ...

    def evaluate(self) -> dict[str, Scores]:
        """The model as it stands, on the same units of text in the same order every time.

        Raises:
            ValueError: hidden states or logits that are not finite; the message names text and window.
        """


MEASURES: dict[str, MeasureInfo] = {
    "loss": MeasureInfo(
        "nats per token", 1, "Loss of the next token, by strided windows; its exponential is the perplexity."
    ),
    "masked_loss": MeasureInfo(
        "nats per masked token", 1, "Loss of the checkpoint's own head at masked tokens, the same every time."
    ),
    "embedding": MeasureInfo(
        "1 - cosine", 1, "How far the embedding of a text has turned from that of the untouched model."
    ),
    "retrieval": MeasureInfo(
        "rank", 1, "Rank of a text's second half among all second halves, by cosine to its first half."
    ),
    "readout_loss": MeasureInfo(
        "nats per masked token",
        1,
        "Loss at masked tokens of a read-out of the most frequent tokens, fitted once on the untouched model "
        "with other windows; no head of the checkpoint's own.",
    ),
    "accuracy": MeasureInfo(
        "share of texts", -1, "Share of labelled texts whose label is recognised; the note says by what."
    ),
}
