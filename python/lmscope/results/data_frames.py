"""Records as data frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import pandas


def data_frame(table: pa.Table) -> pandas.DataFrame:
    """The table with the same dtypes whatever it holds.

    Integers that may be missing, such as layer, are pandas' nullable ones, so that layer 3 is never 3.0;
    other numbers are numpy's, with NaN; lists, such as the singular values, are one float64 array a row.
    """
    import pandas

    frame: pandas.DataFrame = table.to_pandas()
    nullable = {pa.int32(): pandas.Int32Dtype(), pa.int64(): pandas.Int64Dtype()}
    for field in table.schema:
        if field.nullable and field.type in nullable:
            frame[field.name] = table.column(field.name).to_pandas(types_mapper=nullable.get)
    return frame
