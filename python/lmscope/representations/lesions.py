"""Lesions: removals carried out in a running model's weights, and every bit put back afterwards."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmscope import html_repr
from lmscope.representations.row_parameters import part_blocks

if TYPE_CHECKING:
    import torch

    from lmscope.analyses.removal import Removal
    from lmscope.architectures.cut import Cut
    from lmscope.representations.language_model import LanguageModel
    from lmscope.representations.weight_sites import WeightSite

__all__ = ["Lesion", "lesioned"]

# Of float64 rows at a time: 4 MB.
_BLOCK = 1 << 19

_IN_LESION: dict[int, str] = {}
"""Parameters that are lesioned now, by identity: the matrices' names."""


@dataclass(frozen=True, repr=False)
class Lesion:
    """What :func:`lesioned` took out of a model.

    Attributes:
        names: of the matrices.
        directions: removed, summed over the matrices.
        energy: summed over the matrices: squared norm of what was removed.
        energy_share: ``energy`` over the summed squared norms of the matrices.
        rounding: squared norm of what the weights' dtype made of it: the difference between the change of the
            stored weights and the removals. Where it is not far below ``energy``, the lesion is rounding.
    """

    names: tuple[str, ...]
    directions: int
    energy: float
    energy_share: float
    rounding: float

    def __repr__(self) -> str:
        return (
            f"Lesion({self.energy_share:.4g} of the energy, matrices={len(self.names)}, "
            f"directions={self.directions})"
        )

    def _repr_html_(self) -> str:
        facts = [
            ("matrices", len(self.names)),
            ("directions", self.directions),
            ("energy", html_repr.number(self.energy)),
            ("share of the matrices' energy", html_repr.number(self.energy_share)),
            ("rounding", html_repr.number(self.rounding)),
        ]
        return html_repr.block("Lesion", html_repr.facts(facts))


@contextmanager
def lesioned(
    model: LanguageModel, removals: Mapping[WeightSite, Removal], *, along: Collection[str] = ()
) -> Iterator[Lesion]:
    """Within the ``with`` block the model has the matrices without what is removed of them.

    Args:
        removals: what is taken out of which matrix, e.g. of :func:`lmscope.slice_removal`. Parts of one fused
            parameter may be lesioned together.
        along: names of parameters that may change along, where a matrix is tied to them.

    Computed in float64 and rounded once, to the parameters' dtype and on their device, one block of rows at a
    time. The parameters are given new memory and afterwards the old one, also after an exception: every bit
    is as before, whatever was done to these parameters within the block, such as fine-tuning. Nothing else is
    copied. Lesions of different parameters may be nested.

    Raises:
        ValueError: a site of another model, a removal of another shape, weights given twice, a parameter that
            is lesioned already, weights tied to a parameter that is not in ``along``, or in the memory of
            another one without being tied.
    """
    _refuse(model, removals, along)
    kept: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
    try:
        energy = norm = rounding = 0.0
        for site, removal in removals.items():
            if all(site.parameter is not parameter for parameter, _ in kept):
                kept.append((site.parameter, site.parameter.data))
                _IN_LESION[id(site.parameter)] = site.info.name
                site.parameter.data = site.parameter.detach().clone()
            part_norm, part_rounding = _take_out(site, removal)
            rounding += part_rounding
            energy += removal.energy
            norm += part_norm
        yield Lesion(
            tuple(site.info.name for site in removals),
            sum(removal.directions for removal in removals.values()),
            energy,
            energy / norm if norm > 0 else 0.0,
            rounding,
        )
    finally:
        for parameter, data in kept:
            parameter.data = data
            _IN_LESION.pop(id(parameter), None)


def _take_out(site: WeightSite, removal: Removal) -> tuple[float, float]:
    """Squared norms of the weights before, and of the rounding."""
    import torch

    weights = site.weights()
    with torch.no_grad():
        if not removal.directions:
            norm = sum(float(weights[rows].to(torch.float64).square().sum()) for rows in _blocks(weights))
            return norm, 0.0
        left = torch.as_tensor(removal.left, device=weights.device)
        right = torch.as_tensor(removal.right, device=weights.device)
        part = torch.empty(weights.shape, dtype=weights.dtype, device=weights.device)
        norm = rounding = 0.0
        for rows in _blocks(weights):
            block = weights[rows].to(torch.float64, copy=True)
            norm += float(block.square().sum())
            block.addmm_(left[rows], right.T, alpha=-1)
            part[rows] = block.to(weights.dtype)
            rounding += float((block - part[rows]).square().sum())
        place = part_blocks(site.parameter.data, site.cut)
        place.copy_(part.reshape(place.shape))
        return norm, rounding


def _blocks(weights: torch.Tensor) -> Iterator[slice]:
    rows, columns = weights.shape
    step = max(1, _BLOCK // columns)
    for start in range(0, rows, step):
        yield slice(start, start + step)


def _refuse(model: LanguageModel, removals: Mapping[WeightSite, Removal], along: Collection[str]) -> None:
    parameters = dict(model.model.named_parameters(remove_duplicate=False))
    taken: dict[tuple[int, Cut], str] = {}
    for site, removal in removals.items():
        name = site.info.name
        if parameters.get(site.parameter_name) is not site.parameter:
            raise ValueError(f"{name}: its site is of another model than {model.label}")
        if id(site.parameter) in _IN_LESION:
            raise ValueError(
                f"{name}: {site.parameter_name} is lesioned already, for {_IN_LESION[id(site.parameter)]}: "
                "give all of its removals at once"
            )
        same = taken.setdefault((id(site.parameter), site.cut), name)
        if same != name:
            raise ValueError(f"{name}: its weights are those of {same}: give one removal for both")
        for other in site.shared:
            if parameters[other] is not site.parameter:
                raise ValueError(
                    f"{name}: {site.parameter_name} and {other} are two parameters in the same memory, which "
                    "a lesion would part: tie them as one parameter, or clone one of them"
                )
            if other not in along:
                raise ValueError(
                    f"{name}: its weights are also {other}, which a lesion would change too: give "
                    f"along=[{other!r}] where that is meant"
                )
        found = (len(removal.left), len(removal.right))
        if found != site.info.shape:
            raise ValueError(
                f"{name}: a removal from a matrix of shape {list(found)}, but its shape is "
                f"{list(site.info.shape)}"
            )
