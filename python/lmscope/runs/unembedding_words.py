"""What `unembedding` found, as cells of tables and sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from lmscope.report.dynamics_rows import order_sentence
from lmscope.report.generation_rows import KINDS
from lmscope.report.removable_set import removable_claim
from lmscope.report.steering_rows import together_sentences
from lmscope.report.unembedding_claims import lone_steps_claim, steps_claim, untrained_claim
from lmscope.report.unembedding_rows import token_name
from lmscope.report.words import count, listing, number, percent, plain

if TYPE_CHECKING:
    from lmscope.analyses.training_dynamics import Reached
    from lmscope.runs.unembedding_summary import (
        Accuracy,
        Course,
        Fit,
        Generations,
        HeadSummary,
        Removed,
        UnembeddingSummary,
    )

FITS_TITLE = "Mean token probabilities as a linear function of the output embedding"
FITS_COLUMNS = ("checkpoint", "fitted", "R\u00b2", "adjusted", "cosine", "tokens")
STEERING_TITLE = "Steering: median |ln(realised / asked)|, by size of the factor"
REMOVAL_TITLE = (
    "Coordinates removed: Jensen-Shannon divergence, nats (share of positions with the same top token)"
)
REMOVAL_COLUMNS = ("checkpoint", "share", "least", "most", "random")
GENERATIONS_TITLE = "Greedy continuations of held-out text"
GENERATIONS_COLUMNS = ("checkpoint", "changed", "same tokens", "distinct pairs", "repeated", "steered token")
COURSES_TITLE = "Steps at 90 % of the last adjusted R\u00b2 of frequency, and of the drop of the loss"
COURSES_COLUMNS = (
    "series",
    "checkpoints",
    "steps",
    "R\u00b2 at last",
    "R\u00b2 step",
    "loss step",
    "doublings",
)

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]

_TEXTS = {"fit": "fitting text", "held_out": "held-out text", "other": "other text"}


def tables(summary: UnembeddingSummary) -> Iterator[Table]:
    """Title, columns and rows; of a training only the last checkpoint but for its course. The column of the
    checkpoint stands where there are several."""
    several = len(last_of_series(summary)) > 1
    for title, columns, rows in _tables(summary):
        if several or columns[0] != "checkpoint":
            yield title, columns, rows
        else:
            yield title, columns[1:], [row[1:] for row in rows]


def _tables(summary: UnembeddingSummary) -> Iterator[Table]:
    shown = last_of_series(summary)
    fits = [fit for fit in summary.fits if _told(fit, shown) and not fit.reason]
    if fits:
        yield FITS_TITLE, FITS_COLUMNS, [fit_cells(fit) for fit in fits]
    if summary.steering:
        sizes = sorted({one.size for one in summary.steering})
        columns = ("checkpoint", "edit", "text", *(f"{size:g} times" for size in sizes), "edits")
        yield STEERING_TITLE, columns, list(_steering(summary.steering, sizes))
    if summary.removal:
        yield REMOVAL_TITLE, REMOVAL_COLUMNS, list(_removal(summary.removal))
    if summary.generations:
        ordered = sorted(summary.generations, key=lambda one: (one.checkpoint, KINDS.index(one.kind)))
        rows = [generation_cells(one) for one in ordered]
        yield GENERATIONS_TITLE, GENERATIONS_COLUMNS, rows
    if summary.courses:
        yield COURSES_TITLE, COURSES_COLUMNS, [course_cells(one) for one in summary.courses]


def last_of_series(summary: UnembeddingSummary) -> dict[str, HeadSummary]:
    """By series the last checkpoint that has a head."""
    return {head.series: head for head in summary.heads}


def _told(fit: Fit, shown: dict[str, HeadSummary]) -> bool:
    head = shown.get(fit.series)
    return head is not None and fit.checkpoint == head.checkpoint


def fit_cells(fit: Fit) -> tuple[str, ...]:
    """A row under `FITS_COLUMNS`."""
    return (
        fit.checkpoint,
        _fitted(fit),
        _value(fit.r2),
        _value(fit.adjusted_r2),
        "" if fit.cosine is None else f"{fit.cosine:.4f}",
        number(fit.tokens),
    )


def _fitted(fit: Fit) -> str:
    targets = {
        "probability": f"{fit.scope} tokens",
        "mean_log": "mean log-probability",
        "frequency": "corpus frequency",
    }
    controls = {
        "": "",
        "shuffled": f", rows shuffled ({fit.draws})",
        "untrained": ", untrained model",
    }
    return targets[fit.target] + controls[fit.control]


def way(one: Accuracy) -> str:
    """How the edits were made: ``even, calibrated``."""
    how = plain(one.allocation), "calibrated" if one.calibrated else "uncalibrated"
    return ", ".join([*([plain(one.control)] if one.control else []), *how])


def _steering(found: Sequence[Accuracy], sizes: Sequence[float]) -> Iterator[tuple[str, ...]]:
    grouped: dict[tuple[str, str, str], dict[float, Accuracy]] = {}
    for one in sorted(found, key=lambda one: (one.control != "", one.allocation, not one.calibrated)):
        grouped.setdefault((one.checkpoint, way(one), one.text), {})[one.size] = one
    for (checkpoint, how, text), by_size in grouped.items():
        cells = [_value(by_size[size].median) if size in by_size else "" for size in sizes]
        yield (
            checkpoint,
            how,
            _TEXTS[text].removesuffix(" text"),
            *cells,
            number(sum(one.edits for one in by_size.values())),
        )


def _removal(found: Sequence[Removed]) -> Iterator[tuple[str, ...]]:
    grouped: dict[tuple[str, float], dict[str, Removed]] = {}
    for one in found:
        grouped.setdefault((one.checkpoint, one.share), {})[one.order] = one
    for (checkpoint, share), by_order in grouped.items():
        cells = [by_order.get(order) for order in ("least", "most", "random")]
        told = ["" if one is None else f"{_value(one.js)} ({percent(one.same_top)})" for one in cells]
        yield checkpoint, percent(share), *told


def generation_cells(one: Generations) -> tuple[str, ...]:
    """A row under `GENERATIONS_COLUMNS`."""
    changed = {
        "untouched": "nothing",
        "steered": f"{_named(one)}, {number(one.factor)} times",
    }.get(one.kind, f"{percent(one.share)} removed, {one.kind}")
    steered = ""
    if one.token_share is not None:
        steered = f"{percent(one.token_share)}, untouched {percent(one.untouched_token_share)}"
    shares = (one.same_tokens, one.distinct_2, one.repetition)
    return one.checkpoint, changed, *map(percent, shares), steered


def _named(one: Generations) -> str:
    return "" if one.token is None else token_name(one.token, one.token_text)


def course_cells(one: Course) -> tuple[str, ...]:
    """A row under `COURSES_COLUMNS`."""
    return (
        one.series,
        number(one.checkpoints),
        f"{number(one.first_step)} to {number(one.last_step)}",
        "" if one.r2 is None else _value(one.r2),
        _step(one.r2_step),
        _step(one.loss_step),
        "" if one.apart is None else f"{one.apart.least:+.1f} to {one.apart.most:+.1f}",
    )


def _step(found: Reached | None) -> str:
    """The checkpoints around it: nothing is known between them."""
    if found is None:
        return ""
    if not found.after:
        return f"\u2264 {number(found.by)}"
    return f"{number(found.after)} to {number(found.by)}"


def sentences(summary: UnembeddingSummary) -> list[str]:
    """What the tables say, and what limits it; of every series its last checkpoint."""
    shown = last_of_series(summary)
    several = len(shown) > 1
    told = []
    for head in shown.values():
        own = [fit for fit in summary.fits if fit.checkpoint == head.checkpoint]
        found = [*_of_fits(head, own), *_of_steering(head, summary), *_of_removal(head, summary)]
        told += [f"{head.series}: {text}" if several else text for text in found]
    lone = lone_steps_claim((head.series, head.step) for head in summary.heads)
    return [*told, *_of_continuations(summary), *_of_courses(summary), *filter(None, [lone])]


def heading(summary: UnembeddingSummary) -> list[tuple[str, str]]:
    """Each series and what the tables show of it; nothing where all are of a single checkpoint."""
    series: dict[str, list[str]] = {}
    for head in summary.heads:
        series.setdefault(head.series, []).append(head.checkpoint)
    if all(len(names) == 1 for names in series.values()):
        return []
    return [(name, steps_claim(name, names) if len(names) > 1 else "") for name, names in series.items()]


def _of_fits(head: HeadSummary, fits: Sequence[Fit]) -> Iterator[str]:
    by_kind = {(fit.target, fit.scope, fit.control): fit for fit in fits}
    whole = by_kind.get(("probability", "all", ""))
    if whole is None or whole.r2 is None:
        return
    text = (
        f"A linear function of the output embedding gives {percent(whole.r2)} of the variance of -log mean "
        f"probability over {number(whole.tokens)} tokens (adjusted {_value(whole.adjusted_r2)})"
    )
    controls = [
        f"{_value(fit.adjusted_r2)} {words}"
        for fit, words in (
            (by_kind.get(("probability", "all", "shuffled")), "with shuffled rows"),
            (by_kind.get(("probability", "all", "untrained")), "of the untrained model"),
        )
        if fit is not None and fit.adjusted_r2 is not None
    ]
    yield f"{text}; {listing(controls)}." if controls else f"{text}."
    untrained = by_kind.get(("probability", "all", "untrained"))
    if untrained is not None and (claim := untrained_claim(whole.adjusted_r2, untrained.adjusted_r2)):
        yield claim
    if whole.ridge:
        yield (
            f"The coordinates are nearly dependent: a ridge of {number(whole.ridge)} was added to the "
            "eigenvalues of their correlation matrix."
        )
    if whole.cosine is not None:
        yield (
            f"The slope and minus the mean state have a cosine of {whole.cosine:.3f}; a token's logit varies "
            f"by {number(head.logit_sd)} nats (median standard deviation over positions)."
        )
    if head.ninety is not None:
        yield (
            f"{count(head.ninety[0], 'coordinate')} of {number(head.dimensions)}, or "
            f"{count(head.ninety[1], 'principal component')}, hold 90 % of the fit's squared contributions."
        )
    for fit in fits:
        if fit.reason:
            yield f"No fit to {_fitted(fit)}: {fit.reason}."


def _of_steering(head: HeadSummary, summary: UnembeddingSummary) -> Iterator[str]:
    own = [one for one in summary.steering if one.checkpoint == head.checkpoint and not one.control]
    for how in dict.fromkeys(map(way, own)):
        texts = [text for text in _TEXTS if text != "fit" or "uncalibrated" in how]
        told = []
        for text in texts:
            found = [one for one in own if way(one) == how and one.text == text]
            if found:
                sizes = ", ".join(f"{_value(one.median)} at {one.size:g}" for one in found)
                told.append(f"on {_TEXTS[text]} {sizes}{_covered(found)}")
        if told:
            yield f"Steering, {how}: median |ln(realised / asked)| by factor {'; '.join(told)}."
    if own and not any(one.text == "other" for one in own):
        yield "Nothing is said of other text: none was given (--other-text)."
    yield from together_sentences(row for row in summary.together if row["checkpoint"] == head.checkpoint)


def _covered(found: Sequence[Accuracy]) -> str:
    """The share of all these edits whose interval holds what was asked."""
    known = [(one.covered, one.edits) for one in found if one.covered is not None]
    edits = sum(edits for _, edits in known)
    if not edits:
        return ""
    share = sum(covered * edits for covered, edits in known) / edits
    return f" (asked factor in the 95 % interval of {percent(share)} of the edits)"


def _of_removal(head: HeadSummary, summary: UnembeddingSummary) -> Iterator[str]:
    for mask in summary.masks:
        if mask.checkpoint == head.checkpoint:
            yield removable_claim(
                removed=mask.dimensions_removed,
                dimensions=head.dimensions,
                share=mask.share,
                fill=mask.fill,
                limit=mask.limit,
                js=mask.js,
                high=mask.js_high,
                windows=mask.windows,
                checked=(mask.checked_js, mask.checked_low, mask.checked_high),
                other=(mask.other_js, mask.other_low, mask.other_high),
            )


def _of_continuations(summary: UnembeddingSummary) -> Iterator[str]:
    """Why there is no MAUVE, each reason once."""
    changed = [one for one in summary.generations if one.kind != "untouched"]
    for reason in dict.fromkeys(one.mauve_reason.rstrip(".") for one in changed if one.mauve_reason):
        yield f"No MAUVE of the continuations: {reason}."


def _of_courses(summary: UnembeddingSummary) -> Iterator[str]:
    if summary.apart is not None:
        yield order_sentence(summary.apart)


def legend(summary: UnembeddingSummary) -> list[tuple[str, str]]:
    """Columns and what they say."""
    told = [
        ("adjusted", "R\u00b2 for as many coordinates as are fitted: near 0 without a relation"),
        ("cosine", "of the slope with minus the mean state: 1 where logits hardly vary"),
        ("seen, unseen", "tokens that come next in the fitting text, and all others"),
        ("corpus frequency", "in the whole text, held-out third included, or in --frequency-text"),
    ]
    if any(fit.control == "untrained" for fit in summary.fits):
        told.append(
            ("untrained", "a null for frequency; its probabilities too are nearly linear in its rows")
        )
    if summary.steering:
        told += [
            ("2 times", "factors 2 and 1/2; other sizes likewise"),
            ("calibrated", "steps solved for on the fitting text; else log factor by the theory"),
            ("wrong sign", "a control that must fail, as must a random direction"),
        ]
    if summary.removal:
        told.append(("least, most", "of least or most contribution first; random: mean of 3 orders"))
    if summary.courses:
        told.append(
            ("doublings", "of the steps, from the R\u00b2's to the loss's: what the checkpoints leave open")
        )
    return told


def failures(summary: UnembeddingSummary) -> list[str]:
    """One line each."""
    return ["{analysis}: {name}: {reason}".format(**one) for one in summary.failures]


def _value(value: float | None) -> str:
    """Three digits, without an exponent where that is short."""
    if value is None:
        return "\u2013"
    return f"{value:.3f}" if 0.01 <= abs(value) < 100 or value == 0 else f"{value:.3g}"
