"""Tokens as a reader would see them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["TokenStrings"]


class TokenStrings:
    """The text of single tokens, a leading space kept; a token that is no whole character as its piece.

    A row of the embedding that the tokenizer has no token for, as many heads have at their end, is empty.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, str] = {}

    def __call__(self, ids: Iterable[int] | npt.NDArray[np.int64]) -> list[str]:
        return [self._string(int(token)) for token in ids]

    def _string(self, token: int) -> str:
        if token not in self._known:
            piece: str | None = self._tokenizer.convert_ids_to_tokens(token)
            if piece is None:
                return ""
            text = self._tokenizer.decode([token], clean_up_tokenization_spaces=False)
            if piece.startswith("▁") and not text.startswith(" "):
                text = f" {text}"
            self._known[token] = text if text and "\ufffd" not in text else piece
        return self._known[token]
