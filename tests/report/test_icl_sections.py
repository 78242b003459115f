"""The page of a run of `icl`: no checkpoint; emergence, phase map, landscape and message passing."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shlex
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects
import pytest
from scipy import stats
from typer.testing import CliRunner

import lmscope
from lmscope.cli import app
from lmscope.report import Records, build
from lmscope.report.figures import unpacked
from lmscope.report.icl_axes import cell_edges, count_ticks, log_ticks, tick_words
from lmscope.report.icl_rows import band, points_of
from lmscope.report.page import state_files
from lmscope.report.plots import as_plotly, figures_of, plot
from lmscope.results import RunFolder
from lmscope.runs.icl import icl

from ..browsing import Watched
from ..synthetic_icl import CELLS, DIMENSION, LENGTHS, LEVELS, ROWS, SEEDS, SPINS, TASKS, write_icl_run

KEYS = ["emergence", "phase_map", "phase_curve", "landscape", "landscape_energies", "amp", "amp_course"]
SIDE = (DIMENSION + 1) ** 2


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_icl_run(tmp_path_factory.mktemp("icl") / "run")


def rows_of(folder: Path, table: str, **wanted: Any) -> list[dict[str, Any]]:
    rows = lmscope.open_run(folder).table(table).to_pylist()
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def state_of(folder: Path, figure: str, *words: str) -> str:
    """The key of the state whose name holds all of the words as parts."""
    states = figures_of(Records(folder))[figure].states
    (key,) = [key for key, name in states.items() if set(words) <= set(name.split(", "))]
    return key


def traces(folder: Path, figure: str, *words: str) -> dict[str, Any]:
    """Visible traces by name; bands have none."""
    chart = plot(Records(folder), figure, state_of(folder, figure, *words))
    return {trace.name: trace for trace in chart.data if trace.visible is not False and trace.name}


def test_every_state_of_every_figure_is_a_plotly_figure(run: Path) -> None:
    figures = figures_of(Records(run))
    assert {key: len(figure.states) for key, figure in figures.items()} == {
        "emergence": 5 * len(LENGTHS),
        "phase_map": 4 * len(LEVELS),
        "phase_curve": 4 * len(LENGTHS),
        "landscape": 2,
        "landscape_energies": 2,
        "amp": 5 * 2,
        "amp_course": 4 * 4,
    }
    for figure in figures.values():
        assert figure.first in figure.states
        assert len(set(state_files(figure).values())) == len(figure.states)
        for key in figure.states:
            variant = figure.variant(key)
            assert len(variant.data) == len(figure.data)
            plotly.graph_objects.Figure(as_plotly("model", figure, key))
            json.dumps(vars(variant), allow_nan=False)
            assert all(len(part) == len(figure.columns) for part in variant.parts)


def test_sections_without_records_are_not_there(tmp_path: Path) -> None:
    folder = write_icl_run(tmp_path / "run", ["phase_map"])
    assert list(figures_of(Records(folder))) == ["phase_map", "phase_curve"]
    page = build(folder).read_text(encoding="utf-8")
    assert 'id="section-emergence"' not in page


def test_bands_are_students_intervals() -> None:
    values = [0.4, 1.3, 0.9, 5.0]
    found = band(values)
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(values), low, high))
    logs = band(values, logarithmic=True)
    low, high = np.exp(stats.t.interval(0.95, 3, np.mean(np.log(values)), stats.sem(np.log(values))))
    assert (logs.mean, logs.low, logs.high) == pytest.approx((stats.gmean(values), low, high))
    single = band([2.0])
    assert (single.mean, single.low, single.high, single.seeds) == (2.0, None, None, 1)
    rows = [{"at": 5, "y": 1.0}, {"at": 3, "y": 4.0}, {"at": 5, "y": None}, {"at": 3, "y": 0.0}]
    assert [(one.x, one.band.mean, one.band.seeds) for one in points_of(rows, "at", "y")] == [
        (3, 2, 2),
        (5, 1, 1),
    ]
    (three, five) = points_of(rows, "at", "y", logarithmic=True)
    assert (three.band.mean, three.band.seeds, five.band.mean) == (pytest.approx(4), 1, 1)


def test_ticks_and_edges_of_logarithmic_axes() -> None:
    assert log_ticks(1, 100) == [1, 3, 10, 30, 100]
    assert log_ticks(10, 120) == [10, 20, 50, 100]
    assert log_ticks(1e-14, 1) == [1e-14, 1e-11, 1e-8, 1e-5, 1e-2]
    assert log_ticks(4, 4.5) == [4, pytest.approx(math.sqrt(18)), 4.5]
    assert cell_edges([10, 40]) == [pytest.approx(5), 20, pytest.approx(80)]
    assert cell_edges([10]) == [5, 20]
    assert [tick_words(value) for value in (0.01, 200, 2000, 15000, 1e-5, 3e7)] == [
        *("0.01", "200", "2k", "15k", "1e-5", "3e7")
    ]
    assert [count_ticks(most) for most in (3, 24, 900)] == [
        [0, 1, 2, 3],
        [0, 5, 10, 15, 20],
        [0, 200, 400, 600, 800],
    ]


def test_zero_modes_stand_beside_the_formula(run: Path) -> None:
    shown = traces(run, "emergence", "Zero modes", "N = 40")
    expected = [1 - min(tasks, SPINS) / SIDE for tasks in TASKS]
    for name in ("measured", "formula"):
        assert list(shown[name].x) == list(TASKS)
        np.testing.assert_allclose(shown[name].y, expected, rtol=1e-12)
    assert "sampled replicas" not in shown
    assert f"{SIDE - 20} zero modes of {SIDE}" in shown["measured"].hovertext[TASKS.index(20)]
    chart = plot(Records(run), "emergence", state_of(run, "emergence", "Zero modes", "N = 8"))
    assert [shape.x0 for shape in chart.layout.shapes] == [SPINS]
    assert chart.layout.annotations[0].text == "P = D(D+1) = 30"
    assert chart.layout.annotations[0].x == pytest.approx(math.log10(SPINS))
    html = figures_of(Records(run))["emergence"].variant("zero_mode_ratio:N8:D5:lambda0.01:beta100").html
    assert "unique in some seed from P = 30, and is not in some seed up to P = 28" in html


def test_spread_has_both_lines_in_bands(run: Path) -> None:
    shown = traces(run, "emergence", "Spread of replicas", "N = 40")
    for name, column in (("measured", "spread"), ("sampled replicas", "spread_sampled")):
        means = [
            stats.gmean([row[column] for row in rows_of(run, "emergence", tasks=tasks, prompt_length=40)])
            for tasks in TASKS
        ]
        np.testing.assert_allclose(shown[name].y, means, rtol=1e-12)
        assert means[0] > 5 * means[-1]
    chart = plot(Records(run), "emergence", state_of(run, "emergence", "Spread of replicas", "N = 40"))
    low, high, line = chart.data[1:4]
    assert all(np.array(low.y) < np.array(line.y))
    assert all(np.array(line.y) < np.array(high.y))
    assert chart.layout.yaxis.type == "log"
    shares = traces(run, "emergence", "Uniqueness of the ground state", "N = 8")["measured"].y
    assert list(shares) == [float(tasks >= SPINS) for tasks in TASKS]


def test_map_and_curve_hold_the_records(run: Path) -> None:
    key = state_of(run, "phase_map", "Loss on unseen tasks", "λ₀ = 0")
    heat = plot(Records(run), "phase_map", key).data[0]
    assert len(heat.x) == len(TASKS) + 1
    assert heat.x[4] < SPINS < heat.x[5]
    for at, length in enumerate(LENGTHS):
        means = [
            stats.gmean(
                [
                    row["loss"]
                    for row in rows_of(
                        run, "phase_map", tasks=tasks, prompt_length=length, regularization=0.0
                    )
                ]
            )
            for tasks in TASKS
        ]
        np.testing.assert_allclose(heat.z[at], np.log10(means), rtol=1e-9)
        line = traces(run, "phase_curve", "Loss on unseen tasks", f"N = {length}")
        np.testing.assert_allclose(line["λ₀ = 0"].y, means, rtol=1e-12)
        best = (DIMENSION + 1) / (length + DIMENSION + 1)
        assert list(line["infinitely many tasks"].y) == [best, best]
        assert set(line) == {"λ₀ = 0", "λ₀ = 0.01", "infinitely many tasks"}
    assert "infinitely many tasks" not in traces(run, "phase_curve", "Contrast ratio", "N = 40")
    part = figures_of(Records(run))["phase_map"].variant(key).parts[0]
    assert len(part[1]) == len(TASKS) * len(LENGTHS)
    assert set(part[6]) == {len(SEEDS)}


def test_the_peak_is_told_where_it_is(run: Path) -> None:
    def mean(tasks: int, level: float) -> float:
        rows = rows_of(run, "phase_map", tasks=tasks, prompt_length=40, regularization=level)
        return float(stats.gmean([row["loss"] for row in rows]))

    key = state_of(run, "phase_curve", "Loss on unseen tasks", "N = 40")
    said = figures_of(Records(run))["phase_curve"].variant(key).html
    times = mean(30, 0.0) / mean(60, 0.0)
    assert times > 5
    assert "λ₀ = 0: of the numbers of tasks from D(D+1)/2 on, the loss is highest at P = 30" in said
    assert f"{times:.3g} times that at P = 60" in said
    assert mean(20, 0.01) == max(mean(tasks, 0.01) for tasks in TASKS if tasks >= SPINS / 2)
    assert "λ₀ = 0.01: no peak; from P = 20" in said
    page = build(run).read_text(encoding="utf-8")
    assert (
        f"highest at P = 30 ({mean(30, 0.0):.3g}; at the most tasks, P = 120, {mean(120, 0.0):.3g})" in page
    )


def test_the_plane_lies_as_recorded(run: Path) -> None:
    for tasks in (10, 60):
        (row,) = rows_of(run, "landscape", tasks=tasks)
        chart = plot(Records(run), "landscape", state_of(run, "landscape", f"P = {tasks}"))
        plane, random, rest = chart.data
        across = len(row["axes_x"])
        assert np.shape(plane.z) == (len(row["axes_y"]), across)
        assert plane.z[2][5] == pytest.approx(row["grid"][2 * across + 5], rel=1e-6)
        np.testing.assert_allclose(plane.x, row["axes_x"], rtol=1e-6)
        np.testing.assert_allclose(random.customdata, row["energy"], rtol=1e-6)
        np.testing.assert_allclose(rest.x, row["relaxed_x"], rtol=1e-6)
        np.testing.assert_allclose(rest.y, row["relaxed_y"], rtol=1e-6)
        variant = figures_of(Records(run))["landscape"].variant(state_of(run, "landscape", f"P = {tasks}"))
        assert f"(ground state {row['ground_energy']:.4g})" in variant.html
        assert f"{SPINS - min(tasks, SPINS)} directions of the weights" in variant.html
        bars = plot(Records(run), "landscape_energies", state_of(run, "landscape_energies", f"P = {tasks}"))
        assert sum(bars.data[0].y) == len(row["energy"])
        np.testing.assert_allclose(bars.data[1].x, row["relaxed_energy"], rtol=1e-6)
        assert list(bars.data[2].x) == [row["ground_energy"]]


def test_a_descent_that_is_stopped_is_not_called_a_minimum(tmp_path: Path) -> None:
    def both(cell: Mapping[str, Any]) -> list[dict[str, Any]]:
        rows = ROWS["landscape"](cell)
        return [*rows, *({**row, "regularization": 0.01, "relaxed_overlap": 0.25} for row in rows)]

    folder = write_icl_run(tmp_path / "run", ["landscape"], rows={"landscape": both})
    figures = figures_of(Records(folder))
    for level in (0, 0.01):
        for tasks in (10, 60):
            words = (f"P = {tasks}", f"λ₀ = {level}")
            stopped = level > 0 and tasks < SPINS
            for figure in ("landscape", "landscape_energies"):
                html = figures[figure].variant(state_of(folder, figure, *words)).html
                assert ("stopped on the floor of the valley, before λ₀ has moved" in html) == stopped
            html = figures["landscape"].variant(state_of(folder, "landscape", *words)).html
            assert ("ended in a minimum" in html) != stopped
    page = build(folder).read_text(encoding="utf-8")
    (row,) = rows_of(folder, "landscape", tasks=10, regularization=0.0)
    # Of the least regularization alone, not a mean over both.
    assert "Landscape, D = 5, N = 40, λ₀ = 0: the mean cosine between replicas after the descent is" in page
    assert f"is {row['relaxed_overlap']:.3g} at P = 10 and" in page


def test_keys_of_states_stay_as_they_are_when_a_list_grows(tmp_path: Path) -> None:
    few = write_icl_run(tmp_path / "few", ["amp"], rows={"amp": lambda cell: _of_level(cell, 0.01)})
    many = write_icl_run(tmp_path / "many", ["amp"])
    keys = [set(figures_of(Records(folder))["amp_course"].states) for folder in (few, many)]
    assert keys[0] < keys[1]
    assert "P400:lambda0.01:N40:D5:beta10" in keys[0]
    files = state_files(figures_of(Records(few))["amp_course"])
    assert files["P400:lambda0.01:N40:D5:beta10"] == "P400-lambda0.01-N40-D5-beta10"


def _of_level(cell: Mapping[str, Any], level: float) -> list[dict[str, Any]]:
    return [row for row in ROWS["amp"](cell) if row["regularization"] == level]


def test_tokens_of_one_prompt_are_not_in_the_ranges_of_the_head(tmp_path: Path) -> None:
    known = {"seed": 0, "values": [2.0, 1.0], "reason": "", "seconds": 0.1, "label_outliers": None}
    known |= dict.fromkeys(("scale", "lower_edge", "upper_edge", "n_below", "n_above", "ks", "p_value"))

    def rows(cell: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [
            {**known, "kind": "tokens", "dimension": 100, "prompt_length": 300, "tasks": 1},
            {**known, "kind": "features", "dimension": 5, "prompt_length": 40, "tasks": 60},
        ]

    folder = write_icl_run(
        tmp_path / "run",
        ["coupling_spectrum"],
        rows={"coupling_spectrum": rows},
        lists={"coupling_spectrum": {"seed": [0]}},
    )
    page = build(folder).read_text(encoding="utf-8")
    assert "D = 5 · N = 40 · P = 60 · " in page


def test_the_foot_lists_the_tasks_of_a_preset_without_a_list(tmp_path: Path) -> None:
    run = icl("emergence", dimension=3, prompt_lengths=5, seeds=1, out=tmp_path / "run", progress=False)
    counts = sorted({row["tasks"] for row in run.table("emergence").to_pylist()})
    assert len(counts) > 8
    ends = [", ".join(map(str, some)) for some in (counts[:3], counts[-3:])]
    page = build(tmp_path / "run").read_text(encoding="utf-8")
    assert f"<dt>tasks</dt><dd>{ends[0]}, …, {ends[1]} ({len(counts)} numbers)</dd>" in page


def test_where_message_passing_converges(run: Path) -> None:
    tasks, levels = CELLS["amp"]["tasks"], [0.001, 0.01, 0.1, 1.0]
    for onsager, name in ((True, "with the Onsager term"), (False, "without the Onsager term")):
        chart = plot(Records(run), "amp", state_of(run, "amp", "Convergence", name))
        heat, crosses = chart.data
        errors = plot(Records(run), "amp", state_of(run, "amp", "Error of the means", name)).data[0]
        crossed = set()
        for line, level in enumerate(levels):
            for column, number in enumerate(tasks):
                rows = rows_of(run, "amp", tasks=number, regularization=level, onsager=onsager)
                assert len(rows) == len(SEEDS)
                assert heat.z[line][column] == pytest.approx(np.mean([row["converged"] for row in rows]))
                if any(row["diverged"] for row in rows):
                    crossed.add((number, level))
                known = [row["mean_error"] for row in rows if row["mean_error"] is not None]
                shown = errors.z[line][column]
                assert shown == pytest.approx(math.log10(max(known))) if known else shown is None
        assert crossed
        assert set(zip(crosses.x, crosses.y, strict=True)) == crossed
    with_onsager = rows_of(run, "amp", onsager=True)
    held = [row for row in with_onsager if row["converged"]]
    said = (
        figures_of(Records(run))["amp"].variant(state_of(run, "amp", "Steps", "with the Onsager term")).html
    )
    assert f"{len(held)} of {len(with_onsager)} runs" in said
    assert f"off by {max(row['mean_error'] for row in held):.3g} at most" in said


def test_a_cell_leads_to_its_course(run: Path) -> None:
    figures = figures_of(Records(run))
    heat = plot(Records(run), "amp", state_of(run, "amp", "Convergence", "with the Onsager term")).data[0]
    key = str(heat.customdata[1][2])
    assert figures["amp_course"].states[key].startswith("P = 400, λ₀ = 0.01")
    lines = plot(Records(run), "amp_course", key).data
    rows = rows_of(run, "amp", tasks=400, regularization=0.01, onsager=True)
    assert any(len(row["changes"]) > 60 for row in rows)
    for row, line in zip(rows, lines, strict=False):
        assert line.meta == row["seed"]
        assert (line.x[0], line.x[-1]) == (1, row["steps"])
        np.testing.assert_allclose(line.y, np.array(row["changes"])[np.array(line.x) - 1], rtol=1e-6)
    biased = rows_of(run, "amp", tasks=400, regularization=0.01, onsager=False)
    assert [line.meta for line in lines[3:]] == [row["seed"] for row in biased]
    html = figures["amp_course"].variant(key).html
    assert "of long courses 60 sweeps, the last among them" in html


def test_a_cell_without_a_number_says_why(tmp_path: Path) -> None:
    def nothing(cell: Mapping[str, Any]) -> list[dict[str, Any]]:
        reason = "the eigenvalues <b>did not</b> converge"
        return [{**row, "loss": None, "contrast": None, "reason": reason} for row in ROWS["phase_map"](cell)]

    folder = write_icl_run(tmp_path / "run", ["phase_map"], rows={"phase_map": nothing})
    figures = figures_of(Records(folder))
    for figure in ("phase_map", "phase_curve"):
        html = figures[figure].variant(figures[figure].first).html
        assert "rows without a number: the eigenvalues &lt;b&gt;did not&lt;/b&gt; converge" in html
    build(folder)


def test_failed_cells_stand_at_the_top(tmp_path: Path) -> None:
    folder = write_icl_run(tmp_path / "run", ["emergence"])
    with RunFolder.open(folder).lock() as locked:
        locked.write_failures("emergence", {"emergence, seed 9": "does not fit into memory", "other": "too"})
    page = build(folder).read_text(encoding="utf-8")
    assert "No record of emergence, seed 9, and 1 more cell: does not fit into memory" in page


def test_the_page_is_of_no_checkpoint(run: Path) -> None:
    page = build(run).read_text(encoding="utf-8")
    body = unescape(re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL))
    assert "<title>Spin glass of in-context learning · lmscope report</title>" in page
    assert "checkpoint" not in body.lower()
    assert "tensor" not in body
    for key in ("ledger", "overview", "verdicts", "claims"):
        assert f'id="section-{key}"' not in page
    assert [f'id="section-{key}"' in page for key in KEYS] == [True] * len(KEYS)
    about = re.search(r'class="about">(.*?)</p>', body, re.DOTALL)
    assert about is not None
    assert about[1] == (
        "4 experiments · preset seconds · D = 5 · N from 8 to 40 · P from 10 to 1\u202f600 · 1 to 3 seeds · "
        "lmscope 0.1.0 · 2 CPUs · device cpu"
    )
    assert "the zero modes of 60 of 60 ground states are exactly those of the formula; the first" in body
    assert '"file":"icl"' in page


def calls_of(folder: Path) -> tuple[list[str], str]:
    page = build(folder).read_text(encoding="utf-8")
    code = re.search(r"<pre><code>(.*?)</code>", page, re.DOTALL)
    assert code is not None
    shell, python = unescape(code[1]).split("# or from Python\n")
    return [line for line in shell.splitlines() if line], python


def test_to_reproduce(run: Path, tmp_path: Path) -> None:
    shell, python = calls_of(run)
    names = " ".join(f"--experiment {name.replace('_', '-')}" for name in ROWS)
    ends = "--preset seconds --seed 3 --device cpu -o RUN"
    assert shell == [f"lmscope icl {names} {ends}", "lmscope report RUN"]
    assert python.strip().endswith("run.report()")
    given = {"prompt_length": [8, 40], "seeds": 3, "regularization": [0.1], "samples": 200}
    folder = write_icl_run(tmp_path / "run", ["landscape"], given=given)
    words = shlex.split(calls_of(folder)[0][0])
    assert words[words.index("--prompt-lengths") + 1] == "8,40"
    assert words[words.index("--set") + 1] == "samples=200"


def test_the_call_on_the_page_makes_the_same_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = icl(
        ["emergence", "phase_map", "landscape", "amp"],
        dimension=3,
        prompt_lengths=[5, 9],
        regularization=[0.1, 1.0],
        seeds=2,
        seed=7,
        settings={"replicas": 4, "samples": 30},
        out=tmp_path / "first",
        device="cpu",
        progress=False,
    )
    assert all(first.table(name).num_rows for name in ROWS)
    assert list(figures_of(Records(tmp_path / "first"))) == KEYS
    shell, python = calls_of(tmp_path / "first")
    # One call for those that were given the same settings.
    assert len(shell) == 4
    assert python.count("lmscope.icl(") == 3
    monkeypatch.chdir(tmp_path)
    exec(python, {})
    for line in shell:
        command = [*shlex.split(line)[1:-1], "BY_SHELL"]
        assert CliRunner().invoke(app, command).exit_code == 0
    for folder in ("RUN", "BY_SHELL"):
        assert Path(folder, "report.html").is_file()
        again = lmscope.open_run(folder)
        for name in ROWS:
            taken = [run.table(name).drop_columns(["seconds"]) for run in (first, again)]
            assert taken[0].equals(taken[1])


def saved(watched: Watched, what: str) -> tuple[str, list[dict[str, str]]]:
    with watched.page.expect_download() as download:
        watched.page.click(f"[data-save={what}]")
    text = Path(download.value.path()).read_bytes().decode("utf-8")
    return download.value.suggested_filename, list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.browser
def test_switches_clicks_and_data(run: Path, watched: Watched) -> None:
    watched.open(build(run))
    page = watched.page
    page.select_option("select[data-part=emergence] >> nth=0", "spread")
    page.select_option("select[data-part=emergence] >> nth=1", "N8")
    name, lines = saved(watched, "emergence")
    assert name.startswith("icl-emergence-spread-N8-D5-lambda0.01-beta100")
    assert {line["line"] for line in lines} == {"measured", "sampled replicas"}
    rows = rows_of(run, "emergence", prompt_length=LENGTHS[0], tasks=10)
    first = next(line for line in lines if line["line"] == "measured" and line["tasks"] == "10")
    assert float(first["mean"]) == pytest.approx(stats.gmean([row["spread"] for row in rows]))
    page.select_option("select[data-part=phase_map] >> nth=1", "lambda0.01")
    _, lines = saved(watched, "phase_map")
    assert [line["measure"] for line in lines] == ["Loss on unseen tasks, λ₀ = 0.01, D = 5"] * len(lines)
    assert len(lines) == len(TASKS) * len(LENGTHS)
    _, lines = saved(watched, "phase_curve")
    assert {line["line"] for line in lines} == {"λ₀ = 0", "λ₀ = 0.01", "infinitely many tasks"}
    page.select_option("select[data-part=landscape] >> nth=0", "P60")
    assert page.inner_text("[data-title=landscape_energies]").startswith("P = 60")
    (row,) = rows_of(run, "landscape", tasks=60)
    for figure in ("landscape", "landscape_energies"):
        _, lines = saved(watched, figure)
        rest = [line for line in lines if line["what"] == "replica after the descent"]
        column = "energy" if figure == "landscape" else "from"
        np.testing.assert_allclose([float(line[column]) for line in rest], row["relaxed_energy"], rtol=1e-6)
    _, lines = saved(watched, "landscape")
    grid = [line for line in lines if line["what"] == "grid"]
    np.testing.assert_allclose([float(line["energy"]) for line in grid], row["grid"], rtol=1e-5, atol=1e-6)
    place = watched.plot(
        "amp",
        "(() => { plot.scrollIntoView(); const box = plot.getBoundingClientRect(), {xaxis, yaxis} ="
        " plot._fullLayout; return [box.x + xaxis._offset + xaxis.d2p(1600),"
        " box.y + yaxis._offset + yaxis.d2p(0.1)]; })()",
    )
    page.mouse.move(*place)
    page.locator("#amp .hoverlayer .hovertext").wait_for()
    page.mouse.click(*place)
    chosen = (
        "[...document.querySelectorAll('[data-part=amp_course]')].filter(s => !s.hidden)"
        ".map(s => s.selectedOptions[0].text)"
    )
    assert page.evaluate(chosen) == ["1\u202f600", "0.1"]
    _, lines = saved(watched, "amp_course")
    assert {int(line["seed"]) for line in lines} == set(SEEDS)
    assert {line["message passing"] for line in lines} == {"with the Onsager term", "without it"}
    assert watched.complaints == []
    assert watched.outside() == []


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1280, "light")])
def test_fits_the_window(run: Path, watched: Watched, width: int, scheme: Any) -> None:
    watched.page.emulate_media(color_scheme=scheme)
    watched.page.set_viewport_size({"width": width, "height": 900})
    watched.open(build(run))
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
    assert watched.complaints == []


def test_packed_parts_are_of_traces(run: Path) -> None:
    """Lists stand once on the page: a part names the trace that holds them."""
    variant = figures_of(Records(run))["amp_course"].variant("P400:lambda0.01:N40:D5:beta10")
    for part in variant.parts:
        x = unpacked(variant.data[part[2]["trace"]]["x"])
        assert len(x) == len(unpacked(variant.data[part[3]["trace"]]["y"])) > 1
