"""The columns of every file in a RUN folder, and the check that a row has exactly these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 1
"""Raised by one whenever a column changes its meaning; folders of another version are refused."""


def _schema(required: Mapping[str, pa.DataType], optional: Iterable[str] = ()) -> pa.Schema:
    may_be_null = set(optional)
    return pa.schema([pa.field(name, kind, nullable=name in may_be_null) for name, kind in required.items()])


LEDGER = _schema(
    {
        "name": pa.string(),
        "role": pa.string(),
        "layer": pa.int32(),
        "expert": pa.int32(),
        "shape": pa.list_(pa.int64()),
        "dtype": pa.string(),
        "elements": pa.int64(),
        "status": pa.string(),
        "reason": pa.string(),
        "tied_to": pa.string(),
    },
    optional=("layer", "expert", "tied_to"),
)
"""Every tensor of the checkpoint; ``elements`` add up to the checkpoint's."""

SPECTRA = _schema(
    {
        "name": pa.string(),
        "role": pa.string(),
        "layer": pa.int32(),
        "expert": pa.int32(),
        "rows": pa.int64(),
        "columns": pa.int64(),
        "dtype": pa.string(),
        # WeightWatcher's names: larger side, smaller side, their ratio
        "N": pa.int64(),
        "M": pa.int64(),
        "Q": pa.float64(),
        "singular_values": pa.list_(pa.float64()),
        "bounds": pa.list_(pa.float64()),
        "method": pa.string(),
        "sv_max": pa.float64(),
        "sv_min": pa.float64(),
        "norm": pa.float64(),
        "log_norm": pa.float64(),
        "spectral_norm": pa.float64(),
        "log_spectral_norm": pa.float64(),
        "stable_rank": pa.float64(),
        "entropy": pa.float64(),
        "effective_rank": pa.float64(),
        "scale": pa.float64(),
        "lower_edge": pa.float64(),
        "upper_edge": pa.float64(),
        "n_below": pa.int64(),
        "n_above": pa.int64(),
        "mp_p_value": pa.float64(),
        "ks": pa.float64(),
        "ks_p_value": pa.float64(),
        "mp_reason": pa.string(),
        "permutation_edge": pa.float64(),
        "n_above_permutation": pa.int64(),
        "permutation_p_value": pa.float64(),
        "sign_flip_edge": pa.float64(),
        "learnt": pa.int64(),
        "sign_flip_p_value": pa.float64(),
        "kurtosis": pa.float64(),
        "row_variance_spread": pa.float64(),
        "column_variance_spread": pa.float64(),
        "row_p_value": pa.float64(),
        "column_p_value": pa.float64(),
        "iid_p_value": pa.float64(),
        "warning": pa.string(),
        "seconds": pa.float64(),
    },
    optional=("layer", "expert", "n_below", "n_above", "n_above_permutation", "learnt"),
)
"""One row per matrix. Edges and p-values of a null that was not asked for are nan, its counts null."""

SCHEMAS: dict[str, pa.Schema] = {"spectra": SPECTRA}
"""Analysis -> columns of its records."""


def table_of(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """The rows as a table; ValueError names a column that is missing, unknown, null or of another type."""
    rows = list(rows)
    for row in rows:
        missing, unknown = set(schema.names) - set(row), set(row) - set(schema.names)
        if missing or unknown:
            raise ValueError(f"row {row.get('name')!r}: missing {sorted(missing)}, unknown {sorted(unknown)}")
    columns = [_column([row[field.name] for row in rows], field) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(values: list[Any], field: pa.Field) -> pa.Array:
    try:
        column = pa.array(values, type=field.type, from_pandas=False)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise ValueError(f"column {field.name!r}: {error}") from error
    if not field.nullable and column.null_count:
        raise ValueError(f"column {field.name!r}: null, but a value is required")
    return column
