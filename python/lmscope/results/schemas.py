"""The columns of every file in a RUN folder, and the check that a row has exactly these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from lmscope.results.columns import Column, schema_of
from lmscope.results.icl_columns import ICL_COLUMNS
from lmscope.results.location_columns import LOCATION_COLUMNS
from lmscope.results.token_columns import TOKEN_COLUMNS
from lmscope.results.unembedding_columns import UNEMBEDDING_COLUMNS

SCHEMA_VERSION = 1
"""Raised by one whenever a column changes its meaning; folders of another version are refused."""

_NAME = Column(
    pa.string(), "the tensor's name in the checkpoint; a part of a fused tensor has #part behind it"
)
_ROLE = Column(pa.string(), "what the tensor does in the model: query, key, up, norm, ...")
_LAYER = Column(pa.int32(), "number of its layer, from 0; null outside the layers", nullable=True)
_EXPERT = Column(pa.int32(), "number of its expert, from 0; null outside mixtures of experts", nullable=True)

LEDGER_COLUMNS: dict[str, Column] = {
    "name": _NAME,
    "role": _ROLE,
    "layer": _LAYER,
    "expert": _EXPERT,
    "shape": Column(pa.list_(pa.int64()), "sizes, output x input for matrices"),
    "dtype": Column(pa.string(), "stored type of its elements"),
    "elements": Column(pa.int64(), "how many elements are its own; 0 for a tied alias"),
    "status": Column(pa.string(), "planned, analysed, skipped, refused or failed"),
    "reason": Column(
        pa.string(), "why it has this status, or why its role was guessed; empty if there is none"
    ),
    "tied_to": Column(pa.string(), "the row whose values this one shares", nullable=True),
}
LEDGER = schema_of(LEDGER_COLUMNS)
"""Every tensor of the checkpoint; ``elements`` add up to the checkpoint's."""

SPECTRA_COLUMNS: dict[str, Column] = {
    "name": _NAME,
    "role": _ROLE,
    "layer": _LAYER,
    "expert": _EXPERT,
    "rows": Column(pa.int64(), "output size"),
    "columns": Column(pa.int64(), "input size"),
    "dtype": Column(pa.string(), "stored type of its elements"),
    # WeightWatcher's names
    "N": Column(pa.int64(), "larger side"),
    "M": Column(pa.int64(), "smaller side, the number of singular values"),
    "Q": Column(pa.float64(), "N / M"),
    "singular_values": Column(pa.list_(pa.float64()), "all M of them, descending, in the matrix's units"),
    "bounds": Column(pa.list_(pa.float64()), "absolute error bound of each singular value"),
    "method": Column(pa.string(), "gram or qr: how the singular values were computed"),
    "sv_max": Column(pa.float64(), "largest singular value"),
    "sv_min": Column(pa.float64(), "smallest singular value"),
    "norm": Column(pa.float64(), "sum of the squared singular values (squared Frobenius norm)"),
    "log_norm": Column(pa.float64(), "decimal logarithm of norm"),
    "spectral_norm": Column(pa.float64(), "largest squared singular value"),
    "log_spectral_norm": Column(pa.float64(), "decimal logarithm of spectral_norm"),
    "stable_rank": Column(pa.float64(), "norm / spectral_norm"),
    "entropy": Column(
        pa.float64(), "entropy of the shares of the squared values, over the logarithm of the rank: 0 to 1"
    ),
    "effective_rank": Column(pa.float64(), "exponential of the entropy of those shares: 1 to M"),
    "scale": Column(pa.float64(), "standard deviation of one entry of the iid noise, from the median value"),
    "lower_edge": Column(pa.float64(), "iid noise has a value below it, or above upper_edge, ..."),
    "upper_edge": Column(pa.float64(), "... with probability false_positive_rate, both together"),
    "n_below": Column(pa.int64(), "singular values below lower_edge", nullable=True),
    "n_above": Column(pa.int64(), "singular values above upper_edge", nullable=True),
    "mp_p_value": Column(pa.float64(), "of the more extreme of largest and smallest value, under iid noise"),
    "ks": Column(pa.float64(), "Kolmogorov distance between the values and the Marchenko-Pastur law: 0 to 1"),
    "ks_p_value": Column(pa.float64(), "of that distance, among draws of iid noise"),
    "mp_reason": Column(pa.string(), "why there is no verdict under iid noise; empty if there is one"),
    "permutation_edge": Column(pa.float64(), "largest singular value over draws with permuted entries"),
    "n_above_permutation": Column(pa.int64(), "singular values above permutation_edge", nullable=True),
    "permutation_p_value": Column(pa.float64(), "(1 + draws that reach sv_max) / (1 + draws)"),
    "sign_flip_edge": Column(pa.float64(), "largest singular value over draws with random signs"),
    "learnt": Column(pa.int64(), "singular values above sign_flip_edge", nullable=True),
    "sign_flip_p_value": Column(pa.float64(), "(1 + draws that reach sv_max) / (1 + draws)"),
    "kurtosis": Column(pa.float64(), "fourth standardised moment of the entries; 3 for Gaussian ones"),
    "row_variance_spread": Column(pa.float64(), "standard deviation over mean of the rows' variances"),
    "column_variance_spread": Column(pa.float64(), "standard deviation over mean of the columns' variances"),
    "row_p_value": Column(pa.float64(), "of rows that all have the same variance"),
    "column_p_value": Column(pa.float64(), "of columns that all have the same variance"),
    "iid_p_value": Column(pa.float64(), "of both: is the iid null true of the entries at all?"),
    "warning": Column(pa.string(), "what limits the verdict, in words; empty where nothing does"),
    "seconds": Column(pa.float64(), "time that the matrix took"),
}
"""One row per matrix. Edges and p-values of a null that was not asked for are nan, its counts null."""

_UNLESS_IDENTICAL = "; nan where identical"
DIFFERENCE_COLUMNS: dict[str, Column] = {
    "name": _NAME._replace(meaning=_NAME.meaning + "; of the base"),
    "tuned_name": _NAME._replace(meaning="name of its twin in the tuned checkpoint"),
    "role": _ROLE,
    "layer": _LAYER,
    "expert": _EXPERT,
    "rows": Column(pa.int64(), "output size"),
    "columns": Column(pa.int64(), "input size"),
    "dtype": Column(pa.string(), "stored type of the base's elements"),
    "tuned_dtype": Column(pa.string(), "stored type of the tuned elements"),
    "identical": Column(pa.bool_(), "all entries are equal: nothing was drawn"),
    "changed_share": Column(pa.float64(), "share of the entries that differ"),
    "changed_rows": Column(pa.int64(), "rows that hold an entry that differs"),
    "changed_columns": Column(pa.int64(), "columns that do"),
    "change_in_spacings": Column(
        pa.float64(),
        "root mean square of the entries that differ, over that of the coarser spacings of both sides there"
        + _UNLESS_IDENTICAL,
    ),
    "relative_change": Column(
        pa.float64(), "Frobenius norm of the difference over that of the base; nan where that is 0"
    ),
    "base_norm": Column(pa.float64(), "squared Frobenius norm of the base"),
    "cosine": Column(pa.float64(), "of both matrices as long vectors; nan where one is 0"),
    "base_precision": Column(pa.string(), "coarsest type that holds all entries of the base"),
    "tuned_precision": Column(pa.string(), "coarsest type that holds all tuned entries"),
    "singular_values": Column(
        pa.list_(pa.float64()), "of the difference, descending, in the matrices' units; zeros where identical"
    ),
    "bounds": Column(pa.list_(pa.float64()), "absolute error bound of each singular value"),
    "method": Column(pa.string(), "gram or qr: how the singular values were computed; none where identical"),
    "sv_max": Column(pa.float64(), "largest singular value of the difference"),
    "norm": Column(pa.float64(), "sum of the squared singular values (squared Frobenius norm)"),
    "stable_rank": Column(pa.float64(), "norm / sv_max^2" + _UNLESS_IDENTICAL),
    "effective_rank": Column(
        pa.float64(), "exponential of the entropy of the squared values' shares" + _UNLESS_IDENTICAL
    ),
    "rounding_edge": Column(
        pa.float64(), "largest singular value over draws of rounding errors" + _UNLESS_IDENTICAL
    ),
    "n_above_rounding": Column(pa.int64(), "singular values above rounding_edge by more than their bounds"),
    "rounding_p_value": Column(
        pa.float64(), "(1 + draws that reach sv_max) / (1 + draws)" + _UNLESS_IDENTICAL
    ),
    "energy_above_rounding": Column(
        pa.float64(), "share of norm in the values above rounding_edge" + _UNLESS_IDENTICAL
    ),
    "rounding_share": Column(
        pa.float64(), "expected squared norm of the modelled errors over norm" + _UNLESS_IDENTICAL
    ),
    "sign_flip_edge": Column(
        pa.float64(),
        "largest singular value over draws of the difference with random signs" + _UNLESS_IDENTICAL,
    ),
    "learnt": Column(pa.int64(), "singular values above sign_flip_edge"),
    "sign_flip_p_value": Column(
        pa.float64(), "(1 + draws that reach sv_max) / (1 + draws)" + _UNLESS_IDENTICAL
    ),
    "warning": Column(pa.string(), "what limits the verdict, in words; empty where nothing does"),
    "seconds": Column(pa.float64(), "time that the pair took"),
}
"""One row per matrix and its twin in a tuned checkpoint: the spectrum of tuned - base."""

_VECTOR_MATRIX = {
    "name_{}": _NAME,
    "layer_{}": _LAYER,
    "expert_{}": _EXPERT,
    "rows_{}": Column(pa.int64(), "output size of {}"),
    "columns_{}": Column(pa.int64(), "input size of {}"),
    "dtype_{}": Column(pa.string(), "stored type of the elements of {}"),
    "position_{}": Column(
        pa.int32(), "place of its layer among those that have such a matrix, from 0; null in twins", True
    ),
}
_SIDE = {
    "location_{}": Column(pa.float64(), "Gumbel location of the largest |cosine| of every vector of {}"),
    "scale_{}": Column(pa.float64(), "scale of that Gumbel law"),
    "mean_{}": Column(pa.float64(), "mean of these largest |cosine|"),
    "zero_columns_{}": Column(pa.int64(), "vectors of {} of norm zero, left out"),
}


def _of_both(columns: Mapping[str, Column]) -> dict[str, Column]:
    return {
        name.format(side): column._replace(meaning=column.meaning.format(side))
        for name, column in columns.items()
        for side in "xy"
    }


PAIR_COLUMNS: dict[str, Column] = {
    "role": _ROLE,
    **_of_both(_VECTOR_MATRIX),
    "vectors": Column(pa.string(), "rows or columns: what is compared of both matrices"),
    "depth": Column(pa.int64(), "length of a vector"),
    "series": Column(
        pa.int32(), "0 for the first such matrix of a layer, 1 for the second, as in cross-attention, ..."
    ),
    "layers": Column(
        pa.int32(), "how many layers of the checkpoint have such a matrix; null in twins", nullable=True
    ),
    "identical": Column(pa.bool_(), "equal byte for byte: score 1 without a comparison, no counts"),
    "score": Column(pa.float64(), "DOCS: mean of both locations, 0 to 1; nan where a side is all zero"),
    "baseline": Column(pa.float64(), "score of vectors of independent random directions, for these shapes"),
    "excess": Column(pa.float64(), "(score - baseline) / (1 - baseline)"),
    **_of_both(_SIDE),
    "fit_distance": Column(
        pa.float64(), "Kolmogorov distance between Gumbel law and values, of the worse side"
    ),
    "matched_share": Column(
        pa.float64(), "share of vectors with a partner nearer than chance gives to false_positive_rate"
    ),
    "mutual_share": Column(
        pa.float64(), "share of vectors, of the smaller side, that are each other's nearest"
    ),
    "null_draws": Column(pa.int64(), "draws of random signs of the coordinates of y"),
    "null_mean": Column(pa.float64(), "mean score over them; nan without draws"),
    "null_std": Column(pa.float64(), "its standard deviation; nan with fewer than two"),
    "z": Column(pa.float64(), "(score - null_mean) / null_std"),
    "null_p_value": Column(
        pa.float64(), "of a z as high by chance: Student's t law with null_draws - 1 degrees of freedom"
    ),
    "pairs": Column(pa.int64(), "pairs of vectors compared: the counts' sum"),
    "bins": Column(pa.int32(), "bins of equal width from cosine -1 to 1"),
    "first_bin": Column(pa.int32(), "bin of the first of the counts; bins outside them are empty"),
    "counts": Column(pa.list_(pa.int64()), "pairs of vectors by cosine"),
    "warning": Column(pa.string(), "why there is no score, in words; empty where there is one"),
    "seconds": Column(pa.float64(), "time that the comparison and its draws took"),
}
"""One row per pair of matrices. Names of y are those of the other checkpoint in ``twins``."""

_NO_EXPERT = Column(pa.int32(), "null: experts are left out", nullable=True)

INDEX_COLUMNS: dict[str, Column] = {
    "role": _ROLE,
    **_of_both({"name_{}": _NAME, "layer_{}": _LAYER, "expert_{}": _NO_EXPERT}),
    "vectors": Column(pa.string(), "rows or columns: what is compared of both matrices"),
    "linear_cka": Column(pa.float64(), "linear CKA, 0 to 1; nan where a side is all zero, as all of these"),
    "cca": Column(pa.float64(), "mean canonical correlation, 0 to 1"),
    "svcca": Column(pa.float64(), "the same of the directions that hold 99 % of each squared norm"),
    "linear_regression": Column(
        pa.float64(), "share of the squared norm that a linear map of the other side gives, mean of both ways"
    ),
    "orthogonal_procrustes": Column(
        pa.float64(), "1 less half the squared distance to the nearest rotation, both of norm 1"
    ),
    "seconds": Column(pa.float64(), "time that all of these took"),
}
"""One row per pair of layers of a role that other indices than DOCS were asked for."""

COLUMNS: dict[str, dict[str, Column]] = {
    "spectra": SPECTRA_COLUMNS,
    "similarity": PAIR_COLUMNS,
    "control": PAIR_COLUMNS,
    "twins": PAIR_COLUMNS,
    "indices": INDEX_COLUMNS,
    "difference": DIFFERENCE_COLUMNS,
    **TOKEN_COLUMNS,
    **LOCATION_COLUMNS,
    **UNEMBEDDING_COLUMNS,
    **ICL_COLUMNS,
}
"""Analysis -> columns of its records, with their meaning."""

PAIR_ANALYSES = frozenset({"similarity", "control", "twins", "indices"})
"""Their records are pairs of matrices, many to a file."""

TOKEN_ANALYSES = frozenset(TOKEN_COLUMNS)
"""Their records are of hidden states, of no tensor: by layer, by passage or by text."""

LOCATION_ANALYSES = frozenset(LOCATION_COLUMNS)
"""Their records are of one checkpoint of several: of its matrices, slices and lesions."""

UNEMBEDDING_ANALYSES = frozenset(UNEMBEDDING_COLUMNS)
"""Their records are of the output embedding of one checkpoint of several: fits, edits, removals."""

ICL_ANALYSES = frozenset(ICL_COLUMNS)
"""Their records are of no checkpoint: experiments on in-context learning, of a RUN folder of their own."""

SCHEMAS: dict[str, pa.Schema] = {analysis: schema_of(columns) for analysis, columns in COLUMNS.items()}

SPECTRA = SCHEMAS["spectra"]


def table_of(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """The rows as a table; ValueError names a column that is missing, unknown, null or of another type."""
    rows = list(rows)
    for row in rows:
        missing, unknown = set(schema.names) - set(row), set(row) - set(schema.names)
        if missing or unknown:
            name = row.get("name", row.get("name_x"))
            raise ValueError(f"row {name!r}: missing {sorted(missing)}, unknown {sorted(unknown)}")
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
