"""What solvers, models and kinds of teachers are called, on the page and on the command line."""

from __future__ import annotations

SOLVERS = {
    "ground_state": "ground state",
    "amp": "AMP",
    "amp_without_onsager": "AMP without Onsager term",
    "adam": "Adam",
    "population": "infinitely many tasks",
}
MODELS = {
    "merged": "linear, merged weights",
    "separate": "linear, separate W_Q and W_K",
    "multi_head": "linear, multi-head",
    "full": "linear, all four matrices",
    "softmax": "softmax attention",
    "transformer": "transformer",
    "ground_state": "ground state, not trained",
}
TEACHERS = {"dense": "dense", "sparse": "sparse", "low_rank": "low-rank"}
