"""Matrices of two checkpoints that have the same place in the model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lmscope.runs.selection import ranges
from lmscope.runs.settings import SimilaritySettings
from lmscope.runs.vectors import Matrix, Pair, vectors_of

if TYPE_CHECKING:
    from lmscope.architectures import TensorInfo
    from lmscope.checkpoints import Checkpoint

_DRAWS = 3
_MOST_NAMES = 3

Place = tuple[tuple[Any, ...], int]


def twins_of(
    checkpoint: Checkpoint, other: Checkpoint, settings: SimilaritySettings, *, same_shape: bool = False
) -> tuple[list[Pair], dict[str, tuple[str, str]]]:
    """Pairs by role, layer and expert (the second of one kind in a layer has the second as its twin).

    A head that the other checkpoint ties to its embedding has that embedding as its twin.

    Gives also status and reason by name of the planned matrices that have no pair: "skipped" where the other
    checkpoint has none in that place, "refused" where it refuses the twin, where the vectors differ in length
    and, with `same_shape`, where their number does.
    """
    theirs, barred = _with_ties(other), _places(other, "refused")
    draws = _DRAWS if settings.null_draws is None else settings.null_draws
    pairs: list[Pair] = []
    without: dict[str, tuple[str, str]] = {}
    for place, tensor in _places(checkpoint, "planned").items():
        twin = theirs.get(place)
        if twin is None and place in barred:
            refused = barred[place]
            without[tensor.name] = (
                "refused",
                f"its twin {refused.name} in {other.label} is refused: {refused.reason}",
            )
            continue
        if twin is None:
            without[tensor.name] = "skipped", f"{other.label} has no such matrix in that place"
            continue
        vectors = vectors_of(tensor.role, settings.vectors)
        x, y = (Matrix(one, vectors, source, place[1]) for source, one in enumerate((tensor, twin)))
        if x.depth != y.depth:
            without[tensor.name] = (
                "refused",
                f"its vectors ({vectors}) have length {x.depth}, those of its twin {twin.name} in "
                f"{other.label} {y.depth}",
            )
        elif same_shape and x.count != y.count:
            without[tensor.name] = "refused", _other_shape(tensor, twin, other.label)
        else:
            pairs.append(Pair(x, y, draws))
    return pairs, without


def unmatched(checkpoint: Checkpoint, other: Checkpoint) -> list[str]:
    """Sentences about the matrices of both that have no counterpart, and about unequal numbers of layers."""
    ours, theirs = _places(checkpoint, "planned"), _places(other, "planned")
    refused = [_places(one, "refused") for one in (checkpoint, other)]
    reached = _with_ties(other)
    lonely = [ours[place] for place in ours if place not in reached and place not in refused[1]]
    # A tied head of the first has no record of its own, so that theirs is left over.
    left = [theirs[place] for place in theirs if place not in ours and place not in refused[0]]
    told: list[str] = []
    layers = [{tensor.layer for tensor in of.values()} - {None} for of in (ours, theirs)]
    if len(layers[0]) != len(layers[1]):
        told.append(
            f"Layer counts differ ({len(layers[0])} and {len(layers[1])}): layers are matched by number."
        )
    if lonely or left:
        told.append(
            f"{_count(lonely, checkpoint.label)} and {_count(left, other.label)} have no counterpart and "
            "are not compared."
        )
    ties = {place: tensor.tied_to for place, tensor in _aliases(checkpoint).items()}
    for place, tensor in theirs.items():
        if place in ties and place not in ours:
            told.append(
                f"{checkpoint.label} ties {tensor.name} to {ties[place]}, {other.label} holds one of its own."
            )
    return told


def _count(tensors: Sequence[TensorInfo], whose: str) -> str:
    many = f"{len(tensors)} {'matrix' if len(tensors) == 1 else 'matrices'} of {whose}"
    if not tensors:
        return f"no matrix of {whose}"
    in_layers = [tensor for tensor in tensors if tensor.layer is not None]
    names = [tensor.name for tensor in tensors if tensor.layer is None]
    if len(in_layers) <= _MOST_NAMES:
        names = [tensor.name for tensor in in_layers] + names
        parts = []
    else:
        spans = ranges({tensor.layer for tensor in in_layers if tensor.layer is not None})
        parts = [f"{len(in_layers)} in layers {spans}"]
    parts += names[:_MOST_NAMES] + ([f"{len(names) - _MOST_NAMES} more"] if len(names) > _MOST_NAMES else [])
    return f"{many} ({', '.join(parts)})"


def no_twins(checkpoint: Checkpoint, other: Checkpoint, without: Mapping[str, tuple[str, str]]) -> str:
    """Why no pair is left, as a sentence without a full stop."""
    refused = [f"{name}: {reason}" for name, (status, reason) in without.items() if status == "refused"]
    if refused:
        return f"no matrix of {checkpoint.label} can be compared with its twin in {other.label}; {refused[0]}"
    return f"no matrix of {checkpoint.label} has a twin in {other.label}"


def _other_shape(tensor: TensorInfo, twin: TensorInfo, other: str) -> str:
    ours, theirs = (" x ".join(map(str, one.shape)) for one in (tensor, twin))
    vocabulary = " (the vocabulary changed)" if "embedding" in tensor.role else ""
    return (
        f"it is {ours}, its twin {twin.name} in {other} {theirs}{vocabulary}: there is no difference to "
        "take, but `lmscope similarity` of both checkpoints compares their vectors"
    )


def _with_ties(tensors: Iterable[TensorInfo]) -> dict[Place, TensorInfo]:
    """The planned ones by place; in that of a tied alias stands what it is tied to."""
    planned = {tensor.name: tensor for tensor in tensors if tensor.status == "planned"}
    aliases = {
        place: planned[tensor.tied_to]
        for place, tensor in _aliases(tensors).items()
        if tensor.tied_to in planned
    }
    return {**_places(tensors, "planned"), **aliases}


def _places(tensors: Iterable[TensorInfo], status: str) -> dict[Place, TensorInfo]:
    return {
        place: tensor
        for place, tensor in _all_places(tensors, status)
        if tensor.tied_to is None and tensor.status == status
    }


def _aliases(tensors: Iterable[TensorInfo]) -> dict[Place, TensorInfo]:
    return {place: tensor for place, tensor in _all_places(tensors, "planned") if tensor.tied_to is not None}


def _all_places(tensors: Iterable[TensorInfo], status: str) -> Iterator[tuple[Place, TensorInfo]]:
    """Place of every matrix of this status or tied: the same one whether or not a checkpoint ties them."""
    seen: defaultdict[tuple[Any, ...], int] = defaultdict(int)
    for tensor in tensors:
        if len(tensor.shape) == 2 and (tensor.status == status or tensor.tied_to is not None):
            place = (tensor.role, tensor.layer, tensor.expert)
            yield (place, seen[place]), tensor
            seen[place] += 1
