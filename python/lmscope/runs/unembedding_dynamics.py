"""The course of a training: encodings of its checkpoints beside loss and distance to the last weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope.checkpoints import CheckpointError
from lmscope.runs.cost import packing_seconds
from lmscope.runs.examined import Examined
from lmscope.runs.record_store import RecordStore
from lmscope.runs.unembedding_jobs import Job, Rows

if TYPE_CHECKING:
    from lmscope.checkpoints import Checkpoint, TensorInfo

_BLOCK_ENTRIES = 1 << 20


def dynamics_jobs(store: RecordStore, series: Sequence[Examined]) -> Iterator[tuple[Examined, Job]]:
    """One for each checkpoint of a series, made from the records of heads and encodings."""
    last = series[-1]
    elements = sum(tensor.elements for tensor in last.checkpoint)
    for examined in series:
        yield (
            examined,
            Job(
                "dynamics",
                examined.record(),
                "dynamics",
                2 * packing_seconds(elements),
                (),
                partial(_row, store, examined, last),
            ),
        )


def _row(store: RecordStore, examined: Examined, last: Examined) -> Rows:
    heads = store.rows("heads", examined.record())
    fits = [
        store.rows("encoding", examined.record(f"{what}  0"))
        for what in ("frequency seen", "probability all")
    ]
    if not heads or not all(fits):
        raise ValueError("its head and encodings are not recorded, see why above")
    (frequency,), (probability,) = fits
    head, all_of_them = _distances(examined.checkpoint, last.checkpoint)
    return [
        {
            **examined.about,
            "loss": heads[0]["loss"],
            "frequency_r2": frequency["r2"],
            "frequency_adjusted_r2": frequency["adjusted_r2"],
            "probability_r2": probability["r2"],
            "probability_adjusted_r2": probability["adjusted_r2"],
            "cosine": probability["cosine"],
            "head_distance": head,
            "parameter_distance": all_of_them,
        }
    ]


def check_same_shapes(series: Sequence[Examined]) -> None:
    """Raise `CheckpointError` for a step whose tensors are not those of the last one."""
    last = series[-1].checkpoint
    expected = {tensor.name: tensor.shape for tensor in _own(last)}
    for examined in series[:-1]:
        found = {tensor.name: tensor.shape for tensor in _own(examined.checkpoint)}
        for name in dict.fromkeys([*expected, *found]):
            if expected.get(name) != found.get(name):
                told = [
                    "none" if one is None else " x ".join(map(str, one))
                    for one in (expected.get(name), found.get(name))
                ]
                raise CheckpointError(
                    f"is no step of the training that {last.path} is the last checkpoint of; give folders of "
                    "other models by themselves",
                    file=examined.checkpoint.path,
                    tensor=name,
                    expected=told[0],
                    found=told[1],
                )


def _own(checkpoint: Checkpoint) -> list[TensorInfo]:
    return [tensor for tensor in checkpoint if tensor.elements and tensor.status != "refused"]


def _distances(checkpoint: Checkpoint, last: Checkpoint) -> tuple[float, float]:
    """Of the output embedding, and of all tensors."""
    head = _head(last)
    apart, norm, found = 0.0, 0.0, math.nan
    for tensor in _own(last):
        squares = _squares(checkpoint.load(tensor.name), last.load(tensor.name))
        if tensor.name == head:
            found = math.sqrt(squares[0] / squares[1])
        apart, norm = apart + squares[0], norm + squares[1]
    return found, math.sqrt(apart / norm)


def _head(checkpoint: Checkpoint) -> str:
    """Name of the tensor that is the output embedding."""
    for role in ("unembedding", "token_embedding"):
        for tensor in checkpoint:
            if tensor.role == role:
                return tensor.tied_to or tensor.name
    raise ValueError(f"no tensor of {checkpoint.label} is known to be its output embedding")


def _squares(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> tuple[float, float]:
    """Squared norms of the difference and of the other one."""
    apart = norm = 0.0
    first, second = one.reshape(-1), other.reshape(-1)
    for start in range(0, len(first), _BLOCK_ENTRIES):
        block = slice(start, start + _BLOCK_ENTRIES)
        target = second[block].astype(np.float64)
        difference = first[block].astype(np.float64) - target
        apart += float(difference @ difference)
        norm += float(target @ target)
    return apart, norm
