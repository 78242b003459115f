"""The verdict of a run in a few rows: per role, and the matrices that stand out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lmscope import html_repr
from lmscope.analyses.nulls import SMALLEST_SIDE
from lmscope.architectures import ROLES
from lmscope.runs import verdict_words

if TYPE_CHECKING:
    import pyarrow

Floats = NDArray[np.float64]

_MOST_TROUBLES = 5

_MEASURES = (
    ("sign_flip", "learnt", "sign_flip_edge"),
    ("permutation", "n_above_permutation", "permutation_edge"),
    ("iid", "n_above", "upper_edge"),
)


@dataclass(frozen=True)
class MatrixSummary:
    """One matrix: its singular values above the noise, and the share of its squared norm in them.

    `excess` is the largest singular value over the noise edge. All three are None where there is no edge.
    """

    name: str
    role: str
    layer: int | None
    rows: int
    columns: int
    values: int
    learnt: int | None
    norm_share: float | None
    excess: float | None
    ks: float | None
    iid_refuted: bool | None


@dataclass(frozen=True)
class RoleSummary:
    """All matrices of one role: `norm_share` weighs them by squared norm, None where that overflows."""

    role: str
    matrices: int
    values: int
    learnt: int
    share: float
    norm_share: float | None
    median_ks: float | None
    iid_refuted: int
    iid_tested: int
    strongest_layer: int | None
    strongest_learnt: int


@dataclass(frozen=True)
class Chance:
    """How many `tested` matrices are `showing` a learnt value, and how many would if all were noise.

    `expected` is that number's mean, `p_value` the binomial probability of as many or more, which takes the
    matrices' noise as independent; `level` is where it counts as more than chance. Under iid alone `expected`
    is an upper bound: the rate covers values below the lower edge, too.
    """

    tested: int
    showing: int
    expected: float
    p_value: float
    level: float = 0.01

    @property
    def exceeded(self) -> bool:
        return self.p_value <= self.level


@dataclass(frozen=True, repr=False)
class RunSummary:
    """`measure` is the null behind "learnt": sign_flip, or the best of those asked for."""

    measure: str
    false_positive_rate: float
    chance: Chance
    statuses: dict[str, int]
    elements: int
    elements_analysed: int
    roles: tuple[RoleSummary, ...]
    top: tuple[MatrixSummary, ...]
    troubles: tuple[dict[str, str], ...]

    def __repr__(self) -> str:
        values, learnt = sum(role.values for role in self.roles), sum(role.learnt for role in self.roles)
        return (
            f"<RunSummary: {learnt} of {values} singular values learnt ({self.measure}), in "
            f"{sum(role.matrices for role in self.roles)} matrices of {len(self.roles)} roles; "
            f"{verdict_words.statuses(self)}>"
        )

    def _repr_html_(self) -> str:
        return html_repr.block("Verdict", self.html())

    def html(self) -> str:
        """Counts by status, the verdict per role, the matrices that stand out and what went wrong."""
        parts = [html_repr.line(verdict_words.statuses(self))]
        if self.roles:
            parts.append(html_repr.line(verdict_words.against_chance(self.chance)))
            cells = map(verdict_words.role_cells, self.roles)
            parts.append(html_repr.table(verdict_words.ROLE_COLUMNS, cells))
            parts.append(html_repr.line(f"learnt: singular values {verdict_words.LEARNT[self.measure]}"))
        else:
            parts.append(html_repr.line("No matrix was analysed."))
        if self.top and self.chance.exceeded:
            parts.append(html_repr.line(verdict_words.MATRICES_TITLE))
            cells = map(verdict_words.matrix_cells, self.top)
            parts.append(html_repr.table(verdict_words.MATRIX_COLUMNS, cells))
        for trouble in self.troubles[:_MOST_TROUBLES]:
            parts.append(html_repr.line("{name}: {status}: {reason}".format(**trouble)))
        if len(self.troubles) > _MOST_TROUBLES:
            parts.append(html_repr.line(f"{len(self.troubles) - _MOST_TROUBLES} more in the ledger"))
        return "".join(parts)


def summarise(
    spectra: pyarrow.Table | None, ledger: pyarrow.Table, settings: dict[str, Any], *, top: int = 5
) -> RunSummary:
    """Reduce the records and the ledger of a run; matrices without a verdict count as nothing learnt."""
    measure, count_column, edge_column = _measure(settings.get("nulls", ()))
    rate = float(settings.get("false_positive_rate", math.nan))
    matrices: list[MatrixSummary] = []
    energies: dict[str, tuple[float, float]] = {}
    columns = ["name", "role", "layer", "rows", "columns", "ks", "iid_q_value", "norm"]
    if spectra is not None:
        rows = spectra.select([*columns, count_column, edge_column]).to_pylist()
        for row, values in zip(rows, spectra.column("singular_values"), strict=True):
            spectrum = np.asarray(values.values, dtype=np.float64)
            matrix, above, whole = _matrix(row, spectrum, count_column, edge_column, rate)
            matrices.append(matrix)
            energies[matrix.name] = above, whole
    roles = tuple(
        _role(role, [matrix for matrix in matrices if matrix.role == role], energies)
        for role in sorted({matrix.role for matrix in matrices}, key=_role_order)
    )
    strongest = sorted(
        (matrix for matrix in matrices if matrix.learnt and matrix.values >= SMALLEST_SIDE),
        key=lambda matrix: (-(matrix.norm_share or 0.0), matrix.name),
    )
    tensors = ledger.select(["name", "status", "reason", "elements"]).to_pylist()
    troubles = tuple(
        {"name": row["name"], "status": row["status"], "reason": row["reason"]}
        for row in tensors
        if row["status"] in ("failed", "refused")
    )
    return RunSummary(
        measure=measure,
        false_positive_rate=rate,
        chance=_chance(matrices, verdict_words.by_chance(measure, rate, settings.get("draws"))),
        statuses=dict(Counter(row["status"] for row in tensors)),
        elements=sum(row["elements"] for row in tensors),
        elements_analysed=sum(row["elements"] for row in tensors if row["status"] == "analysed"),
        roles=roles,
        top=tuple(strongest[:top]),
        troubles=troubles,
    )


def _measure(nulls: Iterable[str]) -> tuple[str, str, str]:
    asked = set(nulls)
    return next((entry for entry in _MEASURES if entry[0] in asked), _MEASURES[0])


def _chance(matrices: list[MatrixSummary], of_noise: float) -> Chance:
    """`of_noise` is the share of pure-noise matrices that show something."""
    from scipy.special import bdtrc

    tested = sum(matrix.learnt is not None for matrix in matrices)
    showing = sum(bool(matrix.learnt) for matrix in matrices)
    p_value = float(bdtrc(showing - 1, tested, of_noise)) if showing else 1.0
    return Chance(tested, showing, tested * of_noise if tested else 0.0, p_value)


def _role_order(role: str) -> tuple[int, str]:
    return (ROLES.index(role) if role in ROLES else len(ROLES), role)


def _matrix(
    row: dict[str, Any], values: Floats, count_column: str, edge_column: str, rate: float
) -> tuple[MatrixSummary, float, float]:
    edge, count = _finite(row[edge_column]), row[count_column]
    if edge is None:
        count = None
    whole = float(row["norm"])
    largest = float(values[0]) if values.size else 0.0
    above, excess = 0.0, None
    if edge is not None:
        # Relative to the largest value, so that matrices near 1e200 do not overflow.
        shares = (values / largest) ** 2 if largest > 0 else np.zeros(0)
        total = float(shares.sum())
        above = float(shares[:count].sum()) / total if total > 0 and count else 0.0
        excess = largest / edge if edge > 0 else None
    q_value = _finite(row["iid_q_value"])
    return (
        MatrixSummary(
            name=row["name"],
            role=row["role"],
            layer=row["layer"],
            rows=row["rows"],
            columns=row["columns"],
            values=values.size,
            learnt=count,
            norm_share=None if edge is None else above,
            excess=excess,
            ks=_finite(row["ks"]),
            iid_refuted=None if q_value is None else q_value <= rate,
        ),
        above * whole,
        whole,
    )


def _role(role: str, matrices: list[MatrixSummary], energies: dict[str, tuple[float, float]]) -> RoleSummary:
    values = sum(matrix.values for matrix in matrices)
    learnt = sum(matrix.learnt or 0 for matrix in matrices)
    above = math.fsum(energies[matrix.name][0] for matrix in matrices)
    whole = math.fsum(energies[matrix.name][1] for matrix in matrices)
    distances = [matrix.ks for matrix in matrices if matrix.ks is not None]
    per_layer: Counter[int] = Counter()
    for matrix in matrices:
        if matrix.layer is not None:
            per_layer[matrix.layer] += matrix.learnt or 0
    strongest = min(per_layer, key=lambda layer: (-per_layer[layer], layer)) if +per_layer else None
    return RoleSummary(
        role=role,
        matrices=len(matrices),
        values=values,
        learnt=learnt,
        share=learnt / values if values else 0.0,
        norm_share=_norm_share(above, whole),
        median_ks=median(distances) if distances else None,
        iid_refuted=sum(matrix.iid_refuted is True for matrix in matrices),
        iid_tested=sum(matrix.iid_refuted is not None for matrix in matrices),
        strongest_layer=strongest,
        strongest_learnt=per_layer[strongest] if strongest is not None else 0,
    )


def _norm_share(above: float, whole: float) -> float | None:
    """None where the squared norms exceed float64, so that no share can be told."""
    if not math.isfinite(whole):
        return None
    return above / whole if whole > 0 else 0.0


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
