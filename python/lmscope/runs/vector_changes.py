"""What became of the norms and biases, which have no spectrum: a sentence each, for the ledger."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lmscope.runs.selection import Selection
from lmscope.runs.streaming import load_each

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmscope.checkpoints import Checkpoint

_ROLES = ("norm", "bias")


def vector_changes(base: Checkpoint, tuned: Checkpoint, selection: Selection) -> dict[str, tuple[str, str]]:
    """Status and reason, by name, of the selected vectors that both have under one name and in one shape."""
    theirs = {tensor.name: tensor for tensor in tuned if tensor.status == "skipped"}
    ours = [
        tensor
        for tensor in base
        if tensor.status == "skipped"
        and tensor.role in _ROLES
        and tensor in selection
        and tensor.elements
        and tensor.name in theirs
        and theirs[tensor.name].shape == tensor.shape
    ]
    others = [theirs[tensor.name] for tensor in ours]
    told: dict[str, tuple[str, str]] = {}
    with (
        contextlib.closing(load_each(base, ours)) as of_base,
        contextlib.closing(load_each(tuned, others)) as of_tuned,
    ):
        for tensor, x, y in zip(ours, of_base, of_tuned, strict=True):
            told[tensor.name] = "skipped", f"{tensor.reason}; {_change(x, y, tuned.label)}"
    return told


def _change(x: NDArray[Any] | str, y: NDArray[Any] | str, other: str) -> str:
    if isinstance(x, str) or isinstance(y, str):
        return f"not compared with {other}: {x if isinstance(x, str) else y}"
    a, b = x.astype(np.float64), y.astype(np.float64)
    changed = int(np.count_nonzero(a != b))
    if not changed:
        return f"identical in {other}"
    size, moved = float(np.linalg.norm(a)), float(np.linalg.norm(b - a))
    change = moved / size if size else math.inf
    return f"in {other} {changed} of {a.size} entries differ, relative change {change:.3g}"
