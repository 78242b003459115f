"""The page in a real browser, opened from the disk as a reader would."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmscope.report import build
from lmscope.report.records import Records

from ..browsing import Watched

pytestmark = pytest.mark.browser


@pytest.fixture
def run(make_run: Callable[..., Path]) -> Path:
    return make_run(layers=3)


def test_opens_without_complaint_or_request(run: Path, watched: Watched) -> None:
    watched.open(build(run))
    assert watched.plot("overview", "plot.data[0].z.length") == 6
    assert watched.page.locator("#overview .hm image, #overview .heatmaplayer image").count() == 1
    assert watched.page.locator("#spectrum .bars path").count() > 5
    assert watched.page.locator("#section-ledger tbody tr").count() == 24
    titles = "[...document.querySelectorAll('.modebar-btn')].map((button) => button.dataset.title)"
    once, zoom = ["Download plot as a PNG"], ["Zoom", "Pan", "Reset axes"]
    assert watched.page.evaluate(titles) == [*once, *once, *once, *zoom]
    assert watched.complaints == []
    assert len(watched.requests) == 1
    assert watched.outside() == []


def test_the_watch_sees_what_it_must_see(run: Path, watched: Watched) -> None:
    file = build(run)
    script = "<script>console.error('a complaint'); new Image().src = 'http://localhost:9/picture';</script></body>"
    spoilt = file.read_text(encoding="utf-8").replace("</body>", script)
    file.write_text(spoilt, encoding="utf-8")
    watched.open(file)
    assert any("a complaint" in complaint for complaint in watched.complaints)
    assert any("Content Security Policy" in complaint for complaint in watched.complaints)
    assert watched.outside() == ["http://localhost:9/picture"]


def test_choosing_a_matrix_changes_the_spectrum(run: Path, watched: Watched) -> None:
    rows = Records(run).spectra
    watched.open(build(run))
    chosen = next(i for i, row in enumerate(rows) if row["name"] == "model.layers.0.up.weight")
    assert "model.layers.0.up.weight" not in watched.title()
    bars = watched.plot("spectrum", "Array.from(plot.calcdata[0], bar => bar.s)")
    watched.page.select_option("select[data-switch=spectrum]", str(chosen))
    assert watched.title() == "model.layers.0.up.weight (192 × 48)"
    changed = watched.plot("spectrum", "Array.from(plot.calcdata[0], bar => bar.s)")
    assert changed != bars
    assert sum(changed) <= rows[chosen]["M"]
    assert f"{rows[chosen]['learnt']} of 48 above" in watched.page.inner_text("[data-html=spectrum]")
    names = watched.plot("spectrum", "plot.layout.annotations.map(note => note.text)")
    assert [name.split(":")[0] for name in names[:4]] == [
        "sign-flip edge",
        "permutation edge",
        "iid edge",
        "lower iid edge",
    ]
    watched.page.click("[data-step='1'][data-of=spectrum]")
    assert rows[chosen + 1]["name"] in watched.title()
    assert watched.complaints == []


def test_views_change_the_range(run: Path, watched: Watched) -> None:
    rows = Records(run).spectra
    index = max(range(len(rows)), key=lambda i: rows[i]["sv_max"] / rows[i]["upper_edge"])
    watched.open(build(run))
    watched.page.select_option("select[data-switch=spectrum]", str(index))
    ends = {}
    for view in ("all", "bulk", "edges"):
        watched.page.click(f"[data-view={view}]")
        ends[view] = watched.plot("spectrum", "plot._fullLayout.xaxis.range[1]")
    assert ends["all"] > rows[index]["sv_max"]
    assert rows[index]["upper_edge"] < ends["bulk"] < ends["edges"] <= ends["all"]
    assert watched.complaints == []


def test_switching_the_measure_changes_the_map(run: Path, watched: Watched) -> None:
    rows = Records(run).spectra
    watched.open(build(run))
    for measure in ("effective_rank", "stable_rank", "ks", "outside", "learnt"):
        before = watched.plot("overview", "plot.data[0].z")
        watched.page.select_option("select[data-switch=overview]", measure)
        after = watched.plot("overview", "plot.data[0].z")
        assert after != before
        if measure != "outside":
            first = next(row for row in rows if row["layer"] == 0 and row["role"] == "query")
            assert after[0][0] == pytest.approx(first[measure])
    assert watched.complaints == []


def test_clicking_a_cell_selects_its_matrix(run: Path, watched: Watched) -> None:
    watched.open(build(run))
    place = watched.plot(
        "overview",
        "(() => { const box = plot.getBoundingClientRect(), {xaxis, yaxis} = plot._fullLayout;"
        " return [box.x + xaxis._offset + xaxis.l2p(2), box.y + yaxis._offset + yaxis.l2p(3)]; })()",
    )
    watched.page.mouse.move(*place)
    watched.page.locator("#overview .hoverlayer .hovertext").wait_for()
    assert "model.layers.2.attention_output.weight" in (
        watched.page.text_content("#overview .hoverlayer") or ""
    )
    watched.page.mouse.click(*place)
    assert watched.title().startswith("model.layers.2.attention_output.weight")
    outline = watched.plot("overview", "plot.layout.shapes[0]")
    assert (outline["x0"], outline["y0"]) == (1.5, 2.5)
    assert "attention_output" in watched.page.inner_text("#verdict-table tr.chosen")
    assert watched.complaints == []


def test_tables_sort_and_filter(run: Path, watched: Watched) -> None:
    watched.open(build(run))
    learnt = (
        "Array.from(document.querySelectorAll('#verdict-table tbody tr'),"
        " row => Number(row.cells[4].dataset.sort ?? row.cells[4].textContent))"
    )
    heading = watched.page.locator("#verdict-table th", has_text="Learnt")
    heading.click()
    down = watched.page.evaluate(learnt)
    assert down == sorted(down, reverse=True) != sorted(down)
    heading.click()
    assert watched.page.evaluate(learnt) == sorted(down)
    table = watched.page.locator("#verdict-table")
    button = table.get_by_role("columnheader", name="Learnt").get_by_role("button")
    for key in ("Space", "Enter"):
        before = watched.page.evaluate(learnt)
        button.press(key)
        assert watched.page.evaluate(learnt) == before[::-1]
    assert heading.get_attribute("aria-sort") == "ascending"
    visible = watched.page.locator("#ledger-table tbody tr:visible")
    watched.page.select_option("select[data-filter=ledger-table]", "status:refused")
    assert visible.count() == 1
    assert "quantised" in visible.inner_text()
    watched.page.select_option("select[data-filter=ledger-table]", "")
    watched.page.fill("input[data-filter=ledger-table]", "layers.1.")
    assert visible.count() == 7
    assert watched.page.inner_text("[data-count=ledger-table]") == "7 of 24 shown"


def test_one_measure_for_map_and_lines(run: Path, watched: Watched) -> None:
    rows = {row["name"]: row for row in Records(run).spectra}
    watched.open(build(run))
    for place, measure in enumerate(("ks", "stable_rank")):
        watched.page.select_option(f"select[data-switch=overview] >> nth={place}", measure)
        for chosen in watched.page.locator("select[data-switch=overview]").all():
            assert chosen.input_value() == measure
        line = watched.plot("depth", "plot.data[1]")
        assert line["name"] == "key"
        assert line["y"] == [rows[name][measure] for name in line["ids"]]
    assert watched.complaints == []


def test_dark_and_narrow(run: Path, watched: Watched) -> None:
    watched.page.set_viewport_size({"width": 800, "height": 900})
    watched.open(build(run))
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= 800
    ink = watched.plot("spectrum", "plot.layout.font.color")
    watched.page.emulate_media(color_scheme="dark")
    # Asked again from here: the page's own policy forbids Playwright's polling inside it.
    deadline = time.monotonic() + 20
    while watched.plot("overview", "plot.data[0].reversescale") is not True and time.monotonic() < deadline:
        watched.page.wait_for_timeout(50)
    assert watched.plot("overview", "plot.data[0].reversescale") is True
    assert watched.plot("spectrum", "plot.layout.font.color") != ink
    assert watched.complaints == []


def test_hostile_names_and_missing_numbers_are_only_text(
    make_run: Callable[..., Path], watched: Watched
) -> None:
    def change(record: dict[str, Any]) -> None:
        record["name"] = "<img src=x onerror=console.error('run')></script>" + record["name"]
        if record["role"] in ("query", "pooler"):
            nan = dict.fromkeys(["scale", "lower_edge", "upper_edge", "ks", "sign_flip_edge"], float("nan"))
            record.update(nan, learnt=None, mp_reason="<i>none</i>", warning="<img src=y>")

    run = make_run(layers=2, change=change)
    watched.open(build(run))
    for index in range(len(Records(run).spectra)):
        watched.page.select_option("select[data-switch=spectrum]", str(index))
        assert watched.title().startswith("<img src=x")
    assert watched.page.locator("img").count() == 0
    assert watched.complaints == []
    assert watched.outside() == []
