"""The texts of `unembedding`: what is fitted, what is held out, other text, and that of the frequencies."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lmscope.runs.errors import UsageError
from lmscope.runs.reading import Paths, paths_of, texts_of

if TYPE_CHECKING:
    from lmscope.representations import LanguageModel

_HELD_OUT = 1 / 3
_GAP = re.compile(r"\s+")


@dataclass(frozen=True)
class ReadTexts:
    """`other` is empty where no text of another kind was given; `parted`: the held-out text was cut from the
    text itself."""

    fit: list[str]
    held_out: list[str]
    other: list[str]
    frequency: list[str]
    parted: bool


def read_all(
    text: Paths | Iterable[Paths] | None,
    texts: Iterable[str] | None,
    held_out: Paths | Iterable[Paths] | None,
    other_text: Paths | Iterable[Paths] | None,
    frequency_text: Paths | Iterable[Paths] | None,
    split: str,
) -> ReadTexts:
    """Raises `UsageError` where there is none or one cannot be read."""
    given = texts_of(text, texts, split)
    further = [
        [] if one is None else _named(name, one, split)
        for name, one in (
            ("held_out", held_out),
            ("other_text", other_text),
            ("frequency_text", frequency_text),
        )
    ]
    fit, last = (given, further[0]) if further[0] else _parted(given)
    return ReadTexts(fit, last, further[1], further[2] or given, parted=not further[0])


def paths_asked(**given: Paths | Iterable[Paths] | None) -> dict[str, list[str] | None]:
    return {name: paths_of(one) for name, one in given.items()}


def _named(name: str, given: Paths | Iterable[Paths], split: str) -> list[str]:
    try:
        return texts_of(given if isinstance(given, (str, os.PathLike)) else list(given), None, split)
    except UsageError as error:
        raise UsageError(str(error).replace("text: ", f"{name}: ", 1)) from None


def _parted(texts: list[str]) -> tuple[list[str], list[str]]:
    """The texts up to two thirds of all characters, and the rest: one piece, so that no held-out token has
    neighbours that were fitted. A text is cut at white space."""
    border = round((1 - _HELD_OUT) * sum(map(len, texts)))
    fit: list[str] = []
    for number, text in enumerate(texts):
        if border >= len(text):
            border -= len(text)
            fit.append(text)
            continue
        gap = _GAP.search(text, border)
        pieces = [text[:border], text[border:]] if gap is None else [text[: gap.start()], text[gap.end() :]]
        before, behind = ([piece] if piece.strip() else [] for piece in pieces)
        return fit + before, behind + texts[number + 1 :]
    return fit, []


def token_counts(model: LanguageModel, texts: Iterable[str]) -> npt.NDArray[np.int64]:
    """How often each token of the vocabulary occurs in the texts, special ones left out; raises TextError."""
    from lmscope.representations.windows import encode

    counts = np.zeros(model.vocabulary, dtype=np.int64)
    for number, text in enumerate(texts):
        encoded = encode(model, text, number)
        own = np.array(encoded.body)[~np.array(encoded.special)]
        counts += np.bincount(own, minlength=len(counts))
    return counts
