"""Texts from files, and from whatever else holds them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

__all__ = ["TextError", "read_texts", "texts_of"]


class TextError(ValueError):
    """A text, or a file of texts, cannot be used; the message names it."""


def read_texts(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    split: Literal["file", "paragraph", "line"] = "file",
) -> list[str]:
    """The texts of UTF-8 files, in order.

    ``split``: ``"file"`` gives each file whole, ``"paragraph"`` the parts between blank lines, ``"line"``
    every line; parts of white space alone are left out. TextError for a file that cannot be read, is not
    UTF-8 (naming the byte) or has no text.
    """
    if split not in ("file", "paragraph", "line"):
        raise ValueError(f"split: {split!r} is not 'file', 'paragraph' or 'line'")
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    return [text for path in paths for text in _parts(Path(path), split)]


def texts_of(texts: Iterable[str | Mapping[str, Any]], text_column: str) -> Iterator[str]:
    """Strings from strings, or from mappings that hold one under ``text_column``."""
    for number, text in enumerate(texts):
        if isinstance(text, Mapping):
            if text_column not in text:
                columns = ", ".join(map(repr, text)) or "none"
                raise TextError(f"texts: text {number} has no column {text_column!r}; it has {columns}")
            text = text[text_column]
        if not isinstance(text, str):
            raise TypeError(f"texts: text {number} is of type {type(text).__name__}; a string is expected")
        yield text


def _parts(path: Path, split: str) -> list[str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TextError(f"{path}: {error.strerror or error}") from error
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        found = data[error.start]
        raise TextError(
            f"{path}: not UTF-8: byte {error.start} is 0x{found:02x}; save the text as UTF-8"
        ) from error
    text = text.replace("\r\n", "\n")
    parts = [text]
    if split != "file":
        parts = [
            part.strip("\n") for part in re.split(r"\n[^\S\n]*\n" if split == "paragraph" else r"\n", text)
        ]
    kept = [part for part in parts if part.strip()]
    if not kept:
        raise TextError(f"{path}: no text in it")
    return kept
