"""The exact Lasso path (LARS with exits), of one problem or of every prefix of a token matrix."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import _core, html_repr

__all__ = ["LassoHomotopy", "PrefixLassoOrder", "lasso_homotopy", "prefix_lasso_order"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Knots = tuple[Floats, Integers, str, Floats]

# Relative length of a segment of alphas that counts as none.
_NO_LENGTH = 1e-12


@dataclass(frozen=True, repr=False)
class LassoHomotopy:
    """The exact Lasso path: between two knots the coefficients are linear in alpha.

    Attributes:
        alphas: float64, shape (S + 1,), descending: the knots; the first is alpha_max.
        events: int64, shape (S,): what happens at ``alphas[s]``: column j enters, or, as -1 - j, leaves.
        coefs: float64, shape (features, S + 1): at the knots.
        dependent: int64: columns that stayed out at some knot, as they depended linearly on those in.
        end: "alpha_zero"; "limit" where ``max_steps`` ended it; "rounding" where the next knot would miss the
            optimality conditions by more than 1e-9 of alpha_max.
    """

    alphas: Floats
    events: Integers
    coefs: Floats
    dependent: Integers
    end: str

    def __repr__(self) -> str:
        return f"LassoHomotopy({'; '.join(f'{name}: {value}' for name, value in self._facts())})"

    def _repr_html_(self) -> str:
        return html_repr.block("Lasso homotopy", html_repr.facts(self._facts()))

    def _facts(self) -> list[tuple[str, object]]:
        entered = int(np.count_nonzero(self.events >= 0))
        return [
            ("knots", f"{len(self.alphas)} from {self.alphas[0]:.4g} to {self.alphas[-1]:.4g}"),
            ("entries", entered),
            ("exits", len(self.events) - entered),
            ("ended", self.end),
        ]


@dataclass(frozen=True, repr=False)
class PrefixLassoOrder:
    """The exact path of every position: in which order the tokens before it enter.

    Attributes:
        positions: int64, shape (P,).
        knots: one float64 array per position, descending; the first is alpha_max.
        events: one int64 array per position, one shorter: what happens at ``knots[s]``: token j enters, or,
            as -1 - j, leaves.
        ends: one word per position, as `LassoHomotopy.end`.
    """

    positions: Integers
    knots: list[Floats]
    events: list[Integers]
    ends: list[str]

    def supports(self, k: int) -> list[Integers]:
        """For each position the tokens in at the smallest alpha that still has k non-zeros.

        That is before there are more than k for the first time. Where no alpha has exactly k, the next larger
        support that occurs; where the path ends with fewer, its largest one: `ends` says whether that is all
        that can enter ("alpha_zero") or rounding or a limit kept the path from going on.

        Returns:
            One ascending int64 array per position.

        Raises:
            ValueError: k below 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        found = []
        for knots, events in zip(self.knots, self.events, strict=True):
            segment = segment_with(k, knots, events)
            tokens: set[int] = set()
            for event in events[: 0 if segment is None else segment + 1]:
                if event >= 0:
                    tokens.add(int(event))
                else:
                    tokens.discard(-1 - int(event))
            found.append(np.array(sorted(tokens), dtype=np.int64))
        return found

    def __len__(self) -> int:
        return len(self.positions)

    def __repr__(self) -> str:
        return f"PrefixLassoOrder({'; '.join(f'{name}: {value}' for name, value in self._facts())})"

    def _repr_html_(self) -> str:
        return html_repr.block("Order in which tokens enter", html_repr.facts(self._facts()))

    def _facts(self) -> list[tuple[str, object]]:
        steps = [len(events) for events in self.events]
        return [
            ("positions", len(self)),
            ("steps, mean", f"{np.mean(steps):.3g}"),
            ("ended by rounding", self.ends.count("rounding")),
        ]


def lasso_homotopy(x: Any, y: Any, *, max_steps: int | None = None) -> LassoHomotopy:
    """The exact Lasso path from alpha_max down: LARS with the Lasso's exits, in Gram form.

    Args:
        x: as in `lasso`; the Gram matrix of all features is formed.
        y: (samples,).
        max_steps: entries and exits after which the path ends; by default 8 times the smaller side of x.

    Of several columns that reach the bound together the lowest enters first, the others follow at the same
    alpha. A column that depends linearly on those in (a squared share of 1e-12 outside their span) stays out
    until one of them leaves; a zero column never enters. Every knot is checked against the optimality
    conditions.

    Raises:
        ValueError: as `lasso`; max_steps below 1.
        TypeError: as `lasso`.

    Source: Osborne, Presnell, Turlach 2000; Efron, Hastie, Johnstone, Tibshirani 2004, section 3.1.
    """
    targets, single = as_columns(y)
    if not single:
        raise ValueError("y must have one dimension, as a path has one target")
    if max_steps is None:
        steps = 8 * max(1, min(x.shape)) if hasattr(x, "shape") else 1
    else:
        steps = as_integer(max_steps, "max_steps")
    if steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {steps}")
    alphas, events, coefs, dependent, end, _ = _core.lasso_homotopy(x, targets, steps, None, True)
    return LassoHomotopy(alphas, events, coefs.reshape(len(alphas), -1).T, dependent, end)


def prefix_lasso_order(
    tokens: Any, *, steps: int, positions: Any = None, most_nonzeros: int | None = None
) -> PrefixLassoOrder:
    """For each position t the exact Lasso path of token t on tokens 0 .. t - 1, all from one Gram matrix.

    Args:
        tokens: tokens x dimensions, as in `prefix_lasso`.
        steps: entries and exits after which a path ends.
        positions: integers between 1 and tokens - 1, in any order; all of them by default.
        most_nonzeros: a path also ends where there would be more.

    Positions run in parallel; the same bits for any number of threads. Ties, dependent and zero tokens as in
    `lasso_homotopy`.

    Raises:
        ValueError: not 2-D, fewer than two tokens, NaN/Inf (named with row and column), steps or
            most_nonzeros below 1, positions out of range.
        TypeError: not an array, another dtype, a CUDA tensor, steps or positions that are no integers.
    """
    count = as_integer(steps, "steps")
    most = None if most_nonzeros is None else as_integer(most_nonzeros, "most_nonzeros")
    for name, value in (("steps", count), ("most_nonzeros", most)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    where = as_positions(tokens, positions)
    paths = _core.lasso_prefix_homotopy(tokens, where.tolist(), count, most)
    return PrefixLassoOrder(
        positions=where,
        knots=[path[0] for path in paths],
        events=[path[1] for path in paths],
        ends=[path[4] for path in paths],
    )


def segment_with(k: int, knots: Floats, events: Integers) -> int | None:
    """The last segment with k non-zeros before there are more.

    Segment s lies between ``knots[s]`` and ``knots[s + 1]``; those without length do not count. Where no
    segment has exactly k, one of the next larger number that occurs, else of the largest; None on a path
    without any.
    """
    counts = np.cumsum(np.where(events >= 0, 1, -1))
    wide = np.flatnonzero(knots[:-1] > knots[1:] * (1 + _NO_LENGTH))
    if not len(wide):
        return None
    found = counts[wide]
    number = found[found >= k].min() if found.max() >= k else found.max()
    beyond = np.flatnonzero(found > number)
    last = np.flatnonzero(found[: beyond[0] if len(beyond) else None] == number)
    return int(wide[last[-1] if len(last) else np.flatnonzero(found == number)[0]])


@dataclass(frozen=True)
class ChosenSupport:
    """What `support_with` found: a penalty, the columns in there and the signs of their coefficients."""

    alpha: float
    columns: Integers
    signs: Floats
    reached: bool

    @property
    def signed(self) -> tuple[float, Integers, Floats]:
        return self.alpha, self.columns, self.signs


def support_with(k: int, features: int, path: Callable[[int], Knots]) -> ChosenSupport:
    """The support with k non-zeros, in the geometric middle of its segment of alphas.

    Args:
        k: at least 1; see `segment_with`.
        features: at most so many can be in.
        path: knots, events, end and signs of the path up to a number of non-zeros.

    Half the upper end where the segment reaches down to 0. Not reached: the path ended by rounding, or at a
    limit, with fewer than k.
    """
    most = min(k, features)
    while True:
        knots, events, end, signs = path(most)
        upto = _events_up_to(k, knots, events)
        if upto is not None or end != "limit" or most >= features:
            break
        most = min(2 * most, features)
    reached = upto is not None or end == "alpha_zero"
    if upto is not None:
        knots, events = knots[: upto + 1], events[:upto]
    segment = segment_with(k, knots, events)
    if segment is None:
        return ChosenSupport(float(knots[0]), np.empty(0, dtype=np.int64), np.empty(0), reached)
    upper, lower = float(knots[segment]), float(knots[segment + 1])
    # Through the roots, as a product of two alphas may underflow.
    alpha = np.sqrt(upper) * np.sqrt(lower) if lower > 0 else upper / 2
    last: dict[int, float] = {}
    for event, sign in zip(events[: segment + 1].tolist(), signs.tolist(), strict=False):
        if event >= 0:
            last[event] = sign
        else:
            del last[-1 - event]
    return ChosenSupport(
        float(alpha), np.array(list(last), dtype=np.int64), np.array(list(last.values())), reached
    )


def _events_up_to(k: int, knots: Floats, events: Integers) -> int | None:
    """The events of a path before it holds more than it takes to reach k; None where it never does."""
    counts = np.cumsum(np.where(events >= 0, 1, -1))
    enough = np.flatnonzero((counts >= k) & (knots[:-1] > knots[1:] * (1 + _NO_LENGTH)))
    if not len(enough):
        return None
    beyond = np.flatnonzero(counts > max(k, counts[: enough[0] + 1].max()))
    return int(beyond[0]) if len(beyond) else len(events)


def as_columns(y: Any) -> tuple[Any, bool]:
    """``y`` as a matrix, and whether it was a vector."""
    if not hasattr(y, "ndim") or not hasattr(y, "shape"):
        raise TypeError(f"y must be a numpy array or a torch tensor, got {type(y).__name__}")
    if y.ndim not in (1, 2):
        raise ValueError(f"y must be 1-D or 2-D, got {y.ndim}-D")
    if y.ndim == 1:
        return y.reshape(-1, 1), True
    return y, False


def as_integer(value: Any, argument: str) -> int:
    """TypeError for what is no integer, ValueError for what the core cannot hold."""
    try:
        found = operator.index(value)
    except TypeError:
        raise TypeError(f"{argument} must be an integer, got {value!r}") from None
    if not -(2**63) <= found < 2**63:
        raise ValueError(f"{argument} must be below 2**63, got {found}")
    return found


def as_positions(tokens: Any, positions: Any) -> Integers:
    """All positions that have a token before them, or those wanted; the core checks their range."""
    if positions is None:
        shape = getattr(tokens, "shape", ())
        # The core refuses what is no matrix.
        rows = int(tokens.shape[0]) if len(shape) == 2 else 2
        if rows < 2:
            raise ValueError(f"tokens has shape {tuple(shape)}; a token and one before it take two rows")
        return np.arange(1, rows, dtype=np.int64)
    wanted = np.asarray(positions)
    if wanted.ndim != 1 or wanted.size == 0:
        raise ValueError(f"positions must be one-dimensional and not empty, got shape {wanted.shape}")
    if wanted.dtype.kind not in "iu":
        raise TypeError(f"positions must be integers, got {wanted.dtype}")
    if wanted.dtype.kind == "u" and wanted.max() >= 2**63:
        raise ValueError(f"positions holds {wanted.max()}, which no sequence of tokens reaches")
    return np.ascontiguousarray(wanted, dtype=np.int64)
