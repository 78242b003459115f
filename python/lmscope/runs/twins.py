"""Matrices of two checkpoints that have the same place in the model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lmscope.runs.opening import label
from lmscope.runs.settings import SimilaritySettings
from lmscope.runs.vectors import Matrix, Pair, vectors_of

if TYPE_CHECKING:
    from lmscope.architectures import TensorInfo
    from lmscope.checkpoints import Checkpoint

_DRAWS = 3


def twins_of(
    checkpoint: Checkpoint, other: Checkpoint, settings: SimilaritySettings, *, same_shape: bool = False
) -> tuple[list[Pair], dict[str, tuple[str, str]]]:
    """Pairs by role, layer and expert (the second of one kind in a layer has the second as its twin).

    Gives also status and reason by name of the planned matrices that have no pair: "skipped" where the other
    checkpoint has none in that place, "refused" where it refuses the twin, where the vectors differ in length
    and, with `same_shape`, where their number does.
    """
    theirs, barred = _places(other, "planned"), _places(other, "refused")
    draws = _DRAWS if settings.null_draws is None else settings.null_draws
    pairs: list[Pair] = []
    without: dict[str, tuple[str, str]] = {}
    for place, tensor in _places(checkpoint, "planned").items():
        twin = theirs.get(place)
        if twin is None and place in barred:
            refused = barred[place]
            without[tensor.name] = (
                "refused",
                f"its twin {refused.name} in {label(other)} is refused: {refused.reason}",
            )
            continue
        if twin is None:
            without[tensor.name] = "skipped", f"{label(other)} has no such matrix in that place"
            continue
        vectors = vectors_of(tensor.role, settings.vectors)
        x, y = (Matrix(one, vectors, source, place[1]) for source, one in enumerate((tensor, twin)))
        if x.depth != y.depth:
            without[tensor.name] = (
                "refused",
                f"its vectors ({vectors}) have length {x.depth}, those of its twin {twin.name} in "
                f"{label(other)} {y.depth}",
            )
        elif same_shape and x.count != y.count:
            without[tensor.name] = "refused", _other_shape(tensor, twin, label(other))
        else:
            pairs.append(Pair(x, y, draws))
    return pairs, without


def _other_shape(tensor: TensorInfo, twin: TensorInfo, other: str) -> str:
    ours, theirs = (" x ".join(map(str, one.shape)) for one in (tensor, twin))
    vocabulary = " (the vocabulary changed)" if "embedding" in tensor.role else ""
    return (
        f"it is {ours}, its twin {twin.name} in {other} {theirs}{vocabulary}: there is no difference to "
        "take, but `lmscope similarity` of both checkpoints compares their vectors"
    )


def _places(tensors: Iterable[TensorInfo], status: str) -> dict[tuple[Any, ...], TensorInfo]:
    found: dict[tuple[Any, ...], TensorInfo] = {}
    seen: defaultdict[tuple[Any, ...], int] = defaultdict(int)
    for tensor in tensors:
        if tensor.status == status and len(tensor.shape) == 2:
            place = (tensor.role, tensor.layer, tensor.expert)
            found[place, seen[place]] = tensor
            seen[place] += 1
    return found
