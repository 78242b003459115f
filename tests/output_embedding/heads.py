"""Heads and states of arrays, and their distributions computed densely in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax, rel_entr

from lmscope.representations.next_states import NextStates
from lmscope.representations.output_head import OutputHead

Floats = npt.NDArray[np.float64]

FORMULAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bias": {"bias": 1.0},
    "scale": {"scale": 0.25, "size": 3.0},
    "cap": {"softcap": 8.0},
    "all": {"bias": 1.0, "scale": -0.5, "softcap": 8.0},
}


def states_of(array: Any, targets: Any = None, *, window: int = 25) -> NextStates:
    """States as rows of an array; windows of ``window`` positions, of one text."""
    positions = len(array)
    if targets is None:
        targets = np.zeros(positions, dtype=np.int64)
    units = np.arange(positions) // window
    return NextStates(torch.as_tensor(array), targets, units, 1, int(units[-1]) + 1, positions)


def some_head(
    seed: int = 0,
    *,
    vocabulary: int = 200,
    dimensions: int = 12,
    bias: float = 0.0,
    scale: float = 1.0,
    softcap: float | None = None,
    size: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> OutputHead:
    rng = np.random.default_rng(seed)
    weight = torch.as_tensor(size * rng.standard_normal((vocabulary, dimensions))).to(dtype)
    biases = torch.as_tensor(bias * rng.standard_normal(vocabulary)).to(dtype) if bias else None
    return OutputHead(weight, biases, scale, softcap)


def some_states(
    seed: int = 1, *, positions: int = 400, dimensions: int = 12, spread: float = 0.3
) -> NextStates:
    """Gaussian around a mean that seeds share: texts of one kind."""
    mean = np.random.default_rng(77).standard_normal(dimensions)
    rng = np.random.default_rng(seed)
    return states_of(mean + spread * rng.standard_normal((positions, dimensions)))


def dense_probabilities(head: OutputHead, states: Any, rows: dict[int, Any] | None = None) -> Any:
    """Softmax over the whole vocabulary in float64, with some rows replaced."""
    weight = head.weight.double().clone()
    for token, row in (rows or {}).items():
        weight[token] = torch.as_tensor(np.asarray(row, dtype=np.float64))
    logits = torch.as_tensor(states).double() @ weight.T
    if head.bias is not None:
        logits = logits + head.bias.double()
    logits = logits * head.scale
    if head.softcap is not None:
        logits = head.softcap * torch.tanh(logits / head.softcap)
    return torch.softmax(logits, 1).numpy()


def log_probabilities(head: OutputHead, states: Any) -> Floats:
    """Positions x vocabulary, by the formula."""
    scores = np.asarray(states, dtype=np.float64) @ head.weight.double().numpy().T
    if head.bias is not None:
        scores += head.bias.double().numpy()
    scores *= head.scale
    if head.softcap is not None:
        scores = head.softcap * np.tanh(scores / head.softcap)
    found: Floats = log_softmax(scores, axis=1)
    return found


def jensen_shannon(one: Floats, other: Floats) -> Floats:
    """Of rows of log-probabilities, by the definition."""
    p, q = np.exp(one), np.exp(other)
    middle = (p + q) / 2
    found: Floats = (rel_entr(p, middle) + rel_entr(q, middle)).sum(1) / 2
    return found
