"""How exactly the probability of single tokens can be set: tables of edits, measured on several texts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lmscope.runs.cost import forward_seconds, head_seconds, tokenizing_seconds
from lmscope.runs.examined import Examined
from lmscope.runs.unembedding_fit import FitNeeds
from lmscope.runs.unembedding_jobs import Job, Need, Rows

if TYPE_CHECKING:
    from lmscope.output_embedding.realised import Realised
    from lmscope.output_embedding.steering import Steering

CONTROLS = ("wrong_sign", "random_direction")
_BATCH = 10
"""Tokens of a record."""

_SECONDS_AN_EDIT = 0.004
_ROOT_STEPS = 20
_SECONDS_PER_POSITION = 5e-8


def steering_jobs(examined: Examined) -> Iterator[Job]:
    settings = examined.settings
    if not (examined.last and settings.steering):
        return
    needs = FitNeeds(examined, examined.trained)
    evaluated = Need("normalisers", _evaluation_seconds(examined), lambda: examined.trained.evaluated)
    positions = examined.positions("text", settings.positions) + sum(_evaluated(examined))
    one_edit = _SECONDS_AN_EDIT + _SECONDS_PER_POSITION * positions * _ROOT_STEPS
    for allocation, calibrated, control in _ways(examined):
        way = " ".join(filter(None, (control, allocation, "calibrated" if calibrated else "uncalibrated")))
        for first in range(0, settings.steered, _BATCH):
            batch = min(_BATCH, settings.steered - first)
            yield Job(
                "steering",
                examined.record(f"{way} {first}"),
                f"steering, {way}, tokens {first + 1} to {first + batch}",
                batch * len(settings.factors) * one_edit,
                (*needs.fitted, tokens_needed(examined), evaluated),
                partial(_rows, examined, allocation, calibrated, control, first),
            )


def tokens_needed(examined: Examined) -> Need:
    """So that texts too short to choose tokens from fail once, not with every record."""
    return Need("tokens to steer", 0.0, lambda: examined.trained.tokens)


def _ways(examined: Examined) -> Iterator[tuple[str, bool, str]]:
    """Allocation, calibration and control; controls of the first allocation, in the best way there is."""
    settings = examined.settings
    for allocation in settings.allocations:
        for calibrated in (True, False) if settings.calibrate else (False,):
            yield allocation, calibrated, ""
    for control in CONTROLS if settings.controls else ():
        yield settings.allocations[0], settings.calibrate, control


def _evaluation_seconds(examined: Examined) -> float:
    model, texts = examined.sizes, examined.trained.texts
    read = sum(
        forward_seconds(model, positions) + head_seconds(positions, model.vocabulary, model.dimensions)
        for positions in _evaluated(examined)
    )
    return read + tokenizing_seconds(sum(map(len, [*texts.held_out, *texts.other])))


def _evaluated(examined: Examined) -> list[int]:
    """Positions of held-out and of other text."""
    return [examined.positions(name, examined.settings.eval_positions) for name in ("held_out", "other_text")]


def _rows(examined: Examined, allocation: str, calibrated: bool, control: str, first: int) -> Rows:
    from lmscope.output_embedding.steered_alone import steered_alone

    subject, settings = examined.trained, examined.settings
    tokens = subject.tokens[first : first + _BATCH]
    if not tokens:
        return []
    advance = examined.meter.over(len(tokens) * len(settings.factors))
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
        advance=advance,
    )
    about = {
        **examined.about,
        "allocation": allocation,
        "calibrated": calibrated,
        "control": control,
        "together": False,
    }
    found = []
    for one in steered:
        texts = subject.evaluated if not one.reason else ("fit",)
        for text in texts:
            realised = None if one.reason else one.realised[text]
            about_token = _token(examined, one.token, one.factor, one.step, one.edit_norm, one.reason)
            found.append({**about, **about_token, "text": text, **_realised(one.factor, realised)})
    return found


def together_rows(examined: Examined, steering: Steering) -> Rows:
    """A joint edit on every text, by token; divergence and the other tokens' factor are of the whole edit."""
    about = {
        **examined.about,
        "allocation": steering.allocation,
        "calibrated": steering.calibrated,
        "control": "",
        "together": True,
    }
    changes = steering.rows_after.astype(np.float64) - steering.rows_before.astype(np.float64)
    norms = np.linalg.norm(changes, axis=1)
    found = []
    for text, states in examined.trained.evaluated.items():
        realised = steering.realised(states)
        for place, token in enumerate(steering.tokens.tolist()):
            factor = float(steering.factors[place])
            about_token = _token(examined, token, factor, float(steering.steps[place]), float(norms[place]))
            found.append({**about, **about_token, "text": text, **_realised(factor, realised, place)})
    return found


def _token(
    examined: Examined, token: int, factor: float, step: float, norm: float, reason: str = ""
) -> dict[str, Any]:
    subject = examined.trained
    return {
        "token": token,
        "token_text": subject.model.token_strings([token])[0],
        "count": int(subject.counts[token]),
        "factor": factor,
        "step_size": None if reason else step,
        "edit_norm": None if reason else norm,
        "reason": reason,
    }


def _realised(asked: float, found: Realised | None, place: int = 0) -> dict[str, Any]:
    names = ("realised", "realised_low", "realised_high", "before", "after", "log_error")
    if found is None:
        return dict.fromkeys((*names, "js", "others", "others_worst"))
    factor = float(found.factor[place])
    return {
        "realised": factor,
        "realised_low": _finite(found.low[place]),
        "realised_high": _finite(found.high[place]),
        "before": float(found.before[place]),
        "after": float(found.after[place]),
        "log_error": math.log(factor / asked),
        "js": found.js,
        "others": found.others,
        "others_worst": found.others_worst,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
