"""Where things stand on the page: after a resize, with long names, on paper."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmscope.report import build

from ..browsing import Watched

pytestmark = pytest.mark.browser
MakeRun = Callable[..., Path]

_HEIGHTS = """
[...document.querySelectorAll(".figure")].map((chart) => {
  const drawn = chart.querySelector(".main-svg").getBoundingClientRect();
  const below = chart.nextElementSibling ?? chart.parentElement.nextElementSibling;
  return [chart.id, drawn.height, chart.getBoundingClientRect().width - drawn.width,
          below === null || below.getBoundingClientRect().top >= drawn.bottom - 1];
})
"""


def test_charts_keep_their_height_when_the_window_changes(make_run: MakeRun, watched: Watched) -> None:
    watched.open(build(make_run(layers=3)))
    wanted = watched.page.evaluate(
        "(() => { const { figures } = JSON.parse(document.getElementById('content').textContent);"
        " return Object.entries(figures).map(([id, { layout }]) => [id, layout.height, 0, true]); })()"
    )
    assert [name for name, *_ in wanted] == ["overview", "depth", "spectrum"]
    assert watched.page.evaluate(_HEIGHTS) == wanted
    for width in (900, 1100):
        watched.page.set_viewport_size({"width": width, "height": 800})
        watched.page.wait_for_timeout(600)
        assert watched.page.evaluate(_HEIGHTS) == wanted
    assert watched.complaints == []


@pytest.mark.parametrize("width", [800, 1280])
@pytest.mark.parametrize("letters", [97, 300])
def test_long_names_leave_room(make_run: MakeRun, watched: Watched, letters: int, width: int) -> None:
    def lengthen(record: dict[str, Any]) -> None:
        record["name"] = "encoder.".ljust(letters - len(record["name"]), "x") + record["name"]

    watched.page.set_viewport_size({"width": width, "height": 900})
    watched.open(build(make_run(layers=2, change=lengthen)))
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
    name = watched.page.locator("#verdict-table tbody tr >> nth=3 >> button.link")
    name.click()
    assert len(watched.title()) > letters
    table = watched.page.locator("#verdict-table")
    table.evaluate("(table) => { table.parentElement.scrollLeft = 1e6; }")
    free = table.evaluate(
        "(table) => { const row = table.tBodies[0].rows[0];"
        " const frame = table.parentElement.getBoundingClientRect();"
        " const last = row.cells[row.cells.length - 1].getBoundingClientRect();"
        " return [row.cells[0].getBoundingClientRect().right, last.left, last.right, frame.right]; }"
    )
    assert free[0] <= free[1] < free[2] <= free[3] + 1
    assert free[0] < 0.55 * width
    name.click()
    assert watched.complaints == []


def test_paper_shows_whole_tables_on_white(make_run: MakeRun, watched: Watched) -> None:
    def lengthen(record: dict[str, Any]) -> None:
        record["name"] += ".in_a_rather_long_name"

    watched.page.emulate_media(color_scheme="dark")
    watched.open(build(make_run(layers=3, change=lengthen)))
    dark = watched.plot("depth", "plot.layout.font.color")
    watched.page.set_viewport_size({"width": 794, "height": 1123})
    watched.page.emulate_media(media="print", color_scheme="dark")
    watched.page.wait_for_timeout(600)
    assert watched.page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 38, 48)"
    assert watched.plot("depth", "plot.layout.font.color") == "#1c2630" != dark
    clipped = watched.page.evaluate(
        "[...document.querySelectorAll('.scroll, table, td')].filter((part) => {"
        " const { overflowX, overflowY, position } = getComputedStyle(part);"
        " return overflowX !== 'visible' || overflowY !== 'visible' || position === 'sticky'"
        "   || part.getBoundingClientRect().right > 794; }).map((part) => part.outerHTML.slice(0, 80))"
    )
    assert clipped == []
    assert watched.complaints == []
