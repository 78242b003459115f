"""Figures for notebooks: `Run.plot`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects
import pytest

import lmscope
from lmscope.report import NoSuchFigure
from lmscope.report.sections import depth, spectrum, verdicts
from lmscope.results import ResultsError, RunFolder

MakeRun = Callable[..., Path]


def test_every_figure_in_every_kind_of_state(make_run: MakeRun) -> None:
    run = lmscope.open_run(make_run(layers=2))
    names = run.table("spectra").column("name").to_pylist()
    for figure, states in {
        "overview": ["ks", "KS distance", "learnt", None],
        "depth": ["effective_rank", None],
        "spectrum": [names[3], None],
    }.items():
        for state in states:
            made = run.plot(figure, state)
            assert isinstance(made, plotly.graph_objects.Figure)
            assert made.layout.paper_bgcolor == "#ffffff"
            assert "tiny-test-model" in made.layout.title.text
    assert run.plot("overview", "ks") == run.plot("overview", "KS distance")
    assert names[3] in run.plot("spectrum", names[3]).layout.title.text


def test_it_shows_the_records_numbers(make_run: MakeRun) -> None:
    run = lmscope.open_run(make_run(layers=2))
    rows = {row["name"]: row for row in run.table("spectra").to_pylist()}
    heatmap = run.plot("overview", "stable_rank").data[0]
    assert heatmap.z[0][1] == rows["model.layers.1.query.weight"]["stable_rank"]
    row = rows["model.layers.1.up.weight"]
    bars, _, learnt, _ = run.plot("spectrum", row["name"]).data
    assert np.asarray(bars.y).sum() <= row["M"]
    np.testing.assert_array_equal(
        learnt.x, np.array(row["singular_values"][: row["learnt"]], dtype=np.float32)
    )


def test_one_plot_builds_one_spectrum(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = lmscope.open_run(make_run(layers=3))
    built: list[str] = []
    real = spectrum.chart

    def counted(row: dict[str, Any]) -> Any:
        built.append(row["name"])
        return real(row)

    monkeypatch.setattr(spectrum, "chart", counted)
    run.plot("overview")
    assert built == []
    run.plot("spectrum", "model.pooler.weight")
    assert built == ["model.pooler.weight"]


def test_wrong_names_are_told_what_there_is(make_run: MakeRun) -> None:
    run = lmscope.open_run(make_run(layers=3))
    with pytest.raises(NoSuchFigure, match=r"no figure 'map'.*'overview', 'depth', 'spectrum'"):
        run.plot("map")
    with pytest.raises(NoSuchFigure, match=r"'overview' has no state 'kss'; there is 'ks', .*'learnt'"):
        run.plot("overview", "kss")
    with pytest.raises(ValueError, match=r"there is 'model.layers.2.query.weight', .* and 12 more"):
        run.plot("spectrum", "model.layers.2.qery.weight")


def test_names_that_look_like_markup_stay_text(make_run: MakeRun) -> None:
    name = "<b>w</b>" + 40 * ".long name"

    def rename(record: dict[str, Any]) -> None:
        if record["role"] == "pooler":
            record["name"] = name

    title = lmscope.open_run(make_run(layers=1, change=rename)).plot("spectrum", name).layout.title.text
    assert title.startswith("&lt;b&gt;w&lt;/b&gt;")
    assert title.count("<br>") >= 4
    assert max(map(len, title.split("<br>"))) < 130


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((None,), r"figure must be a name, not None; there is 'overview', 'depth', 'spectrum'"),
        (("overview", 3), r"state of 'overview' must be a name, not 3; there is 'learnt', "),
        (
            ("spectrum", 0),
            r"state of 'spectrum' must be a name, not 0; there is 'model.token_embedding.weight', ",
        ),
    ],
)
def test_what_is_no_name_is_told_what_there_is(
    make_run: MakeRun, arguments: tuple[Any, ...], problem: str
) -> None:
    with pytest.raises(TypeError, match=problem):
        lmscope.open_run(make_run(layers=1)).plot(*arguments)


def test_one_figure_asks_no_other_section(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = lmscope.open_run(make_run(layers=1))

    def asked(records: Any) -> None:
        raise AssertionError("asked for another figure")

    for other in (depth, spectrum, verdicts):
        monkeypatch.setattr(other, "section", asked)
    assert run.plot("overview").data[0].z is not None


def test_records_are_read_again_only_when_the_folder_changes(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(layers=1)
    read: list[str] = []
    real = RunFolder.rows

    def counted(self: RunFolder, analysis: str) -> Any:
        read.append(analysis)
        return real(self, analysis)

    monkeypatch.setattr(RunFolder, "rows", counted)
    run = lmscope.open_run(folder)
    run.plot("overview")
    run.plot("spectrum")
    run.table("spectra")
    run._repr_html_()
    assert read == ["spectra"]
    next((folder / "spectra").glob("*.parquet")).unlink()
    assert len(run.table("spectra")) == 7
    assert len(run.plot("spectrum").data) == 4
    assert read == ["spectra"] * 2


def test_a_large_run_is_shown_without_reading_it(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = lmscope.open_run(make_run(layers=1))
    monkeypatch.setattr("lmscope.runs.run._MOST_READ_TO_SHOW", 7)
    assert "run.summary() reads the 8 records" in run._repr_html_()
    run.summary()
    assert "attention_output" in run._repr_html_()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_damaged_spectrum_is_named(make_run: MakeRun, value: float) -> None:
    def damage(record: dict[str, Any]) -> None:
        if record["role"] == "key":
            record["singular_values"] = [
                *record["singular_values"][:5],
                value,
                *record["singular_values"][6:],
            ]

    folder = make_run(layers=1, change=damage)
    run = lmscope.open_run(folder)
    problem = rf"spectra/[0-9a-f-]{{33}}\.parquet: singular value 5 of 'model.layers.0.key.weight' is {value}"
    with pytest.raises(ResultsError, match=problem) as error:
        run.report()
    assert Path(str(error.value).partition(":")[0]).is_file()
    with pytest.raises(ResultsError, match=problem):
        run.plot("spectrum")
