"""The RUN folder: round trips, whole writes, one writer, keys that follow every setting."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.results import (
    LEDGER,
    SPECTRA,
    ResultsError,
    RunFolder,
    RunLocked,
    WrongCheckpoint,
    record_key,
)

SETTINGS = {"draws": 19, "seed": 0, "nulls": ["iid"], "false_positive_rate": 0.01}


def spectra_row(name: str = "w", **more: Any) -> dict[str, Any]:
    by_type = {pa.string(): "", pa.int32(): 1, pa.int64(): 2, pa.float64(): 0.5}
    row = {field.name: by_type.get(field.type, np.array([2.0, 1.0])) for field in SPECTRA}
    return {**row, "name": name, **more}


def ledger_row(name: str, **more: Any) -> dict[str, Any]:
    row = {"role": "query", "layer": 0, "expert": None, "shape": (2, 3), "dtype": "float32", "elements": 6}
    return {"name": name, **row, "status": "planned", "reason": "", "tied_to": None, **more}


def write_manifest(folder: RunFolder, *, identity: str = "id", **spectra: Any) -> None:
    folder.write_manifest(
        checkpoint={"name": "tiny", "path": "models/tiny", "identity": identity, "model_type": "bert"},
        settings={"spectra": {**SETTINGS, **spectra}},
        lmscope_version="1",
        device="cpu",
        isa="scalar",
        machine={"cpus": 2},
    )


def key(tensor: str, **more: Any) -> str:
    return record_key("id", tensor, "spectra", {**SETTINGS, **more}, "1")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A folder with a manifest, a ledger of a and b, and no records."""
    folder = RunFolder.create(tmp_path / "run", "id")
    with folder.lock():
        write_manifest(folder)
        folder.write_ledger([ledger_row("a"), ledger_row("b")])
    return folder


# what is written comes back

floats = st.floats(allow_nan=True, allow_infinity=True)
counts = st.integers(-(2**63), 2**63 - 1)
by_type = {pa.string(): st.text(), pa.int64(): counts, pa.int32(): st.integers(-(2**31), 2**31 - 1)}


def values_of(field: pa.Field) -> st.SearchStrategy[Any]:
    if field.type == pa.float64():
        values: st.SearchStrategy[Any] = floats
    elif field.type == pa.list_(pa.float64()):
        values = st.lists(floats, max_size=5)
    else:
        values = by_type[field.type]
    return st.none() | values if field.nullable else values


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries({field.name: values_of(field) for field in SPECTRA}), max_size=3))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    folder = RunFolder.create(tmp_path_factory.mktemp("run"), "id")
    keys = [key(str(number)) for number in range(len(rows))]
    with folder.lock():
        for name, row in zip(keys, rows, strict=True):
            folder.write("spectra", name, row)
    table = folder.rows("spectra", keys)
    assert table.schema == SPECTRA
    written = [{name: row[name] for name in SPECTRA.names} for row in rows]
    assert repr(table.to_pylist()) == repr(written)  # repr: nan equals nan, 0.0 is not -0.0


def test_numpy_values_are_taken(folder: RunFolder) -> None:
    row = spectra_row("a", rows=np.int64(7), norm=np.float64(np.pi), singular_values=np.array([3.0, 1.0]))
    with folder.lock():
        folder.write("spectra", key("a"), row)
    (back,) = folder.rows("spectra").to_pylist()
    assert (back["rows"], back["norm"], back["singular_values"]) == (7, math.pi, [3.0, 1.0])


def test_ledger_round_trip(folder: RunFolder) -> None:
    rows = [ledger_row("a", layer=None, shape=()), ledger_row("b", tied_to="a", elements=0)]
    with folder.lock():
        folder.write_ledger(rows)
    assert folder.ledger.schema == LEDGER
    assert folder.ledger.to_pylist() == [{**row, "shape": list(row["shape"])} for row in rows]


def test_ledger_of_a_killed_run_knows_the_records_that_stand(folder: RunFolder) -> None:
    with folder.lock():
        folder.write("spectra", key("b"), spectra_row("b"))
        folder.write("spectra", key("a", draws=99), spectra_row("a"))  # of other settings
    assert folder.ledger.column("status").to_pylist() == ["planned", "analysed"]
    assert folder.ledger.schema == LEDGER


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"surplus": 1}, "unknown \\['surplus'\\]"),
        ({"rows": None}, "column 'rows': null"),
        ({"rows": "many"}, "column 'rows'"),
        ({"name": 3}, "column 'name'"),
    ],
)
def test_wrong_columns_are_refused(folder: RunFolder, change: dict[str, Any], words: str) -> None:
    with folder.lock(), pytest.raises(ValueError, match=words):
        folder.write("spectra", key("a"), spectra_row(**change))
    assert not folder.has("spectra", key("a"))


def test_missing_column_is_refused(folder: RunFolder) -> None:
    row = spectra_row()
    del row["learnt"]
    with folder.lock(), pytest.raises(ValueError, match="missing \\['learnt'\\]"):
        folder.write("spectra", key("a"), row)


# keys and settings


def test_key_follows_everything_it_is_made_of() -> None:
    arguments = ("id", "w", "spectra", SETTINGS, "1")
    changes = ("other", "w2", "similarity", {**SETTINGS, "draws": 20}, "2")
    keys = {record_key(*arguments)}
    keys |= {record_key(*arguments[:i], changes[i], *arguments[i + 1 :]) for i in range(5)}
    assert len(keys) == 6
    assert record_key("id", "w", "spectra", dict(reversed(SETTINGS.items())), "1") == record_key(*arguments)
    assert record_key("id", "w", "spectra", {**SETTINGS, "nulls": ("iid",)}, "1") == record_key(*arguments)
    with pytest.raises(ValueError, match="JSON"):
        record_key("id", "w", "spectra", {"rate": math.nan}, "1")


def test_rows_are_those_of_the_current_settings(folder: RunFolder) -> None:
    with folder.lock():
        for tensor in ("b", "a"):
            folder.write("spectra", key(tensor), spectra_row(tensor, seconds=1.0))
        write_manifest(folder, draws=99)
        assert folder.rows("spectra").num_rows == 0
        folder.write("spectra", key("a", draws=99), spectra_row("a", seconds=2.0))
        assert folder.rows("spectra").select(["name", "seconds"]).to_pylist() == [
            {"name": "a", "seconds": 2.0}
        ]
        write_manifest(folder)
    names = folder.rows("spectra").column("name").to_pylist()
    assert names == ["a", "b"]  # the ledger's order; nothing was computed again
    assert folder.rows("spectra", [key("b"), key("a")]).column("name").to_pylist() == ["b", "a"]


def test_manifest_keeps_its_birthday_and_other_settings(folder: RunFolder) -> None:
    born = folder.manifest["created"]
    with folder.lock():
        folder.write_manifest(
            checkpoint=folder.manifest["checkpoint"],
            settings={"similarity": {"bins": 2}},
            lmscope_version="2",
            device="cpu",
            isa="avx2",
            machine={},
        )
    manifest = folder.manifest
    assert manifest["created"] == born
    assert manifest["settings"] == {"spectra": SETTINGS, "similarity": {"bins": 2}}
    assert (manifest["isa"], manifest["lmscope_version"], manifest["schema_version"]) == ("avx2", "2", 1)


# whose folder it is


def test_another_checkpoint_is_refused(folder: RunFolder) -> None:
    RunFolder.create(folder.path, "id")
    with pytest.raises(WrongCheckpoint, match="models/tiny"):
        RunFolder.create(folder.path, "other")
    with folder.lock(), pytest.raises(WrongCheckpoint):
        write_manifest(folder, identity="other")
    assert folder.manifest["checkpoint"]["identity"] == "id"


def test_open_refuses_what_is_no_run_folder(tmp_path: Path, folder: RunFolder) -> None:
    with pytest.raises(ResultsError, match=r"not a RUN folder"):
        RunFolder.open(tmp_path)
    assert RunFolder.open(folder.path).manifest == folder.manifest
    manifest = folder.path / "manifest.json"
    manifest.write_text(json.dumps({**folder.manifest, "schema_version": 999}))
    with pytest.raises(ResultsError, match=r"manifest.json: schema version 999"):
        RunFolder.open(folder.path)
    manifest.write_text("{")
    with pytest.raises(ResultsError, match=r"manifest.json: unreadable"):
        RunFolder.open(folder.path)
    (tmp_path / "afile").touch()
    with pytest.raises(ResultsError, match=r"afile"):
        RunFolder.create(tmp_path / "afile", "id")


# damage


@pytest.mark.parametrize("damage", [b"", b"PAR1 but not quite", None])
def test_unreadable_record_is_reported_by_name(folder: RunFolder, damage: bytes | None) -> None:
    with folder.lock():
        for tensor in ("a", "b"):
            folder.write("spectra", key(tensor), spectra_row(tensor))
    file = folder.path / "spectra" / f"{key('b')}.parquet"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] if damage is None else damage)
    with pytest.raises(ResultsError, match=f"{key('b')}.parquet: unreadable"):
        folder.rows("spectra")
    assert folder.rows("spectra", [key("a")]).num_rows == 1


def test_missing_and_foreign_records_are_reported_by_name(folder: RunFolder) -> None:
    with pytest.raises(ResultsError, match=f"{key('a')}.parquet: no such file"):
        folder.rows("spectra", [key("a")])
    with folder.lock():
        folder.write("spectra", key("a"), spectra_row("a"))
    (folder.path / "ledger.parquet").rename(folder.path / "spectra" / f"{key('a')}.parquet")
    with pytest.raises(ResultsError, match=f"{key('a')}.parquet: columns of another schema"):
        folder.rows("spectra", [key("a")])


# one writer, whole files: other processes, really killed

PRELUDE = "import os, signal, sys\nfrom pathlib import Path\nfrom lmscope.results import *\n"


def python(code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PRELUDE + code, *arguments]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


@contextmanager
def locked_elsewhere(folder: RunFolder) -> Iterator[subprocess.Popen[str]]:
    code = "with RunFolder.open(sys.argv[1]).lock():\n    print('locked', flush=True)\n    sys.stdin.read()"
    process = python(code, str(folder.path), stdin=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_second_process_is_refused_and_a_killed_one_frees_the_lock(folder: RunFolder) -> None:
    with locked_elsewhere(folder) as process:
        with pytest.raises(RunLocked, match=f"process {process.pid} writes to this folder"), folder.lock():
            pass
        assert folder.rows("spectra").num_rows == 0  # reading is free
    with folder.lock():
        folder.write("spectra", key("a"), spectra_row("a"))


def test_second_lock_of_one_process_is_refused(folder: RunFolder) -> None:
    other = RunFolder.open(folder.path)
    with folder.lock(), pytest.raises(RunLocked), other.lock():
        pass
    with other.lock():
        other.write("spectra", key("a"), spectra_row("a"))


def test_nothing_is_written_without_the_lock(folder: RunFolder) -> None:
    with pytest.raises(RuntimeError, match="lock"):
        folder.write("spectra", key("a"), spectra_row("a"))
    assert not folder.has("spectra", key("a"))


def test_kill_in_the_middle_of_a_write_leaves_the_old_record(folder: RunFolder) -> None:
    with folder.lock():
        folder.write("spectra", key("a"), spectra_row("a", seconds=1.0))
    record = folder.path / "spectra" / f"{key('a')}.parquet"
    code = """
from lmscope.results.files import write_atomically
def half(file):
    file.write(b"PAR1half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
with RunFolder.open(sys.argv[1]).lock():
    write_atomically(Path(sys.argv[2]), half)
"""
    for target in (record, record.with_name(f"{key('b')}.parquet"), folder.path / "manifest.json"):
        process = python(code, str(folder.path), str(target))
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        (leftover,) = folder.path.rglob("*.tmp")
        assert folder.rows("spectra").column("seconds").to_pylist() == [1.0]
    with folder.lock():
        assert not leftover.exists()
    assert sorted(os.listdir(folder.path / "spectra")) == [record.name]


def test_full_disk_is_an_error_and_leaves_nothing(folder: RunFolder) -> None:
    """A limit on file size stands for the full disk: both make write(2) fail half-way."""
    code = """
import resource, json
row = json.loads(sys.argv[3])
row["singular_values"] = [float(i) ** 0.5 for i in range(100_000)]
folder = RunFolder.open(sys.argv[1])
with folder.lock():
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        folder.write("spectra", sys.argv[2], row)
    except ResultsError as error:
        print(error)
"""
    row = {**spectra_row("a"), "singular_values": [], "bounds": []}
    output, errors = python(code, str(folder.path), key("a"), json.dumps(row)).communicate()
    assert f"{key('a')}.parquet" in output, errors
    assert "too large" in output
    assert not folder.has("spectra", key("a"))
    assert list((folder.path / "spectra").iterdir()) == []


def test_only_our_own_leftovers_are_cleared(tmp_path: Path) -> None:
    """A result folder may be anybody's folder."""
    theirs = [tmp_path / name for name in (".notes.tmp", ".a.1.tmp", "sub/.draft.tmp", "spectra/.x.1.tmp")]
    dead = "4194305"  # above the largest process number
    ours = [tmp_path / f".{name}.{dead}.tmp" for name in ("manifest.json", "ledger.parquet", "report.html")]
    ours.append(tmp_path / "spectra" / f".{key('a')}.parquet.{dead}.tmp")
    for path in [*theirs, *ours]:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with RunFolder.create(tmp_path, "id").lock():
        assert all(path.exists() for path in theirs)
        assert not any(path.exists() for path in ours)


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"PAR1 and half a record"])
def test_a_damaged_record_does_not_stand(folder: RunFolder, damage: bytes) -> None:
    with folder.lock():
        folder.write("spectra", key("a"), spectra_row("a"))
        assert folder.has("spectra", key("a"))
        (folder.path / "spectra" / f"{key('a')}.parquet").write_bytes(damage)
        assert not folder.has("spectra", key("a"))
