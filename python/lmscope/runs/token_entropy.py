"""Entropies of a model's hidden states layer by layer, beside those of noise and of its untrained twin."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope.runs.memory import free_memory
from lmscope.runs.progress import Reporter, SilentReporter, format_bytes
from lmscope.runs.streaming import reason_of
from lmscope.runs.token_reading import Reading
from lmscope.runs.token_settings import TokenSettings
from lmscope.runs.token_store import TokenStore

if TYPE_CHECKING:
    import torch

    from lmscope.analyses.representation_entropy import Entropy
    from lmscope.analyses.streaming_entropy import StreamingEntropy
    from lmscope.representations import LanguageModel, Passage
    from lmscope.representations.windows import Window

_LOG = logging.getLogger(__name__)

_GRAM_COPIES = 3
"""The Gram matrix of a stream, and what its eigenvalues take."""

_MODELS = ("model", "untrained twin")

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
    mean_known: bool = False

    def content(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "total": self.total.tolist(),
            "tokens": self.tokens,
            "passages": [[*place, asdict(entropy)] for place, entropy in self.passages.items()],
            "pooled": self.pooled and asdict(self.pooled),
        }

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> _Layer:
        passages = {(text, window): _entropy(kept) for text, window, kept in content["passages"]}
        pooled = content["pooled"] and _entropy(content["pooled"])
        return cls(np.array(content["total"]), content["tokens"], passages, pooled, mean_known=True)


def _entropy(kept: Mapping[str, Any]) -> Entropy:
    from lmscope.analyses.representation_entropy import Entropy, EntropySettings

    return Entropy(**{**kept, "settings": EntropySettings(*kept["settings"])})


class _Stages:
    """What each pass over the text found, in files until the records are written: a kill loses one pass."""

    def __init__(self, store: TokenStore, reading: Reading) -> None:
        self._store = store
        self._of = reading.checkpoint.identity

    def layer(self, model: str, layer: int, dimensions: int) -> _Layer:
        content = self._store.stage("entropy", self._name(model, layer))
        return _Layer.of(content) if content else _Layer(np.zeros(dimensions))

    def keep(self, model: str, found: Mapping[int, _Layer]) -> None:
        for layer, one in found.items():
            if not one.problem:
                self._store.keep_stage("entropy", self._name(model, layer), one.content())

    def drop(self, layer: int) -> None:
        for model in _MODELS:
            self._store.keep_stage("entropy", self._name(model, layer), None)

    def losses(self) -> dict[str, Any]:
        return self._store.stage("entropy", f"{self._of} losses")

    def keep_losses(self, losses: Mapping[str, Any] | None) -> None:
        self._store.keep_stage("entropy", f"{self._of} losses", losses)

    def _name(self, model: str, layer: int) -> str:
        return f"{self._of} layer {layer} of the {model}"


def write_entropies(
    store: TokenStore, reading: Reading, settings: TokenSettings, reporter: Callable[[], Reporter]
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
    stages = _Stages(store, reading)
    if causal:
        reading.take_losses_by_place(stages.losses())
    standing = [
        {layer: stages.layer(name, layer, model.hidden_size) for layer in missing}
        for name, _ in zip(_MODELS, twins, strict=False)
    ]
    readings = sum(
        _passes_left([of_twin[layer] for layer in layers], settings)
        for layers in rounds
        for of_twin in standing
    )
    seconds = readings * sum(forward_seconds(model, window) for window in reading.windows)
    of_losses = f"{reading.label}, conditional entropy"
    failed: dict[str, str] = {}
    with tell:
        count = len(reading.windows)
        noun = "windows" if readings == 1 else f"windows ({count}, read {readings} times)"
        tell.start(matrices=readings * count, total_bytes=0, seconds=seconds, noun=noun)
        about: dict[str, Any] = {}
        for layers in rounds:
            found = []
            for name, one, of_twin in zip(_MODELS, twins, standing, strict=False):
                of_round = {layer: of_twin[layer] for layer in layers}
                own = reading if causal and one is model and not about else None
                _first_pass(one, reading.windows, of_round, settings, tell, own)
                stages.keep(name, of_round)
                if own is not None:
                    stages.keep_losses(own.losses_by_place())
                if _second_pass(one, reading.windows, of_round, settings, tell):
                    stages.keep(name, of_round)
                found.append(of_round)
            if not about:
                losses = None
                if causal:
                    try:
                        # Made in the first pass already, but for those that cannot be made.
                        losses = _conditional(reading, SilentReporter())
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


def _passes(settings: TokenSettings) -> int:
    """The mean comes first where rows are scaled after it is subtracted."""
    return 2 if settings.center and settings.normalize_rows else 1


def _passes_left(found: Sequence[_Layer], settings: TokenSettings) -> int:
    """How often the windows are still read for these layers of one model."""
    twice = _passes(settings) == 2
    return any(not one.mean_known for one in found) + (twice and any(one.pooled is None for one in found))


def forward_seconds(model: LanguageModel, window: Window) -> float:
    """Estimate of one pass over a window."""
    return 2 * model.parameters_without_embedding * len(window.ids) / _FLOPS


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


def _conditional(reading: Reading, reporter: Reporter) -> tuple[float, float, float] | None:
    """Mean loss with its interval over texts, or windows of a single text; None without a loss."""
    from lmscope.analyses.conditional_entropy import conditional_entropy

    text = f"{reading.label}, losses"
    losses: list[npt.NDArray[np.float64]] = []
    of_texts: dict[int, list[npt.NDArray[np.float64]]] = {}
    for window in reading.windows:
        reporter.begin(text, seconds=forward_seconds(reading.model, window))
        own = reading.own_losses(window)
        if len(own):
            losses.append(own)
            of_texts.setdefault(window.text, []).append(own)
        reporter.finish(text, read_bytes=0)
    if not losses:
        return None
    found = conditional_entropy(map(np.concatenate, of_texts.values()) if len(of_texts) > 1 else losses)
    return found.mean, found.low, found.high


def _row(
    about: Mapping[str, Any],
    layer: int,
    found: Sequence[_Layer],
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


def _first_pass(
    model: LanguageModel,
    windows: Sequence[Window],
    layers: Mapping[int, _Layer],
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
    arguments = _arguments(settings)
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


def _second_pass(
    model: LanguageModel,
    windows: Sequence[Window],
    layers: Mapping[int, _Layer],
    settings: TokenSettings,
    reporter: Reporter,
) -> bool:
    """The entropy of all tokens about their mean, of layers that lack it; whether there were any."""
    from lmscope.analyses.streaming_entropy import StreamingEntropy

    found = {layer: one for layer, one in layers.items() if not one.problem and one.pooled is None}
    if not found:
        return False
    streams = {
        layer: StreamingEntropy(model.hidden_size, **_arguments(settings), mean=one.total / one.tokens)
        for layer, one in found.items()
    }

    def take(layer: int, _: Passage, states: torch.Tensor) -> None:
        streams[layer].update(states)

    _read(model, windows, found, settings, take, f"{model.label}, all tokens", reporter)
    for layer, one in found.items():
        _finish(one, streams[layer])
    return True


def _finish(layer: _Layer, stream: StreamingEntropy) -> None:
    if not layer.problem:
        try:
            layer.pooled = stream.result()
        except ValueError as error:
            layer.problem = reason_of(error)


def _read(
    model: LanguageModel,
    windows: Sequence[Window],
    found: Mapping[int, _Layer],
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
        reporter.begin(text, seconds=forward_seconds(model, window))
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
