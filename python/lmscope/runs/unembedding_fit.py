"""What an output embedding holds of token probabilities: head, encoding with controls, slope, sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.runs.cost import forward_seconds, head_seconds, regression_seconds, tokenizing_seconds
from lmscope.runs.examined import Examined, Subject
from lmscope.runs.unembedding_jobs import Job, Need, Rows

_SIZE_DRAWS = 5
_SECONDS_OF_A_MODEL = 0.3
"""What its first pass takes beside the products."""

_SECONDS_PER_DRAWN_WEIGHT = 3e-8
_SECONDS_PER_VALUES = 2e-6
_HEAPS = 10

_MISSED = 6
"""Tokens at either end of the residuals that are named."""


class FitNeeds:
    """What the jobs of a trained model or of its twin are made from, with estimates."""

    def __init__(self, examined: Examined, subject: Subject, of: str = "", making: float = 0.0) -> None:
        """`making` is what the model itself takes, in seconds."""
        self._subject = subject
        model = examined.sizes
        positions = examined.positions("text", examined.settings.positions)
        self.dimensions, self.vocabulary = model.dimensions, model.vocabulary
        self.states = Need(
            f"states{of}",
            making + _SECONDS_OF_A_MODEL + forward_seconds(model, positions),
            lambda: (subject.head, subject.fit),
        )
        self.averages = Need(
            f"averages{of}",
            head_seconds(positions, self.vocabulary, self.dimensions),
            lambda: subject.averages,
        )
        self.encoding = Need(f"encoding{of}", self.regression, lambda: subject.encoding)

    @property
    def regression(self) -> float:
        return regression_seconds(self.vocabulary, self.dimensions)

    @property
    def fitted(self) -> tuple[Need, ...]:
        return self.states, self.averages, self.encoding


def fit_jobs(examined: Examined) -> Iterator[Job]:
    """Those of the trained model; of an earlier step only what the dynamics are made from."""
    subject, settings = examined.trained, examined.settings
    needs = FitNeeds(examined, subject)
    averaged = needs.states, needs.averages
    record = examined.record
    yield Job("heads", record(), "head", 0.0, averaged, partial(_head, examined))
    for target, scope, control, draw in _fits(examined):
        told = " ".join(part for part in (control, target, scope, str(draw) if control else "") if part)
        own = (target, scope, control) == ("probability", "all", "")
        yield Job(
            "encoding",
            record(f"{target} {scope} {control} {draw}"),
            f"encoding, {told}",
            0.0 if own else _fit_seconds(examined, subject, target, scope),
            needs.fitted if own else averaged,
            partial(_encoding, examined, subject, target, scope, control, draw),
        )
    if not examined.last:
        return
    listed = _SECONDS_PER_VALUES * examined.sizes.vocabulary
    yield Job("token_values", record(), "values of tokens", listed, needs.fitted, partial(_values, examined))
    yield Job("slope", record(), "slope", 0.0, needs.fitted, partial(_slope, examined))
    if settings.vocabulary_sizes:
        # Every draw reads all rows once more.
        yield Job(
            "vocabulary_size",
            record(),
            "sizes of the vocabulary",
            _SIZE_DRAWS * 2 * needs.regression,
            averaged,
            partial(_sizes, examined),
        )


def twin_jobs(examined: Examined) -> Iterator[Job]:
    """Those of the untrained twin, which takes the model's place: they come last."""
    if not (examined.last and examined.settings.untrained):
        return
    model = examined.sizes
    drawn = model.parameters_without_embedding + model.vocabulary * model.dimensions
    needs = FitNeeds(examined, examined.twin, " of the untrained twin", _SECONDS_PER_DRAWN_WEIGHT * drawn)
    for target, scope in (("probability", "all"), ("frequency", "seen")):
        yield Job(
            "encoding",
            examined.record(f"{target} {scope} untrained 0"),
            f"encoding, untrained {target}",
            _fit_seconds(examined, examined.twin, target, scope),
            (needs.states, needs.averages),
            partial(_encoding, examined, examined.twin, target, scope, "untrained", 0),
        )


def _fit_seconds(examined: Examined, subject: Subject, target: str, scope: str) -> float:
    model = examined.sizes
    if target == "frequency":
        characters = sum(map(len, subject.texts.frequency))
        # Different tokens grow with the root of a text's length (Heaps 1978).
        tokens = min(model.vocabulary, round(_HEAPS * math.sqrt(characters)))
        return tokenizing_seconds(characters) + regression_seconds(tokens, model.dimensions)
    seen = examined.positions("text", examined.settings.positions)
    tokens = min(model.vocabulary, seen) if scope == "seen" else model.vocabulary
    return regression_seconds(tokens, model.dimensions)


def _fits(examined: Examined) -> Iterator[tuple[str, str, str, int]]:
    """Target, scope, control and draw of every fit to the trained model."""
    yield "probability", "all", "", 0
    yield "frequency", "seen", "", 0
    if examined.last:
        yield "probability", "seen", "", 0
        yield "probability", "unseen", "", 0
        yield "mean_log", "all", "", 0
        for draw in range(examined.settings.shuffles if examined.settings.controls else 0):
            yield "probability", "all", "shuffled", draw


def _head(examined: Examined) -> Rows:
    subject = examined.trained
    head, fit, averages = subject.head, subject.fit, subject.averages
    assert averages.losses is not None
    gain = head.final_norm_gain
    return [
        {
            **examined.about,
            "vocabulary": head.vocabulary,
            "dimensions": head.dimensions,
            "tied": head.tied,
            "scale": float(head.scale),
            "softcap": None if head.softcap is None else float(head.softcap),
            "bias": head.bias is not None,
            "final_norm": head.final_norm,
            "final_norm_gain": None if gain is None else gain.tolist(),
            "positions": len(fit),
            "windows": fit.windows,
            "texts": fit.texts,
            "loss": float(averages.losses.mean()),
            "logit_sd": float(np.median(averages.logit_sd)),
            "logit_sd_high": float(np.quantile(averages.logit_sd, 0.95)),
            "normaliser_mean": float(averages.log_normaliser.mean()),
            "normaliser_sd": float(averages.log_normaliser.std()),
            "seconds": 0.0,
        }
    ]


def _encoding(examined: Examined, subject: Subject, target: str, scope: str, control: str, draw: int) -> Rows:
    from lmscope.analyses.token_encoding import fit_token_encoding
    from lmscope.analyses.training_dynamics import frequency_encoding

    about = {**examined.about, "target": target, "scope": scope, "control": control, "draw": draw}
    dimensions = subject.head.dimensions
    if target == "frequency":
        used = subject.frequencies > 0
    else:
        used = {"all": np.ones_like(subject.counts, bool), "seen": subject.counts > 0}.get(
            scope, subject.counts == 0
        )
    if used.sum() <= dimensions + 2:
        return [_no_fit(about, subject, int(used.sum()))]
    shuffle = None if control != "shuffled" else _permutation(examined.settings.seed, draw)
    if target == "frequency":
        found = frequency_encoding(subject.embedding, subject.frequencies, bias=subject.bias)
    elif (target, scope, shuffle) == ("probability", "all", None):
        found = subject.encoding
    else:
        averages = subject.averages
        values = averages.mean_log_probability if target == "mean_log" else averages.log_probability
        found = fit_token_encoding(
            subject.embedding,
            values,
            bias=subject.bias,
            hidden_mean=averages.hidden_mean,
            tokens=used,
            shuffle=shuffle,
        )
    return [
        {
            **about,
            "tokens": found.tokens,
            "dimensions": dimensions,
            "r2": found.r2,
            "adjusted_r2": found.adjusted_r2,
            "intercept": found.intercept,
            "bias_slope": found.bias_slope,
            "cosine": found.cosine,
            "condition": found.condition,
            "ridge": found.ridge,
            "residual_sd": found.residual_sd,
            "reason": "",
            "seconds": 0.0,
        }
    ]


def _permutation(seed: int, draw: int) -> int:
    """Seed of a permutation."""
    return int(np.random.default_rng([seed, draw]).integers(2**63))


def _no_fit(about: dict[str, Any], subject: Subject, tokens: int) -> dict[str, Any]:
    dimensions = subject.head.dimensions
    nothing = ("r2", "adjusted_r2", "intercept", "bias_slope", "cosine", "condition", "ridge", "residual_sd")
    what = {"seen": "tokens occur in the text", "unseen": "tokens do not occur in the text"}[about["scope"]]
    return {
        **about,
        **dict.fromkeys(nothing),
        "tokens": tokens,
        "dimensions": dimensions,
        "reason": f"{tokens} {what}; a fit with {dimensions} dimensions takes at least {dimensions + 3}",
        "seconds": 0.0,
    }


def _values(examined: Examined) -> Rows:
    subject = examined.trained
    averages = subject.averages
    lists: dict[str, Any] = {
        "log_probability": averages.log_probability,
        "fitted": subject.encoding.fitted,
        "mean_log_probability": averages.mean_log_probability,
        "logit_sd": averages.logit_sd,
    }
    row = {name: np.asarray(values, np.float32) for name, values in lists.items()}
    missed = _missed(averages.log_probability - subject.encoding.fitted)
    return [
        {
            **examined.about,
            **row,
            "count": subject.counts.astype(np.int32),
            "missed": missed,
            "missed_text": subject.model.token_strings(missed),
        }
    ]


def _missed(residuals: npt.NDArray[np.float64]) -> list[int]:
    """Tokens of the largest and of the smallest residuals, the largest first."""
    known = np.flatnonzero(np.isfinite(residuals))
    order: list[int] = known[np.argsort(-residuals[known], kind="stable")].tolist()
    return order if len(order) <= 2 * _MISSED else order[:_MISSED] + order[-_MISSED:]


def _slope(examined: Examined) -> Rows:
    encoding = examined.trained.encoding
    bases = {"coordinates": encoding.coordinates, "components": encoding.components}
    return [
        {
            **examined.about,
            "basis": name,
            "slope": one.slope.tolist(),
            "spread": one.spread.tolist(),
            "contribution": one.contribution.tolist(),
            "mean_hidden": one.mean_hidden.tolist(),
            "participation": one.participation,
            "gini": one.gini,
            "ninety": one.ninety,
        }
        for name, one in bases.items()
        if one.mean_hidden is not None
    ]


def _sizes(examined: Examined) -> Rows:
    from lmscope.analyses.vocabulary_size import encoding_by_size

    subject = examined.trained
    points = encoding_by_size(
        subject.embedding,
        subject.averages.log_probability,
        bias=subject.bias,
        hidden_mean=subject.averages.hidden_mean,
        draws=_SIZE_DRAWS,
        seed=examined.settings.seed,
    )
    names = ("size", "draw", "r2", "adjusted_r2", "cosine")
    return [{**examined.about, **{name: getattr(point, name) for name in names}} for point in points]
