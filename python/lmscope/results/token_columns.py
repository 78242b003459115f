"""The columns of what `tokens` records: entropy by layer, the law over sizes, passages and their tokens."""

from __future__ import annotations

import pyarrow as pa

from lmscope.results.columns import Column, real, real_or_null

_TEXT = Column(pa.int32(), "number of the text, from 0, as the files and their parts come")
_WINDOW = Column(pa.int32(), "number of the window of that text, from 0: 0 where it is read whole")
_POSITION = Column(pa.int32(), "the token's place in its window, from 0, special tokens counted")
_SNIPPET = "beginning of the text, at most 80 characters"


def _with_interval(name: str, meaning: str) -> dict[str, Column]:
    """The value and the ends of its 95 % interval over texts, over passages of a single text."""
    return {
        name: real_or_null(meaning),
        f"{name}_low": real_or_null(f"lower end of the 95 % interval of {name}"),
        f"{name}_high": real_or_null("upper end of it"),
    }


ENTROPY_COLUMNS: dict[str, Column] = {
    "checkpoint": Column(pa.string(), "the checkpoint's name"),
    "identity": Column(pa.string(), "its identity, as the manifest gives it of the run's own"),
    "model_type": Column(pa.string(), "transformers' name of its kind of model", nullable=True),
    "parameters": Column(pa.int64(), "its parameters, tied ones once"),
    "parameters_without_embedding": Column(pa.int64(), "those outside input and output embeddings"),
    "layer": Column(pa.int32(), "0: what enters the first block; i: what leaves block i"),
    "layers": Column(pa.int32(), "blocks of the model, the number of the last layer"),
    "final_norm": Column(
        pa.string(), "module of the final norm that these states have passed; null before it", nullable=True
    ),
    "texts": Column(pa.int64(), "texts that were read"),
    "passages": Column(
        pa.int64(),
        "windows of these texts, over which the averages are taken: within texts first, where there are "
        "several, with intervals over texts; of a single text over its windows",
    ),
    "tokens": Column(pa.int64(), "tokens in them: rows of the pooled matrix of states"),
    "dimensions": Column(pa.int64(), "hidden size: its columns"),
    "epsilon2": real("squared distortion of the coding length"),
    "centered": Column(pa.bool_(), "whether the mean over tokens was subtracted"),
    "rows_normalized": Column(pa.bool_(), "whether every row was then scaled to norm 1"),
    "special_tokens": Column(pa.string(), "keep or drop: whether special tokens are among the rows"),
    "normalized": real("coding length over its largest possible one, all tokens pooled: above 0, up to cap"),
    "coding_length": real("coding length of the pooled states, nats"),
    "matrix_entropy": real("von Neumann entropy of their covariance of trace 1, nats"),
    "effective_rank": real("exponential of matrix_entropy: 1 to dimensions"),
    "directions": real("equally strong directions that would have the same normalized entropy"),
    "cap": real("largest normalized entropy that so many tokens in so many dimensions can have"),
    "iid_normalized": real("normalized entropy of independent Gaussian rows, as many and as wide"),
    "iid_effective_rank": real("their effective rank"),
    "untrained_normalized": real_or_null(
        "normalized entropy of the untrained twin: same configuration and text, random weights; null without"
    ),
    "untrained_effective_rank": real_or_null("its effective rank"),
    "diff_erank": real_or_null("untrained_effective_rank - effective_rank, both pooled"),
    **_with_interval("mean_normalized", "mean of each passage's normalized entropy"),
    **_with_interval("mean_effective_rank", "exponential of the mean of the passages' matrix entropies"),
    **_with_interval(
        "mean_diff_erank", "the untrained twin's mean_effective_rank less the model's; null without twin"
    ),
    **_with_interval(
        "conditional_entropy",
        "mean loss of a token given those before it, nats per token, of the whole model; null for encoders",
    ),
}
"""One row per checkpoint and layer. What is pooled takes all tokens as one matrix."""

ENTROPY_LAW_COLUMNS: dict[str, Column] = {
    "form": Column(pa.string(), "power or power_offset: without or with a constant added"),
    "layer": Column(pa.int32(), "-1: the last layer of every model"),
    "exponent": real_or_null(
        "of the number of parameters, in normalized over iid_normalized; null where refused, as what follows"
    ),
    "exponent_low": real_or_null("lower end of its 95 % interval"),
    "exponent_high": real_or_null("upper end of it"),
    "coefficient": real_or_null("factor of the power, for one parameter"),
    "offset": real_or_null("constant added to it; 0 for power"),
    "r2": real_or_null("share of the variance of the logarithms that the fit explains"),
    "aic": real_or_null("Akaike's criterion, uncorrected"),
    "aicc": real_or_null(
        "the same corrected for few models: the smaller is the better of two forms; null where infinite, at "
        "4 models or fewer for power, 5 for power_offset"
    ),
    "models": Column(pa.int32(), "checkpoints that the fit rests on, or would have"),
    "refused": Column(pa.string(), "why nothing was fitted; null where something was", nullable=True),
}
"""One row per form, where several checkpoints were given."""

PASSAGE_COLUMNS: dict[str, Column] = {
    "text": _TEXT,
    "window": _WINDOW,
    "start": Column(pa.int64(), "tokens of the text before this window, special ones not counted"),
    "snippet": Column(pa.string(), _SNIPPET.replace("text", "passage")),
    "ids": Column(pa.list_(pa.int64()), "numbers of its tokens in the vocabulary, special ones included"),
    "tokens": Column(pa.list_(pa.string()), "the text of each token"),
    "special": Column(pa.list_(pa.bool_()), "whether it is a special token, such as that of the beginning"),
}
"""One row per window that holds a sampled position."""

POSITION_COLUMNS: dict[str, Column] = {
    "text": _TEXT,
    "window": _WINDOW,
    "position": _POSITION,
    "token": Column(pa.string(), "the text of the token there"),
    "loss": real_or_null("-log of its probability given the tokens before it, nats; null for encoders"),
    "attention": Column(
        pa.list_(pa.float64()),
        "in the last block, mean over heads, from here to tokens 0 to position; null where there is none",
        nullable=True,
    ),
    "sink_share": real_or_null("share of that attention that goes to special tokens and other sinks"),
    "lasso_order": Column(
        pa.list_(pa.int64()), "tokens before it in the order in which the Lasso's path takes them in"
    ),
    "lasso_alphas": Column(pa.list_(pa.float64()), "alpha at which each of them enters, descending"),
    "left_out": Column(pa.string(), "what could not be had here, and why; empty where nothing"),
}
"""One row per sampled position."""

SELECTION_COLUMNS: dict[str, Column] = {
    "text": _TEXT,
    "window": _WINDOW,
    "position": _POSITION,
    "method": Column(pa.string(), "what chose the tokens: lasso, attention, cosine, random, ..., all"),
    "k": Column(pa.int32(), "how many were asked for; fewer where fewer come before the position"),
    "selected": Column(pa.list_(pa.int64()), "places of the chosen tokens, ascending"),
    "ridge_residual": real("squared residual of the ridge fit of the token's state by theirs"),
    "information_gain": real("what the token's state adds to theirs, nats"),
    "cosine": real("between the token's state and that fit"),
    "kl_last_layer": real_or_null(
        "divergence from the next token's distribution after the whole prompt, nats, where the last "
        "block attends only to the chosen tokens; null for encoders and without --divergence"
    ),
    "kl_all_layers": real_or_null("the same where every block attends only to them"),
    "kl_deleted": real_or_null(
        "the same where the others are deleted from the prompt; null for all_but_lasso and all"
    ),
}
"""One row per sampled position, method and k. Lower is better in all but cosine."""

DISTANCE_COLUMNS: dict[str, Column] = {
    "text_x": _TEXT,
    "text_y": _TEXT,
    "snippet_x": Column(pa.string(), _SNIPPET),
    "snippet_y": Column(pa.string(), _SNIPPET),
    "mean": real("Euclidean distance of the means of their states in the last layer"),
    "frobenius": real("Frobenius norm of the difference of their states' second moments"),
    "bures_wasserstein": real("Bures-Wasserstein distance of these moments"),
    "log_det": real("log-determinant divergence of these moments, nats"),
}
"""One row per pair of texts."""

TOKEN_COLUMNS: dict[str, dict[str, Column]] = {
    "entropy": ENTROPY_COLUMNS,
    "entropy_law": ENTROPY_LAW_COLUMNS,
    "passages": PASSAGE_COLUMNS,
    "positions": POSITION_COLUMNS,
    "selection": SELECTION_COLUMNS,
    "distances": DISTANCE_COLUMNS,
}

TOKEN_ORDER: dict[str, list[str]] = {
    "entropy": ["parameters", "checkpoint", "identity", "layer"],
    "entropy_law": ["layer", "form"],
    "passages": ["text", "window"],
    "positions": ["text", "window", "position"],
    "selection": ["text", "window", "position"],
    "distances": ["text_x", "text_y"],
}
"""Columns that order the rows of a table; rows that agree in them stay as they were written."""
