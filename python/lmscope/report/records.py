"""What the page is made from: the manifest, the ledger and the records of one run folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lmscope.analyses.selection_summary import summarise_selection
from lmscope.results import (
    LOCATION_ANALYSES,
    UNEMBEDDING_ANALYSES,
    ResultsError,
    RunFolder,
    RunTables,
)
from lmscope.results.run_folder import EXPERIMENTS

Row = dict[str, Any]

ROLES = [
    *("token_embedding", "position_embedding", "type_embedding"),
    *("query", "key", "value", "attention_output", "gate", "up", "down", "router"),
    *("pooler", "classifier", "unembedding", "norm", "bias", "buffer", "other"),
]


class Records:
    """Records of one run, ready to be shown; each part is read when it is first asked for.

    ``tables`` are those of the same folder where somebody has them already.

    Numbers that are not finite are None. Lists of numbers are float64 arrays, singular values finite ones.
    Raises ResultsError where the folder is no result folder, a file is unreadable or a singular value is not
    finite.
    """

    def __init__(self, run_folder: Path, tables: RunTables | None = None) -> None:
        self._tables = tables or RunTables(RunFolder.open(run_folder))
        self._folder = self._tables.folder
        self._rows: dict[str, list[Row]] = {}

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        return self._folder.manifest

    @cached_property
    def ledger(self) -> list[Row]:
        return [_finite(row) for row in self._folder.ledger.to_pylist()]

    @property
    def analyses(self) -> list[str]:
        return list(self.manifest.get("settings") or {})

    def rows(self, analysis: str) -> list[Row]:
        """Records of one analysis in the ledger's order; empty where the run does not hold it.

        Those of the spectra carry the q-values over the checkpoint.
        """
        if analysis not in self.analyses:
            return []
        if analysis not in self._rows:
            rows = _plain_rows(self.table(analysis))
            for row in rows:
                self._check_values(analysis, row)
            self._rows[analysis] = rows
        return self._rows[analysis]

    def without_lists(self, analysis: str) -> list[Row]:
        """`rows` without the columns that hold a list."""
        key = f"{analysis} without lists"
        if key not in self._rows:
            table = self.table(analysis)
            lists = [field.name for field in table.schema if pa.types.is_list(field.type)]
            self._rows[key] = _plain_rows(table.drop_columns(lists))
        return self._rows[key]

    def table(self, analysis: str) -> pa.Table:
        """The same records as a table; no rows where the run does not hold it."""
        return self._tables.table(analysis)

    def _check_values(self, analysis: str, row: Row) -> None:
        values = row.get("singular_values")
        if values is not None and not np.isfinite(values).all():
            at = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ResultsError(
                f"{self._folder.record_file(analysis, row['name'])}: singular value {at} of {row['name']!r} "
                f"is {values[at]}: a damaged record; delete it and repeat the command that made the run"
            )

    @cached_property
    def spectra(self) -> list[Row]:
        """Rows sorted by layer, role and expert; matrices without a layer where they stand in the model:
        embeddings first, pooler and unembedding last."""
        return sorted(self.rows("spectra"), key=place_in_model)

    @cached_property
    def vectors(self) -> list[Row]:
        """Rows of the singular vectors of the checkpoint that is shown by itself, sorted as `spectra`."""
        return sorted(self.shown("vectors"), key=place_in_model)

    def shown(self, analysis: str) -> list[Row]:
        """`rows` of one checkpoint, where there are several: the last training step, or the run's own."""
        return [row for row in self.rows(analysis) if row["identity"] == self.shown_identity]

    @property
    def _looked_at(self) -> list[Row]:
        """Rows by checkpoint of `localize`, or else of `unembedding`."""
        return self.without_lists("vectors") or self.without_lists("heads")

    @cached_property
    def located(self) -> Mapping[str, str]:
        """Identity -> label of the checkpoints whose singular vectors, or heads, the run holds."""
        return {row["identity"]: row["checkpoint"] for row in self._looked_at}

    @cached_property
    def shown_identity(self) -> str | None:
        steps: dict[Any, str] = {}
        for row in self._looked_at:
            steps.setdefault(row["step"], row["identity"])
        if None not in steps and len(steps) > 1:
            return str(steps[max(steps)])
        return self.checkpoint.get("identity")

    @property
    def shown_label(self) -> str:
        """What the checkpoint of `shown` is called."""
        return self.located.get(self.shown_identity or "", self.model)

    @property
    def title(self) -> str:
        """What a page is headed by: where it is of `localize` or `unembedding` alone, the checkpoint that is
        shown."""
        alone = set(self.analyses) <= LOCATION_ANALYSES | UNEMBEDDING_ANALYSES
        return self.shown_label if alone and len(self.located) > 1 else self.model

    @cached_property
    def selection_means(self) -> list[Row]:
        """`summarise_selection` of the run's selections, as rows; empty without any."""
        rows = self.rows("selection")
        return [_finite(asdict(one)) for one in summarise_selection(rows)] if rows else []

    def failures(self, analysis: str) -> Mapping[str, str]:
        """Record -> why it could not be had."""
        return self._folder.failures(analysis)

    def settings(self, analysis: str) -> Mapping[str, Any]:
        """What the analysis was asked for, settings of some of its records among them; empty where the run
        does not hold it."""
        found = dict((self.manifest.get("settings") or {}).get(analysis) or {})
        for part in found.pop("parts", {}).values():
            found |= part
        return found

    @property
    def checkpoint(self) -> Mapping[str, Any]:
        return self.manifest.get("checkpoint") or {}

    @property
    def without_checkpoint(self) -> bool:
        """Whether the run is of experiments alone, as those of `icl`."""
        return self.checkpoint.get("identity") == EXPERIMENTS

    @property
    def file_name(self) -> str:
        """What files saved from the page begin with, before it is made fit for a file system."""
        return "icl" if self.without_checkpoint else self.title.rpartition("/")[2] or self.title

    @property
    def model(self) -> str:
        return str(self.checkpoint.get("name") or "unnamed checkpoint")


def _plain_rows(table: pa.Table) -> list[Row]:
    """Rows with None for what is not known; lists of numbers as float64 arrays, without copying them."""
    lists = [field.name for field in table.schema if pa.types.is_list(field.type)]
    rows = [_finite(row) for row in table.drop_columns(lists).to_pylist()]
    for name in lists:
        for row, values in zip(rows, table.column(name), strict=True):
            numeric = values.is_valid and pa.types.is_floating(values.type.value_type)
            row[name] = np.asarray(values.values, dtype=np.float64) if numeric else values.as_py()
    return rows


def _finite(row: Row) -> Row:
    odd = {key for key, value in row.items() if isinstance(value, float) and not math.isfinite(value)}
    return {key: None if key in odd else value for key, value in row.items()}


def role_place(role: str) -> int:
    return ROLES.index(role) if role in ROLES else len(ROLES)


def place_in_model(row: Row) -> tuple[Any, ...]:
    """Sorts matrices by layer, role and expert, embeddings first and the unembedding last."""
    role = role_place(row["role"])
    if row["layer"] is None:
        return (role > ROLES.index("router"), -1, role, row["name"])
    return (False, row["layer"], role, -1 if row["expert"] is None else row["expert"], row["name"])
