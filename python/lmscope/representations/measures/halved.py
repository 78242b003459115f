"""Texts in two halves, each as far as an evaluation can read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmscope.representations.language_model import LanguageModel
from lmscope.representations.measures.budget import Reading, spread
from lmscope.representations.windows import EncodedText, Window, encode

__all__ = ["HalvedTexts", "halved"]

_LEAST = 32
"""Of each half this many own tokens are read, where it has them, before texts are left out."""


@dataclass(frozen=True, eq=False)
class HalvedTexts:
    """Windows of both halves of texts.

    Attributes:
        windows: of all halves, text by text.
        keys: number of the text, from 0 among those read, and half, 0 or 1, of each window.
        sizes: own tokens of each text.
        read: most own tokens of a half that are read, from its beginning.
    """

    windows: list[Window]
    keys: list[tuple[int, int]]
    sizes: list[int]
    read: int


def halved(model: LanguageModel, texts: Sequence[str], window: int, reading: Reading) -> HalvedTexts:
    """Every text in two halves by tokens; of each half as many are read as ``eval_tokens`` allow for all.

    Where even 32 tokens of every half are too many, some texts are read, evenly spaced over all.
    """
    encoded = [encode(model, text, number) for number, text in enumerate(texts)]
    longest = max((len(one.body) + 1) // 2 for one in encoded)

    def cost(one: EncodedText, most: int) -> int:
        return sum(len(own.ids) for _, own in _windows(one, window, most))

    least = min(_LEAST, longest)
    encoded = spread(encoded, [cost(one, least) for one in encoded], reading)
    read, too_many = least, longest + 1
    while too_many - read > 1:
        middle = (read + too_many) // 2
        if sum(cost(one, middle) for one in encoded) <= reading.eval_tokens:
            read = middle
        else:
            too_many = middle
    windows, keys = [], []
    for number, one in enumerate(encoded):
        for half, own in _windows(one, window, read):
            windows.append(own)
            keys.append((number, half))
    return HalvedTexts(windows, keys, [len(one.body) for one in encoded], read)


def _windows(one: EncodedText, window: int, most: int) -> list[tuple[int, Window]]:
    room = window - one.around
    middle = (len(one.body) + 1) // 2
    spans = [(0, 0, min(middle, most)), (1, middle, min(len(one.body), middle + most))]
    starts = [
        (half, start, min(start + room, last))
        for half, first, last in spans
        for start in range(first, last, room)
    ]
    count = len(starts)
    return [(half, one.window(index, count, *span)) for index, (half, *span) in enumerate(starts)]
