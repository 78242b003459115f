"""A column of a file in a RUN folder: its type and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa


class Column(NamedTuple):
    """Type and meaning of a column; the meaning gives its unit where it has one."""

    kind: pa.DataType
    meaning: str
    nullable: bool = False


def schema_of(columns: Mapping[str, Column]) -> pa.Schema:
    return pa.schema([pa.field(name, column.kind, column.nullable) for name, column in columns.items()])


def real(meaning: str) -> Column:
    return Column(pa.float64(), meaning)


def real_or_null(meaning: str) -> Column:
    return Column(pa.float64(), meaning, nullable=True)


def text(meaning: str) -> Column:
    return Column(pa.string(), meaning)


def text_or_null(meaning: str) -> Column:
    return Column(pa.string(), meaning, nullable=True)


def count(meaning: str) -> Column:
    return Column(pa.int64(), meaning)


def count_or_null(meaning: str) -> Column:
    return Column(pa.int64(), meaning, nullable=True)


def flag(meaning: str) -> Column:
    return Column(pa.bool_(), meaning)


def flag_or_null(meaning: str) -> Column:
    return Column(pa.bool_(), meaning, nullable=True)
