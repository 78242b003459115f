"""A causal model's output embedding, and the formula that makes its logits, confirmed by the model itself."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.representations.arrays import as_tensor
from lmscope.representations.head import check_head, head_rounding, logits
from lmscope.representations.language_model import LanguageModel

if TYPE_CHECKING:
    import torch

__all__ = ["OutputHead", "output_head", "wide_dtype"]

# What configurations of transformers call the factor on the logits, or on the states before the head; some
# models multiply by it and others divide.
_SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")
_CAPS = ("final_logit_softcapping", "logits_soft_cap")
# Logits that show any known cap: those of a real model at a few tokens may stay far below it.
_LARGE = 64.0


@dataclass(frozen=True, repr=False, eq=False)
class OutputHead:
    """A head: ``logit_w(h) = c(scale * (weight_w . h + bias_w))``, ``c(x) = softcap * tanh(x / softcap)``.

    Made from a model by :func:`output_head`, or from arrays.

    Attributes:
        weight: the output embedding, shape (vocabulary, dimensions); a model's own tensor, not a copy. Rows
            beyond the tokenizer's vocabulary, if there are any, are tokens too: the model gives them
            probability.
        bias: shape (vocabulary,), or None.
        scale: factor on the logits.
        softcap: of the logits; None where there is none, and c(x) = x.
        tied: the weight is the input embedding too.
        final_norm: name of the norm before the head, or None; None too where its states are projected to
            another width for the head.
        final_norm_gain: float64, shape (dimensions,): what that norm multiplies each coordinate by.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    tied: bool = False
    final_norm: str | None = None
    final_norm_gain: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", as_tensor("weight", self.weight, 2))
        if self.bias is not None:
            object.__setattr__(self, "bias", as_tensor("bias", self.bias, 1))
            if self.bias.shape[0] != self.vocabulary:
                raise ValueError(f"bias: {self.bias.shape[0]} values for a vocabulary of {self.vocabulary}")
        if not np.isfinite(self.scale) or self.scale == 0:
            raise ValueError(f"scale: {self.scale!r} is not a finite number other than 0")
        if self.softcap is not None and not 0 < self.softcap < np.inf:
            raise ValueError(f"softcap: {self.softcap!r} is not a positive number")

    @property
    def vocabulary(self) -> int:
        return int(self.weight.shape[0])

    @property
    def dimensions(self) -> int:
        return int(self.weight.shape[1])

    def __repr__(self) -> str:
        dtype = str(self.weight.dtype).removeprefix("torch.")
        extras = [name for name, _ in self._extras()]
        return f"OutputHead({self.vocabulary} x {self.dimensions}, {', '.join([dtype, *extras])})"

    def _repr_html_(self) -> str:
        facts = [
            ("vocabulary", self.vocabulary),
            ("dimensions", self.dimensions),
            ("dtype, device", f"{str(self.weight.dtype).removeprefix('torch.')}, {self.weight.device}"),
            ("final norm", self.final_norm or "none"),
            *self._extras(),
        ]
        return html_repr.block("Output head", html_repr.facts(facts))

    def _extras(self) -> Iterator[tuple[str, object]]:
        if self.tied:
            yield "tied", "to the input embedding"
        if self.bias is not None:
            yield "bias", "yes"
        if self.scale != 1:
            yield "scale", html_repr.number(self.scale)
        if self.softcap is not None:
            yield "softcap", html_repr.number(self.softcap)

    def logits(self, states: Any, rows: Any = None) -> torch.Tensor:
        """Logits of ``states`` (positions x dimensions): positions x vocabulary, or x the tokens ``rows``.

        The product is in the weight's dtype, as in the model; what follows is in float32, or in float64 where
        the weight is float64, and so is what is returned.
        """
        import torch

        given = as_tensor("states", states, 2).to(self.weight.dtype)
        weight, bias = self.weight, self.bias
        if rows is not None:
            chosen = torch.as_tensor(rows, dtype=torch.int64, device=weight.device)
            weight = weight[chosen]
            bias = None if bias is None else bias[chosen]
        with torch.no_grad():
            return self.bent((given @ weight.T).to(wide_dtype(weight.dtype)), bias)

    def bent(self, products: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Logits, in place, from the products of states and rows of the weight."""
        if bias is not None:
            products.add_(bias)
        if self.scale != 1:
            products.mul_(self.scale)
        if self.softcap is not None:
            products.div_(self.softcap).tanh_().mul_(self.softcap)
        return products


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, float32 for the others: what logits are normalised in."""
    import torch

    return dtype if dtype == torch.float64 else torch.float32


def output_head(model: LanguageModel) -> OutputHead:
    """The head of a causal model, its formula confirmed against the model's own logits.

    Scale and cap are what the configuration has, as the model applies them: its own head is run on states of
    a few tokens, as they are and stretched until the logits are large.

    Raises:
        ValueError: an encoder, a model without a head, or logits that are made in another way than
            :class:`OutputHead` has it.
    """
    if model.kind != "causal":
        raise ValueError(
            f"{model.label} is of type {model.model_type!r}, an encoder, which has no head that gives "
            "next-token logits; give a causal model's checkpoint"
        )
    module = model.model.get_output_embeddings()
    if module is None or getattr(module, "weight", None) is None:
        raise ValueError(
            f"models of type {model.model_type!r} have no output embedding that transformers knows of; a "
            "causal model with a matrix as its head is needed"
        )
    check_head(model)
    weight = module.weight.detach()
    bias = getattr(module, "bias", None)
    entry = model.model.get_input_embeddings().weight
    tied = entry is module.weight or entry.data_ptr() == weight.data_ptr()
    scale, softcap = _formula(model, weight, bias)
    norm = _norm_before(model, weight.shape[1])
    return OutputHead(
        weight,
        None if bias is None else bias.detach(),
        scale,
        softcap,
        tied,
        norm,
        None if norm is None else _gain(model.base.get_submodule(norm), weight.shape[1], model.device),
    )


def _formula(
    model: LanguageModel, weight: torch.Tensor, bias: torch.Tensor | None
) -> tuple[float, float | None]:
    """Scale and cap, of those that the configuration has, that give the model's own logits."""
    import torch

    with torch.no_grad():
        natural = model.forward([model.some_ids(4)]).last_hidden_state[0]
        if natural.shape[1] != weight.shape[1]:
            raise _other_formula(
                model, f"its states have {natural.shape[1]} dimensions, its head {weight.shape[1]}"
            )
        largest = float(torch.nn.functional.linear(natural, weight).abs().max())
        stretched = natural * (_LARGE / max(largest, 1e-30))
        states = torch.cat([natural, stretched])
        own = torch.cat([block for _, block in logits(model, states)]).double()
        if own.shape[1] != len(weight):
            raise _other_formula(model, f"it gives {own.shape[1]} logits, its head has {len(weight)} rows")
        smallest = np.inf
        best: tuple[float, float | None] = (1.0, None)
        for scale, softcap in itertools.product(_scales(model.config), _caps(model.config)):
            made = OutputHead(weight, bias, scale, softcap).logits(states).double()
            # Each row by itself, so that the stretched ones do not hide the others.
            rows = (made - own).abs().amax(1) / own.abs().amax(1).clamp_min(1e-300)
            difference = float(rows.max())
            # In 16 bits a factor near 1 is within the tolerance with the others.
            if difference < smallest:
                smallest, best = difference, (scale, softcap)
    if smallest <= head_rounding(model.dtype):
        return best
    raise _other_formula(
        model, f"with what its configuration has, they differ by {smallest:.2g} of the largest"
    )


def _other_formula(model: LanguageModel, difference: str) -> ValueError:
    return ValueError(
        f"models of type {model.model_type!r} make their logits in another way than by an output embedding "
        f"with a bias, a scale and a cap: {difference}"
    )


def _scales(config: Any) -> list[float]:
    """The likeliest first: a factor of the configuration is applied by nearly every model that has it."""
    found = []
    for name in _SCALES:
        value = getattr(config, name, None)
        if isinstance(value, (int, float)) and value not in (0, 1):
            found += [float(value), 1 / value]
    return [*found, 1.0]


def _caps(config: Any) -> list[float | None]:
    caps = [getattr(config, name, None) for name in _CAPS]
    return [*(float(cap) for cap in caps if cap), None]


def _norm_before(model: LanguageModel, dimensions: int) -> str | None:
    """The final norm; None where it is of other dimensions: OPT may project its states behind it."""
    name = model.final_norm
    own = () if name is None else model.base.get_submodule(name).parameters()
    return None if any(parameter.shape[-1] != dimensions for parameter in own) else name


def _gain(norm: Any, dimensions: int, device: torch.device) -> npt.NDArray[np.float64]:
    """What a norm multiplies coordinates by, whichever way it keeps that: from states of mean 0 and rms 1."""
    import torch

    own = copy.deepcopy(norm).to(torch.float64)
    gain = torch.ones(dimensions, dtype=torch.float64, device=device)
    # Of an odd number of coordinates one is 0, so that the mean is; another one the second time.
    places = torch.arange(dimensions, device=device)
    for first in range(1 + dimensions % 2):
        signs = (1.0 - 2.0 * (places % 2)).to(torch.float64)
        used = torch.ones(dimensions, dtype=torch.bool, device=device)
        if dimensions % 2:
            used[-first] = False
            signs = signs.new_tensor(1.0) - 2.0 * ((used.cumsum(0) - 1) % 2)
        normalised = (dimensions / int(used.sum())) ** 0.5 * signs
        # Large, so that the norm's epsilon is nothing beside it.
        probe = 1e4 * signs * used
        with torch.no_grad():
            difference = own(probe[None, None]) - own(-probe[None, None])
        gain[used] = (difference[0, 0].double() / (2 * normalised))[used]
    found: npt.NDArray[np.float64] = gain.cpu().numpy()
    return found
