"""What the page is made from: the manifest, the ledger and the spectra of one run folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from lmscope.analyses.multiple_testing import benjamini_hochberg

Row = dict[str, Any]

ROLES = (
    "token_embedding position_embedding type_embedding query key value attention_output gate up down router "
    "pooler classifier unembedding norm bias buffer other"
).split()

_ARRAYS = ("singular_values", "bounds")
_P_VALUES = ("mp", "sign_flip", "permutation", "iid")


@dataclass(frozen=True)
class Records:
    """Records of one run, ready to be shown.

    Non-finite numbers are None, ``spectra`` is sorted by layer, role and expert (matrices without a layer where they
    stand in the model: embeddings first, pooler and unembedding last) and carries the q-values over the checkpoint.
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
    """Read ``manifest.json``, ``ledger.parquet`` and ``spectra/*.parquet`` of a run folder.

    Raises FileNotFoundError where the manifest or the ledger is missing; a run without spectra is fine.
    """
    manifest = json.loads((run_folder / "manifest.json").read_text(encoding="utf-8"))
    ledger = [_finite(row) for row in pq.read_table(run_folder / "ledger.parquet").to_pylist()]
    # Records of earlier settings may lie beside the present ones: the youngest of each matrix counts.
    files = sorted((run_folder / "spectra").glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    youngest = {row["name"]: row for file in files for row in _read_spectra(file)}
    spectra = sorted(youngest.values(), key=_place)
    for test in _P_VALUES:
        p_values = np.array([_nan(row.get(f"{test}_p_value")) for row in spectra], dtype=np.float64)
        for row, q_value in zip(spectra, benjamini_hochberg(p_values), strict=True):
            row[f"{test}_q_value"] = float(q_value) if math.isfinite(q_value) else None
    return Records(manifest, ledger, spectra)


def _read_spectra(file: Path) -> list[Row]:
    table = pq.read_table(file)
    arrays = {name: table.column(name) for name in _ARRAYS if name in table.column_names}
    rows = [_finite(row) for row in table.drop_columns(list(arrays)).to_pylist()]
    for name, column in arrays.items():
        for row, cell in zip(rows, column, strict=True):
            row[name] = np.asarray(cell.values if cell.is_valid else [], dtype=np.float64)
    return rows


def _finite(row: Row) -> Row:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def _place(row: Row) -> tuple[Any, ...]:
    role = ROLES.index(row["role"]) if row["role"] in ROLES else len(ROLES)
    if row.get("layer") is None:
        return (role >= ROLES.index("router"), -1, role, row["name"])
    return (False, row["layer"], role, -1 if row.get("expert") is None else row["expert"], row["name"])
