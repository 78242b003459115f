"""Which singular values of a weight matrix stand above noise, under three nulls; and its size and rank."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.nulls import NULLS, SMALLEST_SIDE

if TYPE_CHECKING:
    from lmscope.analyses.entry_tests import IidTests
    from lmscope.kernels.entry_statistics import EntryStatistics
    from lmscope.kernels.randomized_nulls import TopValues

__all__ = ["NULLS", "SpectrumVerdict", "matrix_entropy", "spectrum_verdict"]

Values = npt.NDArray[np.float64]

# From here on iid noise passes the edge, which is calibrated on Gaussian entries, two to four times as often
# as it says at 256 x 256 (t(8) entries; t(5), kurtosis 8: 25 times).
HEAVY_TAILS = 4.5


@dataclass(frozen=True, repr=False)
class SpectrumVerdict:
    """Spectrum of one matrix and its counts above noise; one field per column of the record.

    Names and meanings of ``N``, ``M``, ``Q``, ``sv_max``, ``sv_min``, ``norm``, ``log_norm``,
    ``spectral_norm``, ``log_spectral_norm``, ``stable_rank`` and ``entropy`` are WeightWatcher's (0.7.7);
    logarithms are decimal.

    Attributes:
        N, M, Q: larger side, smaller side, N / M.
        singular_values, bounds: float64, shape (M,), descending, in the units of the matrix, with absolute
            error bounds.
        method: ``"gram"`` or ``"qr"``, the route that gave them.
        sv_max, sv_min: largest and smallest singular value.
        norm, log_norm: sum of the squared singular values, and its logarithm.
        spectral_norm, log_spectral_norm: the largest squared singular value, and its logarithm.
        stable_rank: norm / spectral_norm.
        entropy: see :func:`lmscope.analyses.spectra.matrix_entropy`.
        effective_rank: exponential of the entropy, in nats, of the squared singular values over their sum
            (Roy and Vetterli 2007).
        scale, lower_edge, upper_edge, n_below, n_above, mp_p_value, ks, ks_p_value, mp_reason: the iid null,
            :class:`lmscope.analyses.marchenko_pastur.MarchenkoPastur`.
        permutation_edge, sign_flip_edge: largest singular value over the draws of that null, its error bound
            added.
        n_above_permutation, learnt: how many singular values lie above that edge; ``learnt`` is the sign-flip
            count.
        permutation_p_value, sign_flip_p_value: (1 + draws whose largest value reaches sv_max) / (draws + 1).
        kurtosis: fourth standardised moment of the entries, 3 for Gaussian.
        row_variance_spread, column_variance_spread: coefficient of variation of the row and the column
            variances.
        row_p_value, column_p_value, iid_p_value: are these variances equal? See
            :func:`lmscope.analyses.entry_tests.iid_tests`.
        warning: what limits the verdict, in plain words; empty where nothing does.

    A null that was not asked for, or that gives no verdict (``mp_reason``), has NaN edges and p-values, and
    None for its counts.
    """

    N: int
    M: int
    Q: float
    singular_values: Values
    bounds: Values
    method: str
    sv_max: float
    sv_min: float
    norm: float
    log_norm: float
    spectral_norm: float
    log_spectral_norm: float
    stable_rank: float
    entropy: float
    effective_rank: float
    scale: float
    lower_edge: float
    upper_edge: float
    n_below: int | None
    n_above: int | None
    mp_p_value: float
    ks: float
    ks_p_value: float
    mp_reason: str
    permutation_edge: float
    n_above_permutation: int | None
    permutation_p_value: float
    sign_flip_edge: float
    learnt: int | None
    sign_flip_p_value: float
    kurtosis: float
    row_variance_spread: float
    column_variance_spread: float
    row_p_value: float
    column_p_value: float
    iid_p_value: float
    warning: str

    def __repr__(self) -> str:
        return (
            f"SpectrumVerdict({self.M} values from {self.sv_max:.6g} to {self.sv_min:.6g} of a matrix with "
            f"sides {self.N} and {self.M}, method={self.method!r}: "
            f"learnt={self.learnt}, above permutation={self.n_above_permutation}, above iid={self.n_above}, "
            f"below iid={self.n_below}" + (f", warning={self.warning!r})" if self.warning else ")")
        )

    def _repr_html_(self) -> str:
        nulls = [
            ("sign flips (learnt)", self.learnt, self.sign_flip_edge, self.sign_flip_p_value),
            ("permutations", self.n_above_permutation, self.permutation_edge, self.permutation_p_value),
            ("iid (Marchenko-Pastur)", self.n_above, self.upper_edge, self.mp_p_value),
        ]
        rows = [
            (name, "–" if above is None else above, html_repr.number(edge), html_repr.number(p_value))
            for name, above, edge, p_value in nulls
        ]
        return html_repr.block(
            f"{self.M} singular values of a matrix with sides {self.N} and {self.M}",
            html_repr.table(("noise", "values above", "edge", "p-value"), rows),
            html_repr.facts(
                [
                    ("largest, smallest", f"{self.sv_max:.4g}, {self.sv_min:.4g}"),
                    ("effective rank", html_repr.number(self.effective_rank)),
                    ("stable rank", html_repr.number(self.stable_rank)),
                    ("kurtosis of the entries", html_repr.number(self.kurtosis)),
                    ("method", self.method),
                ]
            ),
            *([html_repr.line(f"Warning: {self.warning}.")] if self.warning else []),
        )


def spectrum_verdict(
    w: Any,
    *,
    nulls: Iterable[str] = NULLS,
    draws: int = 19,
    seed: int = 0,
    false_positive_rate: float = 0.01,
    rtol: float = 1e-6,
) -> SpectrumVerdict:
    """Count the singular values of ``w`` that stand above noise, under up to three nulls.

    ``iid``
        keeps one scale, fitted to the median; supposes independent entries of one law. Flags iid Gaussian
        noise at ``false_positive_rate``.
    ``permutation``
        keeps the entries: their mean, tails and kurtosis; destroys their places, so also row and column
        variances. Flags exchangeable entries at 1 / (draws + 1).
    ``sign_flip``
        keeps the magnitude of every entry in its place, so every variance profile; destroys every agreement
        of signs between entries. Flags independent entries, each symmetric about 0 and of its own size, at 1
        / (draws + 1).

    These rates are the chance that any value is counted in a matrix for which that null holds. Trained
    weights are neither iid nor exchangeable, even where they carry no signal. Permutation is parallel
    analysis (Horn 1965; Buja and Eyuboglu 1992) with the largest draw as threshold; sign flips are FlipPA
    (Hong, Sheng and Dobriban, arXiv 2012.02985), the default meaning of "learnt". Every value is compared
    with the edge of null matrices that still hold the signal's energy, so values behind a much stronger one,
    or behind a single giant entry, may be missed ("shadowing").

    Args:
        w: numpy array or torch CPU tensor, 2-D, float64, float32, float16 or bfloat16, any strides; not
            copied.
        nulls: any of ``"iid"``, ``"permutation"``, ``"sign_flip"``.
        draws: matrices drawn for each of the randomised nulls.
        seed: of those draws and of the calibration of the iid edge.
        false_positive_rate: of the iid null, both edges together; also the level of the test of iid behind
            ``warning``.
        rtol: relative accuracy asked of the singular values.

    Raises:
        ValueError: empty matrix, not 2-D, NaN/Inf (named with row and column), or an argument out of range.
        TypeError: not an array, another dtype, or a CUDA tensor.
    """
    from lmscope.analyses.entry_tests import iid_tests
    from lmscope.kernels.entry_statistics import entry_statistics
    from lmscope.kernels.randomized_nulls import permutation_top_values, sign_flip_top_values
    from lmscope.kernels.singular_values import singular_values

    asked = (nulls,) if isinstance(nulls, str) else tuple(nulls)
    if unknown := [null for null in asked if null not in NULLS]:
        raise ValueError(f"nulls may hold {', '.join(map(repr, NULLS))}, got {unknown[0]!r}")
    draws, seed = _whole("draws", draws), _whole("seed", seed)
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    if not 0 < false_positive_rate < 1:
        raise ValueError(f"false_positive_rate must lie in (0, 1), got {false_positive_rate}")

    spectrum = singular_values(w, rtol=rtol)
    entries = entry_statistics(w)
    tests = iid_tests(entries)
    values = spectrum.values

    def randomised(null: str, kernel: Any) -> tuple[float, int | None, float]:
        return (
            _above(values, kernel(w, draws=draws, seed=seed)) if null in asked else (math.nan, None, math.nan)
        )

    permutation = randomised("permutation", permutation_top_values)
    sign_flip = randomised("sign_flip", sign_flip_top_values)
    return SpectrumVerdict(
        N=max(entries.shape),
        M=min(entries.shape),
        Q=max(entries.shape) / min(entries.shape),
        singular_values=values,
        bounds=spectrum.bounds,
        method=spectrum.method,
        **_sizes(values, max(entries.shape)),
        **_iid(values, entries.shape, "iid" in asked, false_positive_rate, seed),
        permutation_edge=permutation[0],
        n_above_permutation=permutation[1],
        permutation_p_value=permutation[2],
        sign_flip_edge=sign_flip[0],
        learnt=sign_flip[1],
        sign_flip_p_value=sign_flip[2],
        kurtosis=entries.kurtosis,
        row_variance_spread=entries.row_variance_spread,
        column_variance_spread=entries.column_variance_spread,
        row_p_value=tests.row_p_value,
        column_p_value=tests.column_p_value,
        iid_p_value=tests.p_value,
        warning=_warning(values, spectrum.bounds, entries, tests, false_positive_rate),
    )


def matrix_entropy(values: Values, larger_side: int) -> float:
    """WeightWatcher's matrix entropy: entropy of the shares of the squared values, over the log of the rank.

    The rank counts values above ``larger_side * eps`` times the largest one; every share p is raised by 1e-10
    inside ``-sum p log p``. 1 for equal values. WeightWatcher's formula diverges at rank 1; here it is 0
    there, and NaN at rank 0.
    """
    top = float(values.max())
    if top == 0:
        return math.nan
    rank = _rank(values, larger_side)
    if rank == 1:
        return 0.0
    shares = (values / top) ** 2
    shares = shares / shares.sum() + 1e-10
    return float(-(shares * np.log(shares)).sum() / math.log(rank))


def _whole(name: str, number: Any) -> int:
    try:
        return operator.index(number)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {number!r}") from None


def _rank(values: Values, larger_side: int) -> int:
    return int(np.count_nonzero(values / values.max() > larger_side * np.finfo(np.float64).eps))


def _above(values: Values, tops: TopValues) -> tuple[float, int, float]:
    """Edge, values above it, and p-value; the bounds are added so that equality never counts as above."""
    reached = tops.values + tops.bounds
    edge = float(reached.max())
    p_value = (1 + int(np.count_nonzero(reached >= values[0]))) / (len(reached) + 1)
    return edge, int(np.count_nonzero(values > edge)), p_value


def _sizes(values: Values, larger_side: int) -> dict[str, Any]:
    top = float(values[0])
    with np.errstate(over="ignore"):
        squares = {"norm": float(np.sum(values**2)), "spectral_norm": float(np.square(values[0]))}
    if top == 0:
        nothing = dict.fromkeys(("stable_rank", "entropy", "effective_rank"), math.nan)
        logs = dict.fromkeys(("log_norm", "log_spectral_norm"), -math.inf)
        return {"sv_max": 0.0, "sv_min": 0.0, **squares, **logs, **nothing}
    relative = (values / top) ** 2
    stable_rank = float(relative.sum())
    shares = relative[relative > 0] / stable_rank
    return {
        "sv_max": top,
        "sv_min": float(values[-1]),
        **squares,
        "log_norm": 2 * math.log10(top) + math.log10(stable_rank),
        "log_spectral_norm": 2 * math.log10(top),
        "stable_rank": stable_rank,
        "entropy": matrix_entropy(values, larger_side),
        "effective_rank": math.exp(float(-(shares * np.log(shares)).sum())),
    }


def _iid(values: Values, shape: tuple[int, int], asked: bool, rate: float, seed: int) -> dict[str, Any]:
    if not asked:
        unknown = ("scale", "lower_edge", "upper_edge", "mp_p_value", "ks", "ks_p_value")
        return {
            **dict.fromkeys(unknown, math.nan),
            "n_below": None,
            "n_above": None,
            "mp_reason": "not asked for",
        }
    from lmscope.analyses.marchenko_pastur import fit_marchenko_pastur

    fit = fit_marchenko_pastur(values, shape, false_positive_rate=rate, seed=seed)
    return {
        "scale": fit.scale,
        "lower_edge": fit.lower_edge,
        "upper_edge": fit.upper_edge,
        # No verdict is not the same as nothing found.
        "n_below": None if fit.reason else fit.n_below,
        "n_above": None if fit.reason else fit.n_above,
        "mp_p_value": fit.p_value,
        "ks": fit.ks,
        "ks_p_value": fit.ks_p_value,
        "mp_reason": fit.reason,
    }


def _warning(values: Values, bounds: Values, entries: EntryStatistics, tests: IidTests, level: float) -> str:
    if values[0] == 0:
        return "all entries are zero"
    found = []
    if len(values) < SMALLEST_SIDE:
        found.append(f"only {len(values)} singular values, too few for a Marchenko-Pastur verdict")
    zeros = values <= np.maximum(bounds, values[0] * max(entries.shape) * np.finfo(np.float64).eps)
    if zeros.any():
        found.append(f"rank {len(values) - int(zeros.sum())} of {len(values)} to working precision")
    lines = [
        f"{name} variances differ (spread {spread:.2g}, p {_shown(p)})"
        for name, spread, p in (
            ("row", entries.row_variance_spread, tests.row_p_value),
            ("column", entries.column_variance_spread, tests.column_p_value),
        )
        if p < level / 2
    ]
    if entries.kurtosis > HEAVY_TAILS:
        lines.append(f"the entries are heavy-tailed (kurtosis {entries.kurtosis:.3g}, Gaussian 3)")
    if lines:
        found.append(
            " and ".join(lines)
            + ": not iid Gaussian entries, so the iid edge is not calibrated here; read the sign-flip count"
        )
    return "; ".join(found)


def _shown(p_value: float) -> str:
    return f"= {p_value:.1g}" if p_value > 1e-12 else "< 1e-12"
