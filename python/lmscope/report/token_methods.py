"""What chose tokens, and the scores of a choice: names, looks and what each measures."""

from __future__ import annotations

from dataclasses import dataclass

from lmscope.report.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION

_BROWN = "#9a6f4b"


@dataclass(frozen=True)
class Method:
    """``symbol`` and ``dash`` are plotly's."""

    label: str
    colour: str
    symbol: str
    dash: str = "solid"


METHODS = {
    "lasso": Method("Lasso", BLUE, "circle"),
    "attention": Method("attention", VERMILLION, "square"),
    "attention_without_sinks": Method("attention without sinks", ORANGE, "diamond"),
    "attention_value_norm": Method("attention × value norm", PURPLE, "cross"),
    "cosine": Method("largest |cosine|", GREEN, "triangle-up"),
    "omp": Method("orthogonal matching pursuit", SKY, "triangle-down"),
    "recent": Method("most recent", _BROWN, "x"),
    "random": Method("random", GREY, "circle-open", "dot"),
    "complement": Method("random, none of Lasso's", GREY, "diamond-open", "dash"),
    "all_but_lasso": Method("all but Lasso's", BLUE, "circle-open", "dash"),
    "all": Method("all earlier tokens", GREY, "square-open", "longdash"),
}
"""Of the records' methods, in the order of a legend."""


def look_of(name: str) -> Method:
    """Of any method, also one that a later version records."""
    return METHODS.get(name) or Method(name.replace("_", " "), GREY, "star-open", "longdash")


WITHOUT_BUDGET = ("all_but_lasso", "all")
"""Not k tokens but most of them: beside the others only where the question is what is left in these."""

SPREAD = ("lasso", "attention", "random", *WITHOUT_BUDGET)
"""Methods whose curves say whether information is spread over the tokens."""

_KL = "divergence of the next token's distribution from that of the whole prompt, in nats, lower is better"


@dataclass(frozen=True)
class Score:
    """``axis`` is the label of a chart's axis, ``note`` says whose ground it is."""

    label: str
    axis: str
    note: str


SCORES = {
    "kl_deleted": Score(
        "KL, others deleted",
        "KL (nats)",
        f"{_KL}; the prompt is the chosen tokens, the special ones and the token itself. The model's own "
        "ground: no selector is made for it",
    ),
    "kl_all_layers": Score(
        "KL, masked in all layers",
        "KL (nats)",
        f"{_KL}; in every block the token attends to the chosen ones only, which were read in full context. "
        "The model's own ground; attention's scores choose by what one such block looks at",
    ),
    "kl_last_layer": Score(
        "KL, masked in the last layer",
        "KL (nats)",
        f"{_KL}; only the last block attends to the chosen tokens alone. Attention's own ground: its weights "
        "are those of this block",
    ),
    "ridge_residual": Score(
        "Ridge residual",
        "share of the squared norm",
        "part of the token's state that a ridge fit on the chosen states leaves over, lower is better. The "
        "own ground of Lasso and of orthogonal matching pursuit, which minimise it",
    ),
    "information_gain": Score(
        "Information gain",
        "gain (nats)",
        "what the token's state still adds to the chosen ones, lower is better; a logarithm of the ridge "
        "objective, so Lasso's own ground too",
    ),
    "cosine": Score(
        "Cosine of the fit",
        "cosine",
        "between the token's state and its ridge fit, higher is better; Lasso's own ground too",
    ),
}
"""Columns of the selection's records, the fairest score first."""
