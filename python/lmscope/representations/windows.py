"""Cuts texts into windows that a model can take in one pass."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.representations.language_model import LanguageModel
from lmscope.representations.texts import TextError

__all__ = ["EncodedText", "Window", "cut", "encode", "special_ids", "whole_number", "window_size"]

DEFAULT_WINDOW = 512


@dataclass(frozen=True)
class Window:
    """Token ids with the tokenizer's special tokens around them; see :class:`lmscope.Passage`."""

    text: int
    window: int
    windows: int
    start: int
    ids: list[int]
    special: npt.NDArray[np.bool_]


def whole_number(name: str, number: Any) -> int:
    """``number`` as an int; TypeError for anything but an integer, and for a bool."""
    try:
        if not isinstance(number, (bool, np.bool_)):
            return operator.index(number)
    except TypeError:
        pass
    raise TypeError(f"{name}: {number!r} is not a whole number")


def window_size(model: LanguageModel, window: int | None) -> int:
    """The largest number of tokens of one pass; ValueError where the model or its tokenizer forbids
    it, TypeError for what is no integer.
    """
    if window is None:
        return min(model.context or DEFAULT_WINDOW, DEFAULT_WINDOW)
    window = whole_number("window", window)
    if model.context is not None and window > model.context:
        raise ValueError(
            f"window: {window} tokens, but {model.label} takes at most {model.context}; texts longer than "
            "the window are cut into several"
        )
    around = model.tokenizer.num_special_tokens_to_add(pair=False)
    if window <= around:
        raise ValueError(
            f"window: {window} tokens leave no room for text beside the {around} special tokens of each "
            "window"
        )
    return window


def cut(model: LanguageModel, texts: Iterable[str], window: int) -> Iterator[Window]:
    """The windows of each text in order, each with the special tokens that the tokenizer puts around a text.

    TextError for a text without tokens of its own, and for a token that the model has no embedding for.
    """
    for number, text in enumerate(texts):
        encoded = encode(model, text, number)
        room = window - encoded.around
        windows = -(-len(encoded.body) // room)
        for index in range(windows):
            yield encoded.window(index, windows, index * room, (index + 1) * room)


@dataclass(frozen=True)
class EncodedText:
    """A text's own tokens, and the special ones that the tokenizer puts before and behind them."""

    text: int
    head: list[int]
    body: list[int]
    tail: list[int]
    special: list[bool]
    """One for each of ``body``."""

    @property
    def around(self) -> int:
        return len(self.head) + len(self.tail)

    def window(self, index: int, windows: int, start: int, stop: int, *, behind: bool = True) -> Window:
        """The text's own tokens from ``start`` to before ``stop``, with the special tokens around them, or
        only those before them."""
        tail = self.tail if behind else []
        special = [True] * len(self.head) + self.special[start:stop] + [True] * len(tail)
        ids = self.head + self.body[start:stop] + tail
        return Window(self.text, index, windows, start, ids, np.array(special))


def encode(model: LanguageModel, text: str, number: int) -> EncodedText:
    """Text ``number`` in tokens; TextError as :func:`cut`."""
    tokenizer = model.tokenizer
    around = tokenizer.num_special_tokens_to_add(pair=False)
    encoded = tokenizer(text, return_special_tokens_mask=True, verbose=False)
    ids: list[int] = list(encoded["input_ids"])
    content = len(ids) - around
    if content < 1:
        raise TextError(f"texts: text {number} is empty: {text[:40]!r} gives no token; leave it out")
    if max(ids) >= model.vocabulary:
        raise TextError(
            f"texts: text {number} has token {max(ids)}, but the embedding of {model.label} has "
            f"{model.vocabulary} rows; the tokenizer is another model's"
        )
    before = 0
    while before < around and encoded["special_tokens_mask"][before]:
        before += 1
    body = ids[before : before + content]
    flagged = special_ids(tokenizer)
    return EncodedText(
        number, ids[:before], body, ids[before + content :], [token in flagged for token in body]
    )


def special_ids(tokenizer: Any) -> set[int]:
    """Ids that mean something else than text, like the end of a document; an unknown word is text."""
    attributes = {key: value for key, value in tokenizer.special_tokens_map.items() if key != "unk_token"}
    names = [name for value in attributes.values() for name in ([value] if isinstance(value, str) else value)]
    return set(tokenizer.convert_tokens_to_ids(names))
