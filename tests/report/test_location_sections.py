"""The sections of `localize`: what they show, in a browser too."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects
import pytest

import lmscope
from lmscope.report import Records, build, location_rows
from lmscope.report.claim_words import sentence
from lmscope.report.figures import packed, unpacked
from lmscope.report.lesion_rows import partly
from lmscope.report.location_rows import remarks
from lmscope.report.location_words import location_sentences
from lmscope.report.log_axis import SignedLog
from lmscope.report.page import state_files
from lmscope.report.plots import as_plotly, figures_of, plot
from lmscope.report.sections import overlap_map, section_of, singular_vectors
from lmscope.results import SCHEMAS, RunFolder
from lmscope.runs import localize_words

from ..browsing import Watched
from ..synthetic_location import IDENTITY, ROLES, write_location_run

KEYS = ["location", "singular_vectors", "overlap", "overlap_map", "lesions", "training"]
ODD = "model.<b>layers</b>"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three training steps, experts, a matrix without a layer, maps, single matrices, odd names."""
    folder = tmp_path_factory.mktemp("location") / "full"
    return write_location_run(
        folder,
        steps=(0, 100, 1000),
        experts=2,
        apart=True,
        each=("query",),
        maps=2,
        dtype="bfloat16",
        prefix=ODD,
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_location_run(tmp_path_factory.mktemp("location") / "plain")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors alone: no text was given."""
    folder = tmp_path_factory.mktemp("location") / "bare"
    return write_location_run(folder, overlaps=False, lesions=False, twin=False, claims=False)


def own(folder: Path, table: str) -> list[dict[str, Any]]:
    return [row for row in lmscope.open_run(folder).table(table).to_pylist() if row["identity"] == IDENTITY]


def test_every_state_of_every_figure_is_a_plotly_figure(full: Path) -> None:
    figures = figures_of(Records(full))
    assert list(figures) == KEYS
    states = 0
    for figure in figures.values():
        assert len(set(state_files(figure).values())) == len(figure.states)
        for key in figure.states:
            made = plotly.graph_objects.Figure(as_plotly("model", figure, key))
            assert "<b>layers" not in made.layout.title.text
            json.dumps({**vars(figure.variant(key))}, allow_nan=False)
            states += 1
    # 7 measures of the map; 17 matrices, with overlaps twice; 2 maps; 2 sets of targets x 2 measures x 3
    # quantities; 5 of slices and overlaps and 6 of lesions over the steps.
    assert states == 7 + 17 + 34 + 2 + 12 + 11


def test_sections_without_records_are_not_there(bare: Path, plain: Path) -> None:
    assert list(figures_of(Records(bare))) == ["location", "singular_vectors"]
    page = build(bare).read_text(encoding="utf-8")
    for key in ("overlap", "overlap_map", "lesions", "training", "claims"):
        assert f'id="section-{key}"' not in page
    assert "untrained twin:" not in page
    assert "training" not in figures_of(Records(plain))
    assert set(figures_of(Records(bare))["location"].states) == {
        *("vector_any", "vector_smallest", "vector_largest", "value")
    }


def test_location_holds_the_records_numbers(full: Path) -> None:
    slices = own(full, "slices")
    chart = plot(Records(full), "location", "vector_smallest").data[0]
    at = list(chart.y).index("query"), list(chart.x).index("1")
    (row,) = [r for r in slices if (r["role"], r["layer"], r["slice"]) == ("query", 1, 1)]
    assert chart.z[at[0]][at[1]] == row["vector_deviation"]
    (expert,) = [
        r for r in slices if (r["layer"], r["expert"], r["slice"]) == (0, 1, 10) and r["role"] == "gate"
    ]
    largest = plot(Records(full), "location", "vector_largest").data[0]
    assert largest.z[list(largest.y).index("gate · expert 1")][0] == expert["vector_deviation"]
    worst = plot(Records(full), "location", "impact_loss").data[0]
    lesions = [
        r["impact"]
        for r in own(full, "lesions")
        if (r["target_kind"], r["layer"], r["measure"], r["kind"]) == ("matrix", 0, "loss", "lesion")
    ]
    assert worst.z[at[0]][0] == max(lesions)
    assert worst.z[list(worst.y).index("key")][0] is None
    # What is planted stands out, what is noise does not.
    known = dict(zip(chart.y, np.array(chart.z, float)[:, 0], strict=True))
    assert min(known["query"], known["up"], known["down"]) > 3 > 1 > max(known["value"], known["key"])


def test_p_values_by_rank(full: Path) -> None:
    (row,) = [r for r in own(full, "vectors") if (r["role"], r["layer"]) == ("up", 1)]
    chart = plot(Records(full), "singular_vectors", row["name"])
    twin, single, mean, *left = chart.data
    for trace, column in ((twin, "untrained_windowed_right"), (single, "p_right"), (mean, "windowed_right")):
        np.testing.assert_allclose(np.asarray(trace.y), row[column], rtol=1e-6)
        assert (trace.x0, trace.dx) == (0, 1)
    np.testing.assert_allclose(np.asarray(left[2].y), row["windowed_left"], rtol=1e-6)
    bands = [shape for shape in chart.layout.shapes if shape.type == "rect"]
    assert [(one.y0, one.y1) for one in bands] == [(row["windowed_low"], row["windowed_high"])] * 2
    lines = [shape.x0 for shape in chart.layout.shapes if shape.type == "line"]
    size = len(row["singular_values"])
    assert row["n_above"] > 0 < row["n_below"]
    assert lines == [row["n_above"] - 0.5, size - row["n_below"] - 0.5]


def test_overlaps_against_ranks_and_values(full: Path) -> None:
    (row,) = [r for r in own(full, "overlap") if (r["role"], r["layer"]) == ("query", 0)]
    (vectors,) = [r for r in own(full, "vectors") if r["name"] == row["name"]]
    by_rank = plot(Records(full), "overlap", row["name"])
    by_value = plot(Records(full), "overlap", f"{row['name']}, against singular value")
    for chart in (by_rank, by_value):
        for trace, column in zip(
            chart.data, ("untrained_overlap", "overlap", "untrained_top_share", "top_share"), strict=False
        ):
            np.testing.assert_allclose(np.asarray(trace.y), row[column], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(by_value.data[1].x), vectors["singular_values"], rtol=1e-6)
    np.testing.assert_allclose(
        np.asarray(by_value.data[0].x), vectors["untrained_singular_values"], rtol=1e-6
    )
    assert [value for value in by_rank.data[4].y if value is not None][::2] == [
        one["principal"] for one in own(full, "slices") if one["name"] == row["name"]
    ]
    edges = [shape.x0 for shape in by_value.layout.shapes if shape.type == "line"]
    assert edges == [vectors["upper_edge"], *([vectors["lower_edge"]] if vectors["lower_edge"] else [])]
    # Names of edges lie between them, never beyond the chart.
    for chart, anchors in ((by_rank, ["left", "right"]), (by_value, ["right", "left"])):
        sides = [note.xanchor for note in chart.layout.annotations]
        assert sides == anchors[: len(sides)]
    html = figures_of(Records(full))["overlap"].variant("0:rank").html
    assert "900 tokens (worth 360 independent ones), rank 64 of 64, centred" in unescape(html)


def test_a_covariance_without_full_rank_and_missing_intervals_are_told(tmp_path: Path) -> None:
    folder = write_location_run(
        tmp_path / "run", layers=1, roles=("query", "up"), tokens=50, intervals=False, draws=1
    )
    figures = figures_of(Records(folder))
    assert "rank 49 of 64" in figures["overlap"].variant("0:rank").html
    variant = figures["lesions"].variant("roles:loss:impact")
    assert "no intervals: too few windows or texts" in variant.html
    for trace in variant.data:
        assert trace["error_y"]["visible"] is False
        assert set(trace["error_y"]["array"]) == {None}
    assert "(no interval)" in " ".join(location_sentences(Records(folder)))


def test_lesion_panels_hold_lesion_and_controls(plain: Path) -> None:
    rows = own(plain, "lesions")
    figure = figures_of(Records(plain))["lesions"]
    variant = figure.variant("roles:retrieval_rank:impact")
    assert len(figure.data) == len(variant.data) == 3 * len(ROLES)
    names = [re.sub("<.*?>", "", note["text"]) for note in variant.layout["annotations"]]
    panel = names.index("down")
    lesion, size, energy = variant.data[3 * panel : 3 * panel + 3]

    def of(kind: str, place: int) -> list[dict[str, Any]]:
        return [
            row
            for row in rows
            if (row["role"], row["kind"], row["slice"], row["measure"])
            == ("down", kind, place, "retrieval_rank")
        ]

    assert lesion["x"] == list(range(1, 11))
    # Heights are logarithmic on both sides of zero; the ticks tell the unit.
    axis = variant.layout["yaxis"]
    tick, name = axis["tickvals"][-1], axis["ticktext"][-1]
    unit = float(name) / np.sinh(tick)
    impacts = [of("lesion", place)[0]["impact"] for place in range(1, 11)]
    np.testing.assert_allclose(lesion["y"], np.arcsinh(np.array(impacts) / unit), rtol=1e-12)
    assert len(of("random_energy", 3)) == 2
    mean = np.mean([row["impact"] for row in of("random_energy", 3)])
    assert energy["y"][2] == pytest.approx(np.arcsinh(mean / unit))
    low = min(row["impact_low"] for row in of("random_size", 4))
    high = max(row["impact_high"] for row in of("random_size", 4))
    assert size["y"][3] + size["error_y"]["array"][3] == pytest.approx(np.arcsinh(high / unit))
    assert size["y"][3] - size["error_y"]["arrayminus"][3] == pytest.approx(np.arcsinh(low / unit))
    (part,) = variant.parts
    lines = list(zip(*part[2:], strict=True))
    assert len(lines) == len([row for row in rows if row["measure"] == "retrieval_rank"])
    columns = figure.columns[2:]
    written = sorted(lines, key=str)
    assert written == sorted(
        (tuple(row[name] for name in columns) for row in rows if row["measure"] == "retrieval_rank"), key=str
    )


def test_impact_per_energy_and_removed_energy(plain: Path) -> None:
    rows = own(plain, "lesions")
    figure = figures_of(Records(plain))["lesions"]
    energy = figure.variant("roles:loss:energy")
    assert not any(trace["error_y"]["visible"] for trace in energy.data)
    known = {row["slice"]: row["removed_energy"] for row in rows if row["kind"] == "lesion"}
    scale = SignedLog([])
    heights = energy.data[0]["y"]
    assert heights == sorted(heights)
    assert known[10] / known[1] > 100
    assert scale.linear
    axis = energy.layout["yaxis"]
    assert axis["tickmode"] == "array"
    assert axis["ticktext"][0] == "0 %"
    per_energy = figure.variant("roles:loss:per_energy")
    assert "over the removed share" in per_energy.note
    assert per_energy.data[0]["error_y"]["visible"]


@pytest.mark.parametrize("values", [[-0.01, 0.02, 0.003, 5.0, 80.0, 1e-9], [1.0, 1.1, -0.9], [], [0.0, 0.0]])
def test_a_signed_log_axis_keeps_order_and_names_true_numbers(values: list[float]) -> None:
    scale = SignedLog(values)
    heights = [scale(value) for value in sorted(values)]
    assert heights == sorted(heights)
    assert scale(0.0) == 0.0
    assert scale(-3.0) == -scale(3.0)
    axis = scale.axis(min(values, default=0.0), max(values, default=1.0), lambda value: f"{value:g}")
    low, high = axis["range"]
    assert all(low <= height <= high for height in heights)
    assert scale.linear is (len(values) < 6)
    if not scale.linear:
        for place, name in zip(axis["tickvals"], axis["ticktext"], strict=True):
            assert place == pytest.approx(scale(float(name)))
        assert "0" in axis["ticktext"]


def test_single_matrices_have_panels_of_their_own(full: Path) -> None:
    figure = figures_of(Records(full))["lesions"]
    assert "query:loss:impact" in figure.states
    assert not any(key.startswith("key:") for key in figure.states)
    variant = figure.variant("query:loss:impact")
    names = [note["text"] for note in variant.layout["annotations"]]
    assert names == [
        f"<b>{ODD}.{layer}.query.weight</b>".replace(ODD, ODD.replace("<", "&lt;").replace(">", "&gt;"))
        for layer in (0, 1)
    ]
    hidden = [trace for trace in variant.data if trace["visible"] is False]
    assert len(hidden) == len(variant.data) - 6
    assert variant.layout["xaxis3"] == {"visible": False}


def test_training_lines_hold_the_records_numbers(full: Path) -> None:
    run = lmscope.open_run(full)
    names = figures_of(Records(full))["training"].states
    chart = plot(Records(full), "training", "vector_deviation_smallest")
    lines = {trace.name: trace for trace in chart.data if trace.visible}
    assert list(lines["query"].x) == ["0", "100", "1000"]
    slices = run.table("slices").to_pylist()
    for at, step in enumerate((0, 100, 1000)):
        found = [
            row["vector_deviation"]
            for row in slices
            if (row["role"], row["step"], row["slice"]) == ("query", step, 1)
        ]
        assert lines["query"].y[at] == pytest.approx(np.mean(found))
        assert lines["query"].y[at] + lines["query"].error_y.array[at] == pytest.approx(max(found))
    assert lines["pooler"].error_y.visible is False  # one matrix: no range
    overlaps = plot(Records(full), "training", "overlaps")
    up = next(trace for trace in overlaps.data if trace.name == "up")
    assert up.y[0] < 0.02 < up.y[2]
    (impact,) = [
        row
        for row in run.table("lesions").to_pylist()
        if (row["step"], row["target"], row["slice"], row["kind"], row["measure"])
        == (100, "down", 10, "lesion", "loss")
    ]
    down = next(t for t in plot(Records(full), "training", "impact_loss_largest").data if t.name == "down")
    assert down.y[1] == impact["impact"]
    assert down.y[1] - down.error_y.arrayminus[1] == pytest.approx(impact["impact_low"])
    assert {"impact_loss_smallest", "impact_loss_middle"} <= names.keys()


def test_the_last_step_is_what_single_sections_show(full: Path) -> None:
    folder = RunFolder.open(full)
    assert folder.manifest["checkpoint"]["identity"] == IDENTITY
    assert (
        "Shown is step-01000; the run holds 2 other checkpoints" in section_of(Records(full), "overlap").shows
    )


def test_the_page_is_headed_by_the_checkpoint_that_it_shows(full: Path) -> None:
    page = unescape(build(full).read_text(encoding="utf-8"))
    assert "<h1>step-01000</h1>" in page
    head = page.partition("<h1>")[2].partition("<section")[0]
    assert head.count('"verdict second">In step-01000: ') == 2
    assert "stored as bfloat16 (8 significant bits)" in head
    step = RunFolder.open(full)
    first = {**step.manifest["checkpoint"], "identity": "01" * 32, "name": "step-00000"}
    records = Records(full)
    records.manifest = {**step.manifest, "checkpoint": first}  # as a folder of steps has it: the first
    assert (records.model, records.title) == ("step-00000", "step-01000")
    assert all(text.startswith("In step-01000: ") for text in location_sentences(records))


def test_refused_claims_are_one_note(plain: Path) -> None:
    page = unescape(build(plain).read_text(encoding="utf-8"))
    section = page.partition('id="section-claims"')[2].partition("</section>")[0]
    assert section.count('<td class="said"') == 6
    assert "Nothing is said on 1 of 7 claims: four <points> (1)." in section


def test_the_overlap_note_has_the_share_above_by_chance(plain: Path) -> None:
    html = unescape(figures_of(Records(plain))["overlap"].variant("0:rank").html)
    assert "lie above the band, and 0.15 % of random directions" in html


def test_the_perplexity_stands_beside_the_loss(plain: Path) -> None:
    figure = figures_of(Records(plain))["lesions"]
    loss, rank = (figure.variant(f"roles:{measure}:impact") for measure in ("loss", "retrieval_rank"))
    assert f"(perplexity of the untouched model: {np.exp(3.2):.3g})" in loss.html
    assert "perplexity 24.5 →" in loss.data[0]["hovertext"][0]
    assert "perplexity" not in json.dumps(vars(rank))


def test_quantised_weights_are_told_in_the_header(tmp_path: Path) -> None:
    warning = "32 consecutive weights take only {} different values: they were quantised"
    folder = write_location_run(tmp_path / "run", layers=1, roles=("query", "up"), warning=warning)
    head = unescape(build(folder).read_text(encoding="utf-8")).partition("<h1>")[2].partition("<section")[0]
    assert (
        "All 2 matrices: 32 consecutive weights take only 12 to 13 different values: they were quantised "
        "Files such as Q4_K_M mix 4-bit and finer matrices."
    ) in head


def test_an_overlap_map_is_cut_to_block_maxima(full: Path) -> None:
    row = own(full, "overlap_map")[1]
    values = np.reshape(row["values"], row["shape"])
    shown = plot(Records(full), "overlap_map", row["name"]).data[0]
    np.testing.assert_array_equal(np.asarray(shown.z), values.astype(np.float32))
    wide = np.random.default_rng(0).random((1001, 70))
    cells, down, across = overlap_map.block_maxima(wide, 400)
    assert (cells.shape, down, across) == ((334, 70), 3, 1)
    np.testing.assert_array_equal(cells[5], wide[15:18].max(axis=0))
    np.testing.assert_array_equal(cells[333], wide[999:].max(axis=0))
    np.testing.assert_array_equal(unpacked(packed(cells, "f8")), cells)


def test_remarks_stand_above_the_figures(tmp_path: Path, full: Path) -> None:
    page = unescape(build(full).read_text(encoding="utf-8"))
    for key in ("location", "singular_vectors", "overlap", "lesions"):
        body = page.partition(f'<section id="section-{key}">')[2].partition('class="figure"')[0]
        assert "stored as bfloat16 (8 significant bits)" in body, key
    coarse = write_location_run(
        tmp_path / "coarse",
        layers=1,
        roles=("query", "up"),
        warning="32 consecutive weights take only {} values",
        dtype="bfloat16",
        lesions=False,
    )
    assert section_of(Records(coarse), "location").values["said"] == [
        "All 2 matrices: 32 consecutive weights take only 12 to 13 values"
    ]
    told = write_location_run(tmp_path / "told", layers=1, roles=("query",), warning="<b>odd</b> weights")
    assert section_of(Records(told), "location").values["said"] == ["1 matrix: <b>odd</b> weights"]
    page = build(told).read_text(encoding="utf-8")
    assert "&lt;b&gt;odd&lt;/b&gt; weights" in page
    assert "<b>odd</b>" not in page.partition("<script")[0]


def test_vectors_too_short_for_a_test_are_gaps(tmp_path: Path) -> None:
    folder = write_location_run(
        tmp_path / "run", layers=1, roles=("query", "key"), overlaps=False, lesions=False, twin=False
    )
    run = RunFolder.open(folder)
    (file,) = [
        path for path in (folder / "vectors").glob("*.parquet") if "key" in str(_only_row(path)["name"])
    ]
    row = _only_row(file)
    short = {
        name: [float("nan")] * len(row["singular_values"])
        for name in row
        if re.fullmatch("(p|deviation|windowed)_(right|left)", name)
    }
    nothing = {"windowed_low": float("nan"), "windowed_high": float("nan"), "draws": 0}
    with run.lock():
        run.write("vectors", file.stem, {**row, **short, **nothing})
    build(folder)
    figure = figures_of(Records(folder))["singular_vectors"]
    assert figure.first == "0"
    assert "too short to be tested" in figure.variant("1").html
    assert "–" in figure.variant("1").html


def _only_row(file: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    (row,) = pq.read_table(file, schema=SCHEMAS["vectors"]).to_pylist()
    return dict(row)


def test_a_large_model_keeps_the_page_small(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(singular_vectors, "BUDGET", 200)
    monkeypatch.setattr("lmscope.report.sections.overlap.BUDGET", 200)
    figures = figures_of(Records(plain))
    kept = figures["singular_vectors"].on_page
    assert len(kept) == 3
    layers = {figures["singular_vectors"].matrices[key]["layer"] for key in kept}
    assert layers == {0, 1}
    assert figures["overlap"].on_page == {f"{key}:{axis}" for key in kept for axis in ("rank", "value")}
    assert "3 of 12 matrices" in section_of(Records(plain), "singular_vectors").shows
    name = figures["singular_vectors"].states["11"]
    assert np.asarray(plot(Records(plain), "singular_vectors", name).data[2].y).size == 64


BEYOND = {"shared": 0.2, "beyond_low": 0.11, "beyond_high": 0.65}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "0.58 (95 % 0.31 to 0.77) over 120 points (each one matrix and slice): they rise together."),
        ({**BEYOND, "shared": 0.05, "beyond_low": 0.3}, "they rise together."),
        (
            BEYOND,
            "of which 0.2 comes from a profile that all roles share, and 0.38 (95 % 0.11 to 0.65) does not",
        ),
        (BEYOND, "does not: they rise together, weakly."),
        ({**BEYOND, "shared": 0.9, "beyond_low": -0.5, "beyond_high": -0.2}, "one falls as the other rises"),
        ({**BEYOND, "beyond_low": -0.1, "p_value": 0.4}, "not told apart from no relation"),
        ({**BEYOND, "beyond_low": -0.1}, "interval and p-value disagree, so nothing is claimed"),
        ({"value": -0.6, "low": -0.8, "high": -0.3}, "one falls as the other rises."),
        ({"low": -0.1}, "interval and p-value disagree, so nothing is claimed"),
        ({"p_value": 0.4}, "interval and p-value disagree, so nothing is claimed"),
        ({"low": -0.1, "p_value": 0.4}, "not told apart from no relation"),
        ({"low": None, "high": None}, "nobody knows without an interval"),
        ({"low": None, "high": None, "p_value": 0.3}, "not told apart from no relation"),
        ({"low": None, "high": None, "p_value": None}, "it may be chance"),
        ({"value": None, "points": 1}, "as 1 point (each one matrix and slice) does not suffice"),
        ({"value": None}, "loss: nothing is said, as 120 points (each one matrix and slice) do not suffice"),
        ({"value": None, "reason": "for 3 roles"}, "of 120 points (each one matrix and slice): for 3 roles."),
        ({**BEYOND, "claim": "beyond_roles"}, "A description: it takes matrices as independent."),
        ({**BEYOND, "claim": "beyond_roles", "p_value": 0.9}, "p = 0.9. A description"),
        ({"claim": "consistent", "against": "role", "p_value": 0.2}, "no more than shuffled labels"),
        ({"claim": "consistent", "against": "role", "value": None}, "Role and the variance of vector dev"),
        ({"claim": "consistent", "against": "role"}, "more than shuffled labels do (p = 0.001)"),
    ],
)
def test_a_claim_says_no_more_than_its_numbers(change: dict[str, Any], said: str) -> None:
    row = {
        "claim": "diagnostic",
        "score": "vector_deviation",
        "against": "per_energy: loss",
        "value": 0.58,
        "low": 0.31,
        "high": 0.77,
        "shared": None,
        "beyond_low": None,
        "beyond_high": None,
        "p_value": 0.001,
        "reason": "",
        "points": 120,
        "point": "matrix and slice",
    }
    assert said in sentence({**row, **change})


def test_header_and_foot_know_the_analyses(plain: Path, full: Path) -> None:
    page = unescape(build(plain).read_text(encoding="utf-8"))
    assert "No spectra have been computed" not in page
    share, overlaps, lesions = location_sentences(Records(plain))
    assert "Most in query" in share
    assert "in the untrained twin" in share
    assert "beyond the Marchenko–Pastur edges" in overlaps
    assert "0.15 % of random ones are." in overlaps
    assert "slice 10 of 10 of query does most harm to loss" in lesions
    assert "Of the smallest slices" in lesions
    assert "Settings of localize" in page
    assert "Settings of vectors" not in page
    assert "run = lmscope.localize(\n    'models/tiny-located',\n    text='more notes.txt'," in page


def test_a_lesion_of_some_of_the_matrices_says_so(plain: Path) -> None:
    run = lmscope.open_run(plain)
    row = next(row for row in run.table("lesions").to_pylist() if row["target_kind"] == "role")
    assert partly(row) == ""
    assert partly({**row, "matrices": 17, "of_matrices": 18}) == " (17 of 18 matrices)"
    one = replace(run.localize().lesions[0], matrices=1)
    told = one.target.replace("_", " ")
    assert localize_words.lesion_cells(one)[0] == f"{told} (1 of {one.of_matrices} matrices)"


def test_the_command_at_the_foot_is_taken_by_the_verb(full: Path, tmp_path: Path) -> None:
    page = unescape(build(full).read_text(encoding="utf-8"))
    command, report = page.partition("<pre><code>")[2].splitlines()[:2]
    assert command == (
        "lmscope localize models/step-01000 models/step-00000 models/step-00100 --text 'more notes.txt' "
        "--split paragraph --roles attention_output,down,gate,key,pooler,query,up,value --slices 10 "
        "--only-slices 1,10 --no-controls "
        "--maps '*.0.*' --maps '*up*' --seed 3 -o RUN"
    )
    assert report == "lmscope report RUN"
    (tmp_path / "more notes.txt").write_text("words", encoding="utf-8")
    words = [sys.executable, "-m", "lmscope", *shlex.split(command)[1:]]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr  # the options are right; there is no such checkpoint


def saved(watched: Watched, what: str) -> list[dict[str, str]]:
    with watched.page.expect_download() as download:
        watched.page.click(f"[data-save={what}]")
    text = Path(download.value.path()).read_bytes().decode("utf-8")
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.browser
def test_a_click_on_the_map_shows_vectors_and_overlaps(full: Path, watched: Watched) -> None:
    watched.open(build(full))
    row = next(r for r in own(full, "overlap") if (r["role"], r["layer"]) == ("key", 1))
    watched.page.select_option("select[data-part=overlap]", "value")
    watched.page.locator("#location").scroll_into_view_if_needed()
    place = watched.plot(
        "location",
        "(() => { const box = plot.getBoundingClientRect(), {xaxis, yaxis} = plot._fullLayout;"
        " return [box.x + xaxis._offset + xaxis.l2p(1), box.y + yaxis._offset + yaxis.l2p(1)]; })()",
    )
    watched.page.mouse.click(*place)
    for figure in ("singular_vectors", "overlap"):
        assert watched.page.inner_text(f"[data-title={figure}]").startswith(row["name"])
    assert watched.plot("overlap", "plot.layout.xaxis.title.text") == "singular value"
    assert watched.page.input_value("select[data-part=overlap]") == "value"
    assert watched.plot("location", "plot.layout.shapes.length") == 1
    watched.page.click("[data-step='1'][data-of=singular_vectors] >> nth=1")
    assert not watched.page.inner_text("[data-title=overlap]").startswith(row["name"])
    for part, values in (("overlap", ["rank"]), ("lesions", ["query", "retrieval_rank", "per_energy"])):
        for place, value in enumerate(values):
            watched.page.select_option(f"select[data-part={part}] >> nth={place}", value)
    assert watched.plot("lesions", "plot.data.filter((trace) => trace.visible !== false).length") == 6
    for view in ("largest", "smallest", "all"):
        watched.page.click(f"[data-view={view}][data-of=singular_vectors]")
        watched.page.click(f"[data-view={view}][data-of=overlap]")
    assert watched.page.locator("main img, main b b").count() == 0
    assert watched.complaints == []
    assert watched.outside() == []


@pytest.mark.browser
def test_data_of_the_charts_are_the_records(full: Path, watched: Watched) -> None:
    watched.open(build(full))
    records = Records(full)
    first = figures_of(records)["singular_vectors"].first
    row = records.vectors[int(first)]
    lines = [line for line in saved(watched, "singular_vectors") if line["what"] == "left, window"]
    assert {line["matrix"] for line in lines} == {row["name"]}
    assert [int(line["rank"]) for line in lines] == list(range(len(row["singular_values"])))
    assert [float(line["p-value, or mean over the window"]) for line in lines] == pytest.approx(
        row["windowed_left"].tolist(), rel=1e-6
    )
    (overlap,) = [r for r in own(full, "overlap") if r["name"] == row["name"]]
    found = [line for line in saved(watched, "overlap") if line["what"] == "overlap"]
    assert [float(line["overlap, or share in the top space"]) for line in found] == pytest.approx(
        overlap["overlap"], rel=1e-6
    )
    shown = own(full, "overlap_map")[0]
    cells = saved(watched, "overlap_map")
    values = np.reshape(shown["values"], shown["shape"])
    assert len(cells) == values.size
    for cell in cells[::97]:
        assert float(cell["largest |cosine|"]) == pytest.approx(
            values[int(cell["first rank"]), int(cell["first direction"])], rel=1e-6
        )
    assert len(saved(watched, "lesions")) == len(
        [r for r in own(full, "lesions") if (r["measure"], r["target_kind"]) == ("loss", "role")]
    )
    claims = saved(watched, "claims-table")
    assert claims[3]["against"] == "overlap_excess"
    assert (float(claims[3]["low"]), float(claims[3]["high"])) == (0.31, 0.77)
    assert watched.complaints == []


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(800, "dark"), (1280, "light")])
def test_fits_the_window(full: Path, watched: Watched, width: int, scheme: Any) -> None:
    watched.page.emulate_media(color_scheme=scheme)
    watched.page.set_viewport_size({"width": width, "height": 900})
    watched.open(build(full))
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
    assert watched.complaints == []


MakeRun = Callable[..., Path]


def test_a_run_without_localize_has_none_of_it(make_run: MakeRun) -> None:
    page = build(make_run(layers=1)).read_text(encoding="utf-8")
    for key in (*KEYS, "claims"):
        assert f'id="section-{key}"' not in page


def test_partial_and_rounded_lesions_are_remarked_on(plain: Path) -> None:
    records = Records(plain)
    assert not [text for text in remarks(records) if "esions" in text]
    rows = records.shown("lesions")
    role = rows[0]["target"]
    for row in rows:
        if row["target"] == role:
            row["of_matrices"] = row["matrices"] + 5
    rows[0]["rounding"] = 0.25
    partial, rounded = location_rows._of_lesions(rows)
    assert f"are of {rows[0]['matrices']} of the {rows[0]['matrices'] + 5} matrices" in partial
    assert rounded.startswith(f"1 of {len(rows)} rows of lesions have more than 1")
    assert "up to 25" in rounded
