"""Overlapping windows of texts, in which every token is scored once, with enough before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lmscope.representations.language_model import LanguageModel
from lmscope.representations.windows import Window, encode, whole_number

__all__ = ["ScoredWindow", "stride_of", "strided"]


@dataclass(frozen=True)
class ScoredWindow:
    """A window, of which the tokens from place ``first`` on are scored; those before are their context."""

    window: Window
    first: int

    @property
    def scored(self) -> int:
        return len(self.window.ids) - self.first


def stride_of(window: int, stride: int | None) -> int:
    """Half the window where ``stride`` is None; ValueError for less than 1 or more than the window."""
    if stride is None:
        return max(1, window // 2)
    stride = whole_number("stride", stride)
    if not 1 <= stride <= window:
        raise ValueError(f"stride: {stride} is not between 1 and the window's {window} tokens")
    return stride


def strided(model: LanguageModel, texts: Iterable[str], window: int, stride: int) -> Iterator[ScoredWindow]:
    """The windows of each text, ``stride`` tokens apart, as many as it needs to be scored to its end.

    Each begins with the special tokens that the tokenizer puts before a text, which are context and never
    scored; those behind a text are left out. A token is scored in the first window that has it, after at
    least ``window - stride`` tokens where the text has them. Without special tokens before it, the first
    token of a text has no context and is not scored; a text of one token then gives no window.

    ValueError where a window has no room for ``stride`` tokens to be scored and one of the text before them,
    beside the special tokens. TextError as
    :func:`lmscope.representations.windows.cut`.
    """
    for number, text in enumerate(texts):
        encoded = encode(model, text, number)
        before = len(encoded.head)
        room = window - before
        if room < stride + 1:
            way_out = f"give a stride of at most {room - 1}" if room > 1 else "give a larger window"
            raise ValueError(
                f"stride: {stride} tokens to be scored, one of the text before them and the {before} special "
                f"tokens before each text do not fit into a window of {window}: {way_out}"
            )
        windows = 1 + max(0, -(-(len(encoded.body) - room) // stride))
        done = 0 if before else 1
        for index in range(windows):
            start = index * stride
            stop = min(start + room, len(encoded.body))
            if stop > done:
                one = encoded.window(index, windows, start, stop, behind=False)
                yield ScoredWindow(one, before + done - start)
            done = stop
