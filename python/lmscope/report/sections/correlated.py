"""The same solvers where the entries of a token are correlated."""

from __future__ import annotations

from lmscope.report.icl_solvers import TEMPLATE, solver_figure
from lmscope.report.records import Records
from lmscope.report.sections import Section

ORDER = 85


def section(records: Records) -> Section | None:
    rows = records.rows("correlated")
    if not rows:
        return None
    figure, choices = solver_figure(
        rows,
        x="correlation",
        columns=("dimension", "prompt_length", "tasks"),
        words="correlation",
        title="correlation c of two entries of a token",
        log=False,
    )
    return Section(
        key="correlated",
        title="Correlated tokens",
        template=TEMPLATE,
        values={
            "choices": choices,
            "key": "correlated",
            "label": "Loss on unseen tasks against the correlation of the tokens, one line per solver",
        },
        shows="Loss on tasks with new teachers, against how strongly the entries of a token are correlated: "
        "0 is the isotropic case, near 1 every token is one number repeated, so that there is little left "
        "to learn from a prompt.",
        surprise="A line that does not fall towards 0 at the right: one direction then holds nearly all of "
        "the variance, and a prompt shows it well. A rise at the left is expected: weights fitted to many "
        "equal directions have to serve one strong and many weak ones.",
        figure=figure,
    )
