"""DOCS: how similar two weight matrices are, by the nearest partners of their columns (arXiv 2501.16650)."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.gumbel import fit_gumbel

if TYPE_CHECKING:
    from lmscope.kernels.column_cosine import ColumnCosine, PackedColumns

__all__ = ["Docs", "chance_maximum", "docs", "docs_of_cosines", "sign_null"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class Docs:
    """Similarity of two matrices by their columns.

    Attributes:
        score: mean of the two locations, in [0, 1] (DOCS, Eq. of 2501.16650; 1 for a matrix and itself).
        location_x, location_y: location (mode) of the Gumbel law fitted to the largest ``|cosine|`` of
            every column of that side with the columns of the other.
        scale_x, scale_y: scale of that law.
        mean_x, mean_y: plain mean of the same values.
        baseline: the score of columns with independent, uniformly random directions, see
            :func:`lmscope.analyses.similarity.chance_maximum`. It depends on the shapes: compare scores of
            different shapes by ``excess``. Below about 8 columns it is no such score: it is that of many
            columns, and a few score more or less (at depth 64: 2 columns 0.122 for a baseline of 0.085, 4
            columns 0.155 for 0.145, 8 columns 0.194 for 0.192).
        excess: ``(score - baseline) / (1 - baseline)``.
        fit_distance: Kolmogorov distance between fit and values, the larger of both sides. Large where some
            columns match and others do not: then the score is one number for two groups.
        matched_share: share of columns, of both sides together, whose nearest partner is nearer than that
            of a column of random direction in all but ``false_positive_rate`` of cases.
        mutual_share: share of the columns of the side with fewer that are as near to their nearest partner
            as any other one is; equal columns share their place.
        null_mean, null_std, z: mean and standard deviation of the score under random signs of the
            coordinates of y (``null_draws`` draws), which keep the size of every coordinate, and the score
            in these units; NaN without draws. Without y the signs are those of the single elements of x, as
            signs that columns share leave their cosines as they are. With few draws z is wide: with 3,
            ``|z| > 3`` in one case of eight where only chance is at work.
        null_p_value: probability of a z as high by chance, one-sided: that of Student's t law with
            ``null_draws - 1`` degrees of freedom above ``z / sqrt(1 + 1 / null_draws)``, as the score is then
            one more draw. NaN with fewer than two draws.
        pairs: pairs of columns compared.
        zero_columns_x, zero_columns_y: columns of norm zero, left out.
    """

    score: float
    location_x: float
    location_y: float
    scale_x: float
    scale_y: float
    mean_x: float
    mean_y: float
    baseline: float
    excess: float
    fit_distance: float
    matched_share: float
    mutual_share: float
    null_mean: float
    null_std: float
    z: float
    null_p_value: float
    pairs: int
    zero_columns_x: int
    zero_columns_y: int

    def __repr__(self) -> str:
        null = "" if math.isnan(self.z) else f", z={self.z:.3g}, null_p_value={self.null_p_value:.3g}"
        return (
            f"Docs(score={self.score:.6g}, baseline={self.baseline:.6g}, excess={self.excess:.6g}, "
            f"matched_share={self.matched_share:.3g}, mutual_share={self.mutual_share:.3g}{null}, "
            f"pairs={self.pairs})"
        )

    def _repr_html_(self) -> str:
        sides = [
            (
                "x",
                html_repr.number(self.location_x),
                html_repr.number(self.scale_x),
                html_repr.number(self.mean_x),
            ),
            (
                "y",
                html_repr.number(self.location_y),
                html_repr.number(self.scale_y),
                html_repr.number(self.mean_y),
            ),
        ]
        return html_repr.block(
            f"DOCS score {self.score:.4g} of {self.pairs} pairs of columns",
            html_repr.facts(
                [
                    (
                        "baseline, excess",
                        f"{html_repr.number(self.baseline)}, {html_repr.number(self.excess)}",
                    ),
                    ("matched share", html_repr.number(self.matched_share)),
                    ("mutual share", html_repr.number(self.mutual_share)),
                    ("fit distance", html_repr.number(self.fit_distance)),
                    (
                        "random signs: mean, z",
                        f"{html_repr.number(self.null_mean)}, {html_repr.number(self.z)}",
                    ),
                    ("p-value", html_repr.number(self.null_p_value)),
                    ("columns of zeros", f"{self.zero_columns_x} of x, {self.zero_columns_y} of y"),
                ]
            ),
            html_repr.table(("side", "location", "scale", "mean"), sides),
        )


def docs(
    x: Any, y: Any = None, *, null_draws: int = 0, seed: int = 0, false_positive_rate: float = 0.01
) -> Docs:
    """DOCS of two matrices whose columns are the vectors compared (the paper's neurons).

    Args:
        x: depth x columns: numpy array, torch CPU tensor or :class:`lmscope.PackedColumns`. For weights
            stored out x in the neurons of query, key, value, gate and up are rows: pass the transpose;
            those of attention output and down are columns.
        y: depth x columns of its own, or None: the columns of x with each other, each but itself.
        null_draws: draws of the random-sign null; each costs one more comparison.
        seed: of the draws, 0 to 2**64 - 1.
        false_positive_rate: of ``matched_share``, per column, exact for columns of independent random
            directions.

    The score is invariant under permutations, signs and scales of the columns of either side, and under one
    orthogonal transformation of both. Directions that all columns share, such as coordinates of different
    scale, raise it above the baseline without any column of one side having to do with one of the other:
    that is what the null is for.

    Raises:
        ValueError: different depths, no column of norm above zero, fewer than two columns with each other,
            NaN/Inf, draws below 0, a seed or rate out of range.
        TypeError: not an array, another dtype, or a CUDA tensor; draws or a seed that are no integer.
    """
    from lmscope.kernels.column_cosine import column_cosine, packed

    null_draws, seed = _integer("null_draws", null_draws), _integer("seed", seed)
    if null_draws < 0:
        raise ValueError(f"null_draws must not be negative, got {null_draws}")
    if not 0 < false_positive_rate < 1:
        raise ValueError(f"false_positive_rate must lie between 0 and 1, got {false_positive_rate}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must lie in 0 .. 2**64 - 1, got {seed}")
    packed_x = packed(x, "x")
    packed_y = None if y is None else packed(y, "y")
    found = column_cosine(packed_x, packed_y)
    null = sign_null(packed_x, packed_y, draws=null_draws, seed=seed)
    return docs_of_cosines(found, packed_x.depth, null=null, false_positive_rate=false_positive_rate)


def docs_of_cosines(
    cosines: ColumnCosine, depth: int, *, null: list[float] | None = None, false_positive_rate: float = 0.01
) -> Docs:
    """:func:`docs` from cosines that are already there; ``null`` holds the scores of its draws."""
    values_x, values_y = _sides(cosines)
    fit_x, fit_y = fit_gumbel(values_x), fit_gumbel(values_y)
    score = (fit_x.location + fit_y.location) / 2
    of_x, of_y = len(values_x), len(values_y)
    own = cosines.pairs < of_x * of_y
    # Of a matrix with itself no column is its own partner.
    partners_x, partners_y = (of_y - 1, of_x - 1) if own else (of_y, of_x)
    # Columns of x look for a partner among those of y, and the other way round.
    baseline = (chance_maximum(depth, partners_x) + chance_maximum(depth, partners_y)) / 2
    matched = sum(
        np.count_nonzero(values > chance_maximum(depth, others, exceeded_by=false_positive_rate))
        for values, others in ((values_x, partners_x), (values_y, partners_y))
    )
    draws = np.asarray(null or [])
    mean = float(draws.mean()) if draws.size else math.nan
    deviation = float(draws.std(ddof=1)) if draws.size > 1 else math.nan
    z = (score - mean) / deviation if deviation > 0 else math.nan
    return Docs(
        score=score,
        location_x=fit_x.location,
        location_y=fit_y.location,
        scale_x=fit_x.scale,
        scale_y=fit_y.scale,
        mean_x=float(values_x.mean()),
        mean_y=float(values_y.mean()),
        baseline=baseline,
        excess=(score - baseline) / (1 - baseline) if baseline < 1 else math.nan,
        fit_distance=max(fit_x.distance, fit_y.distance),
        matched_share=float(matched / (of_x + of_y)),
        mutual_share=_mutual_share(cosines),
        null_mean=mean,
        null_std=deviation,
        z=z,
        null_p_value=_beyond_the_draws(z, draws.size),
        pairs=cosines.pairs,
        zero_columns_x=len(cosines.zero_columns_x),
        zero_columns_y=len(cosines.zero_columns_y),
    )


def sign_null(x: PackedColumns, y: PackedColumns | None, *, draws: int, seed: int) -> list[float]:
    """Scores of x with y, random signs on the coordinates of y; without y those of x with itself, random
    signs on all its elements.

    Draw d is a function of the seed and d alone: more draws leave the first ones as they are.
    """
    from lmscope.kernels.column_cosine import column_cosine

    scores: list[float] = []
    for draw in range(draws):
        random = np.random.default_rng([seed, draw])
        if y is None:
            # Signs of rows alone would leave x with itself as it is, and x with its turned copy is another
            # comparison: there a column meets itself.
            elements = x.depth * x.columns
            bits = np.unpackbits(np.frombuffer(random.bytes((elements + 7) // 8), np.uint8), count=elements)
            found = column_cosine(x.with_signs(bits.view(np.bool_).reshape(x.depth, x.columns)))
        else:
            found = column_cosine(x, y.with_signs(random.random(y.depth) < 0.5))
        fits = [fit_gumbel(side) for side in _sides(found)]
        scores.append((fits[0].location + fits[1].location) / 2)
    return scores


def _beyond_the_draws(z: float, draws: int) -> float:
    """Probability that a normal value lies so many deviations of ``draws`` others above their mean."""
    from scipy import stats

    return float(stats.t.sf(z / math.sqrt(1 + 1 / draws), draws - 1)) if draws > 1 else math.nan


def chance_maximum(depth: int, others: int, *, exceeded_by: float | None = None) -> float:
    """Largest ``|cosine|`` of a vector with ``others`` independent vectors of uniformly random direction.

    The squared cosine of one has the Beta(1/2, (depth - 1) / 2) law. With ``exceeded_by`` p the exact value
    that the largest one exceeds with probability p; without it the typical one, exceeded by one of
    ``others`` on average, which is the location of the Gumbel law of the maximum for many vectors.
    """
    from scipy import stats

    if depth == 1:
        return 1.0
    tail = 1.0 / others if exceeded_by is None else -math.expm1(math.log1p(-exceeded_by) / others)
    return math.sqrt(float(stats.beta.isf(tail, 0.5, 0.5 * (depth - 1))))


def _sides(cosines: ColumnCosine) -> tuple[Floats, Floats]:
    if not cosines.pairs:
        raise ValueError("x has one column of norm above zero; with itself it has no partner")
    values_x, values_y = (side[~np.isnan(side)] for side in (cosines.max_abs_x, cosines.max_abs_y))
    return values_x, values_y


def _mutual_share(cosines: ColumnCosine) -> float:
    sides = [
        (cosines.max_abs_x, cosines.argmax_x, cosines.max_abs_y),
        (cosines.max_abs_y, cosines.argmax_y, cosines.max_abs_x),
    ]
    mutual, columns = [], []
    for maxima, places, others in sides:
        kept = places >= 0
        # The same product of the same columns: equal to the last bit, also for copies of a column.
        mutual.append(np.count_nonzero(others[places[kept]] == maxima[kept]))
        columns.append(np.count_nonzero(kept))
    return float(min(mutual) / min(columns))


def _integer(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
