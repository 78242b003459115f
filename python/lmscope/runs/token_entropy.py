"""Entropies of a model's hidden states layer by layer, beside those of noise and of its untrained twin."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope.runs.progress import Reporter
from lmscope.runs.streaming import reason_of
from lmscope.runs.token_settings import TokenSettings

if TYPE_CHECKING:
    from lmscope.analyses.conditional_entropy import ConditionalEntropy
    from lmscope.analyses.representation_entropy import Entropy
    from lmscope.representations import LanguageModel, Passage
    from lmscope.representations.windows import Window

_GRAM_COPIES = 3
"""The Gram matrix of a stream, and what its eigenvalues take."""

_SHORTEST_END = 0.5
_FLOPS = 4e10


@dataclass
class _Layer:
    """One layer of one model: what all its tokens give together, and each passage by itself."""

    total: npt.NDArray[np.float64]
    tokens: int = 0
    passages: dict[tuple[int, int], Entropy] = field(default_factory=dict)
    pooled: Entropy | None = None
    problem: str = ""


def layer_bytes(model: LanguageModel) -> int:
    """Bytes that one layer takes while a text is read."""
    return _GRAM_COPIES * 8 * model.hidden_size**2


def forward_seconds(model: LanguageModel, tokens: int) -> float:
    """Estimate of one pass over so many tokens."""
    return 2 * model.parameters_without_embedding * tokens / _FLOPS


def passes(settings: TokenSettings) -> int:
    """How often a text is read: the mean comes first where rows are scaled after it is subtracted."""
    return 2 if settings.center and settings.normalize_rows else 1


def entropy_rows(
    model: LanguageModel,
    twin: LanguageModel | None,
    windows: Sequence[Window],
    layers: Sequence[int],
    settings: TokenSettings,
    conditional: ConditionalEntropy | None,
    reporter: Reporter,
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Layer by layer the record, or the reason why there is none; all `layers` are held at a time."""
    trained = _layers(model, windows, layers, settings, reporter)
    untrained = None if twin is None else _layers(twin, windows, layers, settings, reporter)
    about = {
        "checkpoint": model.label,
        "model_type": model.model_type,
        "parameters": model.parameters,
        "parameters_without_embedding": model.parameters_without_embedding,
        "layers": model.depth,
        "texts": len({window.text for window in windows}),
        "epsilon2": settings.epsilon2,
        "centered": settings.center,
        "rows_normalized": settings.normalize_rows,
        "special_tokens": settings.special,
        **_with_ends("conditional_entropy", conditional and (conditional.mean, conditional.low, conditional.high)),
    }
    for layer in layers:
        mine, theirs = trained[layer], None if untrained is None else untrained[layer]
        problem = mine.problem or (theirs.problem if theirs is not None else "")
        if problem:
            yield layer, problem
            continue
        try:
            columns = _columns(mine, theirs, settings)
        except Exception as error:
            yield layer, reason_of(error)
            continue
        final_norm = model.final_norm if layer == model.depth else None
        yield layer, {**about, "layer": layer, "final_norm": final_norm, **columns}


def _layers(
    model: LanguageModel,
    windows: Sequence[Window],
    layers: Sequence[int],
    settings: TokenSettings,
    reporter: Reporter,
) -> dict[int, _Layer]:
    """Read the windows once or twice; a layer with a problem takes no further part."""
    from lmscope.analyses.streaming_entropy import StreamingEntropy

    found = {layer: _Layer(np.zeros(model.hidden_size)) for layer in layers}
    arguments = _arguments(settings)
    twice = passes(settings) == 2
    streams: dict[int, StreamingEntropy] = {}
    if not twice:
        streams = {layer: StreamingEntropy(model.hidden_size, **arguments) for layer in layers}

    averaged = _averaged(windows)

    def first(layer: int, passage: Passage) -> None:
        states, one = passage.states[layer].cpu(), found[layer]
        if twice:
            one.total += states.double().sum(0).numpy()
        else:
            streams[layer].update(states)
        one.tokens += len(states)
        place = passage.text, passage.window
        if place in averaged and (entropy := _of_passage(states, arguments)):
            one.passages[place] = entropy

    _read(model, windows, found, settings, first, f"{model.label}, passages", reporter)
    if twice:
        for layer, one in found.items():
            if not one.problem:
                streams[layer] = StreamingEntropy(model.hidden_size, **arguments, mean=one.total / one.tokens)
        _read(
            model,
            windows,
            found,
            settings,
            lambda layer, passage: streams[layer].update(passage.states[layer].cpu()),
            f"{model.label}, all tokens",
            reporter,
        )
    for layer, one in found.items():
        if not one.problem:
            try:
                one.pooled = streams[layer].result()
            except ValueError as error:
                one.problem = reason_of(error)
    return found


def _read(
    model: LanguageModel,
    windows: Sequence[Window],
    found: dict[int, _Layer],
    settings: TokenSettings,
    take: Callable[[int, Passage], None],
    text: str,
    reporter: Reporter,
) -> None:
    """Hand every layer's states of every window to `take`; what goes wrong with a layer ends that layer."""
    from lmscope.representations.passages import capture_windows

    passages = capture_windows(
        model,
        windows,
        layers=[layer for layer, one in found.items() if not one.problem],
        special_tokens="drop" if settings.special == "drop" else "keep",
        nonfinite="keep",
    )
    for window in windows:
        reporter.begin(text, seconds=forward_seconds(model, len(window.ids)))
        passage = next(passages)
        for layer, one in found.items():
            if one.problem or not len(passage.ids):
                continue
            try:
                one.problem = passage.problems.get(layer, "")
                if not one.problem:
                    take(layer, passage)
            except ValueError as error:
                one.problem = f"text {passage.text}, window {passage.window}, layer {layer}: {reason_of(error)}"
        reporter.finish(text, read_bytes=0)


def _averaged(windows: Sequence[Window]) -> set[tuple[int, int]]:
    """All but the short ends of texts that were cut: entropy depends on the number of tokens."""
    whole = {window.text: len(window.ids) for window in windows if window.window == 0}
    return {
        (window.text, window.window)
        for window in windows
        if window.window == 0 or len(window.ids) >= _SHORTEST_END * whole[window.text]
    }


def _of_passage(states: Any, arguments: dict[str, Any]) -> Entropy | None:
    """None where a passage has none of its own, such as one token or equal ones; all tokens together may."""
    from lmscope.analyses.representation_entropy import representation_entropy

    try:
        return representation_entropy(states, **arguments)
    except ValueError:
        return None


def _arguments(settings: TokenSettings) -> dict[str, Any]:
    return {
        "epsilon2": settings.epsilon2,
        "center": settings.center,
        "normalize_rows": settings.normalize_rows,
    }


def _columns(mine: _Layer, theirs: _Layer | None, settings: TokenSettings) -> dict[str, Any]:
    """The columns that hold what was found."""
    from lmscope.analyses.iid_entropy import iid_entropy
    from lmscope.analyses.text_averages import average_entropies, diff_erank

    pooled, untrained = mine.pooled, None if theirs is None else theirs.pooled
    assert pooled is not None
    noise = iid_entropy(
        pooled.tokens,
        pooled.dimensions,
        **_arguments(settings),
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
        average = average_entropies(mine.passages.values())
        averages = average.normalized, average.normalized_low, average.normalized_high
        ranks = average.effective_rank, average.effective_rank_low, average.effective_rank_high
    both = [] if theirs is None else [one for one in mine.passages if one in theirs.passages]
    if theirs is not None and both:
        difference = diff_erank([mine.passages[one] for one in both], [theirs.passages[one] for one in both])
        differences = difference.difference, difference.low, difference.high
    return {
        **columns,
        **_with_ends("mean_normalized", averages),
        **_with_ends("mean_effective_rank", ranks),
        **_with_ends("mean_diff_erank", differences),
    }


def _with_ends(name: str, found: tuple[float, float, float] | None) -> dict[str, float | None]:
    """The value and its interval; null where there is none, as of one passage."""
    values = (None, None, None) if found is None else found
    return {
        key: None if value is None or math.isnan(value) else value
        for key, value in zip((name, f"{name}_low", f"{name}_high"), values, strict=True)
    }
