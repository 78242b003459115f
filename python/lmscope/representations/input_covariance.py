"""Covariance of what matrices are given when the model reads text, streamed in two passes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.representations.input_moments import InputMean, InputMoments
from lmscope.representations.input_reading import InputReader, SharedInput, shared_inputs
from lmscope.representations.language_model import LanguageModel
from lmscope.representations.passages import StatesError
from lmscope.representations.weight_sites import WeightSite
from lmscope.representations.windows import Window, cut, whole_number, window_size

__all__ = ["InputCovariance", "full_rank_problem", "input_covariances", "passes_over"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class InputCovariance:
    """Covariance of the input of one or several matrices, over all tokens of a text.

    Attributes:
        names: rows of the checkpoint that get this very input, such as query, key and value of a layer.
        covariance: float64, shape (inputs, inputs). Centred: divided by tokens - 1, as numpy.cov; else the
            second moment, divided by tokens. NaN where there is a ``problem``.
        mean: float64, shape (inputs,).
        tokens: how many inputs were seen; of an expert, those that were sent to it.
        different: how many different ones there are among them, counted up to inputs + 1. Equal tokens give
            equal inputs in the first layer of a model that does not add positions to them.
        effective_sample: tokens over the design effect of windows, at most ``tokens``: how many independent
            tokens would give means of windows that vary as much. The design effect is the variance between
            means of windows times the length of a window, over the variance between tokens, both summed over
            dimensions. None below 8 windows, and where inputs cannot be told apart by windows (experts).
        rank: the most that the covariance can have: the smaller of inputs and ``different`` (less one if
            centred).
        centered: whether the mean was taken off.
        problem: why there is no covariance, "" where there is one.
    """

    names: tuple[str, ...]
    covariance: Floats
    mean: Floats
    tokens: int
    different: int
    effective_sample: float | None
    rank: int
    centered: bool
    problem: str = ""

    @property
    def inputs(self) -> int:
        return len(self.mean)

    def eigenvectors(self, *, overwrite: bool = False) -> tuple[Floats, Floats]:
        """Variances, descending, and the orthonormal directions they belong to, in columns; float64.

        Memory: as much as the covariance for the directions, and again for a copy of it, which ``overwrite``
        spares: ``covariance`` holds nothing of use afterwards. StatesError where there is a ``problem``.
        """
        from scipy import linalg

        if self.problem:
            raise StatesError(self.problem)
        # dsyevr, as dsyevd needs two more matrices of this size to work in.
        # Transposed, which is the same matrix, it has LAPACK's order and needs no copy.
        variances, directions = linalg.eigh(
            self.covariance.T, driver="evr", overwrite_a=overwrite, check_finite=False
        )
        for column in range(self.inputs // 2):
            directions[:, [column, ~column]] = directions[:, [~column, column]]
        return variances[::-1].copy(), directions

    def __repr__(self) -> str:
        of = f"{self.names[0]!r}{f' and {len(self.names) - 1} more' if len(self.names) > 1 else ''}"
        state = self.problem or f"rank at most {self.rank}, {self.tokens} tokens"
        return f"InputCovariance({of}, {self.inputs} inputs, {state})"

    def _repr_html_(self) -> str:
        effective = html_repr.number(self.effective_sample)
        return html_repr.block(
            "Covariance of inputs",
            html_repr.facts(
                [
                    ("matrices", ", ".join(self.names)),
                    ("inputs", self.inputs),
                    ("tokens", f"{self.tokens}, effective {effective}"),
                    ("rank at most", self.rank),
                    ("mean taken off", "yes" if self.centered else "no"),
                ]
            ),
            *([html_repr.line(self.problem)] if self.problem else []),
        )


def passes_over(sites: Iterable[WeightSite], layers_per_pass: int = 1) -> int:
    """How often :func:`lmscope.input_covariances` reads all windows: for means, and for so many layers."""
    layers = len({site.info.layer for site in sites})
    return 1 + -(-layers // _at_least_one("layers_per_pass", layers_per_pass)) if layers else 0


def input_covariances(
    model: LanguageModel,
    windows: Iterable[Window | str],
    sites: Iterable[WeightSite],
    *,
    center: bool = True,
    layers_per_pass: int = 1,
    advance: Callable[[int], None] | None = None,
) -> Iterator[InputCovariance]:
    """Covariance of the input of every site, one for all sites that get the very same, layer by layer.

    ``windows`` are texts, or windows that they were cut into; all their tokens count, special ones too. A
    first pass over them takes all means; then ``layers_per_pass`` layers at a time are read again, in
    ascending order, those without a layer last, and handed out before the next pass. Memory is the
    covariances of these layers, in float64, whatever the length of the text. Windows of equal length share a
    forward pass, so that nothing is padded; it ends at the last input that is wanted.

    ``center``: take the mean off. ``advance(tokens)`` is called for every window of every pass
    (:func:`lmscope.representations.input_covariance.passes_over` says how many).

    An input that is not finite, is the same for all tokens, or that no token is sent to (an expert's) gives
    a covariance with a ``problem``. ValueError for no windows and for a site whose input is hidden; TypeError
    and ValueError for a wrong argument.
    """
    _at_least_one("layers_per_pass", layers_per_pass)
    sites = list(sites)
    for site in sites:
        if site.hidden_input:
            raise ValueError(f"{site.info.name}: {site.hidden_input}")
    if isinstance(windows, str):
        raise TypeError("windows: one text was given; give a list of texts")
    given = list(windows)
    texts = (one for one in given if isinstance(one, str))
    ready = [one for one in given if not isinstance(one, str)]
    ready.extend(cut(model, texts, window_size(model, None)))
    if not ready:
        raise ValueError("windows: there are none; give at least one text")
    return _covariances(model, ready, sites, center, layers_per_pass, advance or (lambda tokens: None))


def full_rank_problem(covariance: InputCovariance, variances: npt.ArrayLike | None = None) -> str:
    """Why directions of a covariance are arbitrary, with the way out; "" where none is.

    From the count of tokens: whether it can have full rank. With ``variances``, of
    :meth:`InputCovariance.eigenvectors`, also from how many directions are without any, to rounding (below
    2.2e-16 x inputs of the largest): one such direction is well defined, as a LayerNorm leaves it, two or
    more are not.
    """
    if covariance.problem:
        return covariance.problem
    lacking = covariance.inputs - covariance.rank
    if not lacking:
        return "" if variances is None else _flat_problem(covariance, np.asarray(variances, np.float64))
    tokens, way_out = f"{covariance.tokens} tokens", "tokens more"
    if covariance.different < covariance.tokens:
        tokens, way_out = f"{tokens} with {covariance.different} different inputs", f"{way_out} that differ"
    return (
        f"{covariance.names[0]}: {tokens} give a covariance of rank {covariance.rank} at most, but it has "
        f"{covariance.inputs} inputs: directions without variance are arbitrary; give at least {lacking} "
        f"{way_out}"
    )


def _flat_problem(covariance: InputCovariance, variances: Floats) -> str:
    flat = int(np.sum(variances < np.finfo(np.float64).eps * covariance.inputs * variances[0]))
    if flat < 2:
        return ""
    constant = int(np.sum(np.diagonal(covariance.covariance) == 0))
    dead = f"; {constant} inputs are the same for all tokens (dead units)" if constant else ""
    return (
        f"{covariance.names[0]}: {covariance.tokens} tokens give a covariance of rank "
        f"{covariance.inputs - flat}, but it has {covariance.inputs} inputs: {flat} directions are without "
        f"variance, and which is which of them is arbitrary{dead}; more text does not help where the model "
        "leaves them so"
    )


def _covariances(
    model: LanguageModel,
    windows: Sequence[Window],
    sites: Sequence[WeightSite],
    center: bool,
    layers_per_pass: int,
    advance: Callable[[int], None],
) -> Iterator[InputCovariance]:
    inputs = shared_inputs(model, sites)
    if not inputs:
        return
    reader = InputReader(model, windows, advance)
    means = {one: InputMean(one) for one in inputs}
    reader.read({one: mean.add for one, mean in means.items()})
    by_layer: defaultdict[int | None, list[SharedInput]] = defaultdict(list)
    for one in inputs:
        by_layer[one.layer].append(one)
    layers = sorted(by_layer, key=lambda layer: (layer is None, layer))
    for first in range(0, len(layers), layers_per_pass):
        at_once = [one for layer in layers[first : first + layers_per_pass] for one in by_layer[layer]]
        moments = {one: InputMoments(means[one], center) for one in at_once if means[one].usable}
        reader.read({one: moment.add for one, moment in moments.items()})
        for one in at_once:
            yield _covariance(means[one], moments.pop(one, None), center)


def _covariance(mean: InputMean, moments: InputMoments | None, center: bool) -> InputCovariance:
    shared, size = mean.shared, mean.shared.inputs
    problem = _problem(mean, moments)
    if problem or moments is None:
        return InputCovariance(
            names=shared.names,
            covariance=np.full((size, size), np.nan),
            mean=np.full(size, np.nan) if moments is None else mean.value.cpu().numpy(),
            tokens=mean.tokens,
            different=mean.different,
            effective_sample=None,
            rank=0,
            centered=center,
            problem=f"{shared.names[0]}: {problem}",
        )
    return InputCovariance(
        names=shared.names,
        covariance=moments.covariance(),
        mean=mean.value.cpu().numpy(),
        tokens=mean.tokens,
        different=mean.different,
        effective_sample=moments.effective_sample(),
        rank=min(size, mean.different - center),
        centered=center,
    )


def _problem(mean: InputMean, moments: InputMoments | None) -> str:
    if not mean.tokens:
        return f"no token of the text was sent to its module {mean.shared.module_name}"
    if mean.not_finite:
        return f"its input is not finite in {mean.not_finite}"
    if moments is not None and moments.constant:
        return (
            "its input is that of only 1 token"
            if mean.tokens == 1
            else f"its input is the same for all {mean.tokens} tokens"
        )
    return ""


def _at_least_one(name: str, number: int) -> int:
    if whole_number(name, number) < 1:
        raise ValueError(f"{name}: {number} is less than 1")
    return number
