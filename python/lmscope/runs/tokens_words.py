"""What the token analyses found, as cells of tables and sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from lmscope.report import token_methods
from lmscope.report.token_evidence import caveat, missing_positions, tells_apart
from lmscope.report.words import count

if TYPE_CHECKING:
    from lmscope.analyses.selection_summary import SelectionSummary
    from lmscope.runs.tokens_summary import (
        CheckpointEntropy,
        Interval,
        LawSummary,
        LayerEntropy,
        TokensSummary,
    )

ENTROPY_TITLE = "Entropy of the hidden states, by layer"
ENTROPY_COLUMNS = (
    *("checkpoint", "layer", "entropy", "per passage", "random", "largest", "untrained"),
    *("effective rank", "Diff-eRank"),
)
DIVERGENCE_COLUMNS = {
    "KL deleted": "kl_deleted",
    "KL all layers": "kl_all_layers",
    "KL last layer": "kl_last_layer",
}
FIT_COLUMNS = {"residual": "ridge_residual", "gain": "information_gain", "cosine": "cosine"}
LAW_TITLE = "Entropy over parameters"
LAW_COLUMNS = ("form", "models", "exponent", "R2", "AICc", "refused")
FORMS = {"power": "power law", "power_offset": "power law and offset"}
METHODS = {name: method.label for name, method in token_methods.METHODS.items() if name != "all"}
WAYS = {
    "kl_deleted": "with the others deleted from the prompt",
    "kl_all_layers": "with the others masked in all layers",
    "kl_last_layer": "with the others masked in the last layer (attention's own ground)",
}
TOKENS_OF = {
    "lasso": "Lasso's tokens",
    "attention": "attention's tokens",
    "attention_without_sinks": "attention's tokens without sinks",
    "attention_value_norm": "the tokens of largest attention × value norm",
    "cosine": "the tokens of largest |cosine|",
    "omp": "matching pursuit's tokens",
    "recent": "the most recent tokens",
    "random": "random tokens",
    "complement": "random tokens that are none of Lasso's",
}
BUDGETED = frozenset(METHODS) - {"all_but_lasso"}
"""Methods that choose k tokens: those that can be best at k."""

_FEW_TOKENS = 8
_MOST_LAYERS = 3


def tables(summary: TokensSummary) -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Title, columns and rows of the tables that the summary fills."""
    entropies = [entropy_cells(one, layer) for one in summary.entropies for layer in told_layers(one)]
    if entropies:
        yield ENTROPY_TITLE, ENTROPY_COLUMNS, entropies
    scores = _scores(summary)
    methods = list(dict.fromkeys(method for method, _, _ in scores))
    taken = {score for _, _, score in scores}
    for what, named in (("divergence", DIVERGENCE_COLUMNS), ("fit", FIT_COLUMNS)):
        held = {column: score for column, score in named.items() if score in taken}
        if summary.k is not None and held:
            yield (
                f"{what.capitalize()} of selected tokens at k = {summary.k}, mean of {_positions(summary)} "
                "with 95 % interval",
                ("method", *held),
                [_selector_cells(scores, method, summary.k, held.values()) for method in methods],
            )
    ks = sorted({k for _, k, _ in scores})
    if len(ks) > 1:
        column, score = next(pair for pair in (DIVERGENCE_COLUMNS | FIT_COLUMNS).items() if pair[1] in taken)
        rows = [
            (
                METHODS[method],
                *(_value(scores[method, k, score].mean) if (method, k, score) in scores else "" for k in ks),
            )
            for method in methods
            if any((method, k, score) in scores for k in ks)
        ]
        yield f"{column} by k", ("method", *(f"k = {k}" for k in ks)), rows
    if summary.law:
        yield LAW_TITLE, LAW_COLUMNS, [law_cells(one) for one in summary.law]


def _scores(summary: TokensSummary) -> dict[tuple[str, int, str], SelectionSummary]:
    """By method, k and score; of the curves' methods only those that choose less than all."""
    return {(one.method, one.k, one.score): one for one in summary.selectors if one.method in METHODS}


def _selector_cells(
    scores: Mapping[tuple[str, int, str], SelectionSummary], method: str, k: int, told: Iterable[str]
) -> tuple[str, ...]:
    found = (scores.get((method, k, name)) for name in told)
    return METHODS[method], *("" if one is None else _interval(one) for one in found)


def told_layers(one: CheckpointEntropy) -> list[LayerEntropy]:
    """First, middle and last of those that were read."""
    if len(one.layers) <= _MOST_LAYERS:
        return list(one.layers)
    return [one.layers[0], one.layers[len(one.layers) // 2], one.layers[-1]]


def entropy_cells(one: CheckpointEntropy, layer: LayerEntropy) -> tuple[str, ...]:
    """A row under `ENTROPY_COLUMNS`."""
    return (
        one.checkpoint,
        f"{layer.layer} of {one.blocks}",
        _share(layer.normalized),
        "" if layer.mean_normalized is None else _interval(layer.mean_normalized, least=0.0),
        _share(layer.iid),
        _share(layer.cap),
        "" if layer.untrained is None else _share(layer.untrained),
        f"{layer.effective_rank:.1f}",
        "" if layer.diff_erank is None else f"{layer.diff_erank:.1f}",
    )


def law_cells(law: LawSummary) -> tuple[str, ...]:
    """A row under `LAW_COLUMNS`."""
    return (
        FORMS.get(law.form, law.form),
        str(law.models),
        "" if law.exponent is None else _interval(law.exponent),
        "" if law.r2 is None else f"{law.r2:.2f}",
        "" if law.aicc is None else f"{law.aicc:.1f}",
        law.refused or "",
    )


def sentences(summary: TokensSummary) -> list[str]:
    """What the tables say, and what they do not."""
    told = [text for one in summary.entropies for text in _of_entropy(one)]
    if missing := lacking_positions(summary):
        told.append(missing)
    told += _of_selectors(summary)
    told += [f"{text}." for text in summary.left_out]
    if summary.nearest_texts is not None and summary.farthest_texts is not None:
        near, far = summary.nearest_texts, summary.farthest_texts
        if near != far:
            told.append(
                f"By the covariances of their states texts {near.text_x} and {near.text_y} are nearest "
                f"(Bures-Wasserstein {_value(near.bures_wasserstein)}), {far.text_x} and {far.text_y} "
                f"farthest ({_value(far.bures_wasserstein)})."
            )
    return told


def _of_entropy(one: CheckpointEntropy) -> Iterator[str]:
    last = one.layers[-1]
    beside = f"independent random rows have {_share(last.iid)}"
    if last.untrained is not None:
        beside += f", the untrained model {_share(last.untrained)}"
    yield (
        f"{one.checkpoint}: normalised entropy {_share(last.normalized)} in layer {last.layer}, "
        f"{one.tokens} tokens in {one.dimensions} dimensions ({_read(one)}); {beside}."
    )
    ratio = one.tokens / one.dimensions
    if ratio < _FEW_TOKENS:
        yield (
            f"{one.checkpoint}: {ratio:.2g} tokens per dimension, and below {_FEW_TOKENS} even random rows' "
            "entropy depends on the width: compare with that of random rows, not between models."
        )
    if one.passages < one.texts and any(layer.mean_normalized is not None for layer in one.layers):
        yield (
            f"{one.checkpoint}: {one.texts - one.passages} of {one.texts} texts have no entropy of their "
            "own, being one token or equal ones: they are left out of the mean per passage."
        )
    if one.conditional_entropy is not None:
        found = one.conditional_entropy
        yield f"{one.checkpoint}: a token costs the model {_interval(found)} nats given those before it."


def _of_selectors(summary: TokensSummary) -> Iterator[str]:
    rows = [one for one in summary.selectors if one.k == summary.k and one.method in BUDGETED]
    if not rows:
        return
    tell_apart = tells_apart(rows[0].clusters, rows[0].clustered_by)
    for score, way in WAYS.items():
        scored = [one for one in rows if one.score == score]
        if scored:
            best = min(scored, key=lambda one: one.mean)
            yield (
                f"By the model's next token at k = {summary.k}, {way}, {TOKENS_OF[best.method]} "
                f"cost least: {_value(best.mean)} nats{_beside(best) if tell_apart else ''}."
            )
    residuals = [one for one in rows if one.score == "ridge_residual"]
    if residuals:
        best = min(residuals, key=lambda one: one.mean)
        yield (
            f"At k = {summary.k} {TOKENS_OF[best.method]} leave the smallest ridge residual "
            f"({_value(best.mean)}): the own ground of Lasso and matching pursuit, which choose by it."
        )
    yield (
        f"Each of these is the best of {len({one.method for one in rows})} selectors at the same positions: "
        "its lead is flattered by the choice."
    )
    if warned := caveat(rows[0].clusters, rows[0].clustered_by):
        yield warned
    if summary.spread is not None:
        spread = summary.spread
        yield (
            f"Of what all earlier tokens explain of a state the Lasso's {spread.k} explain "
            f"{_percent(spread.by_lasso)}, all but these {_percent(spread.by_others)}."
        )


def _beside(best: SelectionSummary) -> str:
    """The paired differences to Lasso and attention, where `best` is neither."""
    told, unclear = [], []
    for other, mean, low, high in (
        ("lasso", best.minus_lasso, best.minus_lasso_low, best.minus_lasso_high),
        ("attention", best.minus_attention, best.minus_attention_low, best.minus_attention_high),
    ):
        if best.method == other or math.isnan(mean):
            continue
        if high < 0:
            told.append(f"{_value(-mean)} less than {TOKENS_OF[other]} ({_value(-high)} to {_value(-low)})")
        else:
            unclear.append(TOKENS_OF[other])
    if unclear:
        told.append(f"not told apart from {' or '.join(unclear)}")
    return f"; {', '.join(told)}" if told else ""


def legend(summary: TokensSummary) -> list[tuple[str, str]]:
    """Columns and what they say."""
    told = []
    if summary.entropies:
        told += [
            ("layer", "0: what enters the first block; the last is behind the final norm, if there is one"),
            ("entropy", "normalised coding length of all tokens; 1 where all directions are used alike"),
            ("per passage", "mean of passages, each a matrix of its own, with its 95 % interval over texts"),
            ("random", "entropy of independent Gaussian rows, as many and as wide"),
            ("largest", "the most that so many tokens can have"),
            ("untrained", "the same configuration with random weights on the same text"),
            ("Diff-eRank", "untrained effective rank less the model's"),
        ]
    if any(one.score in WAYS for one in summary.selectors):
        told += [
            ("KL", "nats between the model's next token given all tokens and given the chosen ones"),
            ("KL deleted", "prompt of the chosen and the special tokens alone: no selector's own ground"),
            ("KL all layers", "the token attends to the chosen ones alone in all blocks"),
            ("KL last layer", "in the last block alone: attention's own ground"),
        ]
    if summary.k is not None:
        told += [
            (
                "residual",
                "squared residual of the state, of norm 1, fitted by the chosen ones' (ridge): own ground of "
                "Lasso and matching pursuit",
            ),
            (
                "gain",
                "nats that the state adds to the chosen ones': lower where they say more of it; "
                "the same ground",
            ),
        ]
    return told


def failures(summary: TokensSummary) -> list[str]:
    """One line each."""
    return ["{analysis}: {name}: {reason}".format(**one) for one in summary.failures]


def _read(one: CheckpointEntropy) -> str:
    texts = f"{one.texts} text{'s' if one.texts != 1 else ''}"
    return f"{texts} cut into windows, {one.passages} passages" if one.passages > one.texts else texts


def lacking_positions(summary: TokensSummary) -> str:
    """Why there are fewer than asked for; empty where there are not."""
    return missing_positions(
        summary.positions,
        summary.positions_asked,
        summary.min_context,
        failed=any(one["analysis"] == "selection" for one in summary.failures),
    )


def _positions(summary: TokensSummary) -> str:
    return f"{count(summary.positions, 'position')} in {count(summary.passages, 'passage')}"


def _interval(found: Interval | SelectionSummary, *, least: float = -math.inf) -> str:
    """Without ends where one passage, or one position, has none; cut at the ``least`` that can be."""
    if found.low is None or found.high is None or math.isnan(found.low):
        return _value(found.mean)
    return f"{_value(found.mean)} ({_value(max(least, found.low))} to {_value(found.high)})"


def _percent(found: Interval) -> str:
    share = f"{100 * found.mean:.1f} %"
    if found.low is None or found.high is None or math.isnan(found.low):
        return share
    return f"{share} ({100 * max(0.0, found.low):.1f} to {100 * found.high:.1f})"


def _share(value: float) -> str:
    return f"{value:.3f}"


def _value(value: float) -> str:
    """Three digits, without an exponent where that is short."""
    return f"{value:.3f}" if 0.01 <= abs(value) < 100 or value == 0 else f"{value:.3g}"
