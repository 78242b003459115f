"""MAUVE between two models' generations, by its own package, in states of a model at hand."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.representations.tokens_at_once import tokens_at_once

if TYPE_CHECKING:
    from lmscope.representations.language_model import LanguageModel

__all__ = ["Mauve", "mauve_score"]

FEWEST = 100
"""Continuations of each kind, below which there is no score."""
# What the package's k-means asks for.
_POINTS_PER_CLUSTER = 39


@dataclass(frozen=True, repr=False)
class Mauve:
    """How alike two sets of generations are (Pillutla et al. 2021, arXiv 2102.01454): 1 is the same.

    Attributes:
        score: MAUVE; None where there is none.
        smoothed: MAUVE* of the package, from histograms with half a count added; None as ``score``.
        reason: why there is no score; "" where there is one.
        sequences: of each set. With less than about a thousand the score is too high and noisy: its
            authors compare only scores of equal numbers.
        clusters: of the histograms; one for each 39 continuations of both sets, 2 at least.
    """

    score: float | None
    smoothed: float | None
    reason: str
    sequences: int
    clusters: int

    def __repr__(self) -> str:
        if self.score is None:
            return f"Mauve(none: {self.reason})"
        return f"Mauve({self.score:.4g}, {self.sequences} sequences, {self.clusters} clusters)"

    def _repr_html_(self) -> str:
        facts = [
            ("MAUVE", html_repr.number(self.score)),
            ("smoothed", html_repr.number(self.smoothed)),
            ("clusters", self.clusters),
        ]
        return html_repr.block(
            f"Alikeness of two sets of {self.sequences} generations",
            html_repr.facts(facts),
            html_repr.line(self.reason),
        )


def mauve_score(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    sequences: Sequence[Sequence[int]],
    others: Sequence[Sequence[int]],
    *,
    seed: int = 0,
) -> Mauve:
    """MAUVE of two sets of continuations of the same prompts.

    A continuation is described by the mean last hidden state of ``model`` from the end of its prompt on; the
    authors' are those of GPT-2 large, so scores are not comparable with published ones. The package
    ``mauve-text`` is an optional dependency, ``lmscope[mauve]``; without it, and for fewer than 100 prompts,
    there is a reason in place of a score.

    Args:
        model: that describes; the untouched one.
        prompts: token ids.
        sequences, others: token ids of the continuations, one for each prompt, as :func:`lmscope.generate`
            gives them.
        seed: of the clustering.

    Raises:
        ValueError: other numbers of continuations than of prompts, an empty prompt.
    """
    for name, continued in (("sequences", sequences), ("others", others)):
        if len(continued) != len(prompts):
            raise ValueError(f"{name}: {len(continued)} continuations of {len(prompts)} prompts")
    if not all(map(len, prompts)):
        raise ValueError("prompts: one is empty; give at least one token")
    reason = _reason(len(prompts))
    if reason:
        return Mauve(None, None, reason, len(prompts), 0)
    import mauve

    clusters = max(2, 2 * len(prompts) // _POINTS_PER_CLUSTER)
    found = mauve.compute_mauve(
        p_features=_features(model, prompts, sequences),
        q_features=_features(model, prompts, others),
        num_buckets=clusters,
        seed=seed,
    )
    return Mauve(float(found.mauve), float(found.mauve_star), "", len(prompts), clusters)


def _reason(prompts: int) -> str:
    if prompts < FEWEST:
        return f"{prompts} continuations are too few: MAUVE needs at least {FEWEST}, better some thousands"
    if importlib.util.find_spec("mauve") is None:
        return "the package mauve-text is not installed: pip install 'lmscope[mauve]'"
    return ""


def _features(
    model: LanguageModel, prompts: Sequence[Sequence[int]], sequences: Sequence[Sequence[int]]
) -> npt.NDArray[np.float64]:
    rows = [[*prompt, *sequence] for prompt, sequence in zip(prompts, sequences, strict=True)]
    found = np.empty((len(rows), model.hidden_size))
    # Rows of about one length together, so that little is padded.
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    at_once = max(1, tokens_at_once(model) // len(rows[order[-1]]))
    for start in range(0, len(order), at_once):
        batch = order[start : start + at_once]
        states: Any = model.forward([rows[place] for place in batch]).last_hidden_state
        for place, own in zip(batch, states, strict=True):
            tail = own[len(prompts[place]) - 1 : len(rows[place])]
            found[place] = tail.double().mean(0).cpu().numpy()
    return found
