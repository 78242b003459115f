"""The verdict of a run as cells of tables and sentences: the same in the terminal and in notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmscope.runs.summary import MatrixSummary, RoleSummary, RunSummary

ROLES_TITLE = "What stands above the noise, by role"
ROLE_COLUMNS = ("role", "matrices", "learnt", "share", "of norm", "layer", "not iid", "KS")
MATRICES_TITLE = "Matrices where the learnt values carry most of the norm"
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


def legend(summary: RunSummary, draws: int) -> list[tuple[str, str]]:
    """Column -> what it says; ``draws`` are those of each random null."""
    by_chance = summary.false_positive_rate if summary.measure == "iid" else 1 / (draws + 1)
    return [
        (
            "learnt",
            f"singular values {LEARNT[summary.measure]}: directions that noise does not make. "
            f"Of matrices of pure noise, {by_chance:.1%} show one by chance",
        ),
        ("share", "of all singular values"),
        ("of norm", "part of the squared Frobenius norm in the learnt values"),
        ("layer", "the one with the most learnt values, and how many"),
        ("top / edge", "largest singular value over the largest of the noise"),
        (
            "not iid",
            "matrices with entries that are not independent and identically distributed: values outside the "
            "Marchenko-Pastur edges say nothing about learning there",
        ),
        ("KS", "median distance between the spectra and the Marchenko-Pastur law"),
    ]
