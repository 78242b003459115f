"""The parameter that holds a checkpoint's row: found by its name, confirmed by its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


class Found(NamedTuple):
    """A parameter by its name in the model, and the cut of the row in it."""

    name: str
    cut: Cut


def part_blocks(stored: torch.Tensor, cut: Cut) -> torch.Tensor:
    """The part at ``cut`` as a view of groups x rows x inputs."""
    matrix = stored if cut.expert is None else stored[cut.expert]
    if cut.transposed:
        matrix = matrix.T
    # A view whatever the strides, as one dimension is split.
    blocks = matrix.view(cut.groups, len(matrix) // cut.groups, matrix.shape[1])
    return blocks if cut.rows is None else blocks[:, cut.start : cut.start + cut.rows]


def find_parameter(
    info: TensorInfo, cut: Cut, values: NDArray[Any], parameters: Mapping[str, torch.Tensor]
) -> Found | str:
    """Where ``values``, the row's matrix at ``cut`` of its stored tensor, lie; or why nowhere.

    A parameter is taken if it holds the values, at 64 rows x 64 columns spread evenly. Where parameters have
    the stored name, but for words in front of it, it is one of them or none; else one of another name, or, of
    an expert's matrix, of another shape: transformers renames and packs some when it loads.
    """
    places = [
        Found(name, cut) for name, value in parameters.items() if tuple(value.shape) == info.stored_shape
    ]
    named = [place for place in places if _same_but_for_prefix(info.stored_name, place.name)]
    tried = named or [*places, *_packed(info, cut, parameters)]
    found = [place for place in tried if _holds(parameters[place.name], place.cut, values)]
    if found:
        return _only(found, parameters)
    if named:
        return f"{' and '.join(place.name for place in named)} of the loaded model has other values"
    return "the loaded model does not hold it: no parameter has its name or its values"


def shared_with(name: str, parameters: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
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


def _same_but_for_prefix(one: str, other: str) -> bool:
    return f".{one}".endswith(f".{other}") or f".{other}".endswith(f".{one}")


def _packed(info: TensorInfo, cut: Cut, parameters: Mapping[str, torch.Tensor]) -> Iterator[Found]:
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


def _only(found: list[Found], parameters: Mapping[str, torch.Tensor]) -> Found | str:
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
