"""Message passing, training and the exact ground state on the same tasks, against the prompt length."""

from __future__ import annotations

from lmscope.report.icl_solvers import TEMPLATE, solver_figure
from lmscope.report.records import Records
from lmscope.report.sections import Section

ORDER = 84


def section(records: Records) -> Section | None:
    rows = records.rows("amp_vs_training")
    if not rows:
        return None
    figure, choices = solver_figure(
        rows,
        x="prompt_length",
        columns=("dimension", "tasks"),
        words="prompt length",
        title="prompt length N",
    )
    return Section(
        key="amp_vs_training",
        title="Training and the ground state",
        template=TEMPLATE,
        values={
            "choices": choices,
            "key": "amp_vs_training",
            "label": "Loss on unseen tasks against the prompt length, one line per solver",
        },
        shows="Loss on unseen tasks, against how many examples a prompt shows. All solvers have "
        "the same tasks: the ground state is the exact minimum of the energy, AMP is message passing "
        "towards it, Adam is gradient descent with weight decay. The grey line is the ground state of "
        "infinitely many tasks, the best merged linear attention. Experiment amp-vs-training.",
        surprise="AMP with the Onsager term away from the ground state: they have the same fixed point. "
        "Without that term a gap is expected, and shrinks with the number of tasks. Adam below the ground "
        "state is no contradiction: the ground state is best on its own tasks, and early stopping or "
        "another regularization can serve unseen ones better.",
        figure=figure,
    )
