"""What the next-token distribution loses with coordinates of the state, and which it can do without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lmscope.runs.cost import divergence_seconds, forward_seconds, tokenizing_seconds
from lmscope.runs.examined import Examined
from lmscope.runs.record_store import RecordStore
from lmscope.runs.unembedding_fit import FitNeeds
from lmscope.runs.unembedding_jobs import Job, Need, Rows

if TYPE_CHECKING:
    from lmscope.output_embedding.removal import RemovalPoint
    from lmscope.representations.next_states import NextStates

DRAWS = 3
"""Random orders."""

_COLUMNS = (
    *("order", "draw", "share", "dimensions", "fill", "js", "js_low", "js_high", "kl", "loss"),
    *("baseline_loss", "same_top", "positions"),
)
# Of a mask: up to seven sizes a round, three rounds for a thousand dimensions.
_ROUNDS = 3
_SIZES_A_ROUND = 7


def removal_jobs(store: RecordStore, examined: Examined) -> Iterator[Job]:
    settings = examined.settings
    if not (examined.last and settings.removal):
        return
    model = examined.sizes
    positions = examined.positions("held_out", settings.removal_positions)
    states = Need(
        "held-out states",
        forward_seconds(model, positions)
        + tokenizing_seconds(sum(map(len, examined.trained.texts.held_out))),
        lambda: examined.trained.removal_states,
    )
    needs = (*FitNeeds(examined, examined.trained).fitted, states)
    one = divergence_seconds(positions, model.vocabulary, model.dimensions)
    for order in ("least", "most", "random"):
        yield Job(
            "removal",
            examined.record(order),
            f"removal, {order}",
            (_chains(order) * len(settings.shares) + 1) * one,
            needs,
            partial(_curve, examined, order),
        )
    yield Job(
        "mask",
        examined.record(),
        "removable set",
        # Half of the windows, and the other half once, beside other text.
        (_ROUNDS * (_SIZES_A_ROUND + 1) + len(settings.shares) + 4) * one / 2,
        needs,
        partial(_mask, store, examined),
    )


def _chains(order: str) -> int:
    return DRAWS if order == "random" else 1


def _points(
    examined: Examined, order: str, states: NextStates, advance: Callable[[int], None], shares: Any
) -> Iterator[RemovalPoint]:
    from lmscope.analyses.dimension_saliency import dimension_saliency
    from lmscope.output_embedding.removal import removal_curve

    subject, settings = examined.trained, examined.settings
    return removal_curve(
        subject.head,
        states,
        dimension_saliency(subject.encoding),
        shares=shares,
        orders=(order,),  # type: ignore[arg-type]
        draws=DRAWS,
        fill=settings.fill,  # type: ignore[arg-type]
        mean=subject.averages.hidden_mean if settings.fill == "mean" else None,
        seed=settings.seed,
        advance=advance,
    )


def _curve(examined: Examined, order: str) -> Rows:
    shares, states = examined.settings.shares, examined.trained.removal_states
    advance = examined.meter.over(_chains(order) * len(shares) * len(states))
    points = _points(examined, order, states, advance, shares)
    return [{**examined.about, **{name: getattr(one, name) for name in _COLUMNS}} for one in points]


def _halves(states: NextStates) -> tuple[NextStates, NextStates]:
    """The first windows and the last: what a set is chosen on, and what it is checked on."""
    units = np.unique(states.unit)
    first = np.isin(states.unit, units[: len(units) // 2])
    return states.part(first), states.part(~first)


def _mask(store: RecordStore, examined: Examined) -> Rows:
    from lmscope.output_embedding.removal_mask import removable_set

    subject, settings = examined.trained, examined.settings
    chosen_on, checked_on = _halves(subject.removal_states)
    advance = examined.meter.over((len(settings.shares) + _ROUNDS * _SIZES_A_ROUND) * len(chosen_on))
    measured = partial(_points, examined, "least", chosen_on, advance)
    mask = removable_set(
        measured(settings.shares), js=settings.js, refine=measured, identity=examined.checkpoint.identity
    ).checked(subject.head, checked_on)
    other = mask.checked(subject.head, subject.other_removal_states) if subject.texts.other else None
    file = None
    if mask.removed:
        path = store.beside("mask", examined.record(), ".safetensors")
        mask.save(path)
        file = path.relative_to(path.parents[1]).as_posix()
    return [
        {
            **examined.about,
            "fill": mask.fill,
            "limit": mask.limit,
            "windows": len(np.unique(chosen_on.unit)),
            "share": mask.share,
            "dimensions_removed": mask.removed,
            "js": mask.js if mask.removed else None,
            "js_low": mask.js_low,
            "js_high": mask.js_high,
            "checked_js": mask.checked_js if mask.removed else None,
            "checked_low": mask.checked_low,
            "checked_high": mask.checked_high,
            "other_js": other.checked_js if other and other.removed else None,
            "other_low": other.checked_low if other else None,
            "other_high": other.checked_high if other else None,
            "file": file,
        }
    ]
