"""The verdict of a run as cells of tables and sentences: the same in the terminal and in notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmscope.analyses.nulls import SMALLEST_SIDE

if TYPE_CHECKING:
    from lmscope.runs.summary import Chance, MatrixSummary, RoleSummary, RunSummary

ROLES_TITLE = "What stands above the noise, by role"
ROLE_COLUMNS = ("role", "matrices", "learnt", "share", "of norm", "layer", "not iid", "KS")
MATRICES_TITLE = f"Largest share of the norm in learnt values (matrices of {SMALLEST_SIDE} values or more)"
MATRIX_COLUMNS = ("matrix", "shape", "learnt", "of norm", "top / edge")
STATUSES = ("analysed", "skipped", "refused", "failed", "planned")

LEARNT = {
    "sign_flip": "above all those of the same matrix with random signs on its entries",
    "permutation": "above all those of the same matrix with its entries in random order",
    "iid": "above the edge for independent, identically distributed entries",
}
"""Null behind the verdict -> which singular values count as learnt."""


def statuses(summary: RunSummary) -> str:
    """How many tensors became what, and how much of the weights that is."""
    states = ", ".join(
        f"{summary.statuses[status]} {status}" for status in STATUSES if summary.statuses.get(status)
    )
    share = summary.elements_analysed / summary.elements if summary.elements else 0.0
    return f"{sum(summary.statuses.values())} tensors: {states}; {share:.1%} of all weights analysed"


def by_chance(measure: str, false_positive_rate: float, draws: int | None) -> float:
    """Share of pure-noise matrices that show a learnt value; `draws` is None where only iid was asked for."""
    return false_positive_rate if measure == "iid" or draws is None else 1 / (draws + 1)


def against_chance(chance: Chance) -> str:
    """Whether as many matrices as show something would do so without anything learnt."""
    if not chance.tested:
        return "No matrix has a verdict: none is compared with noise."
    few = chance.expected < 1 and chance.showing
    about = f"{chance.expected:.2g}" if few or chance.expected < 9.5 else f"{chance.expected:.0f}"
    counts = (
        f"{chance.showing or 'None'} of {chance.tested} {'matrix' if chance.tested == 1 else 'matrices'} "
        f"{'shows' if chance.showing < 2 else 'show'} learnt values; noise alone would give about {about}"
    )
    if chance.exceeded:
        return f"{counts}: more than chance gives ({_p_value(chance)})."
    if few:
        return (
            f"{counts}: that may be chance ({_p_value(chance)}, above {chance.level:g}); more draws or more "
            "matrices can tell."
        )
    return f"{counts}: nothing here can be told from noise ({_p_value(chance)}, above {chance.level:g})."


def _p_value(chance: Chance) -> str:
    return f"p = {chance.p_value:.2g}" if chance.p_value >= 1e-6 else "p below 0.000001"


def role_cells(role: RoleSummary) -> tuple[str, ...]:
    """A row under `ROLE_COLUMNS`."""
    return (
        role.role,
        str(role.matrices),
        str(role.learnt),
        f"{role.share:.1%}",
        "-" if role.norm_share is None else f"{role.norm_share:.1%}",
        "-" if role.strongest_layer is None else f"{role.strongest_layer} ({role.strongest_learnt})",
        f"{role.iid_refuted} of {role.iid_tested}" if role.iid_tested else "-",
        "-" if role.median_ks is None else f"{role.median_ks:.3f}",
    )


def matrix_cells(matrix: MatrixSummary) -> tuple[str, ...]:
    """A row under `MATRIX_COLUMNS`."""
    return (
        matrix.name,
        f"{matrix.rows}x{matrix.columns}",
        f"{matrix.learnt or 0} of {matrix.values}",
        "-" if matrix.norm_share is None else f"{matrix.norm_share:.1%}",
        "-" if matrix.excess is None else f"{matrix.excess:.2f}",
    )


def legend(summary: RunSummary, draws: int | None) -> list[tuple[str, str]]:
    """Column -> what it says; ``draws`` are those of each random null, None where none was drawn."""
    chance = by_chance(summary.measure, summary.false_positive_rate, draws)
    return [
        (
            "learnt",
            f"singular values {LEARNT[summary.measure]}: directions that noise does not make. "
            f"Of matrices of pure noise, {chance:.1%} show one by chance",
        ),
        ("share", f"of all singular values; says little of a matrix with fewer than {SMALLEST_SIDE}"),
        ("of norm", "part of the squared Frobenius norm in the learnt values"),
        ("layer", "the one with the most learnt values, and how many"),
        *(
            [("top / edge", "largest singular value over the largest of the noise")]
            if summary.top and summary.chance.exceeded
            else []
        ),
        (
            "not iid",
            "matrices with entries that are not independent and identically distributed: values outside the "
            "Marchenko-Pastur edges say nothing about learning there",
        ),
        ("KS", "median distance between the spectra and the Marchenko-Pastur law"),
        *([] if draws is None else [("p-values", _smallest_p_value(draws))]),
    ]


def _smallest_p_value(draws: int) -> str:
    return (
        f"in the records: with {draws} draws none under sign flips or permutations is below "
        f"{1 / (draws + 1):.2g} = 1 / (draws + 1), and no q-value either"
    )
