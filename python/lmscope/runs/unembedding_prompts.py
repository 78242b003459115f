"""What a model is given to go on with: beginnings of held-out windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lmscope.representations import LanguageModel

PROMPT = 32
"""Tokens of a prompt; half a window where that is less, fewer where the model's context is short."""


def prompts_of(
    model: LanguageModel, held_out: Sequence[str], *, window: int | None, count: int, new_tokens: int
) -> list[list[int]]:
    """Token ids, from windows spread evenly; ValueError where none fits with its continuation."""
    from lmscope.representations.windows import cut, window_size

    size = window_size(model, window)
    length = min(PROMPT, size // 2)
    if model.context is not None:
        length = min(length, model.context - new_tokens)
    if length < 2:
        raise ValueError(
            f"new_tokens: {new_tokens} leave no room for a prompt, as {model.label} takes "
            f"{model.context} tokens at most"
        )
    beginnings = [one.ids[:length] for one in cut(model, held_out, size) if len(one.ids) > length]
    if not beginnings:
        raise ValueError(
            f"held_out: no window is longer than a prompt of {length} tokens; give a larger window or longer "
            "texts"
        )
    places = np.linspace(0, len(beginnings) - 1, min(count, len(beginnings))).round()
    return [beginnings[int(place)] for place in places]
