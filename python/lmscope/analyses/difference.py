"""What moved between two versions of a matrix: the spectrum of the difference, above its rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import finite_rows, matrix, whole
from lmscope.analyses.nulls import ROUNDINGS

if TYPE_CHECKING:
    from lmscope.analyses.rounding import Grid
    from lmscope.analyses.spectra import SpectrumVerdict

__all__ = ["DifferenceVerdict", "difference_verdict"]

FEW_CHANGED = 0.5
_FEW_SPACINGS = 2.0
_SAFE_EXPONENT = 300
"""Of the largest entry: squares summed over any matrix stay within float64."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class DifferenceVerdict:
    """Spectrum of ``tuned - base`` and its counts above noise; one field per column of the record.

    Attributes:
        identical: all entries are equal; then nothing is drawn, counts are 0 and edges and p-values NaN.
        changed_share: share of the entries that differ.
        changed_rows, changed_columns: how many rows and columns hold one.
        change_in_spacings: root mean square of the entries that differ, over that of the coarser spacings of
            both sides there; NaN for identical matrices.
        relative_change: Frobenius norm of the difference over that of ``base``; NaN where that is 0.
        base_norm: squared Frobenius norm of ``base``.
        cosine: of both matrices as long vectors; NaN where one is 0.
        base_precision, tuned_precision: the coarsest type that holds all entries, see
            :func:`lmscope.analyses.rounding.grid_of`.
        singular_values, bounds: of the difference, float64, shape (min(rows, columns),), descending, with
            absolute error bounds.
        method: ``"gram"`` or ``"qr"``, the route that gave them; ``"none"`` for identical matrices.
        sv_max, norm: largest singular value; sum of the squared ones (squared Frobenius norm).
        stable_rank, effective_rank: of the difference, as in :class:`lmscope.SpectrumVerdict`.
        rounding_edge: largest singular value over the draws of rounding errors, its error bound added.
        n_above_rounding: how many singular values lie above it, by more than their bounds.
        rounding_p_value: (1 + draws whose largest value reaches sv_max) / (draws + 1).
        energy_above_rounding: share of ``norm`` in those values.
        rounding_share: expected squared norm of the modelled errors over ``norm``. About 1: rounding alone
            explains the size of the difference; above 1: the model overstates it.
        sign_flip_edge, learnt, sign_flip_p_value: the difference against its own random sign flips, as in
            :class:`lmscope.SpectrumVerdict`.
        warning: what limits the verdict, in plain words; empty where nothing does.
    """

    identical: bool
    changed_share: float
    changed_rows: int
    changed_columns: int
    change_in_spacings: float
    relative_change: float
    base_norm: float
    cosine: float
    base_precision: str
    tuned_precision: str
    singular_values: Values
    bounds: Values
    method: str
    sv_max: float
    norm: float
    stable_rank: float
    effective_rank: float
    rounding_edge: float
    n_above_rounding: int
    rounding_p_value: float
    energy_above_rounding: float
    rounding_share: float
    sign_flip_edge: float
    learnt: int
    sign_flip_p_value: float
    warning: str

    def __repr__(self) -> str:
        if self.identical:
            return "DifferenceVerdict(identical)"
        return (
            f"DifferenceVerdict({len(self.singular_values)} values up to {self.sv_max:.6g}, relative "
            f"change {self.relative_change:.3g}: above rounding={self.n_above_rounding}, learnt={self.learnt}"
            + (f", warning={self.warning!r})" if self.warning else ")")
        )

    def _repr_html_(self) -> str:
        if self.identical:
            return html_repr.block("Difference", html_repr.line("Both matrices are identical."))
        edges = [
            ("rounding", self.n_above_rounding, self.rounding_edge, self.rounding_p_value),
            ("sign flips (learnt)", self.learnt, self.sign_flip_edge, self.sign_flip_p_value),
        ]
        rows = [
            (name, above, html_repr.number(edge), html_repr.number(p_value))
            for name, above, edge, p_value in edges
        ]
        return html_repr.block(
            f"Difference of two matrices, {len(self.singular_values)} singular values",
            html_repr.table(("noise", "values above", "edge", "p-value"), rows),
            html_repr.facts(
                [
                    ("relative change", html_repr.number(self.relative_change)),
                    (
                        "entries changed",
                        f"{self.changed_share:.1%}, in {self.changed_rows} rows and {self.changed_columns} "
                        "columns",
                    ),
                    ("energy above rounding", f"{self.energy_above_rounding:.1%}"),
                    ("effective rank", html_repr.number(self.effective_rank)),
                    ("stable rank", html_repr.number(self.stable_rank)),
                    ("precision", f"{self.base_precision}, {self.tuned_precision}"),
                ]
            ),
            *([html_repr.line(f"Warning: {self.warning}.")] if self.warning else []),
        )


def difference_verdict(
    base: Any, tuned: Any, *, rounding: str = "both", draws: int = 19, seed: int = 0
) -> DifferenceVerdict:
    """Count the singular values of ``tuned - base`` that stand above the rounding of the stored numbers.

    The difference D is taken in float64. Its noise: every stored entry is its true value plus a rounding
    error, uniform within half the spacing of the stored type at that entry (half a unit in its last place)
    and independent of all others. Spacing follows the entry, so large weights have larger errors; the type is
    the coarsest that holds the whole matrix, so that bfloat16 values in a float32 file count as bfloat16. A
    power of two is treated like the numbers above it, though those below lie half as far. Where both sides
    have errors and one grid is finer, both may be roundings of one number, and the errors depend on each
    other: the difference is then that of the coarser rounding, rounded to the finer grid.

    The null draws matrices of such errors; values of D above the largest singular value of all draws are
    "above the rounding". Where D is such errors and nothing else, any value is counted with probability
    1 / (draws + 1). The model is an upper bound where the tuning moved entries by far less than the
    spacing: most then stay where they were, instead of being rounded at random (an update of Gaussian entries
    never leaves errors of larger variance than the uniform law's).

    Beside it stands ``learnt``: D against its own random sign flips, which asks for agreement of signs
    whatever the sizes are.

    Args:
        base, tuned: numpy arrays or torch CPU tensors of one shape, 2-D, float64, float32, float16 or
            bfloat16 each; not copied as a whole.
        rounding: ``"both"``: the base, too, may be a rounding of what the tuning began from. ``"tuned"``: it
            began from exactly these numbers, which lowers the edge, by a factor sqrt(2) where both have one
            type.
        draws: matrices drawn for each of both nulls.
        seed: of those draws, from 0 up.

    Memory: 8 bytes an entry beside both matrices, and what :func:`lmscope.spectrum_verdict` takes.

    Raises:
        ValueError: empty, not 2-D, of different shapes, NaN/Inf (named with row and column), a difference
            beyond float64, or an argument out of range.
        TypeError: not an array, another dtype, or a CUDA tensor.
    """
    if rounding not in ROUNDINGS:
        raise ValueError(f"rounding may be {' or '.join(map(repr, ROUNDINGS))}, got {rounding!r}")
    draws, seed = whole("draws", draws, 1), whole("seed", seed, 0)
    x, y = matrix("base", base), matrix("tuned", tuned)
    if x.shape != y.shape:
        raise ValueError(f"base and tuned must have one shape, got {x.shape} and {y.shape}")
    return _verdict(x, y, rounding, draws, seed)


def _verdict(
    x: npt.NDArray[Any], y: npt.NDArray[Any], rounding: str, draws: int, seed: int
) -> DifferenceVerdict:
    from lmscope.analyses.rounding import grid_of, root_mean_square_error, rounding_top_values
    from lmscope.analyses.spectra import spectrum_verdict

    shift = _shift(x, y)
    stored = x, y
    if shift:
        x, y = np.ldexp(x.astype(np.float64), shift), np.ldexp(y.astype(np.float64), shift)
    taken = _subtract(x, y)
    spectrum = None
    if taken.changed:
        spectrum = spectrum_verdict(taken.difference, nulls="sign_flip", draws=draws, seed=seed)
    squares, product, changed_share = taken.squares, taken.product, taken.changed / x.size
    changed_rows, changed_columns = taken.rows, taken.columns
    # Before the grids and the draws take their memory.
    del taken
    grids = _shifted(grid_of(stored[0]), shift), _shifted(grid_of(stored[1]), shift)
    precisions: dict[str, Any] = {"base_precision": grids[0].precision, "tuned_precision": grids[1].precision}
    if spectrum is None:
        return _identical(min(x.shape), (_back(squares[0], 2 * shift), squares[1]), precisions)
    noise = grids if rounding == "both" else grids[1:]
    tops = rounding_top_values(noise, draws=draws, seed=seed)
    reached = tops.values + tops.bounds
    edge = float(reached.max())
    values, norm = spectrum.singular_values, spectrum.norm
    if not math.isfinite(_back(spectrum.sv_max, shift)):
        raise ValueError("tuned - base exceeds float64: divide both by one power of two")
    above = int(np.count_nonzero(values - spectrum.bounds > edge))
    spacings = _in_spacings(x, y, grids)
    warnings = [_few_changed(changed_share, spacings, precisions["tuned_precision"])]
    if not math.isfinite(_back(norm, 2 * shift)) or not math.isfinite(_back(squares[0], 2 * shift)):
        warnings.append("squared norms exceed float64")
    return DifferenceVerdict(
        identical=False,
        changed_share=changed_share,
        changed_rows=changed_rows,
        changed_columns=changed_columns,
        change_in_spacings=spacings,
        relative_change=math.sqrt(norm / squares[0]) if squares[0] else math.nan,
        base_norm=_back(squares[0], 2 * shift),
        cosine=product / math.sqrt(squares[0]) / math.sqrt(squares[1]) if all(squares) else math.nan,
        **precisions,
        singular_values=np.ldexp(values, -shift),
        bounds=np.ldexp(spectrum.bounds, -shift),
        method=spectrum.method,
        sv_max=_back(spectrum.sv_max, shift),
        norm=_back(norm, 2 * shift),
        stable_rank=spectrum.stable_rank,
        effective_rank=spectrum.effective_rank,
        rounding_edge=_back(edge, shift),
        n_above_rounding=above,
        rounding_p_value=(1 + int(np.count_nonzero(reached >= values[0]))) / (draws + 1),
        energy_above_rounding=float(np.sum(values[:above] ** 2)) / norm,
        rounding_share=root_mean_square_error(noise) ** 2 / (norm / x.size),
        **_sign_flips(spectrum, shift),
        warning="; ".join(filter(None, warnings)),
    )


def _shift(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> int:
    """Exponent of the power of two that both are multiplied with so that no square overflows or vanishes."""
    from lmscope.analyses.rounding import row_blocks

    if np.float64 not in (x.dtype, y.dtype):
        return 0
    largest = 0.0
    for rows in row_blocks(x.shape):
        largest = max(
            largest, *(float(np.abs(finite_rows(*one, rows)).max()) for one in (("base", x), ("tuned", y)))
        )
    exponent = math.frexp(largest)[1]
    return 0 if abs(exponent) <= _SAFE_EXPONENT else -exponent


def _shifted(grid: Grid, shift: int) -> Grid:
    return replace(grid, coarsest=math.ldexp(grid.coarsest, shift))


def _back(value: float, shift: int) -> float:
    """Without the factor 2^shift; infinite where float64 ends."""
    try:
        return math.ldexp(value, -shift)
    except OverflowError:
        return math.inf


def _identical(
    smaller_side: int, squares: tuple[float, float], precisions: dict[str, Any]
) -> DifferenceVerdict:
    nothing = math.nan
    return DifferenceVerdict(
        identical=True,
        changed_share=0.0,
        changed_rows=0,
        changed_columns=0,
        change_in_spacings=nothing,
        relative_change=0.0 if squares[0] else nothing,
        base_norm=squares[0],
        cosine=1.0 if squares[0] else nothing,
        **precisions,
        singular_values=np.zeros(smaller_side),
        bounds=np.zeros(smaller_side),
        method="none",
        sv_max=0.0,
        norm=0.0,
        stable_rank=nothing,
        effective_rank=nothing,
        rounding_edge=nothing,
        n_above_rounding=0,
        rounding_p_value=nothing,
        energy_above_rounding=nothing,
        rounding_share=nothing,
        sign_flip_edge=nothing,
        learnt=0,
        sign_flip_p_value=nothing,
        warning="",
    )


def _sign_flips(spectrum: SpectrumVerdict, shift: int) -> dict[str, Any]:
    assert spectrum.learnt is not None
    return {
        "sign_flip_edge": _back(spectrum.sign_flip_edge, shift),
        "learnt": spectrum.learnt,
        "sign_flip_p_value": spectrum.sign_flip_p_value,
    }


class _Taken(NamedTuple):
    """tuned - base, how many entries, rows and columns differ, both squared norms and the inner product, all
    in float64."""

    difference: Values
    changed: int
    rows: int
    columns: int
    squares: tuple[float, float]
    product: float


def _subtract(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> _Taken:
    from lmscope.analyses.rounding import row_blocks

    difference = np.empty(x.shape)
    changed, changed_rows, of_base, of_tuned, product = 0, 0, 0.0, 0.0, 0.0
    columns = np.zeros(x.shape[1], np.bool_)
    for rows in row_blocks(x.shape):
        a, b = finite_rows("base", x, rows), finite_rows("tuned", y, rows)
        np.subtract(b, a, out=difference[rows])
        differ = difference[rows] != 0
        changed += int(np.count_nonzero(differ))
        changed_rows += int(np.count_nonzero(differ.any(axis=1)))
        columns |= differ.any(axis=0)
        of_base += float(np.sum(a * a))
        of_tuned += float(np.sum(b * b))
        product += float(np.sum(a * b))
    return _Taken(
        difference, changed, changed_rows, int(np.count_nonzero(columns)), (of_base, of_tuned), product
    )


def _in_spacings(x: npt.NDArray[Any], y: npt.NDArray[Any], grids: tuple[Grid, Grid]) -> float:
    from lmscope.analyses.rounding import row_blocks

    of_change, of_spacings = 0.0, 0.0
    for rows in row_blocks(x.shape):
        difference = y[rows].astype(np.float64) - x[rows].astype(np.float64)
        differ = difference != 0
        one, other = (
            np.ldexp(grid.coarsest, -grid.halvings[rows][differ].astype(np.int32)) for grid in grids
        )
        of_change += float(np.sum(difference[differ] ** 2))
        of_spacings += float(np.sum(np.maximum(one, other) ** 2))
    return math.sqrt(of_change / of_spacings) if of_spacings else math.inf


def lost_in_part(changed_share: float, spacings: float) -> bool:
    """Few entries changed, and by about their spacing: others would have, had the type been finer.

    Entries that moved by many spacings show an update that left the others alone.
    """
    return changed_share < FEW_CHANGED and spacings <= _FEW_SPACINGS


def _few_changed(changed_share: float, spacings: float, precision: str) -> str:
    if not lost_in_part(changed_share, spacings):
        return ""
    return (
        f"only {changed_share:.2g} of the entries changed, by {spacings:.2g} spacings of {precision}: the "
        "change is small against the spacing, so part of it is lost, and the edge overstates the rounding"
    )
