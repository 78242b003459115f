"""Sampled positions of a text: the tokens that each method selects, and what becomes of the next one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope.runs.token_settings import TokenSettings

if TYPE_CHECKING:
    from lmscope.representations import LanguageModel, Passage
    from lmscope.representations.windows import Window

Rows = list[dict[str, Any]]
Sets = dict[tuple[str, int], npt.NDArray[np.int64]]

_A_PASSAGE = 5
"""Positions of one passage: running the model on it costs more than another position does."""

_SNIPPET = 80
_LEFT_WHOLE = "all_but_lasso"


@dataclass(frozen=True)
class Sample:
    """A window and the positions in it, ascending."""

    window: Window
    positions: tuple[int, ...]


def sample_positions(windows: Sequence[Window], settings: TokenSettings) -> list[Sample]:
    """Seeded positions of tokens that are not special and have enough before them, spread over windows.

    Fewer than asked for where the windows have fewer.
    """
    generator = np.random.default_rng(settings.seed)
    candidates = [np.flatnonzero(~window.special[settings.min_context :]) for window in windows]
    order = [int(index) for index in generator.permutation(len(windows)) if len(candidates[index])]
    at_least = math.ceil(settings.positions / _A_PASSAGE)
    room = np.cumsum([len(candidates[index]) for index in order])
    taken = order[: max(at_least, int(np.searchsorted(room, settings.positions)) + 1)]
    shares = dict.fromkeys(taken, 0)
    left = min(settings.positions, sum(len(candidates[index]) for index in taken))
    while left:
        for index in taken:
            if left and shares[index] < len(candidates[index]):
                shares[index] += 1
                left -= 1
    return [
        Sample(windows[index], tuple(int(place) + settings.min_context for place in sorted(places)))
        for index in sorted(taken)
        if len(places := generator.choice(candidates[index], shares[index], replace=False))
    ]


def passage_rows(
    model: LanguageModel,
    sample: Sample,
    settings: TokenSettings,
    losses: Callable[[Window], npt.NDArray[np.float64]],
) -> tuple[dict[str, Any], Rows, Rows]:
    """Rows of the tables passages, positions and selection.

    `losses` gives those of a window's tokens from the second on. Raises ValueError where states are not finite.
    """
    passage, left_out = _passage(model, sample.window)
    states = passage.states[model.depth].float().cpu().numpy()
    place = {"text": passage.text, "window": passage.window}
    sets, scores = _select(passage, states, sample.positions, settings)
    divergences, reasons = _divergences(model, passage, sample.positions, sets, settings)
    left_out += reasons
    window_losses = losses(sample.window) if model.kind == "causal" else None
    orders = _lasso_orders(states, passage.special, sample.positions, settings.steps)
    attention = _mean_attention(passage)
    positions: Rows = []
    selection: Rows = []
    for index, position in enumerate(sample.positions):
        weights = None if attention is None else attention[position, : position + 1]
        positions.append(
            {
                **place,
                "position": position,
                "token": passage.tokens[position],
                "loss": None if window_losses is None else float(window_losses[position - 1]),
                "attention": None if weights is None else weights.tolist(),
                "sink_share": None if weights is None else _sink_share(passage, attention, weights),
                "lasso_order": orders[index][0],
                "lasso_alphas": orders[index][1],
                "left_out": "; ".join(left_out),
            }
        )
        for (method, k), chosen in sets[index].items():
            selection.append(
                {
                    **place,
                    "position": position,
                    "method": method,
                    "k": k,
                    "selected": chosen.tolist(),
                    **scores[index][method, k],
                    **{f"kl_{way}": found[index].get((method, k)) for way, found in divergences.items()},
                }
            )
    head = {
        **place,
        "start": passage.start,
        "snippet": snippet("".join(passage.tokens[i] for i in np.flatnonzero(~passage.special)[:_SNIPPET])),
        "ids": passage.ids.tolist(),
        "tokens": list(passage.tokens),
        "special": passage.special.tolist(),
    }
    return head, positions, selection


def snippet(text: str) -> str:
    """Its beginning on one line."""
    return " ".join(text[: 4 * _SNIPPET].split())[:_SNIPPET]
