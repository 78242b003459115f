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
