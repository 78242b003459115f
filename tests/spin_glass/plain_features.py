"""Features of tasks, all at once, by their definition: the oracle of whatever is made of sums over them."""

from __future__ import annotations

import numpy as np

import lmscope.spin_glass as sg


def whole(tasks: sg.Tasks) -> sg.Statistics:
    """All tasks of a law in one."""
    blocks = list(tasks.statistics())
    parts = ("context", "query", "target")
    return sg.Statistics(*(np.concatenate([getattr(block, name) for block in blocks]) for name in parts))


def features(tasks: sg.Tasks | sg.Statistics) -> np.ndarray:
    """tasks x (dimension + 1) dimension."""
    given = whole(tasks) if isinstance(tasks, sg.Tasks) else tasks
    return np.stack([np.outer(c, q).ravel() for c, q in zip(given.context, given.query, strict=True)])


def spins_of(weights: np.ndarray) -> np.ndarray:
    """The weights that enter, (dimension + 1) dimension of them."""
    assert (weights[:, -1] == 0).all()
    return weights[:, :-1].ravel()
