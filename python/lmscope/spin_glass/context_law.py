"""The exact law of what linear attention sees of a prompt, given its teacher, drawn without the prompt.

Tokens are standard normal and labels are token . along: only the part of a token along ``along`` meets its
label, the others average freely.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["context_of_independent", "context_of_shared"]

Floats = npt.NDArray[np.float64]


def context_of_independent(along: Floats, length: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Contexts, tasks x (dimension + 1), and queries, tasks x dimension, of prompts of ``length`` independent
    tokens; ``along`` is tasks x dimension."""
    power = random.chisquare(length, len(along)) / length
    across = random.standard_normal(along.shape)
    query = random.standard_normal(along.shape)
    length2 = np.einsum("ij,ij->i", along, along)
    across = _across(across, along, length2) * np.sqrt(length2 * power / length)[:, None]
    context = np.column_stack([along * power[:, None] + across, length2 * power])
    return context, query


def context_of_shared(
    along: Floats, length: int, correlation: float, random: np.random.Generator
) -> tuple[Floats, Floats]:
    """The same where every token, and the query, is sqrt(correlation) shared + sqrt(1 - correlation) own: own
    parts are as independent tokens are, the shared one is the same for all tokens of a prompt."""
    shared = math.sqrt(correlation) * random.standard_normal(along.shape)
    alone = math.sqrt(1 - correlation)
    query = shared + alone * random.standard_normal(along.shape)
    length2 = np.einsum("ij,ij->i", along, along)
    root = np.sqrt(length2)
    # Own parts along the unit vector of ``along``, over the tokens of a prompt: their mean and variance.
    mean = random.standard_normal(len(along)) / math.sqrt(length)
    variance = random.chisquare(length - 1, len(along)) / length if length > 1 else np.zeros(len(along))
    # Labels are along . shared + alone * root * own part.
    label = np.einsum("ij,ij->i", along, shared) + alone * root * mean
    product = label * mean + alone * root * variance
    power = label**2 + alone**2 * length2 * variance
    across = _across(random.standard_normal(along.shape), along, length2)
    own = along * _ratio(product, root)[:, None] + across * np.sqrt(power / length)[:, None]
    return np.column_stack([shared * label[:, None] + alone * own, power]), query


def _across(white: Floats, along: Floats, length2: Floats) -> Floats:
    """``white`` without its part along ``along``, of squared length ``length2``."""
    share = _ratio(np.einsum("ij,ij->i", along, white), length2)
    return white - along * share[:, None]


def _ratio(above: Floats, below: Floats) -> Floats:
    """0 for a teacher of no effect on the labels, which has nothing along it."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
