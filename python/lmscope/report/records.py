"""What the page is made from: the manifest, the ledger and the spectra of one run folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lmscope.results import RunFolder
from lmscope.results.q_values import with_q_values

Row = dict[str, Any]

ROLES = [
    *("token_embedding", "position_embedding", "type_embedding"),
    *("query", "key", "value", "attention_output", "gate", "up", "down", "router"),
    *("pooler", "classifier", "unembedding", "norm", "bias", "buffer", "other"),
]


@dataclass(frozen=True)
class Records:
    """Records of one run, ready to be shown.

    Non-finite numbers are None. ``spectra`` is sorted by layer, role and expert (matrices without a layer
    where they stand in the model: embeddings first, pooler and unembedding last) and carries the q-values
    over the checkpoint.
    """

    manifest: Mapping[str, Any]
    ledger: list[Row]
    spectra: list[Row]

    @property
    def settings(self) -> Mapping[str, Any]:
        settings = self.manifest.get("settings") or {}
        spectra = settings.get("spectra") or {}
        return spectra if isinstance(spectra, Mapping) else {}

    @property
    def checkpoint(self) -> Mapping[str, Any]:
        return self.manifest.get("checkpoint") or {}

    @property
    def false_positive_rate(self) -> float:
        return float(self.settings.get("false_positive_rate", 0.01))


def read_records(run_folder: Path) -> Records:
    """Manifest, ledger and the spectra of the manifest's settings.

    Raises ResultsError where the folder is no result folder or a file is unreadable; a run without spectra is
    fine.
    """
    folder = RunFolder.open(run_folder)
    spectra = sorted(_spectra(with_q_values(folder.rows("spectra"))), key=_place)
    return Records(folder.manifest, [_finite(row) for row in folder.ledger.to_pylist()], spectra)


def _spectra(table: pa.Table) -> list[Row]:
    """Rows with None for what is not known, and the singular values as a float64 array without the bounds."""
    rows = [_finite(row) for row in table.drop_columns(["singular_values", "bounds"]).to_pylist()]
    for row, values in zip(rows, table.column("singular_values"), strict=True):
        row["singular_values"] = np.asarray(values.values, dtype=np.float64)
    return rows


def _finite(row: Row) -> Row:
    odd = {key for key, value in row.items() if isinstance(value, float) and not math.isfinite(value)}
    return {key: None if key in odd else value for key, value in row.items()}


def _place(row: Row) -> tuple[Any, ...]:
    role = ROLES.index(row["role"]) if row["role"] in ROLES else len(ROLES)
    if row["layer"] is None:
        return (role > ROLES.index("router"), -1, role, row["name"])
    return (False, row["layer"], role, -1 if row["expert"] is None else row["expert"], row["name"])
