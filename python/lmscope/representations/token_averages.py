"""Averages over positions of what a head gives each token, without the logits of all positions at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.representations.arrays import as_tensor
from lmscope.representations.output_head import OutputHead


__all__ = ["TokenAverages", "average_probabilities", "head_averages"]

Floats = npt.NDArray[np.float64]

LOGITS_BYTES = 64 << 20


@dataclass(frozen=True, repr=False, eq=False)
class TokenAverages:
    """What a head gives each token of its vocabulary, over the positions of a text; float64, nats.

    Attributes:
        log_probability: shape (vocabulary,): logarithm of the mean over positions of the token's probability.
        mean_log_probability: shape (vocabulary,): mean of the logarithm of its probability.
        logit_sd: shape (vocabulary,): standard deviation of its logit over positions (of all of them, not of
            a sample: divided by their number).
        log_normaliser: shape (positions,): logarithm of the sum of the exponentials of all logits.
        losses: shape (positions,): minus the log-probability of the position's target; None without targets.
        hidden_mean: shape (dimensions,): mean of the states.
        hidden_covariance: shape (dimensions, dimensions): covariance of the states, divided by positions.
        positions: their number.
    """

    log_probability: Floats
    mean_log_probability: Floats
    logit_sd: Floats
    log_normaliser: Floats
    losses: Floats | None
    hidden_mean: Floats
    hidden_covariance: Floats
    positions: int

    def __repr__(self) -> str:
        loss = "" if self.losses is None else f", loss {self.losses.mean():.4g}"
        return (
            f"TokenAverages({len(self.log_probability)} tokens, {self.positions} positions{loss}, median "
            f"logit sd {np.median(self.logit_sd):.4g})"
        )

    def _repr_html_(self) -> str:
        facts = [
            ("tokens", len(self.log_probability)),
            ("positions", self.positions),
            ("median sd of a token's logit", html_repr.number(float(np.median(self.logit_sd)))),
            ("sd of the log normaliser", html_repr.number(float(self.log_normaliser.std()))),
        ]
        if self.losses is not None:
            facts.append(("mean loss, nats", html_repr.number(float(self.losses.mean()))))
        return html_repr.block("Averages over positions", html_repr.facts(facts))


def average_probabilities(
    states: Any,
    weight: Any,
    bias: Any = None,
    *,
    scale: float = 1.0,
    softcap: float | None = None,
    targets: Any = None,
    logits_bytes: int = LOGITS_BYTES,
    advance: Callable[[int], object] | None = None,
) -> TokenAverages:
    """Average next-token probabilities of a head on states: those of :class:`lmscope.OutputHead`."""
    head = OutputHead(weight, bias, scale, softcap)
    return head_averages(head, states, targets, logits_bytes=logits_bytes, advance=advance)


def head_averages(
    head: OutputHead,
    states: Any,
    targets: Any = None,
    *,
    logits_bytes: int = LOGITS_BYTES,
    advance: Callable[[int], object] | None = None,
) -> TokenAverages:
    """:func:`average_probabilities` of a head that is at hand."""
    import torch

    given = as_tensor("states", states, 2)
    count = len(given)
    rows = max(1, logits_bytes // (8 * head.vocabulary))
    probability = torch.zeros(head.vocabulary, dtype=torch.float64, device=given.device)
    total, squares = torch.zeros_like(probability), torch.zeros_like(probability)
    middle = head.logits(given.double().mean(0, keepdim=True).to(given.dtype)).double()[0]
    normaliser = torch.empty(count, dtype=torch.float64, device=given.device)
    losses = None if targets is None else torch.empty_like(normaliser)
    for start in range(0, count, rows):
        part = slice(start, min(start + rows, count))
        made = head.logits(given[part]).double()
        normaliser[part] = made.logsumexp(1)
        if losses is not None:
            wanted = torch.as_tensor(targets[part], device=made.device)
            losses[part] = normaliser[part] - made.gather(1, wanted[:, None])[:, 0]
        probability += (made - normaliser[part, None]).exp_().sum(0)
        made -= middle
        total += made.sum(0)
        squares += made.square_().sum(0)
        if advance is not None:
            advance(len(made))
    total /= count
    wide = given.double()
    mean = wide.mean(0)
    wide -= mean
    return TokenAverages(
        (probability / count).log().cpu().numpy(),
        (middle + total - normaliser.mean()).cpu().numpy(),
        (squares / count - total.square()).clamp_min(0).sqrt().cpu().numpy(),
        normaliser.cpu().numpy(),
        None if losses is None else losses.cpu().numpy(),
        mean.cpu().numpy(),
        (wide.T @ wide / count).cpu().numpy(),
        count,
    )
