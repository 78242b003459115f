"""The sections of similarities, from records of real comparisons, as text and in a browser."""

from __future__ import annotations

import json
import shlex
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import lmscope
from lmscope.report import Records, build
from lmscope.report.pair_heatmap import tick_format
from lmscope.report.pair_measures import PAIR_MEASURES
from lmscope.report.pairs import charted
from lmscope.report.plots import figures_of, plot

from ..browsing import Watched
from ..written_llama import llama_tensors, save_llama

LAYERS = 4


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dense")
    tensors = llama_tensors(LAYERS)
    copied = "model.layers.{}.self_attn.q_proj.weight"
    tensors[copied.format(3)] = -tensors[copied.format(1)]
    source = save_llama(folder / "<b>model", tensors, LAYERS)
    lmscope.similarity(source, out=folder / "run", control=True, indices="query", progress=False)
    lmscope.similarity(source, source, out=folder / "run", progress=False)
    return folder / "run"


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experts")
    random = np.random.default_rng(0)
    name = "model.layers.{}.mlp.experts.gate_up_proj"
    weights = {name.format(layer): random.standard_normal((4, 128, 64)).astype("f4") for layer in (0, 1)}
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3_moe", "hidden_size": 64}))
    lmscope.similarity(folder, out=folder / "run", progress=False)
    return folder / "run"


def test_figures_hold_what_the_records_say(dense: Path) -> None:
    run = lmscope.open_run(dense)
    assert list(figures_of(Records(dense))) == ["similarity", "cosines", "distances"]
    rows = {(r["role"], r["layer_x"], r["layer_y"]): r for r in run.table("similarity").to_pylist()}
    shown = run.plot("similarity", "query:score").data[0]
    for (role, i, j), row in rows.items():
        if role == "query":
            assert shown.z[i][j] == shown.z[j][i] == row["score"]
    assert shown.z[2][2] is None
    assert shown.z[1][3] == pytest.approx(1, abs=1e-12)

    others = run.table("indices").to_pylist()
    for index, label in (("linear_cka", "Linear CKA"), ("svcca", "SVCCA"), ("cca", "Mean CCA")):
        shown = run.plot("similarity", f"query: {label}").data[0]
        for row in others:
            assert shown.z[row["layer_x"]][row["layer_y"]] == row[index]
            assert f"{label}: " in shown.hovertext[row["layer_x"]][row["layer_y"]]
    # Square matrices of full rank span the same space: CCA is 1 up to rounding, which makes no map.
    constant = run.plot("similarity", "query:cca").data[0]
    assert (constant.zmin, constant.zmax) == (0, pytest.approx(1, abs=1e-12))
    with pytest.raises(ValueError, match="no state 'key:cca'"):
        run.plot("similarity", "key:cca")

    curve = run.plot("distances", "score")
    neighbours = [rows["query", i, i + 1]["score"] for i in range(LAYERS - 1)]
    assert curve.data[0].name == "query"
    assert curve.data[0].y[0] == pytest.approx(np.mean(neighbours))
    control = [r["score"] for r in run.table("control").to_pylist() if r["role"] == "query"]
    weights = np.array([LAYERS - 1, LAYERS - 2, LAYERS - 3])
    assert np.average(curve.data[1].y, weights=weights) == pytest.approx(np.mean(control))


def test_histograms_hold_all_pairs_and_chance_is_calibrated(dense: Path) -> None:
    run = lmscope.open_run(dense)
    up = next(row for row in run.table("similarity").to_pylist() if row["role"] == "up")
    bars, chance = run.plot("cosines", "up, layers 0 and 1").data
    assert sum(bars.y) == up["pairs"] == 96 * 96
    assert bars.x0 == pytest.approx(-1 + up["first_bin"] / 1024)
    expected = np.array([value or 0 for value in chance.y])
    assert expected.sum() == pytest.approx(up["pairs"], rel=0.01)
    # Random weights: both are the same histogram within counting errors.
    off = np.asarray(bars.y) - expected
    assert np.sum(off[expected > 5] ** 2 / expected[expected > 5]) < 1.5 * np.sum(expected > 5)


def test_page_of_twins(dense: Path) -> None:
    page = build(dense).read_text(encoding="utf-8")
    assert "30 of 30 matrices are identical in" in page
    assert "<b>model" not in page.partition("<script")[0].replace("&lt;b&gt;model", "")
    assert page.count("<td>yes</tr>") == 30


def test_expert_maps(experts: Path) -> None:
    run = lmscope.open_run(experts)
    assert list(figures_of(Records(experts))) == ["cosines", "experts"]
    rows = run.table("similarity").to_pylist()
    shown = run.plot("experts", "up:1:score").data[0]
    for row in rows:
        if (row["role"], row["layer_x"], row["layer_y"]) == ("up", 1, 1):
            assert shown.z[row["expert_x"]][row["expert_y"]] == row["score"]


def test_large_models_chart_the_most_alike_and_neighbours(
    dense: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lmscope.report.pairs._MOST_CHARTS", 30)
    records = Records(dense)
    rows = records.without_lists("similarity")
    kept = charted(records)
    assert len(kept) == 30
    neighbours = {place for place, row in enumerate(rows) if row["layer_y"] - row["layer_x"] == 1}
    assert len(neighbours & set(kept)) > 15
    for role in {row["role"] for row in rows}:
        places = [place for place, row in enumerate(rows) if row["role"] == role]
        ranked = sorted(places, key=lambda place: -rows[place]["excess"])
        assert set(ranked[:2]) <= set(kept)
    left_out = next(place for place, row in enumerate(rows) if place not in kept)
    shown = lmscope.open_run(dense).plot("similarity", f"{rows[left_out]['role']}:score").data[0]
    assert shown.customdata[rows[left_out]["layer_x"]][rows[left_out]["layer_y"]] == "left_out"


def test_chance_is_the_lowest_colour_and_noise_has_none(dense: Path, experts: Path) -> None:
    for run, figure, state in (
        (dense, "similarity", "up:{}"),
        (experts, "experts", "up:0:{}"),
        (experts, "experts", "up:1:{}"),
        (experts, "experts", "up:0-1:{}"),
    ):
        records = Records(run)
        baseline = next(row["baseline"] for row in records.without_lists("similarity") if row["role"] == "up")
        for measure, chance in (("excess", 0.0), ("score", baseline)):
            shown = plot(records, figure, state.format(measure)).data[0]
            assert shown.zmin == pytest.approx(chance)
            assert shown.zmax - shown.zmin >= 0.05 - 1e-12
    mutual = plot(Records(dense), "similarity", "up:mutual_share").data[0]
    assert (mutual.zmin, mutual.zmax) == (0, 1)
    excess = [plot(Records(experts), "experts", f"up:{layer}:excess").data[0] for layer in ("0", "0-1", "1")]
    assert len({shown.zmax for shown in excess}) == 1


@pytest.mark.parametrize(("span", "ticks"), [(0.05, ".3f"), (0.1, ".2f"), (0.4, ".2f"), (1.0, ".1f")])
def test_ticks_tell_a_tenth_of_the_range(span: float, ticks: str) -> None:
    assert tick_format(PAIR_MEASURES["score"], 0.3, 0.3 + span) == ticks


def test_experts_open_on_a_copy_and_name_only_an_outlier(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    name = "model.layers.{}.mlp.experts.gate_up_proj"
    weights = {name.format(layer): random.standard_normal((8, 64, 32)).astype("f4") for layer in range(3)}
    weights[name.format(2)][5, 32:] = -weights[name.format(1)][3, :-33:-1]
    base = weights[name.format(0)][0].copy()
    weights[name.format(0)][:7] = base + 0.5 * weights[name.format(0)][:7]
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3_moe", "hidden_size": 32}))
    lmscope.similarity(tmp_path, out=tmp_path / "run", progress=False)
    figure = figures_of(Records(tmp_path / "run"))["experts"]
    assert figure.first == "up:1-2:excess"
    assert figure.variant(figure.first).data[0]["z"][3][5] == pytest.approx(1)
    said = {
        layer: "Least like" in figure.variant(f"gate:{layer}:score").html for layer in ("0", "0-1", "1", "2")
    }
    assert said == {"0": True, "0-1": False, "1": False, "2": False}
    assert "expert 7" in figure.variant("gate:0:score").html


def test_a_run_without_similarities_has_no_such_sections(dense: Path, tmp_path: Path) -> None:
    source = lmscope.open_run(dense).manifest["checkpoint"]["path"]
    run = lmscope.spectra(source, out=tmp_path / "run", draws=1, roles="key", progress=False)
    assert "section-similarity" not in run.report().read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="holds none"):
        run.similarity()


def calls_of(run: lmscope.Run) -> list[str]:
    page = run.report().read_text(encoding="utf-8")
    return unescape(page.partition("<pre><code>")[2].partition("</code>")[0]).splitlines()


def test_the_calls_at_the_foot_make_the_run_again(dense: Path, tmp_path: Path) -> None:
    run = lmscope.open_run(dense)
    source = run.manifest["checkpoint"]["path"]
    quoted, shared = shlex.quote(source), "--vectors neurons --seed 0 --false-positive-rate 0.01"
    assert calls_of(run)[:3] == [
        f"lmscope similarity {quoted} {quoted} {shared} -o RUN",
        f"lmscope similarity {quoted} {shared} --control --indices query -o RUN",
        "lmscope report RUN",
    ]
    for seed, lines in ((0, ["lmscope analyze"]), (1, ["lmscope spectra", "lmscope similarity"])):
        out = tmp_path / str(seed)
        lmscope.spectra(source, out=out, draws=2, seed=seed, roles="key", progress=False)
        made = lmscope.similarity(source, out=out, null_draws=2, roles="key", progress=False)
        shown = calls_of(made)
        assert [line.partition(f" {quoted}")[0] for line in shown[: len(lines)]] == lines
        again = tmp_path / f"again {seed}"
        exec("\n".join(shown).partition("# or from Python")[2].replace("'RUN'", repr(str(again))), {})
        assert lmscope.open_run(again).manifest["settings"] == made.manifest["settings"]


def test_similarities_in_a_notebook(dense: Path) -> None:
    run = lmscope.open_run(dense)
    assert "run.similarity()" in run._repr_html_()
    shown = run.similarity()._repr_html_()
    for title in ("How alike layers are (DOCS), by role", "How alike both checkpoints are (DOCS), by role"):
        assert title in shown


@pytest.mark.browser
def test_choosing_in_the_browser(dense: Path, watched: Watched) -> None:
    watched.page.set_viewport_size({"width": 420, "height": 900})
    watched.open(build(dense))
    role, measure = watched.page.locator("select[data-part=similarity]").all()
    role.select_option("query")
    measure.select_option("score")
    scores = watched.plot("similarity", "plot.data[0].z")
    assert scores[1][3] == pytest.approx(1)
    assert scores[0][0] is None
    measure.select_option("matched_share")
    assert watched.plot("similarity", "plot.data[0].z[3][1]") == 1
    place = watched.plot("similarity", "plot.data[0].customdata[0][2]")
    watched.page.evaluate(
        f"document.getElementById('similarity').emit('plotly_click', {{points: [{{customdata: '{place}'}}]}})"
    )
    assert watched.page.inner_text("[data-title=cosines]") == "query, layers 0 and 2"
    scores = watched.plot("similarity", "plot.data[0].z")
    measure.select_option("Linear CKA")
    assert watched.plot("similarity", "plot.data[0].z") != scores
    assert "Linear CKA 0" in watched.page.inner_text("[data-html=similarity]")
    role.select_option("key")
    assert watched.plot("similarity", "plot.data[0].visible") is False
    assert "--indices ROLE" in watched.page.inner_text("[data-html=similarity]")
    assert watched.plot("similarity", "plot.offsetHeight") < 150
    assert watched.page.evaluate("document.querySelector('nav').offsetHeight") < 50
    watched.page.evaluate(
        "document.getElementById('similarity').emit('plotly_click', {points: [{customdata: 'identical'}]})"
    )
    assert "not compared" in watched.page.inner_text("[data-html=cosines]")
    measure.select_option("score")
    assert len(watched.plot("similarity", "plot.data[0].z")) == LAYERS
    assert watched.complaints == []


@pytest.mark.browser
def test_choosing_experts_in_the_browser(experts: Path, watched: Watched) -> None:
    watched.open(build(experts))
    _, layer, _ = watched.page.locator("select[data-part=experts]").all()
    before = watched.plot("experts", "plot.data[0].z")
    layer.select_option("0-1")
    assert watched.plot("experts", "plot.data[0].z") != before
    assert watched.plot("experts", "plot.data[0].z[1][1]") is not None
    fills = (
        "[...document.querySelectorAll('#experts .heatmap-label text')].map((t) => getComputedStyle(t).fill)"
    )
    assert set(watched.page.evaluate(fills)) <= {"rgb(11, 18, 24)", "rgb(255, 255, 255)"}
    assert watched.complaints == []
