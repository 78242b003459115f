"""Averages over positions of what a head gives each token, without the logits of all positions at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.representations.arrays import as_tensor
from lmscope.representations.head_sums import HeadSums
from lmscope.representations.output_head import OutputHead

if TYPE_CHECKING:
    import torch


__all__ = ["TokenAverages", "average_probabilities", "head_averages"]

Floats = npt.NDArray[np.float64]

LOGITS_BYTES = 64 << 20
# Of states in float64 at a time.
_FLOAT64_BYTES = 4 << 20


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
        hidden_covariance: shape (dimensions, dimensions): covariance of the states, divided by positions;
            None where it was left out.
        positions: their number.
    """

    log_probability: Floats
    mean_log_probability: Floats
    logit_sd: Floats
    log_normaliser: Floats
    losses: Floats | None
    hidden_mean: Floats
    hidden_covariance: Floats | None
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
    covariance: bool = True,
    advance: Callable[[int], object] | None = None,
) -> TokenAverages:
    """Average next-token probabilities of a head on states, without the logits of all positions at once.

    Logits are made for a few positions and the whole vocabulary at a time; beside them only a few numbers per
    token are held. The same input gives the same bits with the same number of torch's threads.

    Args:
        states: what the head reads at each position (behind the final norm): shape (positions, dimensions).
        weight: the output embedding, shape (vocabulary, dimensions), on the states' device. numpy or torch;
            float64, float32, bfloat16 or float16.
        bias, scale, softcap: as :class:`lmscope.OutputHead` has them.
        targets: the token that follows each position, integers of shape (positions,), for ``losses``.
        logits_bytes: of logits at a time, at most; but those of one position are always made together.
        covariance: False leaves ``hidden_covariance`` out.
        advance: called with the number of positions after every block of them.

    The product of states and weight is in the weight's dtype, as in the model: in bfloat16 and float16 each
    logit is then rounded to that. All else is in float32 (in float64 where the weight is float64), sums over
    blocks in float64. Against a dense computation in float64 from the same logits, averages agree to a
    relative 1e-10 in float64 and 1e-5 in float32, however small they are: tokens whose average is near the
    smallest number of the dtype are computed again, by their logarithms.

    Raises:
        ValueError: shapes that do not fit, tensors on several devices, a target outside the vocabulary,
            states or logits that are not finite (naming the position).
        TypeError: a dtype that is none of the four, targets that are no integers.
    """
    head = OutputHead(weight, bias, scale, softcap)
    return head_averages(
        head, states, targets, logits_bytes=logits_bytes, covariance=covariance, advance=advance
    )


def head_averages(
    head: OutputHead,
    states: Any,
    targets: Any = None,
    *,
    logits_bytes: int = LOGITS_BYTES,
    covariance: bool = True,
    advance: Callable[[int], object] | None = None,
) -> TokenAverages:
    """:func:`average_probabilities` of a head that is at hand."""
    import torch

    given = _states(head, states)
    with torch.no_grad():
        mean = _mean(given)
        sums = HeadSums(head, given, mean, _targets(head, targets, len(given)), logits_bytes)
        for positions in sums.blocks():
            if advance is not None:
                advance(positions)
        log_probability, mean_log_probability, logit_sd = (one.cpu().numpy() for one in sums.averages())
        return TokenAverages(
            log_probability,
            mean_log_probability,
            logit_sd,
            sums.log_normaliser.cpu().numpy(),
            None if sums.losses is None else sums.losses.cpu().numpy(),
            mean.cpu().numpy(),
            _covariance(given, mean).cpu().numpy() if covariance else None,
            len(given),
        )


def _states(head: OutputHead, states: Any) -> torch.Tensor:
    given = as_tensor("states", states, 2)
    if given.shape[1] != head.dimensions:
        raise ValueError(
            f"states: {given.shape[1]} dimensions, but the output embedding has {head.dimensions}"
        )
    for name, tensor in (("states", given), ("bias", head.bias)):
        if tensor is not None and tensor.device != head.weight.device:
            raise ValueError(
                f"{name} is on {tensor.device} and weight on {head.weight.device}: put both on one device"
            )
    return given


def _targets(head: OutputHead, targets: Any, positions: int) -> npt.NDArray[np.int64] | None:
    if targets is None:
        return None
    found = np.asarray(targets.cpu() if hasattr(targets, "cpu") else targets)
    if found.dtype.kind not in "iu":
        raise TypeError(f"targets: dtype {found.dtype} is not an integer")
    if found.shape != (positions,):
        raise ValueError(f"targets: shape {found.shape} for {positions} positions")
    outside = np.flatnonzero((found < 0) | (found >= head.vocabulary))
    if outside.size:
        raise ValueError(
            f"targets: token {found[outside[0]]} at position {outside[0]} is outside the vocabulary of "
            f"{head.vocabulary}"
        )
    return found.astype(np.int64)


def _row_blocks(states: torch.Tensor) -> Iterator[torch.Tensor]:
    rows = max(1, _FLOAT64_BYTES // (8 * states.shape[1]))
    for start in range(0, len(states), rows):
        yield states[start : start + rows].double()


def _mean(states: torch.Tensor) -> torch.Tensor:
    import torch

    total = torch.zeros(states.shape[1], dtype=torch.float64, device=states.device)
    for block in _row_blocks(states):
        total += block.sum(0)
    if not total.isfinite().all():
        position = int((~states.isfinite()).any(1).nonzero()[0, 0])
        raise ValueError(f"states: not finite at position {position}")
    return total.div_(len(states))


def _covariance(states: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    found = mean.new_zeros((len(mean), len(mean)))
    for block in _row_blocks(states):
        centred = block - mean
        found.addmm_(centred.T, centred)
    return found.div_(len(states))
