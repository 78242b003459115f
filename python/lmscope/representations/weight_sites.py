"""Where the matrices of a checkpoint sit in the model that runs: parameter, module and cut."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lmscope import html_repr
from lmscope.architectures import TensorInfo
from lmscope.architectures.cut import WHOLE, Cut
from lmscope.checkpoints import Checkpoint, CheckpointError
from lmscope.representations.language_model import LanguageModel
from lmscope.representations.module_calls import Calls, call_once
from lmscope.representations.row_parameters import Found, find_parameter, part_blocks, shared_with

if TYPE_CHECKING:
    import torch

__all__ = ["WeightSite", "same_sites", "weight_sites"]

_TABLES = ("token_embedding", "position_embedding", "type_embedding")
_TABLE = "an embedding table: it is looked up, not multiplied with an input"
_CHANGES_BOTH = "a lesion would change both"
_OUTPUTS = 256
# Rounding of a product, as a share of its norm; a wrong cut is off by more than the whole norm.
_MISFIT = 0.1


@dataclass(frozen=True, repr=False, eq=False)
class WeightSite:
    """One matrix of a checkpoint in the running model; made by :func:`weight_sites`.

    ``parameter`` (torch, ``parameter_name`` in ``LanguageModel.model``) holds the matrix, at ``cut`` where it
    is fused with others; ``module`` owns the parameter and gives input times matrix, transposed, plus its
    bias. ``shared`` names other parameters that lie in the same memory: what changes one changes all.
    ``hidden_input`` says why what the matrix is multiplied with cannot be seen (experts packed in one
    parameter): such a site is good for lesions, and has no :func:`input_covariances`; "" where it can.
    """

    info: TensorInfo
    parameter: torch.nn.Parameter
    parameter_name: str
    module: torch.nn.Module
    module_name: str
    cut: Cut
    shared: tuple[str, ...] = ()
    hidden_input: str = ""

    def weights(self) -> torch.Tensor:
        """The matrix as it stands, out x in: a view of the parameter but for blocks interleaved by head."""
        return part_blocks(self.parameter.detach(), self.cut).flatten(0, 1)

    def with_part(self, part: torch.Tensor) -> torch.Tensor:
        """A new tensor like the parameter, with ``part`` in this matrix' place and the rest bit for bit.

        ``part`` is out x in, and cast to the parameter's dtype and device. ValueError for another shape.
        """
        if tuple(part.shape) != self.info.shape:
            raise ValueError(
                f"part: {self.info.name} is {list(self.info.shape)} (out x in), not {list(part.shape)}"
            )
        changed = self.parameter.detach().clone()
        blocks = part_blocks(changed, self.cut)
        blocks.copy_(part.reshape(blocks.shape))
        return changed

    def __repr__(self) -> str:
        part = "" if self.cut == WHOLE else "part of "
        shared = f", shared with {', '.join(self.shared)}" if self.shared else ""
        module = type(self.module).__name__
        return f"WeightSite({self.info.name!r}, {part}{self.parameter_name} of {module}{shared})"

    def _repr_html_(self) -> str:
        return html_repr.block(
            self.info.name,
            html_repr.facts(
                [
                    ("role", self.info.role),
                    ("shape", html_repr.shape(self.info.shape)),
                    ("parameter", f"{self.parameter_name}, {html_repr.shape(self.parameter.shape)}"),
                    ("module", f"{self.module_name}, {type(self.module).__name__}"),
                    ("shared with", ", ".join(self.shared) or "none"),
                ]
            ),
            *([html_repr.line(self.hidden_input)] if self.hidden_input else []),
        )


def weight_sites(model: LanguageModel, checkpoint: Checkpoint) -> dict[str, WeightSite | str]:
    """The site of every planned row of ``checkpoint`` in ``model``, or the reason why it has none, by name.

    A parameter is found by its name and confirmed by its values: at 64 rows x 64 columns, evenly spaced, they
    must be those of the file, cast to the model's dtype. A module is confirmed by one pass over a few tokens:
    it runs once, and what it gives is its input times the matrix, plus its bias (an expert that no token
    reaches, or that is packed with others, is confirmed by its values alone). So a matrix is never mapped to
    a place where its weights are not, or are not used like that. Reads every planned matrix once, one after
    the other. The sites of packed experts have a ``hidden_input``.

    Without a site are tables that are looked up, matrices whose values an embedding shares, modules that run
    more than once or never, or do something else, weights that the model does not hold, and those that cannot
    be read.
    """
    # A module that is reached under two names has its parameters under both.
    parameters = dict(model.model.named_parameters(remove_duplicate=False))
    sites: dict[str, WeightSite | str] = {}
    for info, values in _matrices(checkpoint):
        if isinstance(values, str):
            sites[info.name] = values
            continue
        found = find_parameter(info, checkpoint.cut(info.name), values, parameters)
        sites[info.name] = found if isinstance(found, str) else _site(model, info, found, parameters)
    misfits = _misfits(model, [site for site in sites.values() if isinstance(site, WeightSite)])
    planned = (info.name for info in checkpoint.tensors if info.status == "planned")
    return {name: misfits.get(name) or sites[name] for name in planned}


def same_sites(sites: Mapping[str, WeightSite | str], model: LanguageModel) -> dict[str, WeightSite | str]:
    """The sites in another model of the same configuration, such as :meth:`LanguageModel.untrained`.

    Its parameters of the same names are taken, whatever their values. ValueError where one is missing or has
    another shape.
    """
    parameters: dict[str, Any] = dict(model.model.named_parameters(remove_duplicate=False))

    def moved(site: WeightSite) -> WeightSite:
        parameter = parameters.get(site.parameter_name)
        if parameter is None or parameter.shape != site.parameter.shape:
            found = "no such parameter" if parameter is None else f"shape {list(parameter.shape)}"
            raise ValueError(
                f"model: {model.label} is not of the same configuration: {site.parameter_name} should have "
                f"shape {list(site.parameter.shape)}; found {found}"
            )
        module = model.model.get_submodule(site.module_name)
        shared = shared_with(site.parameter_name, parameters)
        return replace(site, parameter=parameter, module=module, shared=shared)

    return {name: site if isinstance(site, str) else moved(site) for name, site in sites.items()}


def _matrices(checkpoint: Checkpoint) -> Iterator[tuple[TensorInfo, NDArray[Any] | str]]:
    """The planned rows with their values, or the reason why there are none to look for."""
    wanted: list[TensorInfo] = []
    for info in checkpoint.tensors:
        if info.status == "planned" and info.role in _TABLES:
            tied = [row.name for row in checkpoint.tensors if row.tied_to == info.name]
            shares = f"; shares its weights with {' and '.join(tied)}: {_CHANGES_BOTH}" if tied else ""
            yield info, _TABLE + shares
        elif info.status == "planned":
            wanted.append(info)
    with checkpoint.stream([info.name for info in wanted]) as stream:
        for info in wanted:
            try:
                yield next(stream)
            except CheckpointError as error:
                yield info, str(error)


def _site(
    model: LanguageModel, info: TensorInfo, found: Found, parameters: Mapping[str, torch.nn.Parameter]
) -> WeightSite | str:
    import torch

    def owner(parameter: str) -> torch.nn.Module:
        module: torch.nn.Module = model.model.get_submodule(parameter.rpartition(".")[0])
        return module

    module, shared = owner(found.name), shared_with(found.name, parameters)
    if isinstance(module, torch.nn.Embedding):
        return _TABLE
    tables = [name for name in shared if isinstance(owner(name), torch.nn.Embedding)]
    if tables:
        return f"shares its weights with the embedding {tables[0]}: {_CHANGES_BOTH}"
    hidden = ""
    if found.cut.expert is not None:
        hidden = (
            f"packed with the layer's other experts in {found.name}: {type(module).__name__} hides what each "
            "of them is given"
        )
    parameter, module_name = parameters[found.name], found.name.rpartition(".")[0]
    return WeightSite(info, parameter, found.name, module, module_name, found.cut, shared, hidden)


def _misfits(model: LanguageModel, sites: list[WeightSite]) -> dict[str, str]:
    """Why a site is none after all, by name: its module does more or less than one product of its input."""
    by_module: dict[str, list[WeightSite]] = {}
    for site in sites:
        by_module.setdefault(site.module_name, []).append(site)
    products: dict[str, str] = {}

    def look(name: str, given: torch.Tensor, made: Any) -> None:
        for site in by_module[name]:
            if site.hidden_input:
                continue
            products[site.info.name] = _no_product(site, given, made)

    calls = call_once(model, by_module, look)
    return {
        site.info.name: _not_one_call(site, calls[site.module_name]) or products.get(site.info.name, "")
        for site in sites
    }


def _not_one_call(site: WeightSite, call: Calls) -> str:
    name = f"{site.module_name} ({type(site.module).__name__})"
    if call.count > 1:
        return f"{name} runs {call.count} times in one pass, each time on another input"
    # An expert of its own module that no token was sent to has not run either.
    idle = call.count == 0 if site.hidden_input else call.given is None and site.info.expert is None
    if idle:
        return f"{name} does not run when the model reads text"
    return ""


def _no_product(site: WeightSite, given: torch.Tensor, made: Any) -> str:
    """Why what a module made of its input is not the product with the site's matrix; "" where it is."""
    import torch

    name = f"{site.module_name} ({type(site.module).__name__})"
    stored = site.parameter.detach()
    matrix = stored.T if site.cut.transposed else stored
    of_outputs = replace(site.cut, transposed=False)
    if given.shape[-1] != matrix.shape[1]:
        return f"{name} is given {given.shape[-1]} values a token, but the matrix takes {matrix.shape[1]}"
    weights = site.weights()
    rows = torch.from_numpy(np.unique(np.linspace(0, len(weights) - 1, _OUTPUTS).astype(np.int64)))
    rows = rows.to(weights.device)
    product = given.reshape(-1, matrix.shape[1]).double() @ weights[rows].double().T
    bias = getattr(site.module, "bias", None)
    shift: Any = 0.0
    if isinstance(bias, torch.Tensor) and bias.shape == matrix.shape[:1]:
        shift = part_blocks(bias.detach()[:, None], of_outputs).flatten()[rows].double()
    if not product.isfinite().all():
        return f"what {name} is given, or its matrix, is not finite on a few tokens"
    several = made if isinstance(made, (tuple, list)) else (made,)
    for one in several:
        if not isinstance(one, torch.Tensor) or one.shape[-1:] != matrix.shape[:1]:
            continue
        flat = one.reshape(-1, one.shape[-1])
        if len(flat) != len(product):
            continue
        part = part_blocks(flat.T, of_outputs).flatten(0, 1).T[:, rows].double()
        # A bias that is far larger than the product leaves the rounding of their sum.
        rounding = torch.finfo(one.dtype).eps * part.norm()
        if (part - shift - product).norm() <= _MISFIT * product.norm() + rounding:
            return ""
    return f"what {name} gives is not its input times this matrix"
