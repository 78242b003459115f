"""The parameter that holds a checkpoint's row: found by its name, confirmed by its values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmscope.architectures import TensorInfo
from lmscope.architectures.cut import WHOLE, Cut
from lmscope.architectures.guess import guess_layer

if TYPE_CHECKING:
    import torch

__all__ = ["Found", "find_parameter", "part_blocks", "shared_with"]

_SAMPLED = 64
_SOME_NAME = 2


class Found(NamedTuple):
    """A parameter by its name in the model, and the cut of the row in it."""

    name: str
    cut: Cut


def part_blocks(stored: torch.Tensor, cut: Cut) -> torch.Tensor:
    """The part at ``cut`` as a view of groups x rows x inputs."""
    matrix = stored if cut.expert is None else stored[cut.expert]
    if cut.transposed:
        matrix = matrix.T
    blocks = matrix.unflatten(0, (cut.groups, -1))
    return blocks if cut.rows is None else blocks[:, cut.start : cut.start + cut.rows]


def find_parameter(
    info: TensorInfo, cut: Cut, values: NDArray[Any], parameters: dict[str, torch.Tensor]
) -> Found | str:
    """Where ``values``, the row's matrix at ``cut`` of its stored tensor, lie; or why nowhere.

    The parameter whose name has the longest ending in common with the stored name and that holds the row's
    values, at 64 rows x 64 columns spread evenly; if none does, one of another name or, of an expert's
    matrix, of another shape: transformers packs them.
    """
    same_shape = [name for name, value in parameters.items() if tuple(value.shape) == info.stored_shape]
    places = [Found(name, cut) for name in same_shape]
    by_name: dict[int, list[Found]] = {}
    for place in places:
        by_name.setdefault(_common_ending(info.stored_name, place.name), []).append(place)
    for _, alike in sorted(by_name.items(), reverse=True):
        found = [place for place in alike if _holds(parameters[place.name], place.cut, values)]
        if found:
            return _only(found, parameters)
    found = [
        place for place in _packed(info, cut, parameters) if _holds(parameters[place.name], place.cut, values)
    ]
    if found:
        return _only(found, parameters)
    named = by_name.get(max(by_name, default=0), []) if max(by_name, default=0) >= _SOME_NAME else []
    if named:
        return f"its values are not those of {named[0].name}, nor of another parameter of the loaded model"
    return "the loaded model has no parameter with its values"


def shared_with(name: str, parameters: dict[str, torch.Tensor]) -> tuple[str, ...]:
    """Names of other parameters that lie in the same memory as ``name``, wholly or in part."""
    first, last = _span(parameters[name])
    place = parameters[name].device
    return tuple(
        other
        for other, value in parameters.items()
        if other != name
        and value.device == place
        and value.numel()
        and (span := _span(value))[0] < last
        and first < span[1]
    )


def _span(value: torch.Tensor) -> tuple[int, int]:
    """The first byte and the one behind the last."""
    reach = sum((size - 1) * stride for size, stride in zip(value.shape, value.stride(), strict=True))
    return value.data_ptr(), value.data_ptr() + (reach + 1) * value.element_size()


def _common_ending(one: str, other: str) -> int:
    """How many of the last dotted words of two names agree."""
    pairs = zip(reversed(one.split(".")), reversed(other.split(".")), strict=False)
    return next((count for count, (word, another) in enumerate(pairs) if word != another), _words(one, other))


def _words(one: str, other: str) -> int:
    return min(one.count("."), other.count(".")) + 1


def _packed(info: TensorInfo, cut: Cut, parameters: dict[str, torch.Tensor]) -> Iterator[Found]:
    """Places of one expert's matrix in the packed parameters of its layer, either way round."""
    if info.expert is None or cut != WHOLE:
        return
    outputs, inputs = info.shape
    for name, value in parameters.items():
        if value.ndim != 3 or value.shape[0] <= info.expert or guess_layer(name) != info.layer:
            continue
        for transposed in (False, True):
            all_outputs, all_inputs = value.shape[:0:-1] if transposed else value.shape[1:]
            if all_inputs == inputs and all_outputs % outputs == 0:
                for start in range(0, all_outputs, outputs):
                    yield Found(name, Cut(transposed, info.expert, start, outputs))


def _only(found: list[Found], parameters: dict[str, torch.Tensor]) -> Found | str:
    """The one place of several that are the same memory; else what they are."""
    first = found[0]
    aliases = shared_with(first.name, parameters)
    others = [place for place in found[1:] if place.name not in aliases]
    if others:
        names = ", ".join(dict.fromkeys(place.name for place in [first, *others]))
        return f"several parameters of the loaded model hold its values: {names}"
    return first


def _holds(parameter: torch.Tensor, cut: Cut, values: NDArray[Any]) -> bool:
    import torch

    held = part_blocks(parameter.detach(), cut)
    outputs = held.shape[0] * held.shape[1]
    if (outputs, held.shape[2]) != values.shape:
        return False
    rows, columns = (_spread(size) for size in values.shape)
    # Each stored dtype is exact in float64, so that there is one rounding, to the parameter's dtype.
    wanted = torch.from_numpy(values[np.ix_(rows, columns)].astype(np.float64)).to(parameter.dtype)
    group, row = (torch.from_numpy(index) for index in np.divmod(rows, held.shape[1]))
    places = (group[:, None], row[:, None], torch.from_numpy(columns)[None])
    there = held[tuple(index.to(held.device) for index in places)].cpu()
    return bool(((there == wanted) | (there.isnan() & wanted.isnan())).all())


def _spread(size: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, size - 1, min(size, _SAMPLED)).astype(np.int64))
