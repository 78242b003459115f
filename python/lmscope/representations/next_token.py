"""Next-token distributions of a causal model: losses, entropies and divergences, in blocks of logits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.representations.language_model import body_of

if TYPE_CHECKING:
    import torch

    from lmscope.representations.language_model import LanguageModel

__all__ = ["NextTokenLosses", "next_token_losses"]

_LOGITS_BYTES = 32 << 20
_ROW_BYTES = 16 << 20
# Rounding of logits, as a share of the largest.
_ROUNDING = {"torch.float64": 1e-9, "torch.float32": 1e-4}
_COARSE_ROUNDING = 0.05
# Models whose head gave their logits.
_parted: WeakSet[LanguageModel] = WeakSet()

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
        states = last_states(model.model, tokens[None])[0]
        losses, entropies = [], []
        for start, log_probability in log_probabilities(model.model, states):
            rows = slice(start, start + len(log_probability))
            following = tokens[1:][rows]
            losses.append(-log_probability[: len(following)].gather(1, following[:, None])[:, 0])
            entropies.append(-(log_probability.exp() * log_probability).sum(1))
    return NextTokenLosses(torch.cat(losses).cpu().numpy(), torch.cat(entropies).cpu().numpy())


def losses_of_states(model: LanguageModel, ids: Any, states: torch.Tensor) -> Floats:
    """The losses of `next_token_losses` where the last hidden states, one row per token, are at hand."""
    import torch

    following = token_ids(model, ids)[1:]
    losses = [states.new_zeros(0, dtype=torch.float64)]
    with torch.inference_mode():
        for start, log_probability in log_probabilities(model.model, states):
            next_ones = following[start : start + len(log_probability)]
            losses.append(-log_probability[: len(next_ones)].gather(1, next_ones[:, None])[:, 0])
    found: Floats = torch.cat(losses).cpu().numpy()
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
    if model not in _parted:
        _check_head(model)
        _parted.add(model)
    return tokens


def _check_head(model: LanguageModel) -> None:
    """ValueError where the head on the body's states does not give the model's own logits."""
    import torch

    with torch.inference_mode():
        ids = torch.tensor([model.some_ids(4)], device=model.device)
        own = model.model(input_ids=ids, use_cache=False).logits[0].double()
        made = torch.cat([block for _, block in logits(model.model, last_states(model.model, ids)[0])])
        difference = float((made.double() - own).abs().max() / own.abs().max().clamp_min(1e-300))
    if difference > _ROUNDING.get(str(model.dtype), _COARSE_ROUNDING):
        raise ValueError(
            f"models of type {model.model_type!r} do not keep head and body apart: the head of "
            f"{type(model.model).__name__} on the states of its {type(body_of(model.model)).__name__} gives "
            f"logits that differ from the model's own by {difference:.2g} of the largest"
        )


def last_states(model: Any, ids: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
    """Hidden states that the model's head reads: batch x tokens x dimensions, for ids of batch x tokens."""
    states: torch.Tensor = body_of(model)(input_ids=ids, position_ids=positions, use_cache=False)[0]
    return states


def logits(model: Any, states: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """The model's own head on rows of hidden states, a block of rows at a time: (first row, logits).

    The head is the model's whole forward pass but for the body: with the scaling and capping that some have.
    """
    import torch

    vocabulary = model.get_output_embeddings().weight.shape[0]
    block = max(1, _LOGITS_BYTES // (4 * vocabulary))
    dummy = torch.zeros((1, 1), dtype=torch.int64, device=states.device)
    given = body_of(model)(input_ids=dummy, use_cache=False)
    for start in range(0, len(states), block):
        given.last_hidden_state = states[None, start : start + block]
        with _body_gives(model, given):
            made = model(input_ids=dummy, use_cache=False).logits[0]
        yield start, made.float() if made.itemsize < 4 else made


def log_probabilities(model: Any, states: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    """Next-token log-probabilities in float64 of rows of hidden states: (first row, rows x vocabulary)."""
    for start, block in logits(model, states):
        rows = max(1, _ROW_BYTES // (8 * block.shape[1]))
        for first in range(0, len(block), rows):
            wide = block[first : first + rows].double()
            normaliser = wide.logsumexp(1, keepdim=True)
            if not normaliser.isfinite().all():
                row = start + first + int((~normaliser[:, 0].isfinite()).nonzero()[0, 0])
                raise ValueError(f"the model's logits are not finite at row {row}")
            yield start + first, wide - normaliser


@contextmanager
def _body_gives(model: Any, output: Any) -> Iterator[None]:
    """Inside, the model's body returns ``output`` for any input, so that the model is its head alone."""
    body = body_of(model)
    # An instance may carry a forward of its own, as accelerate's hooks set one.
    before = body.__dict__.get("forward")
    calls = 0

    def forward(*_: Any, **__: Any) -> Any:
        nonlocal calls
        calls += 1
        return output

    body.forward = forward
    try:
        yield
    finally:
        if before is None:
            del body.forward
        else:
            body.forward = before
    if not calls:
        raise ValueError(
            f"models of type {model.config.model_type!r} do not keep head and body apart: "
            f"{type(model).__name__} never called its {type(body).__name__}"
        )
