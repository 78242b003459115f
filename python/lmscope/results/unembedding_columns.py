"""The columns of what `unembedding` records: token probabilities in the output embedding, edits, removals."""

from __future__ import annotations

import pyarrow as pa

from lmscope.results.columns import Column, count, count_or_null, real, real_or_null, text, text_or_null

_REALS = pa.list_(pa.float64())


def _by_token(meaning: str, kind: pa.DataType | None = None) -> Column:
    return Column(pa.list_(kind or pa.float32()), f"{meaning}; one a token of the vocabulary, by its id")


_CHECKPOINT = {
    "checkpoint": text("the checkpoint's name"),
    "identity": text("its identity, as the manifest gives it of the run's own"),
    "step": count_or_null(
        "training step: the last whole number in the name of its folder, where it is one of a folder of "
        "checkpoints or called step or checkpoint; null otherwise"
    ),
    "series": text("the folder of steps that it came from; its own name where it was given by itself"),
}
_SECONDS = {"seconds": real("time that it took")}

HEAD_COLUMNS: dict[str, Column] = {
    **_CHECKPOINT,
    "vocabulary": count("rows of the output embedding: tokens that the model can give"),
    "dimensions": count("its columns: coordinates of the state that the head reads, after the final norm"),
    "tied": Column(pa.bool_(), "the output embedding is the input embedding"),
    "scale": real("factor on every logit before the cap; 1 for most models"),
    "softcap": real_or_null("cap: a logit x becomes cap * tanh(x / cap); null without one"),
    "bias": Column(pa.bool_(), "the head adds a bias to every token"),
    "final_norm": text_or_null("module of the norm in front of the head; null without one"),
    "final_norm_gain": Column(
        _REALS,
        "factor that this norm puts on every coordinate; the states looked at carry it; null without",
        nullable=True,
    ),
    "positions": count("places in the fitting text whose next token is of the text, in the same window"),
    "windows": count("windows that hold them"),
    "texts": count("texts that these come from"),
    "loss": real("mean -log probability of the true next token over these positions, nats"),
    "logit_sd": real("standard deviation of a token's logit over positions: median over tokens, nats"),
    "logit_sd_high": real("95 % of the tokens lie below this"),
    "normaliser_mean": real("mean of log Z over positions, nats"),
    "normaliser_sd": real("its standard deviation over positions, nats"),
    **_SECONDS,
}
"""One row per checkpoint: its head, and how it reads the fitting text."""

_FIT = {
    "r2": real_or_null("share of the variance over the fitted tokens that the fit explains; null without"),
    "adjusted_r2": real_or_null("1 - (1 - r2) (tokens - 1) / (tokens - dimensions - 1); null without"),
}
_COSINE = {
    "cosine": real_or_null(
        "between the slope of -log probability and minus the mean state: 1 where logits are concentrated; "
        "null without a slope or states"
    ),
}

ENCODING_COLUMNS: dict[str, Column] = {
    **_CHECKPOINT,
    "target": text(
        "what the rows of the output embedding are to give linearly, negated: probability, the log of the "
        "mean probability; mean_log, the mean log-probability; frequency, the log share in the frequency text"
    ),
    "scope": text("which tokens are fitted: all, seen (a next token of the fitting text) or unseen"),
    "control": text(
        "empty: as it is; shuffled: the embedding's rows permuted among the tokens; untrained: the whole "
        "model with random weights"
    ),
    "draw": Column(pa.int32(), "number of the permutation, from 0; 0 otherwise"),
    "tokens": count("tokens that were fitted"),
    "dimensions": count("coordinates that they were fitted with"),
    **_FIT,
    "intercept": real_or_null("constant of the fit, nats; null without one"),
    "bias_slope": real_or_null("coefficient of the head's bias; null without a bias or a fit"),
    **_COSINE,
    "condition": real_or_null(
        "condition number of the correlation matrix of the coordinates; null without a fit"
    ),
    "ridge": real_or_null("ridge on its eigenvalues: 0 where it is well-conditioned; null without a fit"),
    "residual_sd": real_or_null("standard deviation of the residuals, nats; null without a fit"),
    "reason": text("why there is no fit, in words; empty where there is one"),
    **_SECONDS,
}
"""One row per checkpoint, target, scope, control and draw."""

TOKEN_VALUE_COLUMNS: dict[str, Column] = {
    **_CHECKPOINT,
    "log_probability": _by_token("log of its mean probability over the positions, nats"),
    "fitted": _by_token("what the fit over all tokens gives for it, nats; nan where not fitted"),
    "mean_log_probability": _by_token("mean of its log-probability over the positions, nats"),
    "logit_sd": _by_token("standard deviation of its logit over the positions, nats"),
    "count": _by_token("how often it is a next token of the fitting text", pa.int32()),
    "missed": Column(
        pa.list_(pa.int64()),
        "ids of up to 12 tokens that the fit misses most, by log_probability - fitted, falling: those of the "
        "6 largest, then of the 6 smallest",
    ),
    "missed_text": Column(pa.list_(pa.string()), "these tokens as the tokenizer writes them"),
}
"""One row per checkpoint that is the last of its series."""

_BY_COORDINATE = "one a coordinate, in the basis' order"

SLOPE_COLUMNS: dict[str, Column] = {
    **_CHECKPOINT,
    "basis": text(
        "coordinates: those of the state as the head reads it; components: eigenvectors of the covariance of "
        "the embedding's rows, of descending variance"
    ),
    "slope": Column(_REALS, f"slope of -log probability; {_BY_COORDINATE}"),
    "spread": Column(_REALS, f"standard deviation of the embedding's rows; {_BY_COORDINATE}"),
    "contribution": Column(_REALS, f"|slope| times spread, nats; {_BY_COORDINATE}"),
    "mean_hidden": Column(_REALS, f"mean state; {_BY_COORDINATE}"),
    "participation": real("(sum c^2)^2 / sum c^4 of the contributions c: how many carry the fit, 1 to all"),
    "gini": real("Gini index of the contributions: 0 all alike, near 1 a single one"),
    "ninety": count("fewest coordinates that hold 90 % of the sum of squared contributions"),
}
"""One row per checkpoint that is the last of its series, and basis."""

VOCABULARY_SIZE_COLUMNS: dict[str, Column] = {
    **_CHECKPOINT,
    "size": count("tokens of a random sub-vocabulary, with their probabilities as they are"),
    "draw": Column(pa.int32(), "number of the random choice, from 0"),
    **_FIT,
    **_COSINE,
}
"""One row per checkpoint that is the last of its series, size and draw."""

STEERING_COLUMNS: dict[str, Column] = {
    **_CHECKPOINT,
    "token": count("id of the token whose row was changed"),
    "token_text": text("the token as the tokenizer writes it"),
    "count": count("how often it is a next token of the fitting text"),
    "allocation": text("how the change is spread over coordinates: minimum_norm, sparse or even"),
    "calibrated": Column(
        pa.bool_(), "the step was solved for on the fitting text; otherwise it is log factor by the fit"
    ),
    "control": text("empty: as it is; wrong_sign: the change negated; random_direction: as long, at random"),
    "together": Column(
        pa.bool_(), "one of several tokens in one edit, that was saved; otherwise steered alone"
    ),
    "text": text("where it was measured: fit, held_out (of the same kind) or other"),
    "factor": real("factor that was asked of the token's mean probability"),
    "realised": real_or_null("factor that came out; null where it could not be asked"),
    "realised_low": real_or_null("lower end of its 95 % interval over windows; null below two"),
    "realised_high": real_or_null("upper end of it"),
    "before": real_or_null("mean probability of the token before"),
    "after": real_or_null("mean probability of it after"),
    "log_error": real_or_null("log realised - log factor"),
    "step_size": real_or_null("step along the direction, of slope 1, nats: log factor where not calibrated"),
    "edit_norm": real_or_null("norm of the change of the row"),
    "js": real_or_null("Jensen-Shannon divergence of the next-token distribution, mean over positions, nats"),
    "others": real_or_null("mean log factor on every other token: log Z / Z', nats"),
    "others_worst": real_or_null("the same at the position where it is largest in magnitude, nats"),
    "reason": text("why the factor cannot be reached, in words; empty where it was asked"),
}
"""One row per checkpoint, token, factor, allocation, calibration, control and text, and of a joint edit per
token and text: its js and others are of the whole edit."""

REMOVAL_COLUMNS: dict[str, Column] = {
    **_CHECKPOINT,
    "order": text("which coordinates go first: least (of least contribution), most or random"),
    "draw": Column(pa.int32(), "number of the random order, from 0; 0 otherwise"),
    "share": real("share of the coordinates that was removed, asked for"),
    "dimensions": count("coordinates that were removed"),
    "fill": text("what stands in their place: zero, or the mean state"),
    "js": real("Jensen-Shannon divergence of the next-token distribution, mean over positions, nats"),
    "js_low": real_or_null("lower end of its 95 % interval over windows; null below two"),
    "js_high": real_or_null("upper end of it"),
    "kl": real("divergence KL(before || after), mean over positions, nats"),
    "loss": real("mean -log probability of the true next token, nats"),
    "baseline_loss": real("the same of the untouched head"),
    "same_top": real("share of the positions whose most probable token stays the same"),
    "positions": count("positions that it was measured at"),
}
"""One row per checkpoint, order, draw and share."""

MASK_COLUMNS: dict[str, Column] = {
    **_CHECKPOINT,
    "fill": text("what stands in place of the removed coordinates: zero, or the mean state"),
    "limit": real("largest js that the proposed set may have, nats"),
    "windows": count("of held-out text, that it was chosen on; an interval takes eight"),
    "share": real("share of the coordinates that the proposed set removes; 0 where none is within the limit"),
    "dimensions_removed": count("coordinates that it removes"),
    "js": real_or_null(
        "its Jensen-Shannon divergence on the first half of the held-out windows, that it was chosen on, "
        "nats; null where nothing is removed"
    ),
    "js_low": real_or_null("lower end of its 95 % interval over windows; null below eight"),
    "js_high": real_or_null("upper end of it, at most the limit"),
    "checked_js": real_or_null("the same on the second half, that it was not chosen on, nats"),
    "checked_low": real_or_null("lower end of its 95 % interval over windows; null below eight"),
    "checked_high": real_or_null("upper end of it"),
    "other_js": real_or_null("the same on other text, nats; null without any"),
    "other_low": real_or_null("lower end of its 95 % interval over windows; null below eight"),
    "other_high": real_or_null("upper end of it"),
    "file": text_or_null("mask file in the result folder; null where nothing is removed"),
}
"""One row per checkpoint: the removable set that is proposed."""

GENERATION_COLUMNS: dict[str, Column] = {
    **_CHECKPOINT,
    "kind": text("untouched; steered: a token's row changed; least, most or random: coordinates removed"),
    "share": real_or_null("share of the coordinates that was removed; null otherwise"),
    "token": count_or_null("id of the steered token; null otherwise"),
    "token_text": text_or_null("the token as the tokenizer writes it; null otherwise"),
    "factor": real_or_null("factor that was asked of it; null otherwise"),
    "allocation": text_or_null("how its change was spread over coordinates; null otherwise"),
    "prompts": count("beginnings of held-out windows that were continued, greedily"),
    "new_tokens": count("tokens that were generated, of all of them"),
    "distinct_1": real_or_null("distinct tokens over tokens, mean over continuations"),
    "distinct_2": real_or_null("distinct pairs of neighbours over pairs"),
    "distinct_3": real_or_null("distinct runs of three over runs of three"),
    "repetition": real_or_null("share of tokens that repeat what stood shortly before"),
    "mauve": real_or_null("MAUVE between these and the untouched continuations; null with a reason"),
    "mauve_reason": text("why there is no MAUVE, in words; empty where there is one"),
    "same_tokens": real_or_null("share of places whose token is the untouched continuation's"),
    "token_share": real_or_null("share of the steered token in the new tokens; null where none is steered"),
    "untouched_token_share": real_or_null("its share in the untouched continuations; null likewise"),
    "examples": Column(pa.list_(pa.string()), "a few of the continuations, as text"),
}
"""One row per checkpoint, kind and what was changed."""

DYNAMICS_COLUMNS: dict[str, Column] = {
    **_CHECKPOINT,
    "loss": real("mean -log probability of the true next token in the fitting text, nats"),
    "frequency_r2": real_or_null("r2 of the fit of corpus frequency, tokens that occur; null without"),
    "frequency_adjusted_r2": real_or_null("adjusted_r2 of it"),
    "probability_r2": real_or_null("r2 of the fit of the model's own mean probability, all tokens"),
    "probability_adjusted_r2": real_or_null("adjusted_r2 of it"),
    **_COSINE,
    "head_distance": real("|E - E_last| / |E_last| of the output embedding: Frobenius norms"),
    "parameter_distance": real("the same of all parameters of the model together"),
}
"""One row per checkpoint of a series."""

UNEMBEDDING_COLUMNS: dict[str, dict[str, Column]] = {
    "heads": HEAD_COLUMNS,
    "encoding": ENCODING_COLUMNS,
    "token_values": TOKEN_VALUE_COLUMNS,
    "slope": SLOPE_COLUMNS,
    "vocabulary_size": VOCABULARY_SIZE_COLUMNS,
    "steering": STEERING_COLUMNS,
    "removal": REMOVAL_COLUMNS,
    "mask": MASK_COLUMNS,
    "generations": GENERATION_COLUMNS,
    "dynamics": DYNAMICS_COLUMNS,
}


def _ascending(*columns: str) -> list[tuple[str, str]]:
    return [(column, "ascending") for column in columns]


UNEMBEDDING_ORDER: dict[str, list[tuple[str, str]]] = {
    "heads": [],
    "encoding": [("control", "ascending"), ("target", "descending"), *_ascending("scope", "draw")],
    "token_values": [],
    "slope": [("basis", "descending")],
    "vocabulary_size": _ascending("size", "draw"),
    "steering": _ascending("together", "control", "allocation", "calibrated", "token", "factor", "text"),
    "removal": _ascending("order", "draw", "share"),
    "mask": [],
    "generations": [("kind", "descending"), *_ascending("share", "token", "factor", "allocation")],
    "dynamics": [],
}
"""Columns that order the rows of one checkpoint."""
