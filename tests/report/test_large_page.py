"""The page of 80 layers with the shapes of a 70B model: small, silent, legible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lmscope.report import Records, build

from ..browsing import Watched
from ..synthetic_runs import write_70b_run

pytestmark = pytest.mark.browser

# Pairs of neighbouring labels that touch, and labels that leave the chart.
_CLASHES = """
[...document.querySelectorAll(".figure")].flatMap((chart) => {
  const found = [];
  const frame = chart.getBoundingClientRect();
  const meet = (a, b) =>
    a.left < b.right && b.left < a.right && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  const groups = [".xaxislayer-above .xtick", ".yaxislayer-above .ytick", ".infolayer .annotation",
                  ".legend .traces", ".colorbar .cbaxis text"];
  for (const group of groups) {
    const boxes = [...chart.querySelectorAll(group)].map((label) => {
      const text = label.querySelector("text") ?? label;
      return [text.textContent, text.getBoundingClientRect()];
    }).filter(([words]) => words);
    boxes.forEach(([words, box], place) => {
      const inside = box.left >= frame.left - 1 && box.right <= frame.right + 1
        && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1;
      if (!inside) found.push(`${chart.id}: ${words} leaves the chart`);
      for (const [others, other] of boxes.slice(place + 1))
        if (meet(box, other)) found.push(`${chart.id}: ${words} on ${others}`);
    });
  }
  const camera = chart.querySelector(".modebar").getBoundingClientRect();
  for (const part of chart.querySelectorAll(".colorbar .cbfills rect, .colorbar text"))
    if (meet(part.getBoundingClientRect(), camera)) found.push(`${chart.id}: camera on the colour bar`);
  return found;
})
"""


@pytest.fixture(scope="module")
def large_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_70b_run(tmp_path_factory.mktemp("large") / "run")
    build(run)
    return run


def test_small_silent_and_one_cell_per_matrix(large_run: Path, watched: Watched) -> None:
    page = large_run / "report.html"
    assert page.stat().st_size < 15e6
    rows = Records(large_run).spectra
    assert sum(row["n_above"] for row in rows) > 20_000
    watched.open(page)
    z = watched.plot("overview", "plot.data[0].z")
    assert (len(z), len(z[0])) == (7, 80)
    assert all(value is not None for line in z for value in line)
    assert len(watched.plot("overview", "plot.data[0].customdata.flat()")) == 560
    watched.page.select_option("select[data-switch=overview] >> nth=0", "ks")
    assert watched.plot("overview", "plot.data[0].z")[0][0] != z[0][0]
    lines = watched.plot("depth", "plot.data.map((line) => Array.from(line.y))")
    assert lines == watched.plot("overview", "plot.data[0].z")
    assert watched.complaints == []
    assert watched.outside() == []


@pytest.mark.parametrize("chart", ["overview", "depth"])
def test_a_click_shows_the_matrix(large_run: Path, watched: Watched, chart: str) -> None:
    watched.open(large_run / "report.html")
    y = 3 if chart == "overview" else "plot.data[3].y[41]"
    place = watched.plot(
        chart,
        "(() => { const box = plot.getBoundingClientRect(), {xaxis, yaxis} = plot._fullLayout;"
        f" return [box.x + xaxis._offset + xaxis.l2p(41), box.y + yaxis._offset + yaxis.l2p({y})]; }})()",
    )
    watched.page.mouse.wheel(0, place[1] - 400)
    watched.page.wait_for_timeout(300)
    top = watched.page.evaluate("window.scrollY")
    watched.page.mouse.move(place[0], place[1] - top)
    watched.page.locator(f"#{chart} .hoverlayer .hovertext").wait_for()
    watched.page.mouse.click(place[0], place[1] - top)
    assert watched.title() == "model.layers.41.self_attn.o_proj.weight (8192 × 8192)"
    assert watched.complaints == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (800, "dark")])
def test_legible(large_run: Path, watched: Watched, width: int, scheme: str) -> None:
    watched.page.set_viewport_size({"width": width, "height": 900})
    watched.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    watched.open(large_run / "report.html")
    assert watched.page.evaluate("document.documentElement.scrollWidth") == width
    for measure in ("learnt", "outside", "ks", "effective_rank", "stable_rank"):
        watched.page.select_option("select[data-switch=overview] >> nth=0", measure)
        assert watched.page.evaluate(_CLASHES) == []


def test_the_check_of_legibility_sees_what_it_must(large_run: Path, watched: Watched) -> None:
    watched.open(large_run / "report.html")
    watched.page.evaluate("Plotly.relayout('overview', {'xaxis.tickfont.size': 40, 'xaxis.dtick': 1})")
    assert any(clash.startswith("overview:") for clash in watched.page.evaluate(_CLASHES))


def test_many_experts(make_run: Callable[..., Path], watched: Watched) -> None:
    """Sixteen lanes of experts per layer in the map, one band in the lines."""
    roles = ("query", *(f"expert{number}" for number in range(16)))

    def as_expert(record: dict[str, object]) -> None:
        role = str(record["role"])
        if role.startswith("expert"):
            record.update(expert=int(role.removeprefix("expert")), role="gate")

    watched.open(build(make_run(layers=12, roles=roles, apart=(), change=as_expert, distinct=2)))
    assert len(watched.plot("overview", "plot.data[0].y")) == 17
    assert watched.plot("depth", "plot.data.filter((line) => line.name).map((line) => line.name)") == [
        "query",
        "gate",
    ]
    assert watched.page.evaluate(_CLASHES) == []
    assert watched.complaints == []
