"""What `unembedding` found, in sentences that claim no more than controls and intervals allow."""

from __future__ import annotations

from statistics import fmean

from lmscope.report.dynamics_rows import dynamics_sentences
from lmscope.report.encoding_fits import of_control
from lmscope.report.records import Records, Row
from lmscope.report.removable_set import of_mask
from lmscope.report.steering_rows import CONTROLS, TEXTS, alone, errors, together_sentences
from lmscope.report.unembedding_claims import lone_steps_claim, untrained_claim
from lmscope.report.unembedding_rows import checkpoints, series
from lmscope.report.words import count, listing, number, of_one, percent, plain


def unembedding_sentences(records: Records) -> list[str]:
    """Of the fit, steering and removal of the checkpoint that is shown first; then of the dynamics."""
    shown = checkpoints(records, "heads")
    told = []
    for one in [one for one in shown if one.identity == records.shown_identity] or shown[:1]:
        told = [
            *_encoding(one.rows(records, "encoding"), one.rows(records, "slope")),
            *_steering(alone(one.rows(records, "steering"))),
            *together_sentences(one.rows(records, "steering")),
            *_removal(one.rows(records, "mask"), one.rows(records, "heads")),
        ]
        if len(shown) > 1:
            told = [of_one(one.label, text) for text in told]
    lone = lone_steps_claim((row["series"], row["step"]) for row in records.without_lists("heads"))
    return [*told, *dynamics_sentences(series(records.rows("dynamics"))), *filter(None, [lone])]


def _encoding(rows: list[Row], slopes: list[Row]) -> list[str]:
    some = [row for row in rows if (row["target"], row["scope"]) == ("probability", "all")]
    fit = next((row for row in some if row["control"] == "" and row["r2"] is not None), None)
    if fit is None:
        return []
    found = {control: of_control(some, control) for control in ("shuffled", "untrained")}
    controls = [
        f"{number(fmean(values))} {name}"
        for values, name in zip(found.values(), ("with shuffled rows", "in the untrained model"), strict=True)
        if values
    ]
    beside = f" ({listing(controls)})" if controls else ""
    scopes = [
        f"{number(row['r2'])} over tokens that the text {verb}"
        for scope, verb in (("seen", "has"), ("unseen", "lacks"))
        for row in rows
        if (row["target"], row["scope"], row["control"]) == ("probability", scope, "")
        and row["r2"] is not None
    ]
    by_scope = f"; {listing(scopes)}" if scopes else ""
    text = (
        f"A linear function of the output embedding's rows explains {percent(fit['r2'])} of the variance of "
        f"the log mean probability over {count(fit['tokens'], 'token')}: adjusted R² "
        f"{number(fit['adjusted_r2'])}{beside}{by_scope}."
    )
    if found["untrained"] and (claim := untrained_claim(fit["adjusted_r2"], fmean(found["untrained"]))):
        text += f" {claim}"
    if fit["cosine"] is not None:
        text += f" Its slope has a cosine of {number(fit['cosine'], 4)} with minus the mean state."
    held = [
        f"{number(row['ninety'])} of {number(len(row['slope']))} {row['basis']}"
        for row in slopes
        if row["basis"] in ("coordinates", "components")
    ]
    if held:
        text += f" {listing(held)} hold 90 % of its squared contributions."
    return [text]


def _steering(rows: list[Row]) -> list[str]:
    """Of what the section opens with, and the controls of the same change of the row."""
    places = [(row["text"], row["calibrated"], row["allocation"]) for row in rows if not row["control"]]
    text, calibrated, allocation = min(
        places, key=lambda place: (place[0] != "held_out", not place[1]), default=("", False, "")
    )
    some = [
        row
        for row in rows
        if (row["text"], row["allocation"]) == (text, allocation) and row["realised"] is not None
    ]
    own = [row for row in some if not row["control"] and row["calibrated"] == calibrated]
    if not own:
        return []
    controls = [
        f"{name} {said}"
        for control, name in CONTROLS.items()
        if (said := _errors([row for row in some if row["control"] == control]))
    ]
    beside = f" ({'; '.join(controls)})" if controls else ""
    by_theory = _errors([row for row in some if not row["control"] and not row["calibrated"]])
    otherwise = f" Not calibrated: {by_theory}." if calibrated and by_theory else ""
    factors = {row["factor"] for row in own}
    return [
        f"Steering of {count(len({row['token'] for row in own}), 'token')} by factors from "
        f"{number(min(factors))} to {number(max(factors))} ({plain(allocation)}, "
        f"{'calibrated' if calibrated else 'not calibrated'}), measured on {TEXTS[text]}: median "
        f"|ln(realised / asked)| {_errors(own)}{beside}.{otherwise}"
    ]


def _errors(rows: list[Row]) -> str:
    near, far = errors(rows)
    return " and ".join(
        f"{number(value, 2)} {where}"
        for value, where in ((near, "from 1/2 to 2"), (far, "beyond"))
        if value is not None
    )


def _removal(masks: list[Row], heads: list[Row]) -> list[str]:
    return [of_mask(row, head["dimensions"]) for head in heads for row in masks]
