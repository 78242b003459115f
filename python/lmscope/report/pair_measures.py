"""The numbers that maps and curves show of a pair of matrices."""

from __future__ import annotations

from lmscope.report.measures import Measure
from lmscope.report.words import number, percent

PAIR_MEASURES = {
    "score": Measure(
        "DOCS score",
        "mean Gumbel location of the largest |cosine| of every vector with those of the other matrix: 1 for "
        "the same vectors in any order, sign and scale",
        lambda row: row["score"],
        number,
        tick_format=".2f",
        range_from_smallest=True,
    ),
    "excess": Measure(
        "Excess over chance",
        "how far the score lies from that of random directions (0) towards 1",
        lambda row: row["excess"],
        percent,
        tick_format=".0%",
        range_from_smallest=True,
    ),
    "matched_share": Measure(
        "Matched vectors",
        "share of vectors with a partner that chance gives to one vector in a hundred, unless set otherwise",
        lambda row: row["matched_share"],
        percent,
        tick_format=".0%",
    ),
    "mutual_share": Measure(
        "Mutual nearest",
        "share of vectors that are the nearest partner of their own nearest partner; about half of random "
        "ones are",
        lambda row: row["mutual_share"],
        percent,
        tick_format=".0%",
        range_from_smallest=True,
    ),
}
PAIR_NAMES = {key: measure.label for key, measure in PAIR_MEASURES.items()}
