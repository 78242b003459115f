"""Sampled positions of a text: the tokens that each method selects, and what becomes of the next one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lmscope.runs.cost import forward_seconds
from lmscope.runs.progress import Reporter
from lmscope.runs.reading import Reading, snippet
from lmscope.runs.record_store import RecordStore
from lmscope.runs.streaming import reason_of
from lmscope.runs.token_settings import TokenSettings

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from lmscope.analyses.token_selection import Selections
    from lmscope.representations import LanguageModel, Passage
    from lmscope.representations.windows import Window

Rows = list[dict[str, Any]]

ANALYSES = ("passages", "positions", "selection")

_A_PASSAGE = 5
"""Positions of one passage: running the model on it costs more than another position does."""

_METHODS = 10
"""About as many, for the estimate of time."""


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


def write_passages(
    store: RecordStore, reading: Reading, settings: TokenSettings, reporter: Callable[[], Reporter]
) -> None:
    """Write the records of every sampled window that lacks one; of a window that fails, the reason."""
    samples = sample_positions(reading.windows, settings)
    names = [f"text {sample.window.text} window {sample.window.window}" for sample in samples]
    lacking = {name: [analysis for analysis in ANALYSES if not store.has(analysis, name)] for name in names}
    missing = [pair for pair in zip(names, samples, strict=True) if lacking[pair[0]]]
    tell = reporter()
    if len(missing) < len(samples):
        tell.stands(len(samples) - len(missing), of=len(samples), settings="selected tokens")
    if not missing:
        return
    seconds = {name: _seconds(reading, sample, settings) for name, sample in missing}
    failed: dict[str, str] = {}
    with tell:
        tell.start(matrices=len(missing), total_bytes=0, seconds=sum(seconds.values()), noun="passages")
        for name, sample in missing:
            text = f"selected tokens, {name}"
            tell.begin(text, seconds=seconds[name])
            try:
                found = _rows(reading, sample, settings)
            except ValueError as error:
                failed[name] = reason_of(error)
            else:
                for analysis in lacking[name]:
                    store.write(analysis, name, found[analysis])
            tell.finish(text, read_bytes=0)
    for analysis in ANALYSES:
        tried = [name for name, _ in missing if analysis in lacking[name]]
        # One reason each, not one a table.
        store.settle(analysis, tried, failed if analysis == "selection" else {})


def _rows(reading: Reading, sample: Sample, settings: TokenSettings) -> dict[str, Rows]:
    """Rows of each table. Raises ValueError where states are not finite."""
    from lmscope.analyses.selection_scores import score_selections
    from lmscope.analyses.token_selection import CURVES, METHODS, select_tokens

    model = reading.model
    passage, left_out = _passage(model, sample.window)
    states = passage.states[model.depth].cpu()
    block = model.depth - 1
    weights, norms = (_array(found.get(block)) for found in (passage.attention, passage.value_norms))
    lacking = {name for name in METHODS if name.startswith("attention") and weights is None}
    if weights is not None and norms is None:
        lacking = {"attention_value_norm"}
        left_out.append(f"{model.model_type} gives no value vectors: no attention times value norm")
    selections = select_tokens(
        states,
        np.array(sample.positions),
        ks=settings.ks,
        attention=weights,
        value_norms=norms,
        special=passage.special,
        seed=_seed(settings.seed, passage.text, passage.window),
        methods=[name for name in METHODS + CURVES if name not in lacking],
    )
    scores = score_selections(states, selections, ridge=settings.ridge)
    divergences = _divergences(model, passage, selections, settings, left_out)
    losses = reading.losses(sample.window) if model.kind == "causal" else None
    mean = None if weights is None else weights.mean(axis=0, dtype=np.float64)
    place = {"text": passage.text, "window": passage.window}
    positions: Rows = []
    selected: Rows = []
    for index, position in enumerate(sample.positions):
        shares = selections.sink_share
        positions.append(
            {
                **place,
                "position": position,
                "token": passage.tokens[position],
                "loss": None if losses is None else float(losses[position - 1]),
                "attention": None if mean is None else mean[position, : position + 1].tolist(),
                "sink_share": None if shares is None else float(shares[index]),
                "lasso_order": selections.lasso_order[index].tolist(),
                "lasso_alphas": selections.lasso_alphas[index].tolist(),
                "left_out": ". ".join(
                    f"{reason[0].upper()}{reason[1:]}"
                    for reason in (*left_out, selections.lasso_short[index])
                    if reason
                ),
            }
        )
        for method, sets in selections.sets.items():
            for column, k in enumerate(selections.ks):
                selected.append(
                    {
                        **place,
                        "position": position,
                        "method": method,
                        "k": k,
                        "selected": sets[index][k].tolist(),
                        "ridge_residual": float(scores.ridge_residual[method][index, column]),
                        "information_gain": float(scores.information_gain[method][index, column]),
                        "cosine": float(scores.cosine[method][index, column]),
                        **{
                            f"kl_{way}": divergences.get((way, method, index, k))
                            for way in ("last_layer", "all_layers", "deleted")
                        },
                    }
                )
    head = {
        **place,
        "start": passage.start,
        "snippet": snippet("".join(np.array(passage.tokens, dtype=object)[~passage.special])),
        "ids": passage.ids.tolist(),
        "tokens": list(passage.tokens),
        "special": passage.special.tolist(),
    }
    return {"passages": [head], "positions": positions, "selection": selected}


def _array(values: torch.Tensor | None) -> NDArray[np.float32] | None:
    return None if values is None else values.float().cpu().numpy()


def _passage(model: LanguageModel, window: Window) -> tuple[Passage, list[str]]:
    """The window with the last block's attention where the model gives it, and what it does not give."""
    from lmscope.representations import NoAttentionWeights
    from lmscope.representations.passages import capture_windows

    try:
        return next(capture_windows(model, [window], attention="last")), []
    except NoAttentionWeights as error:
        reason = str(error).removeprefix("attention: ")
        return next(capture_windows(model, [window])), [f"no selection by attention: {reason}"]


def _divergences(
    model: LanguageModel,
    passage: Passage,
    selections: Selections,
    settings: TokenSettings,
    left_out: list[str],
) -> dict[tuple[str, str, int, int], float]:
    """By way, method, index of the position and k, in nats; what cannot be had goes to `left_out`."""
    from lmscope.representations.kept_tokens import WAYS, KeptTokens

    if not settings.divergence:
        return {}
    if model.kind != "causal":
        left_out.append(f"no divergences: {model.model_type} is an encoder and predicts no next token")
        return {}
    kept = KeptTokens(model, passage.ids, special=passage.special)
    at = selections.positions.tolist()
    found: dict[tuple[str, str, int, int], float] = {}
    refused: dict[str, list[str]] = {}
    for way in WAYS:
        asked = [
            (method, k)
            for method in selections.sets
            # Nearly the whole prompt again for every k; of all tokens it is 0.
            if method != "all" and not (way == "deleted" and method == "all_but_lasso")
            for k in selections.ks
        ]
        sets = [[selections.sets[method][index][k] for method, k in asked] for index in range(len(at))]
        try:
            values = kept.divergences(at, sets, way)
        except ValueError as error:
            reason = reason_of(error).removesuffix('; way="deleted" works')
            refused.setdefault(reason, []).append(f"kl_{way}")
            continue
        for index, of_position in enumerate(values):
            for (method, k), value in zip(asked, of_position, strict=True):
                found[way, method, index, k] = float(value)
    left_out += [f"no {' and no '.join(columns)}: {reason}" for reason, columns in refused.items()]
    return found


def _seed(seed: int, text: int, window: int) -> int:
    """Of one passage, so that equal positions of two draw differently."""
    return int(np.random.SeedSequence([seed, text, window]).generate_state(1)[0])


def _seconds(reading: Reading, sample: Sample, settings: TokenSettings) -> float:
    """The passage three times, and the prompts of the selected tokens."""
    whole = forward_seconds(reading.model, len(sample.window.ids))
    if not settings.divergence or reading.model.kind != "causal":
        return whole
    prompts = len(sample.positions) * _METHODS * sum(k + 3 for k in settings.ks)
    return whole * (3 + prompts / len(sample.window.ids))
