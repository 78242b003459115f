"""Measures by name, or those that a model has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lmscope.representations.language_model import LanguageModel
from lmscope.representations.measures.loss import LossMeasure
from lmscope.representations.measures.measure import MEASURES, Measure

__all__ = ["measures_for"]


def measures_for(
    model: LanguageModel,
    texts: Sequence[str],
    *,
    names: Iterable[str] | None = None,
    window: int | None = None,
    stride: int | None = None,
    eval_tokens: int = 4096,
    labelled: tuple[Sequence[str], Sequence[str | int]] | None = None,
    seed: int = 0,
) -> list[Measure]:
    wanted = list(dict.fromkeys(names)) if names is not None else ["loss"]
    for name in wanted:
        if name not in MEASURES:
            raise ValueError(f"names: {name!r} is no measure; there are {', '.join(MEASURES)}")
    return [
        LossMeasure(model, texts, window=window, stride=stride, eval_tokens=eval_tokens, seed=seed)
        for name in wanted
    ]
