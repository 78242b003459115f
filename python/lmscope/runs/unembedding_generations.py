"""What edits and removals do to greedy continuations of held-out text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.runs.cost import generation_seconds
from lmscope.runs.examined import Examined, Subject
from lmscope.runs.unembedding_fit import FitNeeds
from lmscope.runs.unembedding_jobs import Job, Need, Rows
from lmscope.runs.unembedding_prompts import PROMPT
from lmscope.runs.unembedding_steering import tokens_needed

SHARES = (0.1, 0.3, 0.5)
STEERED = 2
"""Tokens that are steered, each to the smallest and the largest factor: the first that were named, else the
most probable of those in the tables, as continuations have a chance to hold them."""

_EXAMPLES = 3
_NOTHING = dict.fromkeys(
    ("share", "token", "token_text", "factor", "allocation", "token_share", "untouched_token_share")
)


def generation_jobs(examined: Examined) -> Iterator[Job]:
    settings = examined.settings
    if not (examined.last and settings.generations):
        return
    subject, model = examined.trained, examined.sizes
    seconds = generation_seconds(model, settings.prompts, PROMPT, settings.new_tokens)
    untouched = Need("untouched continuations", seconds, lambda: subject.untouched)
    fitted = FitNeeds(examined, subject).fitted
    chosen = tokens_needed(examined)
    job = partial(_job, examined)
    yield job(0.0, "untouched", "untouched", (untouched,), partial(_row, subject, "untouched", nullcontext))
    if settings.steering:
        for number in range(min(STEERED, settings.steered)):
            for factor in (min(settings.factors), max(settings.factors)):
                told = f"steered, token {number + 1}, {settings.allocations[0]}, {factor:g} times"
                calibrated = " calibrated" if settings.calibrate else ""
                rows = partial(_steered, subject, number, factor)
                yield job(seconds, f"{told}{calibrated}", told, (*fitted, chosen, untouched), rows)
    if settings.removal:
        for kind in ("least", "most", "random"):
            for share in SHARES:
                rows = partial(_masked, subject, kind, share)
                yield job(seconds, f"{kind} {share}", f"{kind}, {share:.0%}", (*fitted, untouched), rows)


def _job(
    examined: Examined,
    seconds: float,
    record: str,
    told: str,
    needs: tuple[Need, ...],
    rows: Callable[[], Rows],
) -> Job:
    def with_names() -> Rows:
        return [{**examined.about, **row} for row in rows()]

    return Job("generations", examined.record(record), f"continuations, {told}", seconds, needs, with_names)


def _row(
    subject: Subject,
    kind: str,
    changed: Callable[[], AbstractContextManager[Any]],
    **what: Any,
) -> Rows:
    from lmscope.analyses.generation_quality import generation_quality, same_tokens, token_share

    untouched = subject.untouched
    with changed():
        made = untouched if kind == "untouched" else subject.continuations()
    quality = generation_quality(made)
    token = what.get("token")
    of_token = {
        "token_text": None if token is None else subject.model.token_strings([token])[0],
        "token_share": None if token is None else token_share(made, token),
        "untouched_token_share": None if token is None else token_share(untouched, token),
    }
    mauve, reason = _mauve(subject, kind, made)
    decode = subject.model.tokenizer.decode
    return [
        {
            "kind": kind,
            **_NOTHING,
            **what,
            **of_token,
            "prompts": len(made),
            "new_tokens": quality.tokens,
            "distinct_1": quality.distinct_1,
            "distinct_2": quality.distinct_2,
            "distinct_3": quality.distinct_3,
            "repetition": quality.repetition,
            "mauve": mauve,
            "mauve_reason": reason,
            "same_tokens": same_tokens(made, untouched),
            "examples": [decode(tokens) for tokens in made[:_EXAMPLES]],
        }
    ]


def _mauve(subject: Subject, kind: str, made: list[list[int]]) -> tuple[float | None, str]:
    """In states of the untouched model; the score, or why there is none."""
    from lmscope.output_embedding.mauve import mauve_score

    if kind == "untouched":
        return None, "the others are compared with it"
    found = mauve_score(subject.model, subject.prompts, subject.untouched, made, seed=subject.settings.seed)
    return found.score, found.reason


def _steered(subject: Subject, number: int, factor: float) -> Rows:
    from lmscope.output_embedding.steering import steer_tokens
    from lmscope.output_embedding.steering_error import SteeringError

    settings = subject.settings
    tokens = subject.tokens
    if settings.steer is None:
        tokens = tuple(sorted(tokens, key=lambda one: -subject.averages.log_probability[one]))
    if number >= len(tokens):
        return []
    token = tokens[number]
    try:
        steering = steer_tokens(
            subject.head,
            {token: factor},
            fit=subject.evaluated["fit"],
            averages=subject.averages,
            encoding=subject.encoding,
            allocation=settings.allocations[0],  # type: ignore[arg-type]
            calibrate=settings.calibrate,
        )
    except SteeringError:
        # The table of steering says why.
        return []
    changed = partial(steering.applied, subject.model)
    return _row(subject, "steered", changed, token=token, factor=factor, allocation=steering.allocation)


def _masked(subject: Subject, kind: str, share: float) -> Rows:
    from lmscope.output_embedding.removal_mask import masked

    removed = _order(subject, kind)[: round(share * subject.head.dimensions)]
    keep = np.ones(subject.head.dimensions, dtype=bool)
    keep[removed] = False
    mean = subject.averages.hidden_mean if subject.settings.fill == "mean" else None
    return _row(subject, kind, lambda: masked(subject.model, keep, mean=mean), share=share)


def _order(subject: Subject, kind: str) -> npt.NDArray[np.int64]:
    """The coordinates in the order in which they are removed; the random one is draw 0 of "removal"."""
    from lmscope.analyses.dimension_saliency import dimension_saliency

    least = dimension_saliency(subject.encoding).order
    if kind == "random":
        return np.random.default_rng([subject.settings.seed, 0]).permutation(len(least))
    return least if kind == "least" else least[::-1]
