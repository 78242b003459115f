"""The same solvers where tokens, or their coordinates, are correlated."""

from __future__ import annotations

from lmscope.report.icl_solvers import TEMPLATE, solver_figure
from lmscope.report.records import Records
from lmscope.report.sections import Section

ORDER = 85

_OF = {"tokens": "two tokens of a prompt", "coordinates": "two coordinates of a token"}
_SHOWS = {
    "tokens": "Loss on tasks with new teachers, against how strongly the tokens of a prompt, the query one "
    "of them, are correlated: 0 is the case of independent tokens; near 1 all tokens are the same, so that "
    "the prompt holds the answer nearly as it is asked for.",
    "coordinates": "Loss on tasks with new teachers, against how strongly the coordinates of a token are "
    "correlated: 0 is the isotropic case, near 1 every token is one number repeated, so that there is little "
    "left to learn from a prompt.",
}
_SURPRISE = {
    "tokens": "A line that does not rise at the left and fall at the right. It rises as the part that all "
    "tokens share adds to every context what a longer prompt does not average out, and falls as the query "
    "becomes the same token; with infinitely many tasks 2 / (D + 4) is left at 1. AMP ends where features "
    "are too alike for it, however many the tasks; larger λ₀ moves that to the right.",
    "coordinates": "A line that does not fall towards 0 at the right: one direction then holds nearly all of "
    "the variance, and a prompt shows it well. A rise at the left is expected: weights fitted to many equal "
    "directions have to serve one strong and many weak ones.",
}


def section(records: Records) -> Section | None:
    rows = records.rows("correlated")
    if not rows:
        return None
    # A setting of the whole experiment: the same in every row.
    of = rows[0]["correlated"]
    figure, choices = solver_figure(
        rows,
        x="correlation",
        columns=("dimension", "prompt_length", "tasks"),
        words="correlation",
        title=f"correlation c of {_OF[of]}",
        log=False,
    )
    return Section(
        key="correlated",
        title=f"Correlated {of}",
        template=TEMPLATE,
        values={
            "choices": choices,
            "key": "correlated",
            "label": f"Loss on unseen tasks against the correlation of {_OF[of]}, one line per solver",
        },
        shows=_SHOWS[of],
        surprise=_SURPRISE[of],
        figure=figure,
    )
