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


def states_of(array: Any, targets: Any = None, *, window: int = 20) -> NextStates:
    """States as rows of an array; windows of ``window`` positions."""
    positions = len(array)
    if targets is None:
        targets = np.zeros(positions, dtype=np.int64)
    units = np.arange(positions) // window
    return NextStates(torch.as_tensor(array), targets, units, 1, int(units[-1]) + 1, positions)


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
