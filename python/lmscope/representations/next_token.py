"""Next-token distributions of a causal model: losses and entropies, in blocks of logits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.representations.head import check_head, log_probabilities, losses

if TYPE_CHECKING:
    import torch

    from lmscope.representations.language_model import LanguageModel

__all__ = ["NextTokenLosses", "next_token_losses"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class NextTokenLosses:
    """What a causal model expects after each token of a passage, in nats.

    Attributes:
        losses: float64, shape (tokens - 1,): minus the log-probability of token i + 1 given tokens 0..i.
        entropies: float64, shape (tokens,): entropy of the next-token distribution at each position.
    """

    losses: Floats
    entropies: Floats

    def __repr__(self) -> str:
        mean = f"{self.losses.mean():.4g}" if len(self.losses) else "none"
        return f"NextTokenLosses({len(self.entropies)} tokens, mean loss {mean}, nats)"

    def _repr_html_(self) -> str:
        means = [values.mean() if len(values) else math.nan for values in (self.losses, self.entropies)]
        return html_repr.block(
            f"Next-token losses, {len(self.entropies)} tokens",
            html_repr.facts(
                [
                    ("mean loss, nats", html_repr.number(float(means[0]))),
                    ("mean predictive entropy, nats", html_repr.number(float(means[1]))),
                ]
            ),
        )


def next_token_losses(model: LanguageModel, ids: Any) -> NextTokenLosses:
    """Loss of every token but the first, and predictive entropy at every position.

    Logits are made for a few positions at a time (at most 32 MB of them), their normalisation is in float64.

    Args:
        model: a causal model.
        ids: token ids of one window, integers of shape (tokens,).

    Raises:
        ValueError: the model is an encoder, ``ids`` is empty or not one-dimensional, or logits are not
            finite.
    """
    import torch

    tokens = token_ids(model, ids)
    with torch.inference_mode():
        states = last_states(model, tokens[None])[0]
        of_tokens, entropies = [], []
        for start, log_probability in log_probabilities(model, states):
            rows = slice(start, start + len(log_probability))
            following = tokens[1:][rows]
            of_tokens.append(-log_probability[: len(following)].gather(1, following[:, None])[:, 0])
            entropies.append(-(log_probability.exp() * log_probability).sum(1))
    return NextTokenLosses(torch.cat(of_tokens).cpu().numpy(), torch.cat(entropies).cpu().numpy())


def losses_of_states(model: LanguageModel, ids: Any, states: torch.Tensor) -> Floats:
    """The losses of `next_token_losses` where the last hidden states, one row per token, are at hand."""
    import torch

    following = token_ids(model, ids)[1:]
    with torch.inference_mode():
        found: Floats = losses(model, states[:-1], following).cpu().numpy()
    return found


def token_ids(model: LanguageModel, ids: Any) -> torch.Tensor:
    """``ids`` on the model's device, int64; ValueError for an encoder and for anything but one window."""
    import torch

    if model.kind != "causal":
        raise ValueError(
            f"model is of type {model.model_type!r}, an encoder: it gives no next-token distribution"
        )
    tokens = torch.as_tensor(ids, dtype=torch.int64, device=model.model.device)
    if tokens.ndim != 1 or len(tokens) == 0:
        raise ValueError(
            f"ids must be the tokens of one window, one-dimensional; found shape {tuple(tokens.shape)}"
        )
    check_head(model)
    return tokens


def last_states(
    model: LanguageModel, ids: torch.Tensor, positions: torch.Tensor | None = None
) -> torch.Tensor:
    """Hidden states that the model's head reads: batch x tokens x dimensions, for ids of batch x tokens."""
    states: torch.Tensor = model.base(input_ids=ids, position_ids=positions, use_cache=False)[0]
    return states
