"""`icl` from Python: records by cell and seed, what a further call computes, what is refused."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from threadpoolctl import threadpool_info, threadpool_limits

import lmscope
from lmscope.results import ICL_ANALYSES, SCHEMAS, RunFolder, WrongCheckpoint
from lmscope.results.icl_columns import ICL_COLUMNS, ICL_ORDER
from lmscope.runs import UsageError
from lmscope.runs.icl import experiments_told
from lmscope.runs.icl_settings import chosen_experiments
from lmscope.runs.one_thread import one_thread_each
from lmscope.runs.side_by_side import SideBySide
from lmscope.spin_glass import fields, ground_state, make_tasks, population
from lmscope.spin_glass.experiments import EXPERIMENTS, architectures

from .killed_runs import kill_behind, run_whole, states

SMALL: dict[str, Any] = {"dimension": 4, "prompt_lengths": [5, 12], "tasks": [10, 20, 40], "seeds": 2}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        yield


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Of our kernels, cells side by side among them, and of torch."""
    before = lmscope.get_num_threads(), torch.get_num_threads()
    lmscope.set_num_threads(number)
    torch.set_num_threads(number)
    try:
        yield
    finally:
        lmscope.set_num_threads(before[0])
        torch.set_num_threads(before[1])


def blas() -> list[dict[str, Any]]:
    """Of numpy and scipy; that of our kernels is on one thread always."""
    found = [one for one in threadpool_info() if one["user_api"] == "blas"]
    return [one for one in found if "scipy_openblas64" not in one["filepath"].split("/")]


def run_of(path: Path, experiments: Any = "phase_map", **given: Any) -> lmscope.Run:
    return lmscope.icl(experiments, out=path, progress=False, **{**SMALL, **given})


def test_a_row_is_what_the_library_gives(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    rows = run.table("phase_map").to_pylist()
    sizes = [(row["regularization"], row["prompt_length"], row["tasks"], row["seed"]) for row in rows]
    assert sizes == [
        (level, length, tasks, seed)
        for level in (0.0, 0.01)
        for length in (5, 12)
        for tasks in (10, 20, 40)
        for seed in (0, 1)
    ]
    for row in (rows[0], rows[-1]):
        tasks = make_tasks(
            tasks=row["tasks"],
            dimension=4,
            prompt_length=row["prompt_length"],
            seed=row["seed"],
            draw="statistics",
        )
        weights = ground_state(fields(tasks), regularization=row["regularization"]).weights
        assert row["loss"] == pytest.approx(population(tasks).loss(weights), rel=1e-6)
        assert row["seconds"] > 0
    checkpoint = run.manifest["checkpoint"]
    assert checkpoint["identity"] == "spin_glass"
    assert run.ledger.num_rows == 0
    assert "24 rows of phase_map" in repr(run)
    assert "24 rows of phase_map" in run._repr_html_()


def test_every_experiment_has_a_table_an_order_and_the_presets() -> None:
    assert EXPERIMENTS.keys() == ICL_ANALYSES == ICL_ORDER.keys()
    for name, experiment in EXPERIMENTS.items():
        assert experiment.PRESETS.keys() == {"seconds", "minutes", "paper"}
        assert len({frozenset(settings) for settings in experiment.PRESETS.values()}) == 1
        assert set(ICL_ORDER[name]) <= ICL_COLUMNS[name].keys()
        for preset in experiment.PRESETS:
            (chosen,) = chosen_experiments(name, preset, 0, {})
            assert len({repr(cell) for cell in chosen.cells}) == len(chosen.cells)
    told = {one["name"]: one["seconds"] for one in experiments_told()}
    assert told.keys() == {name.replace("_", "-") for name in EXPERIMENTS}
    assert sum(one["seconds"] for one in told.values()) < sum(one["minutes"] for one in told.values())


def test_more_seeds_and_lengths_compute_what_is_new_and_fewer_show_fewer(tmp_path: Path) -> None:
    path = tmp_path / "run"
    whole = run_of(path, seeds=1, prompt_lengths=[5])
    first = whole.table("phase_map")
    standing = states(path)
    assert len(standing) == 1
    wider = run_of(path)
    kept = states(path)
    assert len(kept) == 4
    assert standing.items() <= kept.items()
    assert wider.table("phase_map").num_rows == 24
    again = run_of(path, seeds=1, prompt_lengths=[5])
    assert states(path) == kept
    assert again.table("phase_map").equals(first)
    # Reads of the first one as well: what the folder was asked for last.
    assert whole.table("phase_map").equals(first)
    later = run_of(path, seed=1, seeds=1, prompt_lengths=[5])
    assert states(path) == kept
    assert set(later.table("phase_map").column("seed").to_pylist()) == {1}


def test_a_changed_setting_recomputes_the_experiments_that_have_it(tmp_path: Path) -> None:
    path = tmp_path / "run"
    both = ("emergence", "phase_map")
    few = {"prompt_lengths": [5], "seeds": 1}
    run_of(path, both, **few)
    before = states(path)
    run = run_of(path, both, settings={"replicas": 5}, **few)
    new = states(path).keys() - before.keys()
    assert len(new) == 1
    assert next(iter(new)).startswith("emergence/")
    asked = run.manifest["asked"]["icl"]
    assert asked["emergence"]["given"]["replicas"] == 5
    assert "replicas" not in asked["phase_map"]["given"]
    assert asked["phase_map"]["cells"] == {"dimension": [4], "prompt_length": [5], "seed": [0]}
    # One experiment by itself leaves what was asked of the others.
    run_of(path, "phase-map", prompt_lengths=[12], seeds=1)
    assert run.table("emergence").num_rows == 3
    assert set(run.table("phase_map").column("prompt_length").to_pylist()) == {12}


def test_what_fails_is_kept_with_its_reason_while_others_go_on(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run = run_of(path, ("emergence", "phase_map"), regularization=1e-300, seeds=1)
    assert run.table("emergence").num_rows == 0
    assert run.table("phase_map").num_rows == 6
    failures = run.icl().failures
    assert [(one["experiment"], one["record"]) for one in failures] == [
        ("emergence", f"emergence, dimension 4, prompt length {length}, seed 0") for length in (5, 12)
    ]
    assert all("regularization" in one["reason"] for one in failures)
    # Only of the cells that were asked for last.
    fewer = run_of(path, "emergence", regularization=1e-300, seeds=1, prompt_lengths=[12])
    assert [one["record"] for one in fewer.icl().failures] == [failures[1]["record"]]
    assert not run_of(path, "emergence", seeds=1).icl().failures


def test_cells_that_fail_at_once_are_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = RunFolder.failures

    def slowly(folder: RunFolder, analysis: str) -> dict[str, str]:
        found = read(folder, analysis)
        time.sleep(0.05)
        return found

    monkeypatch.setattr(RunFolder, "failures", slowly)
    with threads(4):
        run = run_of(tmp_path / "run", "emergence", regularization=1e-300, tasks=10, seeds=4)
    assert len(run.icl().failures) == 8


def test_memory_that_torch_does_not_get_is_the_failure_of_its_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = architectures.train

    def train(*arguments: Any, model: Any, **given: Any) -> Any:
        if model == "separate":
            torch.empty(1 << 55)
        return trained(*arguments, model=model, **given)

    monkeypatch.setattr(architectures, "train", train)
    settings = {"models": ["separate", "merged"], "epochs": 5, "test_tasks": 10}
    run = run_of(tmp_path / "run", "architectures", settings=settings, tasks=20, seeds=1, prompt_lengths=5)
    assert run.table("architectures").column("model").to_pylist() == ["merged"]
    (failure,) = run.icl().failures
    assert "model separate" in failure["record"]
    assert "allocate" in failure["reason"]


def test_no_number_of_threads_changes_a_bit(tmp_path: Path) -> None:
    """Sizes at which OpenBLAS on two threads gives other bits than on one."""
    given: dict[str, Any] = {"dimension": 20, "prompt_lengths": [20, 100], "seeds": 1, "tasks": [420, 900]}
    chosen = ("phase_map", "landscape", "amp_vs_training")
    runs = []
    for number in (1, 2):
        with threads(number), threadpool_limits(number, user_api="blas"):
            run = lmscope.icl(
                chosen,
                out=tmp_path / str(number),
                progress=False,
                settings={"epochs": 30, "samples": 50},
                **given,
            )
            assert {one["num_threads"] for one in blas()} == {number}
            assert torch.get_num_threads() == number
        runs.append(run)
    for name in chosen:
        tables = [run.table(name).drop_columns(["seconds"]).to_pylist() for run in runs]
        assert tables[0]
        assert repr(tables[0]) == repr(tables[1])


def test_every_thread_has_one_of_blas_and_torch() -> None:
    found: list[tuple[int, set[int]]] = []

    def look() -> None:
        found.append((torch.get_num_threads(), {one["num_threads"] for one in blas()}))

    with threads(2), threadpool_limits(2, user_api="blas"):
        with one_thread_each(torch_too=True), SideBySide(2, 1) as tasks:
            tasks.start(look, 1)
            tasks.start(look, 1)
        look()
    assert found == [(1, {1}), (1, {1}), (2, {2})]


def test_the_manifest_has_the_device_that_was_used(tmp_path: Path) -> None:
    few: dict[str, Any] = {"seeds": 1, "tasks": 10, "prompt_lengths": 5}
    assert run_of(tmp_path / "drawn", **few).manifest["device"] == "cpu"
    trained = run_of(tmp_path / "trained", "amp_vs_training", settings={"epochs": 2}, **few)
    assert trained.manifest["device"] == ("cuda" if torch.cuda.is_available() else "cpu")


def test_findings_are_those_of_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run = run_of(
        path, ("emergence", "phase_map"), tasks=[5, 10, 19, 20, 21, 40], prompt_lengths=[12], seeds=3
    )
    summary = run.icl()
    assert summary.seeds == {"emergence": 3, "phase_map": 3}
    rows = [row for row in run.table("phase_map").to_pylist() if row["regularization"] == 0]
    found = next(one for one in summary.findings["phase_map"] if one.of["regularization"] == 0)
    logs = {
        tasks: np.log([row["loss"] for row in rows if row["tasks"] == tasks])
        for tasks in (5, 10, 19, 20, 21, 40)
    }
    peak = max(logs, key=lambda tasks: logs[tasks].mean())
    assert (found.numbers["spins"], found.numbers["peak_tasks"]) == (20, peak)
    assert peak in (19, 20, 21)
    assert found.numbers["behind_tasks"] == 40
    fall = logs[peak] - logs[40]
    reach = stats.t.ppf(0.975, 2) * stats.sem(fall)
    expected = [math.exp(end) for end in (fall.mean(), fall.mean() - reach, fall.mean() + reach)]
    band = found.bands["fall"]
    assert band is not None
    assert [band.mean, band.low, band.high] == pytest.approx(expected)
    (unique,) = summary.findings["emergence"]
    assert unique.numbers["unique_from"] == 20
    assert unique.numbers["formula_error"] == pytest.approx(0, abs=1e-12)
    assert unique.bands["spread_few"].mean > 10 * unique.bands["spread_many"].mean  # type: ignore[union-attr]
    assert repr(summary) == "<IclSummary: emergence of 3 seeds, phase_map of 3 seeds>"
    assert "D(D+1)" in summary._repr_html_()


def test_training_is_held_against_the_ground_state_of_its_own_tasks(tmp_path: Path) -> None:
    given = {"prompt_lengths": [12], "tasks": [200], "settings": {"epochs": 50}}
    run = run_of(tmp_path / "run", "amp_vs_training", **given)
    rows = run.table("amp_vs_training").to_pylist()
    loss = {(row["solver"], row["regularization"], row["seed"]): row["loss"] for row in rows}
    (adam,) = [one for one in run.icl().findings["amp_vs_training"] if one.of["solver"] == "adam"]
    level = adam.of["regularization"]
    differences = [loss["adam", level, seed] - loss["ground_state", level, seed] for seed in (0, 1)]
    excess = adam.bands["excess"]
    assert excess is not None
    assert excess.mean == pytest.approx(np.mean(differences))
    assert excess.seeds == 2


def test_non_convergence_is_told_in_the_rows_and_is_no_failure(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "amp", regularization=[0.001], tasks=[10], seeds=1)
    rows = run.table("amp").to_pylist()
    assert not any(row["converged"] for row in rows)
    assert all(row["reason"] and row["loss"] is None for row in rows)
    summary = run.icl()
    assert not summary.failures
    (missing,) = summary.missing
    assert (missing.experiment, missing.rows, missing.of) == ("amp", len(rows), len(rows))
    assert missing.reason == rows[0]["reason"]


def test_a_checkpoints_folder_is_refused_and_the_other_way_round(tmp_path: Path, make_llama: Any) -> None:
    source = make_llama(layers=1)
    weights = lmscope.spectra(source, out=tmp_path / "weights", draws=1, progress=False)
    kept = states(weights.path)
    with pytest.raises(WrongCheckpoint, match=r"holds results of the checkpoint .*choose another folder"):
        run_of(weights.path)
    assert states(weights.path) == kept
    run = run_of(tmp_path / "run", seeds=1)
    with pytest.raises(WrongCheckpoint, match="holds results of experiments, not of a checkpoint"):
        lmscope.spectra(source, out=run.path, draws=1, progress=False)
    with pytest.raises(UsageError, match=r"icl: the run .* holds none"):
        weights.icl()
    with pytest.raises(UsageError, match="holds 'ledger', 'phase_map', not 'amp'"):
        run.table("amp")


@pytest.mark.parametrize(
    ("experiments", "given", "problem"),
    [
        ("spin", {}, "experiment: 'spin' is not known; choose from emergence, phase-map, "),
        ([], {}, "experiment: none given; choose from emergence, "),
        ("amp", {"preset": "hours"}, "preset: 'hours' is not known; choose from seconds, minutes, paper"),
        ("amp", {"seeds": 0}, "seeds: 0 must be at least 1"),
        ("amp", {"seeds": 1.5}, "seeds: 1.5 is no whole number"),
        ("amp", {"seed": -1}, "seed: -1 must be from 0 up"),
        (
            "amp",
            {"inverse_temperature": -1.0},
            "amp: inverse_temperature must be positive and finite, got -1",
        ),
        ("amp", {"inverse_temperature": "nan"}, "inverse_temperature: 'nan' is not finite"),
        ("phase_map", {"prompt_lengths": 0}, "phase-map: prompt_lengths must be .*at least 1, got 0"),
        ("phase_map", {"tasks": "0"}, "phase-map: tasks must be .*at least 1, got 0"),
        ("phase_map", {"tasks": "few"}, "tasks: 'few' is no number"),
        ("phase_map", {"tasks": []}, "tasks: an empty list"),
        ("phase_map", {"dimension": 0}, "phase-map: dimensions must be .*at least 1, got 0"),
        ("phase_map", {"dimension": 2.5}, "dimension: 2.5 is no whole number"),
        ("phase_map", {"regularization": -0.1}, "phase-map: regularization must be .*negative, got -0.1"),
        (
            "phase_map",
            {"correlations": 0.5},
            "correlations: no setting of .* phase-map; these have: correlated",
        ),
        ("phase_map", {"settings": {"colour": 1}}, "colour: no setting of .* phase-map; nor has any other"),
        ("phase_map", {"settings": {"seeds": 1}}, "settings: 'seeds' is given twice"),
        ("amp", {"inverse_temperature": "1,2"}, "inverse_temperature: amp takes one value, not 2"),
        (
            "phase_map",
            {"dimension": 3000},
            r"phase-map: .*dimension 3000 would take [\d.]+ GB, and [\d.]+ GB are",
        ),
        ("amp", {"device": "tpu"}, "device: 'tpu' is not known; choose from auto, cpu, cuda"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    tmp_path: Path, experiments: Any, given: dict[str, Any], problem: str
) -> None:
    with pytest.raises(UsageError, match=problem):
        lmscope.icl(experiments, **{"seeds": 1, **given}, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_kill_costs_one_cell(tmp_path: Path) -> None:
    options = ("--dimension", 4, "--tasks", "10,20,40", "--prompt-lengths", "5,12", "--seeds", 2, "-q")
    chosen = ("--experiment", "emergence", "--experiment", "phase-map")
    undisturbed, run = tmp_path / "undisturbed", tmp_path / "run"
    run_whole(("icl", *chosen, "-o", undisturbed, *options))
    command = ("icl", *chosen, "-o", run, *options)
    kill_behind(5, command, run)
    standing = states(run)
    shown = lmscope.open_run(run)
    # Cells side by side: which of them are done is not told.
    assert shown.table("emergence").num_rows / 3 + shown.table("phase_map").num_rows / 6 == 5
    run_whole(command)
    assert standing.items() <= states(run).items()
    assert states(run).keys() == states(undisturbed).keys()
    for name in ("emergence", "phase_map"):
        tables = [lmscope.open_run(one).table(name) for one in (run, undisturbed)]
        assert tables[0].schema == SCHEMAS[name]
        without = [table.drop_columns(["seconds"]) for table in tables]
        assert without[0].equals(without[1])
    assert not list(run.rglob("*.tmp"))


def test_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = run_of(None, seeds=1)  # type: ignore[arg-type]
    assert os.fspath(run.path) == os.path.join("runs", "icl")
