"""Entropies of a model's hidden states layer by layer, beside those of noise and of its untrained twin."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope.free_memory import free_memory
from lmscope.runs.cost import forward_seconds
from lmscope.runs.progress import Reporter, format_bytes
from lmscope.runs.reading import Reading
from lmscope.runs.record_store import RecordStore
from lmscope.runs.streaming import reason_of
from lmscope.runs.token_layers import MODELS, LayerEntropies, Stages
from lmscope.runs.token_passes import entropy_arguments, first_pass, passes_left, second_pass
from lmscope.runs.token_settings import TokenSettings

if TYPE_CHECKING:
    from lmscope.representations import LanguageModel

_LOG = logging.getLogger(__name__)

_GRAM_COPIES = 3
"""The Gram matrix of a stream, and what its eigenvalues take."""


def write_entropies(
    store: RecordStore, reading: Reading, settings: TokenSettings, reporter: Callable[[], Reporter]
) -> None:
    """Write the record of every wanted layer that has none."""
    model = reading.model
    wanted = _wanted(model, settings)
    names = {layer: f"{reading.checkpoint.identity} layer {layer}" for layer in wanted}
    missing = [layer for layer in wanted if not store.has("entropy", names[layer])]
    tell = reporter()
    if len(missing) < len(wanted):
        tell.stands(len(wanted) - len(missing), of=len(wanted), settings=f"entropy of {reading.label}")
    told = {layer: f"{reading.label}, layer {layer}" for layer in wanted}
    if not missing:
        store.settle("entropy", told.values(), {})
        return
    rounds = _rounds(missing, model)
    twins = (model, model.untrained(settings.seed)) if settings.untrained else (model,)
    causal = model.kind == "causal"
    stages = Stages(store, reading)
    if causal:
        reading.take_losses_by_place(stages.losses())
    standing = [
        {layer: stages.layer(name, layer, model.hidden_size) for layer in missing}
        for name, _ in zip(MODELS, twins, strict=False)
    ]
    readings = sum(
        passes_left([of_twin[layer] for layer in layers], settings)
        for layers in rounds
        for of_twin in standing
    )
    seconds = readings * sum(forward_seconds(model, len(window.ids)) for window in reading.windows)
    of_losses = f"{reading.label}, conditional entropy"
    failed: dict[str, str] = {}
    with tell:
        count = len(reading.windows)
        noun = "windows" if readings == 1 else f"windows ({count}, read {readings} times)"
        tell.start(matrices=readings * count, total_bytes=0, seconds=seconds, noun=noun)
        about: dict[str, Any] = {}
        for layers in rounds:
            found = []
            for name, one, of_twin in zip(MODELS, twins, standing, strict=False):
                of_round = {layer: of_twin[layer] for layer in layers}
                own = reading if causal and one is model and not about else None
                first_pass(one, reading.windows, of_round, settings, tell, own)
                stages.keep(name, of_round)
                if own is not None:
                    stages.keep_losses(own.losses_by_place())
                if second_pass(one, reading.windows, of_round, settings, tell):
                    stages.keep(name, of_round)
                found.append(of_round)
            if not about:
                losses = None
                if causal:
                    try:
                        losses = _conditional(reading)
                    except ValueError as error:
                        failed[of_losses] = reason_of(error)
                about = {**_about(reading, settings), **_with_ends("conditional_entropy", losses)}
            for layer in layers:
                row = _row(about, layer, [one[layer] for one in found], model, settings)
                if isinstance(row, str):
                    failed[told[layer]] = row
                else:
                    store.write("entropy", names[layer], [row])
                    stages.drop(layer)
    stages.keep_losses(None)
    store.settle("entropy", [of_losses, *(told[layer] for layer in missing)], failed)


def _wanted(model: LanguageModel, settings: TokenSettings) -> list[int]:
    if settings.layers is None:
        return list(range(model.depth + 1))
    return sorted({layer for layer in settings.layers if layer <= model.depth} | {model.depth})


def _rounds(layers: Sequence[int], model: LanguageModel) -> list[Sequence[int]]:
    """As many layers at a time as half of the free memory holds."""
    a_layer = _GRAM_COPIES * 8 * model.hidden_size**2
    at_once = max(1, free_memory() // 2 // a_layer)
    if at_once < len(layers):
        _LOG.warning(
            f"{model.label}: {len(layers)} layers take {format_bytes(a_layer * len(layers))}, more than half "
            f"of the free memory: the text is read again for every {at_once} of them"
        )
    return [layers[start : start + at_once] for start in range(0, len(layers), at_once)]


def _about(reading: Reading, settings: TokenSettings) -> dict[str, Any]:
    """The columns that all layers share."""
    model = reading.model
    return {
        "checkpoint": reading.label,
        "identity": reading.checkpoint.identity,
        "model_type": model.model_type,
        "parameters": model.parameters,
        "parameters_without_embedding": model.parameters_without_embedding,
        "layers": model.depth,
        "texts": len(reading.texts),
        "epsilon2": settings.epsilon2,
        "centered": settings.center,
        "rows_normalized": settings.normalize_rows,
        "special_tokens": settings.special,
    }


def _conditional(reading: Reading) -> tuple[float, float, float] | None:
    """Mean loss with its interval over texts, or windows of a single text; None without a loss.

    The first pass has made the losses; where it could not, the reason is raised here.
    """
    from lmscope.analyses.conditional_entropy import conditional_entropy

    losses: list[npt.NDArray[np.float64]] = []
    of_texts: dict[int, list[npt.NDArray[np.float64]]] = {}
    for window in reading.windows:
        own = reading.own_losses(window)
        if len(own):
            losses.append(own)
            of_texts.setdefault(window.text, []).append(own)
    if not losses:
        return None
    found = conditional_entropy(map(np.concatenate, of_texts.values()) if len(of_texts) > 1 else losses)
    return found.mean, found.low, found.high


def _row(
    about: Mapping[str, Any],
    layer: int,
    found: Sequence[LayerEntropies],
    model: LanguageModel,
    settings: TokenSettings,
) -> dict[str, Any] | str:
    """The record of a layer, or why there is none; `found` is the model's, then its twin's."""
    problem = next((one.problem for one in found if one.problem), "")
    if problem:
        return problem
    try:
        columns = _columns(found[0], found[1] if len(found) > 1 else None, settings)
    except ValueError as error:
        return reason_of(error)
    return {
        **about,
        "layer": layer,
        "final_norm": model.final_norm if layer == model.depth else None,
        **columns,
    }


def _columns(mine: LayerEntropies, theirs: LayerEntropies | None, settings: TokenSettings) -> dict[str, Any]:
    """The columns that hold what was found."""
    from lmscope.analyses.iid_entropy import iid_entropy
    from lmscope.analyses.text_averages import average_entropies, diff_erank

    pooled, untrained = mine.pooled, None if theirs is None else theirs.pooled
    assert pooled is not None
    noise = iid_entropy(
        pooled.tokens,
        pooled.dimensions,
        **entropy_arguments(settings),
        mean_square_norm=1.0 if settings.normalize_rows else pooled.mean_square_norm,
        seed=settings.seed,
    )
    columns: dict[str, Any] = {
        "passages": len(mine.passages),
        "tokens": pooled.tokens,
        "dimensions": pooled.dimensions,
        "normalized": pooled.normalized,
        "coding_length": pooled.coding_length,
        "matrix_entropy": pooled.matrix_entropy,
        "effective_rank": pooled.effective_rank,
        "directions": pooled.directions,
        "cap": pooled.cap,
        "iid_normalized": noise.normalized,
        "iid_effective_rank": noise.effective_rank,
        "untrained_normalized": untrained and untrained.normalized,
        "untrained_effective_rank": untrained and untrained.effective_rank,
        "diff_erank": untrained and untrained.effective_rank - pooled.effective_rank,
    }
    averages, ranks, differences = None, None, None
    if mine.passages:
        average = average_entropies(mine.passages.values(), texts=_texts(mine.passages))
        averages = average.normalized, average.normalized_low, average.normalized_high
        ranks = average.effective_rank, average.effective_rank_low, average.effective_rank_high
    both = [] if theirs is None else [one for one in mine.passages if one in theirs.passages]
    if theirs is not None and both:
        pair = ([side.passages[one] for one in both] for side in (mine, theirs))
        difference = diff_erank(*pair, texts=_texts(both))
        differences = difference.difference, difference.low, difference.high
    return {
        **columns,
        **_with_ends("mean_normalized", averages),
        **_with_ends("mean_effective_rank", ranks),
        **_with_ends("mean_diff_erank", differences),
    }


def _texts(passages: Iterable[tuple[int, int]]) -> list[int] | None:
    """The text of each, as windows of one are no independent sample; None where all are of one text."""
    texts = [text for text, _ in passages]
    return texts if len(set(texts)) > 1 else None


def _with_ends(name: str, found: tuple[float, float, float] | None) -> dict[str, float | None]:
    """The value and its interval; null where there is none, as of one passage."""
    values = (None, None, None) if found is None else found
    return {
        key: None if value is None or math.isnan(value) else value
        for key, value in zip((name, f"{name}_low", f"{name}_high"), values, strict=True)
    }
