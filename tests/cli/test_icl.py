"""`lmscope icl` as a user meets it: the list, tables and sentences, one JSON object, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import lmscope
from lmscope.cli.model_verdict import print_summary
from lmscope.runs import icl_words
from lmscope.spin_glass.experiments import EXPERIMENTS

from .test_commands import lmscope_command
from .test_errors import one_line

QUICK = ("--dimension", 4, "--tasks", "10,20,40", "--prompt-lengths", "5,12", "--seeds", 2)
BOTH = ("--experiment", "emergence", "--experiment", "phase-map")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        yield


def test_the_list_tells_experiments_and_times() -> None:
    result = lmscope_command("icl", "--list")
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line.split() for line in result.stdout.splitlines()]
    for name, experiment in EXPERIMENTS.items():
        (place,) = [at for at, line in enumerate(lines) if line[:1] == [name.replace("_", "-")]]
        assert experiment.TITLE in " ".join(lines[place])
        kept_by = f"kept by: {', '.join([*experiment.CELLS, 'seeds'])}".replace("_", " ")
        assert " ".join(lines[place + 1]) == kept_by
    told = json.loads(lmscope_command("icl", "--list", "--json").stdout)["experiments"]
    assert [one["kept_by"] for one in told] == [[*one.CELLS, "seeds"] for one in EXPERIMENTS.values()]
    assert [one["name"] for one in told] == [name.replace("_", "-") for name in EXPERIMENTS]
    assert all(one["seconds"].keys() == {"seconds", "minutes", "paper"} for one in told)


def test_tables_then_one_json_object(tmp_path: Path) -> None:
    command = ("icl", *BOTH, "-o", tmp_path / "run", *QUICK)
    result = lmscope_command(*command, COLUMNS="200")
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert "Spin glass of in-context learning (linear attention)" in lines
    summary = lmscope.open_run(tmp_path / "run").icl()
    shown = " ".join(result.stdout.split())
    for title, columns, rows in icl_words.tables(summary):
        assert " ".join(title.split()) in shown
        assert all(" ".join(columns).split()[0] in shown for _ in rows)
    sentences = icl_words.sentences(summary)
    assert "D = 4: the ground state is unique in every seed from P = 20 on; D(D+1) = 20." in sentences
    assert set(sentences) <= set(lines)
    assert lines[-1] == f"Records: {tmp_path / 'run'}"

    narrow = lmscope_command(*command, COLUMNS="60")
    assert "nothing to compute: all 8 records stand (icl)" in narrow.stderr
    assert not [line for line in narrow.stdout.splitlines() if "\u2500" in line and len(line) > 60]

    again = lmscope_command(*command, "--json", "-q")
    found = json.loads(again.stdout)["icl"]
    (peak,) = [
        one
        for one in found["findings"]["phase_map"]
        if (one["of"]["prompt_length"], one["of"]["regularization"]) == (12, 0)
    ]
    assert peak["numbers"]["spins"] == 20
    assert peak["bands"]["fall"]["seeds"] == 2
    assert (found["failures"], found["seeds"]) == ([], {"emergence": 2, "phase_map": 2})


def test_the_page_is_built_from_the_records(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert lmscope_command("icl", *BOTH, "-o", run, *QUICK, "-q").stdout == f"{run}\n"
    result = lmscope_command("report", run)
    assert (result.returncode, result.stdout) == (0, f"{run / 'report.html'}\n"), result.stderr
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "lmscope icl --experiment emergence --experiment phase-map" in page
    assert "--tasks 10,20,40" in page


def test_what_fails_leaves_with_4_and_the_rest_stands(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = lmscope_command("icl", *BOTH, "-o", run, *QUICK, "--regularization", "1e-300", "-q")
    assert result.returncode == 4
    assert result.stdout == f"{run}\n"
    lines = result.stderr.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("lmscope: error: emergence, dimension 4, prompt length ") for line in lines)
    assert lmscope.open_run(run).table("phase_map").num_rows == 12


def test_where_all_fails_the_code_is_3_and_other_calls_are_not_blamed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = lmscope_command(
        "icl", "--experiment", "emergence", "-o", run, *QUICK, "--regularization", "1e-300", "-q"
    )
    assert (result.returncode, len(result.stderr.splitlines())) == (3, 4)
    other = lmscope_command("icl", "--experiment", "phase-map", "-o", run, *QUICK, "--json")
    assert (other.returncode, other.stderr) == (0, "")
    assert json.loads(other.stdout)["icl"]["failures"] == []
    # They stand in the run all the same.
    assert len(lmscope.open_run(run).icl().failures) == 4


def test_titles_are_not_broken_at_the_width_of_their_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    given = {"dimension": 3, "prompt_lengths": 5, "tasks": 20, "seeds": 1, "progress": False}
    run = lmscope.icl(
        "diversity", out=tmp_path / "run", settings={"epochs": 5, "distinct_teachers": [5]}, **given
    )
    summary = run.icl()
    print_summary(run, summary, icl_words)
    lines = capsys.readouterr().out.splitlines()
    for title, _, _ in icl_words.tables(summary):
        assert title in lines


def test_non_convergence_is_no_error(tmp_path: Path) -> None:
    given = ("--dimension", 4, "--tasks", 10, "--regularization", 0.001, "--seeds", 1)
    result = lmscope_command("icl", "--experiment", "amp", "-o", tmp_path / "run", *given, COLUMNS="200")
    assert (result.returncode, result.stderr) == (0, "")
    assert "Message passing with the Onsager term converges nowhere." in result.stdout
    assert "In 2 of 2 rows of amp a number is missing; the first: " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--experiment", "spin"), "experiment: 'spin' is not known; choose from emergence, phase-map"),
        (("--preset", "hours"), "preset: 'hours' is not known; choose from seconds, minutes, paper"),
        (("--seeds", 0), "seeds: 0 must be at least 1"),
        (("--inverse-temperature", "-1"), "inverse_temperature must be positive and finite, got -1"),
        (("--prompt-lengths", 0), "prompt_lengths must be a whole number of at least 1, got 0"),
        (("--experiment", "phase-map", "--tasks", "1e30"), "phase-map: tasks must be below 2**63, got 1000"),
        (("--set", "dimensions=3", "--dimension", 4), "given twice, as dimension and as dimensions"),
        (("--tasks", 0), "tasks must be a whole number of at least 1, got 0"),
        (("--experiment", "phase-map", "--dimension", 3000), "GB are free"),
        (("--experiment", "phase-map", "--correlations", 0.5), "these have: correlated"),
        (("--set", "replicas"), "set: 'replicas' is no NAME=VALUE, such as replicas=50"),
        (("--set", "replicas=1", "--set", "replicas=2"), "set: replicas is given twice"),
        (("--device", "tpu"), "device: 'tpu' is not known"),
    ],
)
def test_wrong_usage_leaves_with_2(tmp_path: Path, arguments: tuple[Any, ...], problem: str) -> None:
    result = lmscope_command("icl", "-o", tmp_path / "run", *arguments)
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    assert problem in one_line(result)
    assert not (tmp_path / "run").exists()


def test_another_kind_of_folder_leaves_with_2(tmp_path: Path, make_llama: Any) -> None:
    source, run = make_llama(layers=1), tmp_path / "run"
    assert lmscope_command("icl", "--experiment", "phase-map", "-o", run, *QUICK, "-q").returncode == 0
    result = lmscope_command("spectra", source, "-o", run, "--draws", 1)
    assert (result.returncode, result.stdout) == (2, "")
    assert "holds results of experiments, not of a checkpoint; choose another folder" in one_line(result)


def test_ctrl_c_keeps_the_records_and_leaves_with_1(tmp_path: Path) -> None:
    run = tmp_path / "run"
    chosen = ("--experiment", "phase-map", "--experiment", "amp-vs-training")
    # The first take a moment, the last far longer; they look fifty times whether to go on.
    command = ("icl", *chosen, "--dimension", 6, "--seeds", 2, "--set", "epochs=100000", "-o", run)
    process = subprocess.Popen(
        [sys.executable, "-m", "lmscope", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts jobs in the background has them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while len(list(run.glob("phase_map/*.parquet"))) < 6:
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "lmscope: error: interrupted; what is done is kept" in errors
    assert "waiting for" in errors
    rows = lmscope.open_run(run).table("phase_map").to_pylist()
    assert {(row["prompt_length"], row["seed"]) for row in rows} == set(product((5, 20, 100), (0, 1)))
    # Of six, those under way at the interrupt are lost.
    assert len(list(run.glob("amp_vs_training/*.parquet"))) < 5
    assert not list(run.rglob("*.tmp"))
