"""Covariance of what matrices are given when the model reads text, streamed in two passes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.kernels.singular_values import StreamingSingularValues
from lmscope.representations.input_reading import InputReader, SharedInput, shared_inputs
from lmscope.representations.language_model import LanguageModel
from lmscope.representations.passages import StatesError
from lmscope.representations.weight_sites import WeightSite
from lmscope.representations.windows import Window, cut, whole_number, window_size

if TYPE_CHECKING:
    import torch

__all__ = ["InputCovariance", "full_rank_problem", "input_covariances", "passes_over"]

Floats = npt.NDArray[np.float64]

_ROWS = 1024
_FEWEST_WINDOWS = 8
_EQUAL = 1e-12


@dataclass(frozen=True, repr=False, eq=False)
class InputCovariance:
    """Covariance of the input of one or several matrices, over all tokens of a text.

    Attributes:
        names: rows of the checkpoint that get this very input, such as query, key and value of a layer.
        covariance: float64, shape (inputs, inputs). Centred: divided by tokens - 1, as numpy.cov; else the
            second moment, divided by tokens. NaN where there is a ``problem``.
        mean: float64, shape (inputs,).
        tokens: how many inputs were seen; of an expert, those that were sent to it.
        different: how many of them differ from each other, counted up to inputs + 1: in the first layer of a
            model that turns its positions, equal tokens are equal inputs.
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

    def eigenvectors(self) -> tuple[Floats, Floats]:
        """Variances, descending, and the orthonormal directions they belong to, in columns; float64.

        Memory: twice the covariance besides itself. StatesError where there is a ``problem``.
        """
        from scipy import linalg

        if self.problem:
            raise StatesError(self.problem)
        # dsyevr, as dsyevd needs two more matrices of this size to work in.
        variances, directions = linalg.eigh(self.covariance, driver="evr", check_finite=False)
        return variances[::-1].copy(), np.asfortranarray(directions[:, ::-1])

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
    """How often :func:`input_covariances` reads all windows: once for means, once for so many layers."""
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
    (:func:`passes_over` says how many).

    An input that is not finite, is the same for all tokens, or that no token is sent to (an expert's) gives
    a covariance with a ``problem``. ValueError for no windows; TypeError and ValueError for a wrong argument.
    """
    _at_least_one("layers_per_pass", layers_per_pass)
    if isinstance(windows, str):
        raise TypeError("windows: one text was given; give a list of texts")
    each = list(windows)
    texts = [one for one in each if isinstance(one, str)]
    cuts = [one for one in each if not isinstance(one, str)] + list(
        cut(model, texts, window_size(model, None))
    )
    if not cuts:
        raise ValueError("windows: there are none; give at least one text")
    return _covariances(model, cuts, list(sites), center, layers_per_pass, advance or (lambda tokens: None))


def full_rank_problem(covariance: InputCovariance) -> str:
    """Why directions of a covariance are arbitrary, with the way out; "" where it can have full rank."""
    if covariance.problem:
        return covariance.problem
    lacking = covariance.inputs - covariance.rank
    if not lacking:
        return ""
    tokens, way_out = f"{covariance.tokens} tokens", "tokens more"
    if covariance.different < covariance.tokens:
        tokens, way_out = f"{tokens} with {covariance.different} different inputs", f"{way_out} that differ"
    return (
        f"{covariance.names[0]}: {tokens} give a covariance of rank {covariance.rank} at most, but it has "
        f"{covariance.inputs} inputs: directions without variance are arbitrary; give at least {lacking} "
        f"{way_out}"
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
    means = {one: _Mean(one) for one in inputs}
    reader.read({one: mean.add for one, mean in means.items()})
    by_layer: defaultdict[int | None, list[SharedInput]] = defaultdict(list)
    for one in inputs:
        by_layer[one.layer].append(one)
    layers = sorted(by_layer, key=lambda layer: (layer is None, layer))
    for first in range(0, len(layers), layers_per_pass):
        at_once = [one for layer in layers[first : first + layers_per_pass] for one in by_layer[layer]]
        moments = {one: _Moments(means[one], center) for one in at_once if not means[one].problem}
        reader.read({one: moment.add for one, moment in moments.items()})
        for one in at_once:
            yield moments.pop(one).covariance() if one in moments else means[one].without_covariance(center)


class _Mean:
    """The mean of one input, or what is wrong with it."""

    def __init__(self, shared: SharedInput) -> None:
        self.shared = shared
        self.tokens = 0
        self._sum: torch.Tensor | None = None
        self._problem = ""
        self._seen: set[int] = set()

    def add(self, given: torch.Tensor, windows: Sequence[Window]) -> None:
        import torch

        total = given.sum(0, dtype=torch.float64)
        if not self._problem and not total.isfinite().all():
            self._problem = self._where(given, windows)
        self._sum = total if self._sum is None else self._sum + total
        self.tokens += len(given)
        for rows in torch.split(given, _ROWS):
            if self.different <= self.shared.inputs:
                self._seen.update(
                    hash(row.tobytes()) for row in rows.contiguous().view(torch.uint8).cpu().numpy()
                )

    @property
    def different(self) -> int:
        """How many inputs differ from each other, up to one more than they have dimensions."""
        return min(len(self._seen), self.shared.inputs + 1)

    @property
    def value(self) -> torch.Tensor:
        assert self._sum is not None
        return self._sum / self.tokens

    @property
    def problem(self) -> str:
        name = self.shared.names[0]
        if not self.tokens:
            return f"{name}: no token of the text was sent to its module {self.shared.module_name}"
        return self._problem and f"{name}: its input is not finite in {self._problem}"

    def without_covariance(self, center: bool) -> InputCovariance:
        nothing = np.full(self.shared.inputs, np.nan)
        covariance = np.full((self.shared.inputs, self.shared.inputs), np.nan)
        return InputCovariance(
            self.shared.names, covariance, nothing, self.tokens, self.different, None, 0, center, self.problem
        )

    def _where(self, given: torch.Tensor, windows: Sequence[Window]) -> str:
        first = int((~given.isfinite()).any(dim=1).int().argmax())
        if self.shared.routed:
            texts = sorted({window.text for window in windows})
            return f"one of the texts {', '.join(map(str, texts))}"
        window = windows[first * len(windows) // len(given)]
        return f"text {window.text}, window {window.window}"


class _Moments:
    """Second moments of one input about its mean, or about zero, and how its windows differ."""

    def __init__(self, mean: _Mean, center: bool) -> None:
        self._mean = mean
        self._center = center
        self._value = mean.value
        # Half the products of a matrix product, and the same bits for any number of threads.
        self._gram = StreamingSingularValues(mean.shared.inputs)
        self._spread = 0.0
        self._between = 0.0
        self._windows = 0

    def add(self, given: torch.Tensor, windows: Sequence[Window]) -> None:
        import torch

        for rows in torch.split(given, _ROWS):
            values = rows.double()
            centred = values - self._value
            self._spread += float(centred.square().sum())
            self._gram.update((centred if self._center else values).cpu())
        if not self._mean.shared.routed:
            by_window = given.reshape(len(windows), -1, given.shape[1])
            sums = by_window.sum(1, dtype=torch.float64) - by_window.shape[1] * self._value
            self._between += float(sums.square().sum())
            self._windows += len(windows)

    def covariance(self) -> InputCovariance:
        shared, tokens = self._mean.shared, self._mean.tokens
        mean = self._value.cpu().numpy()
        # Values of any dtype differ by more, where they differ at all.
        if self._spread <= tokens * (_EQUAL * float(np.linalg.norm(mean))) ** 2:
            what = "the same for all" if tokens > 1 else "that of only"
            problem = f"{shared.names[0]}: its input is {what} {tokens} token{'s' if tokens > 1 else ''}"
            return replace(self._mean.without_covariance(self._center), mean=mean, problem=problem)
        mean_taken = 1 if self._center else 0
        covariance = self._gram.gram()
        covariance /= tokens - mean_taken
        return InputCovariance(
            names=shared.names,
            covariance=covariance,
            mean=mean,
            tokens=tokens,
            different=self._mean.different,
            effective_sample=self._effective(),
            rank=min(shared.inputs, self._mean.different - mean_taken),
            centered=self._center,
        )

    def _effective(self) -> float | None:
        if self._windows < _FEWEST_WINDOWS:
            return None
        tokens = self._mean.tokens
        variance = self._spread / (tokens - 1)
        between = self._between * self._windows / (self._windows - 1)
        return tokens / max(1.0, between / (tokens * variance))


def _at_least_one(name: str, number: int) -> int:
    if whole_number(name, number) < 1:
        raise ValueError(f"{name}: {number} is less than 1")
    return number
