"""Singular values against the Marchenko-Pastur law: the null of independent, identically distributed entries.

The law itself is in lmscope.analyses.marchenko_pastur_law. Trained weights are not iid even where they carry
no signal: a verdict against this null alone says "not iid noise", not "learnt".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmscope import html_repr
from lmscope.analyses import edge_calibration as calibration
from lmscope.analyses.marchenko_pastur_law import (
    asymptotic_edges,
    cdf,
    density,
    median,
    sides,
)
from lmscope.analyses.nulls import SMALLEST_SIDE

Floats = NDArray[np.float64]

__all__ = [
    "MarchenkoPastur",
    "asymptotic_edges",
    "cdf",
    "density",
    "fit_marchenko_pastur",
    "median",
]


@dataclass(frozen=True, repr=False)
class MarchenkoPastur:
    """Verdict on one spectrum. Lengths are those of the singular values.

    Attributes:
        scale: standard deviation of one entry, from the median singular value (Gavish and Donoho 2014).
        lower_edge, upper_edge: iid Gaussian noise has a value outside them with probability
            `false_positive_rate`, both together.
        n_below, n_above: values outside.
        p_value: of the most extreme of the largest and smallest value, both edges together; p_value <=
            false_positive_rate exactly where n_below + n_above > 0.
        ks: Kolmogorov distance between the values and the law at `scale`, taken at 508 equiprobable quantiles
            of the law.
        ks_p_value: of `ks`, under the same draws of noise (the spectrum is rigid, and its scale is fitted:
            the usual p-value is wrong).
        false_positive_rate, shape: as given.
        bulk_scale: the less noisy scale estimate that the edges are multiples of
            (edge_calibration.bulk_statistics).
        draws: number of draws of the null; p-values are at least 1 / (draws + 1).
        reason: why there is no verdict, else "". Then edges, p-values and ks are NaN, counts and draws 0, and
            scale is NaN too unless only the number of values is at fault.
    """

    scale: float
    lower_edge: float
    upper_edge: float
    n_below: int
    n_above: int
    p_value: float
    ks: float
    ks_p_value: float
    false_positive_rate: float
    shape: tuple[int, int]
    bulk_scale: float
    draws: int
    reason: str = ""

    def __repr__(self) -> str:
        matrix = f"{self.shape[0]} x {self.shape[1]}"
        if self.reason:
            return f"MarchenkoPastur({matrix}: no verdict, {self.reason})"
        return (
            f"MarchenkoPastur({matrix}: {self.n_above} values above {self.upper_edge:.6g}, "
            f"{self.n_below} below {self.lower_edge:.6g}, p_value={self.p_value:.2g}, ks={self.ks:.3g}, "
            f"scale={self.scale:.6g})"
        )

    def _repr_html_(self) -> str:
        title = f"Marchenko-Pastur verdict on a {html_repr.shape(self.shape)} matrix"
        if self.reason:
            return html_repr.block(title, html_repr.line(f"No verdict: {self.reason}."))
        return html_repr.block(
            title,
            html_repr.facts(
                [
                    ("values above the upper edge", self.n_above),
                    ("upper edge", html_repr.number(self.upper_edge)),
                    ("values below the lower edge", self.n_below),
                    ("lower edge", html_repr.number(self.lower_edge)),
                    ("p-value", html_repr.number(self.p_value)),
                    ("KS distance (p-value)", f"{self.ks:.3g} ({self.ks_p_value:.2g})"),
                    ("scale", html_repr.number(self.scale)),
                ]
            ),
            html_repr.line(
                f"Noise with independent, identically distributed entries is flagged with probability "
                f"{self.false_positive_rate:g}."
            ),
        )


def fit_marchenko_pastur(
    values: ArrayLike, shape: tuple[int, int], *, false_positive_rate: float = 0.01, seed: int = 0
) -> MarchenkoPastur:
    """Hold all singular values of a matrix of `shape` against iid noise of the same shape.

    `values`: the min(shape) singular values in any order, any real dtype; `false_positive_rate`: chance that
    iid Gaussian noise of this shape is flagged, per matrix; `seed`: of the draws that calibrate it. The first
    call for a shape draws them, for some seconds; later calls, also of later processes, find them
    (lmscope.analyses.edge_calibration, which states their error).

    Exact zeros of a rank-deficient matrix are values below the lower edge; where they are the majority there
    is no scale, and so no verdict. ValueError for a wrong number of values, negative or non-finite ones, a
    shape without elements, or a rate outside what the draws resolve.
    """
    smaller, larger = sides(shape)
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if ordered.shape != (smaller,):
        raise ValueError(
            f"values must hold the {smaller} singular values of a {shape[0]} x {shape[1]} matrix, got shape "
            f"{ordered.shape}"
        )
    if not np.isfinite(ordered).all() or ordered[0] < 0:
        raise ValueError("values must be finite and not negative")
    if not 0 < false_positive_rate < 1:
        raise ValueError(f"false_positive_rate must lie in (0, 1), got {false_positive_rate}")

    low, high = calibration.middle_ranks(smaller)
    scale = float(calibration.median_scale(ordered[low], ordered[high], smaller, larger))
    if ordered[high] <= larger * np.finfo(np.float64).eps * ordered[-1]:
        return _without_verdict(
            math.nan,
            shape,
            false_positive_rate,
            "all values are zero"
            if ordered[-1] == 0
            else "more than half of the singular values are zero to working precision: no noise scale",
        )
    if smaller < SMALLEST_SIDE:
        return _without_verdict(
            scale,
            shape,
            false_positive_rate,
            f"{smaller} singular values are too few for a verdict: it takes {SMALLEST_SIDE}",
        )

    # In units of the scale, so that squares neither overflow nor vanish.
    relative = ordered / scale
    quantiles = calibration.bulk(smaller, larger).quantiles * math.sqrt(larger)
    counts = np.searchsorted(relative, quantiles, "left").astype(np.int64)
    ratio, distance = calibration.bulk_statistics(counts, smaller, larger)
    relative /= float(ratio)
    noise = calibration.edge_calibration(smaller, larger, seed=seed)
    lower, upper = noise.edges(false_positive_rate)
    bulk_scale = scale * float(ratio)
    return MarchenkoPastur(
        scale=scale,
        lower_edge=lower * bulk_scale,
        upper_edge=upper * bulk_scale,
        n_below=int(np.count_nonzero(relative < lower)),
        n_above=int(np.count_nonzero(relative > upper)),
        p_value=noise.p_value(float(relative[-1]), float(relative[0])),
        ks=float(distance),
        ks_p_value=noise.distance_p_value(float(distance)),
        false_positive_rate=false_positive_rate,
        shape=shape,
        bulk_scale=bulk_scale,
        draws=noise.draws,
    )


def _without_verdict(scale: float, shape: tuple[int, int], rate: float, reason: str) -> MarchenkoPastur:
    nan = math.nan
    return MarchenkoPastur(scale, nan, nan, 0, 0, nan, nan, nan, rate, shape, nan, 0, reason)
