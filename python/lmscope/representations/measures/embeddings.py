"""Embeddings of texts: means of their tokens' last hidden states."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from lmscope.representations.language_model import LanguageModel
from lmscope.representations.passages import capture_windows
from lmscope.representations.tokens_at_once import tokens_at_once
from lmscope.representations.windows import Window

__all__ = ["counted", "sums_of_states", "unit_rows"]

Floats = npt.NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)


def counted(model: LanguageModel) -> str:
    """Which tokens are averaged, as a phrase.

    An encoder's special tokens are read for their states; those of a causal model's first token are so large
    that they would drown the others.
    """
    return "all tokens, special ones too" if model.kind == "encoder" else "all tokens but special ones"


def sums_of_states(
    model: LanguageModel, windows: Sequence[Window], keys: Sequence[Key]
) -> dict[Key, tuple[Floats, int]]:
    """By key, the sum of the last hidden states of its windows' tokens, float64, and how many tokens."""
    import torch

    found: dict[Key, tuple[Floats, int]] = {}
    passages = capture_windows(model, windows, batch_tokens=tokens_at_once(model))
    for key, passage in zip(keys, passages, strict=True):
        states = passage.states[model.depth]
        if model.kind == "causal":
            states = states[torch.as_tensor(~passage.special, device=states.device)]
        own = states.double().sum(0).cpu().numpy()
        before, tokens = found.get(key, (np.zeros_like(own), 0))
        found[key] = before + own, tokens + len(states)
    return found


def unit_rows(rows: Floats, of: str) -> Floats:
    """Each row over its norm; ValueError where one is 0."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not norms.all():
        raise ValueError(f"{of} {int(np.flatnonzero(norms[:, 0] == 0)[0])}: its embedding is zero")
    units: Floats = rows / norms
    return units
