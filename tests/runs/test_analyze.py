"""The main job end to end: records, ledger, resuming, selection, bad tensors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

import lmscope
from lmscope.results import RunLocked, WrongCheckpoint
from lmscope.runs import UsageError

QUICK = {"draws": 2, "progress": False}


def record_files(run: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted((run / "spectra").glob("*.parquet"))}


def record(path: Path) -> pyarrow.Table:
    return pyarrow.parquet.read_table(path).drop_columns(["seconds"])


def same_bits(left: pyarrow.Table, right: pyarrow.Table) -> bool:
    """Also where NaN meets NaN, which `equals` calls different."""

    def raw(table: pyarrow.Table) -> list[bytes | None]:
        return [
            None if buffer is None else buffer.to_pybytes()
            for column in table.combine_chunks().columns
            for chunk in column.chunks
            for buffer in chunk.buffers()
        ]

    return left.schema == right.schema and raw(left) == raw(right)


def assert_same_records(left: Path, right: Path) -> None:
    ours, theirs = record_files(left), record_files(right)
    assert ours.keys() == theirs.keys()
    assert ours
    for name, path in ours.items():
        assert same_bits(record(path), record(theirs[name])), name


def ledger_of(run: lmscope.Run) -> dict[str, dict]:
    return {row["name"]: row for row in run.ledger.to_pylist()}


def test_every_tensor_is_accounted_for(make_llama, tmp_path):
    run = lmscope.analyze(make_llama(), out=tmp_path / "run", **QUICK)
    ledger = ledger_of(run)
    assert len(ledger) == 3 + 2 * 9
    analysed = [name for name, row in ledger.items() if row["status"] == "analysed"]
    assert len(analysed) == 2 + 2 * 7
    assert {row["status"] for row in ledger.values()} == {"analysed", "skipped"}
    assert all(row["reason"] for row in ledger.values() if row["status"] == "skipped")
    table = run.table("spectra")
    assert table.column("name").to_pylist() == analysed
    for row in table.to_pylist():
        assert row["M"] == min(row["rows"], row["columns"]) == len(row["singular_values"])
        assert row["dtype"] == "bfloat16"
        assert row["seconds"] > 0
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "model.layers.1.mlp.down_proj.weight" in page
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["settings"]["spectra"]["draws"] == 2
    assert manifest["checkpoint"]["name"] == "tiny-llama"
    assert "16 analysed" in repr(run)


def test_records_hold_the_singular_values_of_the_tensor(make_llama, tmp_path):
    source = make_llama(layers=1)
    run = lmscope.spectra(source, out=tmp_path / "run", **QUICK)
    checkpoint = lmscope.open_checkpoint(source)
    for row in run.table("spectra").to_pylist():
        expected = np.linalg.svd(checkpoint.load(row["name"]).astype(np.float64), compute_uv=False)
        assert np.all(
            np.abs(row["singular_values"] - expected) <= np.array(row["bounds"]) + 1e-14 * expected[0]
        )
    assert not (tmp_path / "run" / "report.html").exists()


def test_q_values_are_not_below_p_values(make_llama, tmp_path):
    table = lmscope.spectra(make_llama(), out=tmp_path / "run", **QUICK).to_pandas("spectra")
    for null in ("mp", "sign_flip", "permutation", "iid"):
        p_values, q_values = table[f"{null}_p_value"], table[f"{null}_q_value"]
        assert (p_values.notna() == q_values.notna()).all()
        assert (q_values[p_values.notna()] >= p_values[p_values.notna()]).all()
        assert p_values.notna().any()


def test_real_model_stands_above_the_noise_and_random_weights_do_not(minilm_path, make_llama, tmp_path):
    trained = lmscope.analyze(minilm_path, layers=2, out=tmp_path / "trained", draws=9, progress=False)
    summary = trained.summary()
    assert [role.role for role in summary.roles] == [
        "query",
        "key",
        "value",
        "attention_output",
        "up",
        "down",
    ]
    assert summary.measure == "sign_flip"
    assert sum(role.learnt for role in summary.roles) > 20
    assert summary.top[0].norm_share > 0.05
    random = lmscope.spectra(make_llama(), out=tmp_path / "random", draws=9, progress=False).summary()
    assert sum(role.learnt for role in random.roles) <= 6


def test_killed_run_continues_where_it_stopped(make_llama, tmp_path):
    source = make_llama(layers=6)
    run, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    # So many draws that the run outlasts the fourth record by far.
    command = [sys.executable, "-m", "lmscope", "spectra", str(source), "-o", str(run)]
    command += ["--draws", "499", "-q"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(record_files(run)) < 4 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = {name: path.stat().st_mtime_ns for name, path in record_files(run).items()}
    assert 4 <= len(before) < 2 + 6 * 7

    # The folder of a killed run can be read, and says what is left.
    statuses = lmscope.open_run(run).ledger.column("status").to_pylist()
    assert statuses.count("analysed") == len(before)
    assert statuses.count("planned") == 2 + 6 * 7 - len(before)

    continued = lmscope.spectra(source, out=run, draws=499, progress=False)
    after = {name: path.stat().st_mtime_ns for name, path in record_files(run).items()}
    assert len(after) == 2 + 6 * 7
    assert {name: after[name] for name in before} == before
    assert continued.ledger.column("status").to_pylist().count("analysed") == 44
    lmscope.spectra(source, out=undisturbed, draws=499, progress=False)
    assert_same_records(run, undisturbed)


def test_finished_run_computes_nothing(make_llama, tmp_path):
    source = make_llama()
    lmscope.spectra(source, out=tmp_path / "run", **QUICK)
    before = {name: path.stat().st_mtime_ns for name, path in record_files(tmp_path / "run").items()}
    again = lmscope.analyze(source, out=tmp_path / "run", **QUICK)
    assert {name: path.stat().st_mtime_ns for name, path in record_files(tmp_path / "run").items()} == before
    assert again.table("spectra").num_rows == len(before)


def test_changed_setting_gets_its_own_records(make_llama, tmp_path):
    source, out = make_llama(layers=1), tmp_path / "run"
    first = lmscope.spectra(source, out=out, **QUICK).table("spectra")
    count = len(record_files(out))
    second = lmscope.spectra(source, out=out, progress=False, draws=4)
    assert len(record_files(out)) == 2 * count
    assert second.table("spectra").num_rows == count
    # Draws touch nothing but the drawn nulls.
    assert second.table("spectra").column("singular_values").equals(first.column("singular_values"))
    # Back again: nothing is computed, and the table is that of the first settings.
    back = lmscope.spectra(source, out=out, **QUICK)
    assert len(record_files(out)) == 2 * count
    assert same_bits(back.table("spectra"), first)


def test_draws_do_not_matter_where_nothing_is_drawn(make_llama, tmp_path):
    source, out = make_llama(layers=1), tmp_path / "run"
    lmscope.spectra(source, out=out, nulls="iid", draws=2, progress=False)
    before = {name: path.stat().st_mtime_ns for name, path in record_files(out).items()}
    lmscope.spectra(source, out=out, nulls=["iid"], draws=50, progress=False)
    assert {name: path.stat().st_mtime_ns for name, path in record_files(out).items()} == before


def test_wider_selection_adds_to_the_run(make_llama, tmp_path):
    source, out = make_llama(), tmp_path / "run"
    first = lmscope.spectra(source, out=out, layers=0, roles="query,key", **QUICK)
    assert first.table("spectra").num_rows == 2
    left_out = ledger_of(first)["model.layers.1.self_attn.q_proj.weight"]
    assert (left_out["status"], left_out["reason"]) == (
        "skipped",
        "not selected (layers 0; roles query, key)",
    )
    second = lmscope.spectra(source, out=out, layers=1, roles="query", **QUICK)
    assert second.table("spectra").num_rows == 3
    assert ledger_of(second)["model.layers.0.self_attn.q_proj.weight"]["status"] == "analysed"


def test_empty_selection_writes_nothing(make_llama, tmp_path):
    with pytest.raises(UsageError, match="no matrix matches layers 7"):
        lmscope.analyze(make_llama(), out=tmp_path / "run", layers=7, **QUICK)
    assert not (tmp_path / "run").exists()


def nan_at(name: str, row: int, column: int):
    def change(tensors):
        tensors[name][row, column] = np.nan

    return change


def test_bad_tensor_fails_alone_and_says_where(make_llama, tmp_path):
    name = "model.layers.0.mlp.up_proj.weight"
    source = make_llama(change=nan_at(name, 3, 5))
    run = lmscope.analyze(source, out=tmp_path / "run", **QUICK)
    row = ledger_of(run)[name]
    assert row["status"] == "failed"
    assert "row 3" in row["reason"]
    assert "column 5" in row["reason"]
    assert run.table("spectra").num_rows == 15
    assert run.summary().troubles == ({"name": name, "status": "failed", "reason": row["reason"]},)
    assert name in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_file_cut_while_running_fails_its_tensors(make_llama, tmp_path):
    source = make_llama(layers=1)
    checkpoint = lmscope.open_checkpoint(source)
    file = source / "model.safetensors"
    os.truncate(file, file.stat().st_size // 2)
    run = lmscope.spectra(checkpoint, out=tmp_path / "run", **QUICK)
    failed = [row for row in ledger_of(run).values() if row["status"] == "failed"]
    assert len(failed) == 2 + 7
    assert all(str(file) in row["reason"] and row["name"] in row["reason"] for row in failed)
    assert run.table("spectra").num_rows == 0


def test_another_checkpoint_is_refused_and_nothing_is_touched(make_llama, tmp_path):
    out = tmp_path / "run"
    lmscope.spectra(make_llama(layers=1), out=out, **QUICK)
    manifest = (out / "manifest.json").read_bytes()
    with pytest.raises(WrongCheckpoint, match="another checkpoint"):
        lmscope.spectra(make_llama(layers=1, seed=1, name="other"), out=out, **QUICK)
    assert (out / "manifest.json").read_bytes() == manifest


def test_second_writer_is_refused(make_llama, tmp_path):
    from lmscope.results import RunFolder

    source, out = make_llama(layers=1), tmp_path / "run"
    with (
        RunFolder.create(out, lmscope.open_checkpoint(source).identity).lock(),
        pytest.raises(RunLocked, match="run"),
    ):
        lmscope.spectra(source, out=out, **QUICK)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"analyses": ("spectra", "similarity")}, "'similarity' is not available; choose from spectra"),
        ({"analyses": ()}, "analyses: none given"),
        ({"device": "cuda"}, "device: 'cuda'"),
        ({"nulls": "gaussian"}, "nulls: 'gaussian'"),
        ({"nulls": ()}, "nulls: none"),
        ({"draws": 0}, "draws: 0"),
        ({"draws": 1.5}, "draws: 1.5"),
        ({"seed": -1}, "seed: -1"),
        ({"false_positive_rate": 0.0}, r"false_positive_rate: 0\.0"),
        ({"false_positive_rate": float("nan")}, "false_positive_rate: nan"),
        ({"roles": "queries"}, "roles: 'queries'"),
        ({"layers": "x"}, "layers: 'x'"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_written(make_llama, tmp_path, wrong, text):
    with pytest.raises(UsageError, match=text):
        lmscope.analyze(make_llama(layers=1), out=tmp_path / "run", progress=False, **wrong)
    assert not (tmp_path / "run").exists()


def test_default_folder_is_named_after_the_checkpoint(make_llama, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = make_llama(layers=1, name="models/org name/model")
    run = lmscope.spectra(source, roles="query", **QUICK)
    identity = lmscope.open_checkpoint(source).identity
    assert run.path == Path("runs") / f"org-name--model-{identity[:8]}"
    assert lmscope.spectra(source, roles="query", **QUICK).path == run.path


def test_open_run_needs_a_run(tmp_path):
    with pytest.raises(UsageError, match="no result folder"):
        lmscope.open_run(tmp_path)


def test_table_names_what_the_run_holds(make_llama, tmp_path):
    run = lmscope.spectra(make_llama(layers=1), out=tmp_path / "run", roles="query", **QUICK)
    with pytest.raises(UsageError, match="holds 'ledger', 'spectra', not 'similarity'"):
        run.table("similarity")


def test_progress_without_a_terminal_is_no_bar(make_llama, tmp_path, capfd):
    lmscope.analyze(make_llama(layers=1), out=tmp_path / "run", draws=2)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "\x1b" not in captured.err
