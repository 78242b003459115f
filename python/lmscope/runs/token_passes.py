"""Passes of a model over the text, which feed the entropies of its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope.runs.cost import forward_seconds
from lmscope.runs.progress import Reporter
from lmscope.runs.reading import Reading
from lmscope.runs.streaming import reason_of
from lmscope.runs.token_layers import LayerEntropies
from lmscope.runs.token_settings import TokenSettings

if TYPE_CHECKING:
    import torch

    from lmscope.analyses.representation_entropy import Entropy
    from lmscope.analyses.streaming_entropy import StreamingEntropy
    from lmscope.representations import LanguageModel, Passage
    from lmscope.representations.windows import Window

_SHORTEST_END = 0.5


def _passes(settings: TokenSettings) -> int:
    """The mean comes first where rows are scaled after it is subtracted."""
    return 2 if settings.center and settings.normalize_rows else 1


def passes_left(found: Sequence[LayerEntropies], settings: TokenSettings) -> int:
    """How often the windows are still read for these layers of one model."""
    twice = _passes(settings) == 2
    return any(not one.mean_known for one in found) + (twice and any(one.pooled is None for one in found))


def first_pass(
    model: LanguageModel,
    windows: Sequence[Window],
    layers: Mapping[int, LayerEntropies],
    settings: TokenSettings,
    reporter: Reporter,
    reading: Reading | None,
) -> None:
    """Each passage by itself, and the mean of all tokens; where that is not needed, their entropy already.

    Layers that have been through it take no part. `reading` takes the losses.
    """
    from lmscope.analyses.streaming_entropy import StreamingEntropy

    found = {layer: one for layer, one in layers.items() if not one.mean_known}
    if not found:
        return
    arguments = entropy_arguments(settings)
    streams: dict[int, StreamingEntropy] = {}
    if _passes(settings) == 1:
        streams = {layer: StreamingEntropy(model.hidden_size, **arguments) for layer in found}
    averaged = _averaged(windows)

    def take(layer: int, passage: Passage, states: torch.Tensor) -> None:
        one = found[layer]
        if streams:
            streams[layer].update(states)
        else:
            one.total += states.double().sum(0).numpy()
        one.tokens += len(states)
        place = passage.text, passage.window
        if place in averaged and (entropy := _of_passage(states, arguments)):
            one.passages[place] = entropy

    _read(model, windows, found, settings, take, f"{model.label}, passages", reporter, reading)
    for layer, one in found.items():
        one.mean_known = True
        if streams:
            _finish(one, streams[layer])


def second_pass(
    model: LanguageModel,
    windows: Sequence[Window],
    layers: Mapping[int, LayerEntropies],
    settings: TokenSettings,
    reporter: Reporter,
) -> bool:
    """The entropy of all tokens about their mean, of layers that lack it; whether there were any."""
    from lmscope.analyses.streaming_entropy import StreamingEntropy

    found = {layer: one for layer, one in layers.items() if not one.problem and one.pooled is None}
    if not found:
        return False
    streams = {
        layer: StreamingEntropy(model.hidden_size, **entropy_arguments(settings), mean=one.total / one.tokens)
        for layer, one in found.items()
    }

    def take(layer: int, _: Passage, states: torch.Tensor) -> None:
        streams[layer].update(states)

    _read(model, windows, found, settings, take, f"{model.label}, all tokens", reporter)
    for layer, one in found.items():
        _finish(one, streams[layer])
    return True


def _finish(layer: LayerEntropies, stream: StreamingEntropy) -> None:
    if not layer.problem:
        try:
            layer.pooled = stream.result()
        except ValueError as error:
            layer.problem = reason_of(error)


def _read(
    model: LanguageModel,
    windows: Sequence[Window],
    found: Mapping[int, LayerEntropies],
    settings: TokenSettings,
    take: Callable[[int, Passage, torch.Tensor], None],
    text: str,
    reporter: Reporter,
    reading: Reading | None = None,
) -> None:
    """Hand every layer's states of every window to `take`; what goes wrong with a layer ends that layer.

    `reading` takes the losses from the last layer, until it cannot.
    """
    from lmscope.representations.passages import capture_windows

    going_on = {layer: one for layer, one in found.items() if not one.problem}
    # The losses need special tokens as well.
    passages = capture_windows(
        model,
        windows,
        layers=[*going_on, *([] if reading is None else [model.depth])],
        special_tokens="keep",
        nonfinite="keep",
    )
    for window in windows:
        reporter.begin(text, seconds=forward_seconds(model, len(window.ids)))
        going_on = {layer: one for layer, one in found.items() if not one.problem}
        try:
            passage = next(passages) if going_on or reading else None
        except ValueError as error:
            passage = reading = None
            for one in going_on.values():
                one.problem = reason_of(error)
        if passage is not None:
            if reading is not None and not _take_losses(reading, window, passage.states[model.depth]):
                reading = None
            drop = settings.special == "drop"
            own = np.flatnonzero(~passage.special) if drop else np.arange(len(passage.ids))
            for layer, one in going_on.items():
                if len(own):
                    one.problem = _problem(take, layer, passage, own, model)
        reporter.finish(text, read_bytes=0)


def _take_losses(reading: Reading, window: Window, states: torch.Tensor) -> bool:
    """Whether there are any; where not, `_conditional` meets the same error and tells it."""
    try:
        reading.take_losses(window, states)
    except ValueError:
        return False
    return True


def _problem(
    take: Callable[[int, Passage, torch.Tensor], None],
    layer: int,
    passage: Passage,
    own: npt.NDArray[np.int64],
    model: LanguageModel,
) -> str:
    place = f"text {passage.text}, window {passage.window}"
    states = passage.states[layer][own].cpu()
    finite = states.isfinite().all(dim=1)
    if not finite.all():
        token = int(own[int((~finite).int().argmax())])
        where = f"{place}, token {token} ({passage.tokens[token]!r}), layer {layer} of {model.label}"
        return f"{where}: hidden states are not finite"
    try:
        take(layer, passage, states)
    except ValueError as error:
        return f"{place}, layer {layer}: {reason_of(error)}"
    return ""


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


def entropy_arguments(settings: TokenSettings) -> dict[str, Any]:
    return {
        "epsilon2": settings.epsilon2,
        "center": settings.center,
        "normalize_rows": settings.normalize_rows,
    }
