"""Runs a model on texts and hands out hidden states window by window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.representations.attention import AttentionRecorder
from lmscope.representations.language_model import LanguageModel
from lmscope.representations.texts import TextError, texts_of
from lmscope.representations.windows import Window, cut, whole_number, window_size

if TYPE_CHECKING:
    import torch

__all__ = ["Passage", "StatesError", "capture", "capture_windows"]

# Windows shorter than this share of the longest one go into a forward pass of their own.
_SHORTEST = 0.75


class StatesError(ValueError):
    """Hidden states are not finite, or all zero; the message names text, window, token and layer."""


@dataclass(frozen=True, repr=False, eq=False)
class Passage:
    """One window of one text, as the model saw it, without padding.

    ``text`` and ``window`` count from 0, ``windows`` is how many the text was cut into, ``start`` the number
    of the text's own tokens before this window. ``ids`` (int64), ``tokens`` (as a reader would see them) and
    ``special`` (bool) have one entry per token. ``states[layer]`` is a torch tensor, tokens x hidden size, in
    the model's dtype and on its device; ``attention[block]`` heads x queries x keys, and
    ``value_norms[block]`` heads x keys in float32: the norm of the value vector that a head gets from a key.
    ``final_norm_applied``: the last layer is among ``states``, and has passed the model's final norm.
    ``problems[layer]`` says what is wrong with a layer's states, where ``capture(nonfinite="keep")``.
    """

    text: int
    window: int
    windows: int
    start: int
    ids: npt.NDArray[np.int64]
    tokens: list[str]
    special: npt.NDArray[np.bool_]
    states: dict[int, torch.Tensor]
    attention: dict[int, torch.Tensor]
    value_norms: dict[int, torch.Tensor]
    final_norm_applied: bool
    problems: dict[int, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        layers = ", ".join(map(str, self.states)) or "none"
        return (
            f"Passage(text {self.text}, window {self.window} of {self.windows}, {len(self.ids)} tokens, "
            f"layers {layers})"
        )

    def _repr_html_(self) -> str:
        facts = [
            ("tokens", len(self.ids)),
            ("layers", ", ".join(map(str, self.states)) or "none"),
            ("attention of blocks", ", ".join(map(str, self.attention)) or "none"),
            ("begins", "".join(self.tokens[:40])),
        ]
        return html_repr.block(
            f"Text {self.text}, window {self.window} of {self.windows}",
            html_repr.facts(facts),
            *map(html_repr.line, self.problems.values()),
        )


def capture(
    model: LanguageModel,
    texts: Iterable[str | Mapping[str, Any]],
    *,
    layers: Literal["last", "all"] | int | Iterable[int] = "last",
    special_tokens: Literal["keep", "drop"] = "keep",
    window: int | None = None,
    batch_tokens: int = 4096,
    attention: Literal["last", "all"] | int | Iterable[int] | None = None,
    text_column: str = "text",
    nonfinite: Literal["raise", "keep"] = "raise",
) -> Iterator[Passage]:
    """Hidden states of texts, one :class:`Passage` per window, in the order of the texts.

    ``texts`` are strings, or mappings that hold one under ``text_column``, as a data set's rows are; any
    iterable will do, it is read as far as the batch at hand needs. ``layers`` are numbered as transformers'
    ``hidden_states``: 0 the embeddings, i behind block i; the last one is behind the final norm where the
    model has one (``model.final_norm``). A text longer than ``window`` tokens (None: the model's context, at
    most 512) is cut into consecutive windows, each with the tokenizer's special tokens around it and seen by
    the model alone. ``special_tokens="drop"`` leaves the special tokens out of what is handed over; the model
    has seen them. ``attention`` are blocks, numbered from 0, or ``"last"`` or ``"all"``; they compute by the
    model's eager attention, which may round otherwise than the one that the other blocks use.

    At most ``batch_tokens`` tokens' states, or one window's, are held at a time, besides those of all layers
    while a forward pass runs; windows of similar length share one, padded on the right and masked. While
    iterating, a model serves one thread. Consumers that keep no passage keep memory flat.

    Raises at the call ValueError or TypeError for a wrong argument, and NoAttentionWeights where a wanted
    block has none, or none that belong to the model's states;
    while iterating TextError for a text without tokens of its own, and StatesError for states that are not
    finite (``nonfinite="keep"`` hands them over, with ``Passage.problems``) or a layer of nothing but zeros,
    as weights that were offloaded give.
    """
    if isinstance(texts, (str, Mapping)):
        raise TypeError("texts: one text was given; give a list of texts")
    windows = cut(model, texts_of(texts, text_column), window_size(model, window))
    return capture_windows(
        model,
        windows,
        layers=layers,
        special_tokens=special_tokens,
        batch_tokens=batch_tokens,
        attention=attention,
        nonfinite=nonfinite,
    )


def capture_windows(
    model: LanguageModel,
    windows: Iterable[Window],
    *,
    layers: Literal["last", "all"] | int | Iterable[int] = "last",
    special_tokens: Literal["keep", "drop"] = "keep",
    batch_tokens: int = 4096,
    attention: Literal["last", "all"] | int | Iterable[int] | None = None,
    nonfinite: Literal["raise", "keep"] = "raise",
) -> Iterator[Passage]:
    """:func:`capture` of windows that :func:`cut` made: all of them, or some."""
    if special_tokens not in ("keep", "drop"):
        raise ValueError(f"special_tokens: {special_tokens!r} is neither 'keep' nor 'drop'")
    if nonfinite not in ("raise", "keep"):
        raise ValueError(f"nonfinite: {nonfinite!r} is neither 'raise' nor 'keep'")
    if whole_number("batch_tokens", batch_tokens) < 1:
        raise ValueError(f"batch_tokens: {batch_tokens} is less than 1")
    wanted = _numbers("layers", layers, model.depth, model.depth + 1)
    blocks = _numbers("attention", () if attention is None else attention, model.depth - 1, model.depth)
    forward = _Forward(model, wanted, blocks, special_tokens == "drop")
    return _passages(forward, iter(windows), batch_tokens, keep_nonfinite=nonfinite == "keep")


def _numbers(name: str, chosen: str | int | Iterable[int], last: int, count: int) -> tuple[int, ...]:
    if isinstance(chosen, str):
        if chosen == "last":
            return (last,)
        if chosen == "all":
            return tuple(range(count))
        raise ValueError(f"{name}: {chosen!r} is neither 'last' nor 'all', nor a number")
    given = tuple(chosen) if isinstance(chosen, Iterable) else (chosen,)
    numbers = [whole_number(name, number) for number in given]
    for number in numbers:
        if not 0 <= number < count:
            raise ValueError(f"{name}: {number} is not between 0 and {count - 1}")
    return tuple(sorted(set(numbers)))


def _passages(
    forward: _Forward, windows: Iterator[Window], batch_tokens: int, *, keep_nonfinite: bool
) -> Iterator[Passage]:
    for batch in _batches(windows, batch_tokens):
        done: dict[int, Passage] = {}
        for rows in _similar_lengths(batch):
            done.update(zip(rows, forward([batch[row] for row in rows]), strict=True))
        # Popped, so that what the consumer drops is free before the next batch is run.
        for row in range(len(batch)):
            passage = done.pop(row)
            if passage.problems and not keep_nonfinite:
                raise StatesError(next(iter(passage.problems.values())))
            yield passage
            del passage


def _batches(windows: Iterator[Window], batch_tokens: int) -> Iterator[list[Window]]:
    """Consecutive windows of at most ``batch_tokens`` tokens together, or a single one."""
    batch: list[Window] = []
    tokens = 0
    for window in windows:
        if batch and tokens + len(window.ids) > batch_tokens:
            yield batch
            batch, tokens = [], 0
        batch.append(window)
        tokens += len(window.ids)
    if batch:
        yield batch


def _similar_lengths(batch: Sequence[Window]) -> Iterator[list[int]]:
    """The batch's rows in groups whose shortest window is not much shorter than the longest."""
    rows: list[int] = []
    for row in sorted(range(len(batch)), key=lambda row: -len(batch[row].ids)):
        if rows and len(batch[row].ids) < _SHORTEST * len(batch[rows[0]].ids):
            yield rows
            rows = []
        rows.append(row)
    yield rows


class _Forward:
    """From windows to passages, through one padded forward pass."""

    def __init__(
        self,
        model: LanguageModel,
        layers: tuple[int, ...],
        blocks: tuple[int, ...],
        drop_special: bool,
    ) -> None:
        self._model = model
        self._layers = layers
        self._drop_special = drop_special
        self._recorder = AttentionRecorder(model, blocks) if blocks else None
        self._final_norm_applied = model.depth in layers and model.final_norm is not None

    def __call__(self, windows: Sequence[Window]) -> list[Passage]:
        rows = [window.ids for window in windows]
        run = self._model.forward if self._recorder is None else self._recorder.forward
        every = any(layer != self._model.depth for layer in self._layers)
        output = run(rows, output_hidden_states=True) if every else run(rows)
        states = {layer: self._layer(output, layer) for layer in self._layers}
        for layer, values in states.items():
            self._refuse_zeros(layer, values, windows)
        passages = [self._passage(window, row, states) for row, window in enumerate(windows)]
        if self._recorder is not None:
            self._recorder.clear()
        return passages

    def _layer(self, output: Any, layer: int) -> torch.Tensor:
        if layer == self._model.depth:
            return output.last_hidden_state  # type: ignore[no-any-return]
        found = len(output.hidden_states)
        if found != self._model.depth + 1:
            raise ValueError(
                f"layers: model type {self._model.model_type!r} gives {found} hidden states for "
                f"{self._model.depth} blocks; only 'last' is understood"
            )
        states: torch.Tensor = output.hidden_states[layer]
        if states.ndim != 3:
            raise ValueError(
                f"layers: the hidden states {layer} of model type {self._model.model_type!r} have shape "
                f"{tuple(states.shape)}, not windows x tokens x dimensions; only 'last' is understood"
            )
        return states

    def _refuse_zeros(self, layer: int, values: torch.Tensor, windows: Sequence[Window]) -> None:
        if values.is_meta or not any(
            values[row, : len(window.ids)].any() for row, window in enumerate(windows)
        ):
            first = min(windows, key=lambda window: (window.text, window.window))
            raise StatesError(
                f"{_place(first)}, layer {layer} of {self._model.label}: every hidden state is zero, as "
                "after weights were offloaded; load the model whole on one device"
            )

    def _passage(self, window: Window, row: int, states: Mapping[int, torch.Tensor]) -> Passage:
        kept = np.flatnonzero(~window.special) if self._drop_special else np.arange(len(window.ids))
        if not kept.size:
            raise TextError(
                f"{_place(window)}: nothing but special tokens, which are to be dropped; leave it out"
            )
        ids = np.asarray(window.ids, np.int64)[kept]
        tokens = self._model.token_strings(ids)
        own = {layer: values[row, kept] for layer, values in states.items()}
        problems = ((layer, self._nonfinite(window, kept, tokens, layer, one)) for layer, one in own.items())
        weights = self._recorder.weights if self._recorder else {}
        norms = self._recorder.value_norms if self._recorder else {}
        return Passage(
            text=window.text,
            window=window.window,
            windows=window.windows,
            start=window.start,
            ids=ids,
            tokens=tokens,
            special=window.special[kept],
            states=own,
            attention={block: one[row][:, kept][:, :, kept] for block, one in sorted(weights.items())},
            value_norms={block: one[row][:, kept] for block, one in sorted(norms.items())},
            final_norm_applied=self._final_norm_applied,
            problems={layer: problem for layer, problem in problems if problem is not None},
        )

    def _nonfinite(
        self,
        window: Window,
        kept: npt.NDArray[np.int64],
        tokens: Sequence[str],
        layer: int,
        values: torch.Tensor,
    ) -> str | None:
        bad = (~values.isfinite()).any(dim=1)
        if not bad.any():
            return None
        first = int(bad.int().argmax())
        return (
            f"{_place(window)}, token {int(kept[first])} ({tokens[first]!r}), layer {layer} of "
            f"{self._model.label}: hidden states are not finite"
        )


def _place(window: Window) -> str:
    return f"text {window.text}, window {window.window}"
