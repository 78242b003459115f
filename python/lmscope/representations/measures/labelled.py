"""Labelled texts from a file."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lmscope.representations.texts import TextError

__all__ = ["read_labelled"]

_COLUMNS = ("text", "label")


def read_labelled(path: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
    """Texts and their labels, as many of one as of the other.

    Args:
        path: a CSV file whose first row names the columns, ``text`` and ``label`` among them; or JSON lines
            (``.jsonl``, ``.ndjson`` or ``.json``), each an object with ``text`` (a string) and ``label`` (a
            string or a whole number). UTF-8.

    Raises:
        TextError: the file cannot be read, lacks a column, or a row of it a text or a label; the message
            names file and line.
    """
    file = Path(path)
    rows = _json_rows(file) if file.suffix in (".jsonl", ".ndjson", ".json") else _csv_rows(file)
    texts, labels = [], []
    try:
        for line, row in rows:
            text, label = (row.get(column) for column in _COLUMNS)
            if not isinstance(text, str) or not text.strip():
                raise TextError(f"{file}, line {line}: no text in column 'text'")
            if isinstance(label, bool) or not isinstance(label, (str, int)) or not str(label).strip():
                raise TextError(
                    f"{file}, line {line}: label {label!r} is neither a string nor a whole number"
                )
            texts.append(text)
            labels.append(str(label).strip())
    except OSError as error:
        raise TextError(f"{file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TextError(f"{file}: not UTF-8; save it as UTF-8") from error
    if not texts:
        raise TextError(f"{file}: no labelled text in it")
    return texts, labels


def _csv_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, strict=True)
        try:
            found = reader.fieldnames or []
            for column in _COLUMNS:
                if column not in found:
                    raise TextError(
                        f"{file}, line 1: no column {column!r}; found {', '.join(map(repr, found)) or 'none'}"
                    )
            for row in reader:
                if None in row:
                    raise TextError(
                        f"{file}, line {reader.line_num}: more fields than columns; a text with commas needs "
                        "quotes around it"
                    )
                yield reader.line_num, row
        except csv.Error as error:
            raise TextError(f"{file}, line {reader.line_num}: {error}") from error


def _json_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise TextError(f"{file}, line {number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise TextError(f"{file}, line {number}: an object with text and label is expected")
            yield number, row
