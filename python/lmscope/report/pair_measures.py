"""The numbers that maps and curves show of a pair of matrices."""

from __future__ import annotations

from lmscope.report.measures import Measure
from lmscope.report.words import number, percent, signed_percent

PAIR_MEASURES = {
    "score": Measure(
        "DOCS score",
        "mean Gumbel location of the largest |cosine| of every vector with those of the other matrix: 1 for "
        "the same vectors in any order, sign and scale",
        lambda row: row["score"],
        number,
        tick_format=".2f",
        chance=lambda row: row["baseline"],
    ),
    "excess": Measure(
        "Excess over chance",
        "how far the score lies from that of random directions (0) towards 1",
        lambda row: row["excess"],
        signed_percent,
        tick_format=".0%",
        chance=lambda row: 0.0,
    ),
    "matched_share": Measure(
        "Matched vectors",
        "share of vectors with a partner that chance gives to one vector in a hundred, unless set otherwise",
        lambda row: row["matched_share"],
        percent,
        tick_format=".0%",
        chance=lambda row: 0.0,
    ),
    "mutual_share": Measure(
        "Mutual nearest",
        "share of vectors that are the nearest partner of their own nearest partner; about half of random "
        "ones are",
        lambda row: row["mutual_share"],
        percent,
        tick_format=".0%",
        chance=lambda row: 0.0,
        least_range=1.0,
    ),
}
INDEX_MEASURES = {
    "linear_cka": Measure(
        "Linear CKA",
        "how alike both sides' vectors are up to a rotation of the neurons: norm of the products across over "
        "those of the products within each side (not centred)",
        lambda row: row.get("linear_cka"),
        number,
        tick_format=".2f",
    ),
    "cca": Measure(
        "Mean CCA",
        "mean cosine of the principal angles between the spaces that the vectors span",
        lambda row: row.get("cca"),
        number,
        tick_format=".2f",
    ),
    "svcca": Measure(
        "SVCCA",
        "mean CCA of the directions that hold 99 % of each side's squared norm",
        lambda row: row.get("svcca"),
        number,
        tick_format=".2f",
    ),
    "linear_regression": Measure(
        "Linear regression",
        "share of one side's squared norm that a linear map of the other side gives, mean of both ways",
        lambda row: row.get("linear_regression"),
        number,
        tick_format=".2f",
    ),
    "orthogonal_procrustes": Measure(
        "Orthogonal Procrustes",
        "1 less half the squared distance to the nearest rotation of the neurons, both sides of norm 1",
        lambda row: row.get("orthogonal_procrustes"),
        number,
        tick_format=".2f",
    ),
}
"""Of roles that other indices were asked for; rows without them have None."""

PAIR_NAMES = {key: measure.label for key, measure in PAIR_MEASURES.items()}
