"""The RUN folder and its records."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timezone
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lmscope.results.errors import ResultsError, WrongCheckpoint, WrongFolder
from lmscope.results.files import exclusive_lock, is_whole_parquet, remove_temporaries, write_atomically
from lmscope.results.icl_cells import cells, record_name
from lmscope.results.icl_columns import ICL_ORDER
from lmscope.results.location_columns import LOCATION_ORDER
from lmscope.results.schemas import (
    ICL_ANALYSES,
    LEDGER,
    LOCATION_ANALYSES,
    PAIR_ANALYSES,
    SCHEMA_VERSION,
    SCHEMAS,
    TOKEN_ANALYSES,
    UNEMBEDDING_ANALYSES,
    table_of,
)
from lmscope.results.token_columns import TOKEN_ORDER
from lmscope.results.unembedding_columns import UNEMBEDDING_ORDER

MANIFEST = "manifest.json"
LEDGER_FILE = "ledger.parquet"
_LOCK = ".lock"
_READERS = 8
_WAY_OUT = (
    "delete it and repeat the command that made the run (lmscope analyze, spectra, similarity, compare, "
    "tokens, localize, unembedding or icl): it writes the file again, the other records stand"
)
_OWN_FILES = re.compile(r"manifest\.json|ledger\.parquet|report\.html")
_COST = "cost.json"
_RECORDS = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}\.parquet")
_PENDING = "pending.json"
_FAILURES = "failures.json"
EXPERIMENTS = "spin_glass"
"""The identity of what needs no checkpoint: experiments on in-context learning."""

_OWN_VECTORS = "vectors"
"""The one table of several checkpoints whose records of the run's own are named by tensor."""

_NOT_BY_TENSOR = (
    PAIR_ANALYSES | TOKEN_ANALYSES | UNEMBEDDING_ANALYSES | ICL_ANALYSES | LOCATION_ANALYSES - {_OWN_VECTORS}
)
_STAGE = "{}.stage.json"
_IN_ANALYSIS = re.compile(
    rf"{_RECORDS.pattern}|(cost|failures|pending)\.json|[0-9a-f]{{16}}-[0-9a-f]{{16}}\.stage\.json"
)


def record_key(identity: str, tensor: str, analysis: str, settings: Mapping[str, Any], version: str) -> str:
    """File name of a record: what was asked (16 hex digits), a dash, of which tensor (16 hex digits), or of
    which layer, passage, text or cell.

    The first half is the same for all tensors, so that a folder that holds records of several settings can be
    read for one of them. ``settings`` must be plain JSON values (ValueError or TypeError otherwise); their
    order does not matter.

    Under ``"parts"`` they may hold further settings by a word: only records with that word in their name
    depend on them, and are asked under them too.
    """
    parts = settings.get("parts", {})
    named = [word for word in parts if word in re.findall(r"\w+", tensor)]
    return f"{_asked(identity, analysis, _of_parts(settings, named), version)}-{_digest(tensor)}"


def _of_parts(settings: Mapping[str, Any], words: Iterable[str]) -> dict[str, Any]:
    """Settings of records with these words in their name."""
    found = {name: value for name, value in settings.items() if name != "parts"}
    for word in words:
        found |= settings["parts"][word]
    return found


def _asked(identity: str, analysis: str, settings: Mapping[str, Any], version: str) -> str:
    return _digest(json.dumps([identity, analysis, settings, version], sort_keys=True, allow_nan=False))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def own_names(analysis: str, pairs: Iterable[tuple[str, str]]) -> set[str]:
    """Names of the run's own checkpoint in pairs: in ``twins`` y is another's."""
    return {name for pair in pairs for name in (pair[:1] if analysis == "twins" else pair)}


class RunFolder:
    """Manifest, ledger and records of one checkpoint. Reading is free; writing needs :meth:`lock`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._locked = False

    @classmethod
    def create(cls, path: str | Path, identity: str) -> RunFolder:
        """A new folder, or an existing one to go on with.

        WrongFolder where a file is in the way; WrongCheckpoint, one of its kind, if the folder is another's.
        """
        folder = cls(Path(path))
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise WrongFolder(f"{folder.path}: a file is in the way; choose another RUN folder") from error
        except OSError as error:
            raise ResultsError(f"{folder.path}: cannot be made: {error.strerror}") from error
        folder._check_identity(identity)
        return folder

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """An existing folder, to read; ResultsError if it is none."""
        folder = cls(Path(path))
        if not (folder.path / MANIFEST).is_file():
            raise ResultsError(f"{folder.path}: not a RUN folder (no {MANIFEST})")
        folder.manifest  # noqa: B018 - refuses an unreadable one
        return folder

    @contextmanager
    def lock(self) -> Iterator[RunFolder]:
        """The right to write, for one process at a time; RunLocked if another holds it."""
        with exclusive_lock(self.path / _LOCK):
            remove_temporaries(self.path, _OWN_FILES)
            for analysis in SCHEMAS:
                remove_temporaries(self.path / analysis, _IN_ANALYSIS)
            self._locked = True
            try:
                yield self
            finally:
                self._locked = False

    # manifest and ledger

    @property
    def manifest(self) -> dict[str, Any]:
        """The content of manifest.json, {} if there is none yet; ResultsError if it cannot be understood."""
        file = self.path / MANIFEST
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise ResultsError(f"{file}: unreadable: {error}; {_WAY_OUT}") from error
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION:
            raise ResultsError(f"{file}: schema version {version}, this lmscope reads {SCHEMA_VERSION}")
        return dict(content)

    def write_manifest(
        self,
        *,
        checkpoint: Mapping[str, Any],
        settings: Mapping[str, Mapping[str, Any]],
        lmscope_version: str,
        device: str,
        isa: str,
        machine: Mapping[str, Any],
        asked: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Writes manifest.json; the creation time and the settings of other analyses stay.

        ``asked``: verb -> what it was called with and no record depends on, such as paths.

        ``checkpoint``: name, path, identity, model_type. ``settings``: analysis -> its settings; from then on
        these are the ones whose records :meth:`rows` returns. WrongCheckpoint if the folder is another's.
        """
        self._check_identity(checkpoint["identity"])
        before = self.manifest
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "lmscope_version": lmscope_version,
            "created": before.get("created") or datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "checkpoint": dict(checkpoint),
            "settings": {**before.get("settings", {}), **settings},
            "asked": {**before.get("asked", {}), **(asked or {})},
            "device": device,
            "isa": isa,
            "machine": dict(machine),
        }
        text = json.dumps(manifest, indent=2, allow_nan=False)
        self._write(self.path / MANIFEST, lambda file: file.write(text.encode()))

    @property
    def ledger(self) -> pa.Table:
        """ledger.parquet, with "planned" made "analysed" where a record of the matrix stands by now.

        The file is from the start of a pass, and stays so where that is killed. In a pass over pairs a matrix
        stays planned until its end, as each is in many records. ResultsError if missing or unreadable.
        """
        table = self._stored_ledger()
        statuses = table.column("status").to_pylist()
        if "planned" not in statuses:
            return table
        manifest = self.manifest
        for position, (name, status) in enumerate(
            zip(table.column("name").to_pylist(), statuses, strict=True)
        ):
            if status == "planned" and self._stands(name, manifest):
                statuses[position] = "analysed"
        index = table.schema.get_field_index("status")
        return table.set_column(index, table.schema.field(index), [statuses])

    def _stored_ledger(self) -> pa.Table:
        if not self.has_ledger():
            raise ResultsError(
                f"{self.path / LEDGER_FILE}: no such file; the run stopped before it began, and the "
                "command that made it (lmscope analyze, spectra, similarity, compare, tokens or localize) "
                "begins it again"
            )
        return _read(self.path / LEDGER_FILE)

    def _stands(self, tensor: str, manifest: Mapping[str, Any]) -> bool:
        settings = manifest.get("settings", {})
        identity, version = manifest["checkpoint"]["identity"], manifest["lmscope_version"]
        return any(
            self.has(analysis, record_key(identity, tensor, analysis, settings[analysis], version))
            for analysis in settings.keys() - _NOT_BY_TENSOR
        )

    def has_ledger(self) -> bool:
        return (self.path / LEDGER_FILE).is_file()

    def write_ledger(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Replaces the ledger; ValueError where a row does not have the columns of ``schemas.LEDGER``."""
        table = table_of(rows, LEDGER)
        self._write(self.path / LEDGER_FILE, lambda file: pq.write_table(table, file))

    # records

    record_key = staticmethod(record_key)

    def has(self, analysis: str, key: str) -> bool:
        """Whether the record stands; one that something else damaged does not, and is computed again."""
        return is_whole_parquet(self._record(analysis, key))

    def write(self, analysis: str, key: str, *rows: Mapping[str, Any]) -> None:
        """Writes one file of records, whole or not at all; ValueError where columns are not the schema's."""
        table = table_of(rows, SCHEMAS[analysis])
        self._write(self._record(analysis, key), lambda file: pq.write_table(table, file))

    def rows(self, analysis: str, keys: Iterable[str] | None = None) -> pa.Table:
        """Records as one table, in the order of ``keys``.

        By default all records of the settings that the manifest names, in the ledger's order (pairs by x,
        then by y; those of hidden states by ``TOKEN_ORDER``; those of `localize` by checkpoint, then in the
        ledger's order and by ``LOCATION_ORDER``; those of `unembedding` by checkpoint, then by
        ``UNEMBEDDING_ORDER``; those of `icl` by ``ICL_ORDER``, of the cells that its last call asked for
        alone); files of other settings and leftovers of killed writers are passed over.
        ResultsError names a record that is missing or unreadable.
        """
        schema = SCHEMAS[analysis]
        keys = self._current_keys(analysis) if keys is None else list(keys)
        with ThreadPoolExecutor(min(_READERS, os.cpu_count() or 1)) as threads:
            tables = list(threads.map(_read, (self._record(analysis, key) for key in keys)))
        for key, table in zip(keys, tables, strict=True):
            if table.schema != schema:
                raise ResultsError(f"{self._record(analysis, key)}: columns of another schema")
        table = pa.concat_tables(tables) if tables else schema.empty_table()
        if analysis in TOKEN_ANALYSES:
            table = table.sort_by([(column, "ascending") for column in TOKEN_ORDER[analysis]])
            return self._of_the_runs_checkpoints(table) if analysis == "entropy" else table
        if analysis in LOCATION_ANALYSES:
            return self._located(analysis, table)
        if analysis in UNEMBEDDING_ANALYSES:
            if UNEMBEDDING_ORDER[analysis]:
                table = table.sort_by(UNEMBEDDING_ORDER[analysis])
            return self._of_the_runs_checkpoints(table, "dynamics")
        if analysis in ICL_ANALYSES:
            return table.sort_by([(column, "ascending") for column in ICL_ORDER[analysis]])
        return self._in_the_ledgers_order(table) if analysis in PAIR_ANALYSES else table

    def analysed(self, analysis: str) -> set[str]:
        """Names of this checkpoint's tensors that are in a record of the manifest's settings."""
        keys = self._current_keys(analysis)
        if analysis in _NOT_BY_TENSOR - PAIR_ANALYSES:
            return set()
        if analysis == _OWN_VECTORS:
            own = self.manifest["checkpoint"]["identity"]
            tables = [_read(self._record(analysis, key), ["name", "identity"]) for key in keys]
            rows = [row for table in tables for row in table.to_pylist()]
            return {row["name"] for row in rows if row["identity"] == own}
        if analysis not in PAIR_ANALYSES:
            tables = [_read(self._record(analysis, key), ["name"]) for key in keys]
            return {name for table in tables for name in table.column("name").to_pylist()}
        return own_names(analysis, self._pairs(analysis, keys))

    def all_zero(self, analysis: str) -> set[str]:
        """Names of this checkpoint's matrices that have no score in pairs, as they are all zero."""
        found: set[str] = set()
        if analysis in PAIR_ANALYSES and "warning" in SCHEMAS[analysis].names:
            for key in self._current_keys(analysis):
                table = _read(self._record(analysis, key), ["name_x", "name_y", "warning"])
                for row in table.filter(pc.not_equal(table.column("warning"), "")).to_pylist():
                    sides = row["warning"].partition(" all zero")[0].split(" and ")
                    found |= {row[f"name_{side}"] for side in sides if analysis != "twins" or side == "x"}
        return found

    def write_cost(self, analysis: str, cost: Mapping[str, Any] | None) -> None:
        """Writes what the last pass of an analysis took, as plain JSON values; None: it has taken nothing."""
        if cost is None:
            self._remove(self.path / analysis / _COST)
            return
        text = json.dumps(cost, indent=2, allow_nan=False)
        self._write(self.path / analysis / _COST, lambda file: file.write(text.encode()))

    def write_stage(self, analysis: str, key: str, content: Mapping[str, Any] | None) -> None:
        """Writes what is found so far towards the record `key`, as plain JSON values; None removes it."""
        path = self.path / analysis / _STAGE.format(key)
        if content is None:
            self._remove(path)
            return
        text = json.dumps(content)
        self._write(path, lambda file: file.write(text.encode()))

    def stage(self, analysis: str, key: str) -> dict[str, Any]:
        """What :meth:`write_stage` wrote, {} if nothing; ResultsError where it is unreadable."""
        return _json_object(self.path / analysis / _STAGE.format(key))

    def cost(self, analysis: str) -> dict[str, Any]:
        """What :meth:`write_cost` wrote, {} if nothing; ResultsError where it is unreadable."""
        return _json_object(self.path / analysis / _COST)

    def failures(self, analysis: str) -> dict[str, str]:
        """Tensor -> why the analysis failed on it, under the manifest's settings; ResultsError if unreadable.

        Empty where none did, and in folders from before failures were kept.
        """
        return dict(self._by_settings(analysis, _FAILURES, dict).get(self._asked_now(analysis), {}))

    def write_failures(self, analysis: str, failures: Mapping[str, str]) -> None:
        """Replaces the failures under the manifest's settings; those under other settings stay."""
        self._replace(analysis, _FAILURES, dict(failures))

    def pending(self, analysis: str) -> set[str]:
        """Tensors that the last pass under the manifest's settings left, if it was cut short."""
        return set(self._by_settings(analysis, _PENDING, list).get(self._asked_now(analysis), []))

    def write_pending(self, analysis: str, names: Iterable[str]) -> None:
        """Replaces what is left under the manifest's settings; what is under other settings stays."""
        self._replace(analysis, _PENDING, sorted(names))

    def _replace(self, analysis: str, file: str, entry: dict[str, str] | list[str]) -> None:
        kept, asked = self._by_settings(analysis, file, type(entry)), self._asked_now(analysis)
        if kept.get(asked, type(entry)()) == entry:
            return
        kept.pop(asked, None)
        if entry:
            kept[asked] = entry
        path = self.path / analysis / file
        if not kept:
            self._remove(path)
            return
        text = json.dumps(kept, indent=2)
        self._write(path, lambda target: target.write(text.encode()))

    def _by_settings(self, analysis: str, file: str, kind: type) -> dict[str, Any]:
        """By the first half of the records' keys."""
        content = _json_object(self.path / analysis / file)
        if not all(isinstance(entry, kind) for entry in content.values()):
            path = self.path / analysis / file
            raise ResultsError(f"{path}: unreadable: not tensors by settings; {_WAY_OUT}")
        return content

    def _asked_now(self, analysis: str) -> str:
        manifest = self.manifest
        identity, version = manifest["checkpoint"]["identity"], manifest["lmscope_version"]
        return _asked(identity, analysis, manifest["settings"][analysis], version)

    def standing_pairs(
        self, identity: str, analysis: str, settings: Mapping[str, Any], version: str
    ) -> set[tuple[str, str]]:
        """Names of the pairs whose records stand; files that something damaged are cleared away."""
        if not self._locked:
            raise RuntimeError("damaged files are cleared away only inside lock()")
        asked = _asked(identity, analysis, settings, version)
        for path in self._files(analysis, asked):
            if not is_whole_parquet(path):
                path.unlink()
        return set(self._pairs(analysis, [path.stem for path in self._files(analysis, asked)]))

    def _pairs(self, analysis: str, keys: Iterable[str]) -> Iterator[tuple[str, str]]:
        for key in keys:
            table = _read(self._record(analysis, key), ["name_x", "name_y"])
            yield from zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True)

    def _in_the_ledgers_order(self, table: pa.Table) -> pa.Table:
        place = {name: index for index, name in enumerate(self._stored_ledger().column("name").to_pylist())}
        names = zip(table.column("name_x").to_pylist(), table.column("name_y").to_pylist(), strict=True)
        keyed = [(place.get(x, -1), place.get(y, -1), y) for x, y in names]
        order = sorted(range(len(keyed)), key=keyed.__getitem__)
        return table.take(pa.array(order, pa.int64()))

    def checkpoints(self, analysis: str = "entropy_law") -> list[str] | None:
        """Identities of those that the last call of `tokens` named, of `localize` with "claims", of
        `unembedding` with "dynamics", in its order; None before any."""
        found = self.manifest.get("settings", {}).get(analysis, {}).get("checkpoints")
        return None if found is None else list(found)

    def _located(self, analysis: str, table: pa.Table) -> pa.Table:
        """Rows of the checkpoints of the last call, in their order, then in the ledger's."""
        if LOCATION_ORDER[analysis]:
            table = table.sort_by(LOCATION_ORDER[analysis])
        if "name" in table.schema.names:
            place = {name: at for at, name in enumerate(self._stored_ledger().column("name").to_pylist())}
            # Sorting is stable: names that only another checkpoint has stay where they are, behind the rest.
            names = [place.get(name, len(place)) for name in table.column("name").to_pylist()]
            table = table.take(pa.array(sorted(range(len(names)), key=names.__getitem__), pa.int64()))
        return self._of_the_runs_checkpoints(table, "claims")

    def _of_the_runs_checkpoints(self, table: pa.Table, analysis: str = "entropy_law") -> pa.Table:
        """Rows of the checkpoints that the run is of, in their order: earlier calls may have named others."""
        named = self.checkpoints(analysis)
        if named is None:
            return table
        identities = table.column("identity").to_pylist()
        order = [row for one in named for row, identity in enumerate(identities) if identity == one]
        return table.take(pa.array(order, pa.int64()))

    def _files(self, analysis: str, asked: str) -> list[Path]:
        found = (self.path / analysis).glob(f"{asked}-*.parquet")
        return sorted(path for path in found if _RECORDS.fullmatch(path.name))

    def _current_keys(self, analysis: str) -> list[str]:
        manifest = self.manifest
        settings = manifest.get("settings", {}).get(analysis)
        if settings is None or not self.has_ledger():
            return []
        identity, version = manifest["checkpoint"]["identity"], manifest["lmscope_version"]
        if analysis in ICL_ANALYSES:
            asked = manifest["asked"]["icl"][analysis]
            keys = (
                record_key(identity, record_name(cell), analysis, settings, version) for cell in cells(asked)
            )
            return [key for key in keys if self._record(analysis, key).is_file()]
        if analysis in _NOT_BY_TENSOR | LOCATION_ANALYSES:
            parts = settings.get("parts", {})
            words = chain.from_iterable(combinations(parts, size) for size in range(len(parts) + 1))
            halves = {_asked(identity, analysis, _of_parts(settings, some), version) for some in words}
            return [path.stem for one in sorted(halves) for path in self._files(analysis, one)]
        names = self._stored_ledger().column("name").to_pylist()
        keys = (record_key(identity, name, analysis, settings, version) for name in names)
        return [key for key in keys if self._record(analysis, key).is_file()]

    def record_file(self, analysis: str, name: str) -> Path:
        """The file of one tensor's record under the run's settings, there or not."""
        manifest = self.manifest
        identity, version = manifest["checkpoint"]["identity"], manifest["lmscope_version"]
        settings = manifest["settings"][analysis]
        return self._record(analysis, record_key(identity, name, analysis, settings, version))

    def _record(self, analysis: str, key: str) -> Path:
        return self.path / analysis / f"{key}.parquet"

    def _check_identity(self, identity: str) -> None:
        recorded = self.manifest.get("checkpoint", {})
        if recorded and recorded.get("identity") != identity:
            if EXPERIMENTS in (identity, recorded.get("identity")):
                # Without a checkpoint there is no path.
                of = "experiments" if identity != EXPERIMENTS else f"the checkpoint {recorded.get('path')}"
                asked = "a checkpoint" if identity != EXPERIMENTS else "experiments without one"
                raise WrongCheckpoint(
                    f"{self.path}: holds results of {of}, not of {asked}; choose another folder for these"
                )
            raise WrongCheckpoint(
                f"{self.path}: holds results of another checkpoint, {recorded.get('path')}; "
                "choose another folder for this one"
            )

    def _remove(self, path: Path) -> None:
        if not self._locked:
            raise RuntimeError("RunFolder is written to only inside lock()")
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ResultsError(f"{path}: cannot be removed: {error.strerror}") from error

    def _write(self, path: Path, write: Any) -> None:
        if not self._locked:
            raise RuntimeError("RunFolder is written to only inside lock()")
        try:
            path.parent.mkdir(exist_ok=True)
            write_atomically(path, write)
        except pa.ArrowException as error:
            raise ResultsError(f"{path}: {error}") from error
        except OSError as error:
            raise ResultsError(f"{path.parent}: cannot be made: {error.strerror}") from error


def _json_object(file: Path) -> dict[str, Any]:
    """Of a file that need not be there; ResultsError where it is unreadable."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ResultsError(f"{file}: unreadable: {error}; {_WAY_OUT}") from error
    if not isinstance(content, dict):
        raise ResultsError(f"{file}: unreadable: no JSON object; {_WAY_OUT}")
    return content


def _read(path: Path, columns: list[str] | None = None) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            # Arrow's own threads cost more than a small file takes.
            return file.read(columns, use_threads=False)
    except FileNotFoundError as error:
        raise ResultsError(f"{path}: no such file") from error
    except (OSError, pa.ArrowException) as error:
        raise ResultsError(f"{path}: unreadable: {error}; {_WAY_OUT}") from error
