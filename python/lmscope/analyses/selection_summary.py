"""Selectors compared over many positions: means and paired differences with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intervals import confidence_of, ratio_interval

__all__ = [
    "SCORES",
    "DistributedInformation",
    "SelectionSummary",
    "distributed_information",
    "summarise_selection",
]

SCORES = ("ridge_residual", "information_gain", "cosine", "kl_last_layer", "kl_all_layers", "kl_deleted")
_LEAST_TEXTS = 5
"""From which on texts, not their windows, are taken as independent."""
_CURVES = ("lasso", "attention", "random", "all_but_lasso", "all")

Floats = npt.NDArray[np.float64]
Rows = Iterable[Mapping[str, Any]]
Interval = tuple[float, float, float]


@dataclass(frozen=True, repr=False)
class SelectionSummary:
    """One score of one method at one budget, over positions.

    Attributes:
        method, k, score: which; ``score`` is one of ``SCORES``.
        mean, low, high: over the positions that have the score, with an interval.
        positions: how many those are.
        minus_lasso, minus_lasso_low, minus_lasso_high: mean of this method's score less the Lasso's at the
            same position and budget, over the positions that have both; NaN where the rows hold no Lasso.
        minus_attention, minus_attention_low, minus_attention_high: the same against attention.
        clusters: how many of ``clustered_by`` have the score; the interval takes these as independent.
        clustered_by: ``"texts"`` where the rows hold 5 or more, else ``"passages"`` (windows), or
            ``"positions"`` of a single passage; but for the first, intervals come out too narrow.
    """

    method: str
    k: int
    score: str
    mean: float
    low: float
    high: float
    positions: int
    minus_lasso: float
    minus_lasso_low: float
    minus_lasso_high: float
    minus_attention: float
    minus_attention_low: float
    minus_attention_high: float
    clusters: int
    clustered_by: str

    def __repr__(self) -> str:
        return (
            f"SelectionSummary({self.method}, k={self.k}, {self.score}={self.mean:.4g} "
            f"({self.low:.4g} to {self.high:.4g}), minus_lasso={self.minus_lasso:.4g}, "
            f"positions={self.positions})"
        )

    def _repr_html_(self) -> str:
        rows = [
            (words, *(html_repr.number(getattr(self, name + end)) for end in ("", "_low", "_high")))
            for name, words in (
                ("minus_lasso", "less the Lasso's"),
                ("minus_attention", "less attention's"),
            )
        ]
        mean = (self.score, *map(html_repr.number, (self.mean, self.low, self.high)))
        return html_repr.block(
            f"{self.method}, k={self.k}, {self.positions} positions",
            html_repr.table(("score", "mean", "from", "to"), [mean, *rows]),
        )


@dataclass(frozen=True, repr=False)
class DistributedInformation:
    """Is what explains a token in few others, or in all? Curves of the squared residual over budgets.

    Attributes:
        ks: the budgets, ascending.
        residual, low, high: for ``lasso``, ``attention`` (where the rows hold it), ``random``,
            ``all_but_lasso`` and ``all``, float64 of shape (ks,): mean squared residual of ridge regression
            over positions, and its interval.
        kept_share, kept_share_low, kept_share_high: float64, shape (ks,): what all tokens but the Lasso's k
            explain, 1 - residual, over what all tokens explain (a ratio of means). Near 1: the tokens that
            were chosen hold nothing that the others do not.
        lasso_share, lasso_share_low, lasso_share_high: the same of the Lasso's k tokens alone.
        positions: how many.
        clusters, clustered_by: as in :class:`SelectionSummary`.
        confidence: of the intervals.
    """

    ks: tuple[int, ...]
    residual: dict[str, Floats]
    low: dict[str, Floats]
    high: dict[str, Floats]
    kept_share: Floats
    kept_share_low: Floats
    kept_share_high: Floats
    lasso_share: Floats
    lasso_share_low: Floats
    lasso_share_high: Floats
    positions: int
    clusters: int
    clustered_by: str
    confidence: float

    def __repr__(self) -> str:
        most = f"{self.kept_share[-1]:.4g} ({self.kept_share_low[-1]:.4g} to {self.kept_share_high[-1]:.4g})"
        return f"DistributedInformation(ks={self.ks}, kept_share={most} at k={self.ks[-1]})"

    def _repr_html_(self) -> str:
        curves: dict[str, Floats] = {
            **{f"residual, {method}": mean for method, mean in self.residual.items()},
            "explained without the Lasso's tokens": self.kept_share,
            "explained by the Lasso's tokens": self.lasso_share,
        }
        rows = [
            (name, *(html_repr.number(float(value)) for value in curve)) for name, curve in curves.items()
        ]
        return html_repr.block(
            f"Squared residuals over {self.positions} positions",
            html_repr.table(("curve", *(f"k={k}" for k in self.ks)), rows),
        )


def summarise_selection(rows: Rows, *, confidence: float = 0.95) -> list[SelectionSummary]:
    """Every method at every budget: mean of each score, and paired differences against Lasso and attention.

    Positions of one text share its noise, and windows of it too: intervals are Student's over texts, of the
    linearised ratio of their sums, which holds for few of them as a bootstrap does not. Below 5 texts they
    are over passages, and for a single passage over positions. A single position has no interval (NaN).

    Args:
        rows: mappings with text, window, position, method, k and scores (see ``SCORES``), one for each
            position, method and budget, as the record ``selection`` holds them; a score that is missing, None
            or NaN is left out.
        confidence: of the intervals.

    Raises:
        ValueError: no rows, two rows of the same position, method and budget, or a confidence outside (0, 1).
    """
    table = _Table(rows, confidence)
    found = []
    for score in SCORES:
        values = table.scores(score)
        if values is None:
            continue
        for method in table.methods:
            for k in table.ks:
                own = values.get((method, k))
                if own is None or np.isnan(own).all():
                    continue
                lasso, attention = (
                    table.interval(own - values[other, k]) if (other, k) in values else (math.nan,) * 3
                    for other in ("lasso", "attention")
                )
                there = ~np.isnan(own)
                clusters = len(np.unique(table.cluster[there]))
                found.append(
                    SelectionSummary(
                        method,
                        k,
                        score,
                        *table.interval(own),
                        int(there.sum()),
                        *lasso,
                        *attention,
                        clusters,
                        table.clustered_by,
                    )
                )
    return found


def distributed_information(rows: Rows, *, confidence: float = 0.95) -> DistributedInformation:
    """How much the tokens that the Lasso does not choose still explain (arXiv 2402.03471).

    Args:
        rows: as for :func:`summarise_selection`, of unit rows, with ``ridge_residual`` of the methods lasso,
            random, all_but_lasso and all, and attention if there is any, at every position and budget; others
            are not read.
        confidence: of the intervals.

    Raises:
        ValueError: as :func:`summarise_selection`; a method or a residual that is missing.
    """
    table = _Table((row for row in rows if row["method"] in _CURVES), confidence)
    values = table.scores("ridge_residual") or {}
    # A model without attention weights has no curve of attention, and all the others.
    methods = tuple(method for method in _CURVES if method != "attention" or method in table.methods)
    for method in methods:
        for k in table.ks:
            if (method, k) not in values or np.isnan(values[method, k]).any():
                raise ValueError(
                    f"rows must hold the ridge_residual of {method} at k={k} for every position: choose with "
                    f"methods=METHODS + CURVES"
                )

    def curve(intervals: Sequence[Interval]) -> tuple[Floats, Floats, Floats]:
        mean, low, high = np.array(intervals).T
        return mean, low, high

    curves = {m: curve([table.interval(values[m, k]) for k in table.ks]) for m in methods}
    shares = {
        m: curve([table.ratio(1 - values[m, k], 1 - values["all", k]) for k in table.ks])
        for m in ("all_but_lasso", "lasso")
    }
    residual, low, high = ({m: curves[m][part] for m in methods} for part in range(3))
    return DistributedInformation(
        table.ks,
        residual,
        low,
        high,
        *shares["all_but_lasso"],
        *shares["lasso"],
        table.units,
        int(table.cluster.max()) + 1,
        table.clustered_by,
        confidence,
    )


class _Table:
    """Rows as one vector over positions for each method and budget."""

    def __init__(self, rows: Rows, confidence: float) -> None:
        self._confidence = confidence_of(confidence)
        self._rows = list(rows)
        if not self._rows:
            raise ValueError("rows holds none: give one for each position, method and budget")
        places: dict[tuple[Any, ...], int] = {}
        for row in self._rows:
            places.setdefault((row["text"], row["window"], row["position"]), len(places))
        self._places = places
        self.units = len(places)
        self.methods = tuple(dict.fromkeys(str(row["method"]) for row in self._rows))
        self.ks = tuple(sorted({int(row["k"]) for row in self._rows}))
        # Of text, window and position the first one, two or three.
        levels = [_numbered(place[:depth] for place in places) for depth in (1, 2, 3)]
        least = (_LEAST_TEXTS, 2, 1)
        depth = next(depth for depth in range(3) if levels[depth].max() + 1 >= least[depth])
        self.cluster, self.clustered_by = levels[depth], ("texts", "passages", "positions")[depth]

    def scores(self, score: str) -> dict[tuple[str, int], Floats] | None:
        """Per method and budget, NaN where a position lacks the score; None where all do."""
        if not any(row.get(score) is not None for row in self._rows):
            return None
        found: dict[tuple[str, int], Floats] = {}
        seen = set()
        for row in self._rows:
            place = self._places[row["text"], row["window"], row["position"]]
            key = (str(row["method"]), int(row["k"]))
            if (place, key) in seen:
                raise ValueError(
                    f"rows holds two of text {row['text']}, window {row['window']}, position "
                    f"{row['position']}, method {key[0]}, k={key[1]}"
                )
            seen.add((place, key))
            value = row.get(score)
            found.setdefault(key, np.full(self.units, np.nan))[place] = math.nan if value is None else value
        return found

    def interval(self, values: Floats) -> Interval:
        """Mean of what is not NaN, and its interval."""
        return self.ratio(values, np.ones(self.units))

    def ratio(self, above: Floats, below: Floats) -> Interval:
        """Sum of ``above`` over sum of ``below``, where neither is NaN, and its interval."""
        there = ~(np.isnan(above) | np.isnan(below))
        if not there.any():
            return math.nan, math.nan, math.nan
        number, cluster = np.unique(self.cluster[there], return_inverse=True)
        tops: Floats = np.bincount(cluster, above[there], len(number)).astype(np.float64)
        bottoms: Floats = np.bincount(cluster, below[there], len(number)).astype(np.float64)
        return ratio_interval(tops, bottoms, self._confidence)


def _numbered(keys: Iterable[tuple[Any, ...]]) -> npt.NDArray[np.int64]:
    """From 0, in the order in which they come."""
    numbers: dict[tuple[Any, ...], int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys])
