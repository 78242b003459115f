"""How exactly the probability of single tokens can be set: tables of edits, measured on several texts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from lmscope.runs.cost import forward_seconds, head_seconds
from lmscope.runs.examined import Examined
from lmscope.runs.unembedding_fit import FitNeeds
from lmscope.runs.unembedding_jobs import Job, Need, Rows
from lmscope.runs.unembedding_settings import MIDDLE_TOKENS

if TYPE_CHECKING:
    from lmscope.output_embedding.realised import Realised
    from lmscope.output_embedding.steered_alone import SteeredToken

CONTROLS = ("wrong_sign", "random_direction")
_BATCH = 10
"""Tokens of a record."""

_SECONDS_AN_EDIT = 0.05
_SECONDS_A_CHOICE = 0.02
_ROOT_STEPS = 20
_SECONDS_PER_POSITION = 5e-8


def steering_jobs(examined: Examined) -> Iterator[Job]:
    settings = examined.settings
    if not (examined.last and settings.steering):
        return
    needs = FitNeeds(examined, examined.trained)
    evaluated = Need("normalisers", _evaluation_seconds(examined), lambda: examined.trained.evaluated)
    choice = choice_of_tokens(examined)
    tokens = MIDDLE_TOKENS if settings.steer is None else len(settings.steer)
    positions = settings.positions + 2 * settings.eval_positions
    one_edit = _SECONDS_AN_EDIT + _SECONDS_PER_POSITION * positions * _ROOT_STEPS
    for allocation, calibrated, control in _ways(examined):
        way = " ".join(filter(None, (control, allocation, "calibrated" if calibrated else "uncalibrated")))
        for first in range(0, tokens, _BATCH):
            batch = min(_BATCH, tokens - first)
            yield Job(
                "steering",
                examined.record(f"{way} {first}"),
                f"steering, {way}, tokens {first + 1} to {first + batch}",
                batch * len(settings.factors) * one_edit,
                (*needs.fitted, choice, evaluated),
                partial(_rows, examined, allocation, calibrated, control, first),
            )


def choice_of_tokens(examined: Examined) -> Need:
    return Need("choice of tokens", _SECONDS_A_CHOICE, lambda: examined.trained.tokens)


def _ways(examined: Examined) -> Iterator[tuple[str, bool, str]]:
    """Allocation, calibration and control; controls of the first allocation, in the best way there is."""
    settings = examined.settings
    for allocation in settings.allocations:
        for calibrated in (True, False) if settings.calibrate else (False,):
            yield allocation, calibrated, ""
    for control in CONTROLS if settings.controls else ():
        yield settings.allocations[0], settings.calibrate, control


def _evaluation_seconds(examined: Examined) -> float:
    model, settings = examined.sizes, examined.settings
    texts = 2 if examined.trained.texts.other else 1
    once = forward_seconds(model, settings.eval_positions) + head_seconds(
        settings.eval_positions, model.vocabulary, model.dimensions
    )
    return texts * once


def _rows(examined: Examined, allocation: str, calibrated: bool, control: str, first: int) -> Rows:
    from lmscope.output_embedding.steered_alone import steered_alone

    subject, settings = examined.trained, examined.settings
    tokens = subject.tokens[first : first + _BATCH]
    if not tokens:
        return []
    steered = steered_alone(
        subject.head,
        subject.evaluated["fit"],
        subject.averages,
        subject.encoding,
        tokens,
        settings.factors,
        subject.evaluated,
        allocation=allocation,  # type: ignore[arg-type]
        calibrate=calibrated,
        control=control or None,  # type: ignore[arg-type]
        seed=settings.seed,
    )
    about = {**examined.about, "allocation": allocation, "calibrated": calibrated, "control": control}
    found = []
    for one in steered:
        texts = subject.evaluated if not one.reason else ("fit",)
        for text in texts:
            found.append({**about, **_token(examined, one), "text": text, **_realised(one, text)})
    return found


def _token(examined: Examined, one: SteeredToken) -> dict[str, Any]:
    subject = examined.trained
    return {
        "token": one.token,
        "token_text": subject.model.token_strings([one.token])[0],
        "count": int(subject.counts[one.token]),
        "factor": one.factor,
        "step_size": None if one.reason else one.step,
        "edit_norm": None if one.reason else one.edit_norm,
        "reason": one.reason,
    }


def _realised(one: SteeredToken, text: str) -> dict[str, Any]:
    names = ("realised", "realised_low", "realised_high", "before", "after", "log_error")
    if one.reason:
        return dict.fromkeys((*names, "js", "others", "others_worst"))
    found: Realised = one.realised[text]
    factor = float(found.factor[0])
    return {
        "realised": factor,
        "realised_low": _finite(found.low[0]),
        "realised_high": _finite(found.high[0]),
        "before": float(found.before[0]),
        "after": float(found.after[0]),
        "log_error": math.log(factor / one.factor),
        "js": found.js,
        "others": found.others,
        "others_worst": found.others_worst,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
