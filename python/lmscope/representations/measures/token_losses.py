"""The head's losses of tokens that many windows ask for, with few passes through the head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope.representations.head import losses
from lmscope.representations.language_model import LanguageModel

if TYPE_CHECKING:
    import torch

__all__ = ["token_losses"]

# Rows that go through the head together: each time costs a pass of one token through the model's body.
_ROWS = 2048


def token_losses(
    model: LanguageModel, states: Iterable[torch.Tensor], targets: Sequence[npt.NDArray[Any]]
) -> list[npt.NDArray[np.float64]]:
    """Minus log-probabilities in nats of each window's ``targets``, given as many rows of its ``states``.

    ValueError where a window has other many rows than targets, or where there are other many windows.
    """
    import torch

    found: list[npt.NDArray[np.float64]] = []
    waiting: list[torch.Tensor] = []
    rows = seen = 0
    with torch.inference_mode():
        for own in states:
            if seen == len(targets) or len(own) != len(targets[seen]):
                known = len(targets[seen]) if seen < len(targets) else "no"
                raise ValueError(f"window {seen} has {len(own)} states for {known} tokens to be scored")
            seen += 1
            waiting.append(own)
            rows += len(own)
            if rows >= _ROWS or len(found) + len(waiting) == len(targets):
                tokens = np.concatenate(targets[len(found) : len(found) + len(waiting)])
                ends = np.cumsum([0, *map(len, waiting)])
                on_device = torch.as_tensor(tokens, device=model.device)
                together = losses(model, torch.cat(waiting), on_device).cpu().numpy()
                found += [together[start:stop] for start, stop in pairwise(ends)]
                waiting, rows = [], 0
    if seen != len(targets):
        raise ValueError(f"{seen} windows have states, and {len(targets)} have tokens to be scored")
    return found
