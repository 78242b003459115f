"""The sections of a comparison: what they draw from records of a known difference, and that a page works."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lmscope
from lmscope.report import NoSuchFigure, Records, build
from lmscope.report.figures import unpacked
from lmscope.report.sections import difference_spectrum, sections_of

from ..browsing import Watched
from ..written_llama import llama_tensors, save_llama

QUERY, UP = "model.layers.1.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight"
EMBEDDING = "model.embed_tokens.weight"


def turned(weights: np.ndarray, rank: int, size: float) -> np.ndarray:
    random = np.random.default_rng(rank)
    left, right = (
        random.standard_normal((len(weights), rank)),
        random.standard_normal((rank, weights.shape[1])),
    )
    return (weights.astype(np.float64) + size * left @ right).astype(weights.dtype)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three of 16 matrices changed: by rank 2, by rank 3 and a little, and an embedding."""
    folder = tmp_path_factory.mktemp("compared")
    tensors = llama_tensors(2)
    base = save_llama(folder / "base", tensors, 2)
    tensors[QUERY] = turned(tensors[QUERY], 2, 0.003)
    tensors[UP] = turned(tensors[UP], 3, 0.001)
    tensors[EMBEDDING] = turned(tensors[EMBEDDING], 1, 0.01)
    tuned = save_llama(folder / "tuned", tensors, 2)
    return lmscope.compare(base, tuned, out=folder / "run", progress=False).path


def test_the_map_shows_every_measure_and_links_only_what_changed(run: Path) -> None:
    figure = lmscope.open_run(run).plot("difference", "above_rounding")
    (trace,) = figure.data
    cells = {(lane, layer): (x, y) for y, lane in enumerate(trace.y) for x, layer in enumerate(trace.x)}
    x, y = cells["query", "1"]
    assert trace.z[y][x] == 2
    x, y = cells["up", "0"]
    assert trace.z[y][x] == 3
    assert sum(map(sum, trace.z)) == 5
    linked = [key for line in trace.customdata for key in line if key is not None]
    assert len(linked) == 2
    assert "2 of 64 values above rounding" in trace.hovertext[cells["query", "1"][1]][1]
    assert trace.hovertext[cells["key", "1"][1]][1].endswith("identical")
    records = Records(run)
    (section,) = (section for section in sections_of(records) if section.key == "difference")
    assert section.figure is not None
    spectra = {section.key: section for section in sections_of(records)}["difference_spectrum"].figure
    assert spectra is not None
    assert {spectra.states[key] for key in section.figure.cells} == {QUERY, UP}
    for key in section.figure.states:
        section.figure.variant(key)


def test_the_spectrum_has_the_values_and_both_edges(run: Path) -> None:
    opened = lmscope.open_run(run)
    row = next(row for row in opened.table("difference").to_pylist() if row["name"] == QUERY)
    figure = opened.plot("difference_spectrum", QUERY)
    above, within = figure.data
    assert above.name == "2 values above rounding"
    assert np.array_equal(above.x, [1, 2])
    assert np.allclose(above.y, row["singular_values"][:2], rtol=1e-6)
    assert np.array_equal(within.x, np.arange(3, 65))
    assert np.allclose(within.y, row["singular_values"][2:], rtol=1e-6)
    assert sorted(shape.y0 for shape in figure.layout.shapes) == sorted(
        [row["rounding_edge"], row["sign_flip_edge"]]
    )
    low, high = figure.layout.yaxis.range
    shown = [*row["singular_values"], row["rounding_edge"], row["sign_flip_edge"]]
    assert low < np.log10(min(shown)) < np.log10(max(shown)) < high


def test_a_matrix_that_is_identical_has_no_spectrum(run: Path) -> None:
    with pytest.raises(NoSuchFigure, match="there is"):
        lmscope.open_run(run).plot("difference_spectrum", "model.layers.0.self_attn.q_proj.weight")


def test_long_spectra_are_thinned_and_keep_both_ends() -> None:
    values = np.linspace(2.0, 1.0, 4096)
    trace = difference_spectrum._trace(values, 16, 4096, "within")
    ranks = unpacked(trace["x"])
    assert ranks[0] == 17
    assert ranks[-1] == 4096
    assert len(ranks) <= 160
    assert np.allclose(unpacked(trace["y"]), values[ranks - 1], rtol=1e-6)


def test_a_large_page_holds_the_spectra_that_moved_most(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(difference_spectrum, "ALL_UP_TO", 1)
    monkeypatch.setattr(difference_spectrum, "MOST_OTHERWISE", 1)
    section = difference_spectrum.section(Records(run))
    assert section is not None
    assert section.figure is not None
    changes = {row["name"]: row["relative_change"] for row in Records(run).without_lists("difference")}
    assert section.figure.on_page is not None
    (kept,) = section.figure.on_page
    assert section.figure.states[kept] == max(changes, key=lambda name: changes[name])
    assert section.figure.absent is not None
    assert "1 of 3 differences" in section.figure.absent.html


def test_the_page_says_what_moved_and_how_to_repeat_it(run: Path) -> None:
    page = build(run).read_text(encoding="utf-8")
    assert "16 matrices compared with tuned: 13 identical, 3 moved by more than rounding explains." in page
    assert f"lmscope compare {run.parent / 'base'} {run.parent / 'tuned'} --rounding both --draws 19" in page
    assert "lmscope report RUN" not in page


def test_two_equal_checkpoints_have_a_map_and_no_spectrum(tmp_path: Path) -> None:
    base = save_llama(tmp_path / "base", llama_tensors(1), 1)
    out = lmscope.compare(base, base, out=tmp_path / "run", progress=False).path
    keys = [section.key for section in sections_of(Records(out))]
    assert "difference" in keys
    assert "difference_spectrum" not in keys


@pytest.mark.browser
def test_choosing_in_the_browser(run: Path, watched: Watched) -> None:
    watched.open(build(run))
    page = watched.page
    page.locator("select[data-switch=difference]").select_option("above_rounding")
    assert sum(map(sum, watched.plot("difference", "plot.data[0].z"))) == 5
    page.locator(f"#difference-table button:text-is('{UP}')").click()
    assert page.inner_text("[data-title=difference_spectrum]") == f"{UP} (96 × 64)"
    assert watched.plot("difference_spectrum", "plot.data[0].name") == "3 values above rounding"
    place = watched.plot("difference", "plot.data[0].customdata.flat().find((key) => key !== null)")
    page.evaluate(
        f"document.getElementById('difference').emit('plotly_click', {{points: [{{customdata: '{place}'}}]}})"
    )
    page.locator("button[data-step='1'][data-of=difference_spectrum]").click()
    assert watched.complaints == []
