"""A later analysis adds its section by adding one file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import lmscope
from lmscope.report import Records, build, sections
from lmscope.report.plots import figures_of
from lmscope.results import SCHEMAS, RunFolder, record_key

from .conftest import IDENTITY

SECTION = '''
"""Similar layers: the file that an analysis of its own would add."""

from lmscope.report.figures import STATE, Figure, Variant, of_trace
from lmscope.report.sections import Section

ORDER = 35


def section(records):
    rows = records.rows("likeness")
    if not rows:
        return None
    names = [row["name"] for row in rows]
    figure = Figure(
        data=[{"type": "bar", "x": names}],
        layout={"height": 240, "margin": {"l": 10, "r": 10, "t": 30, "b": 44}},
        states={"score": "Likeness score"},
        variant=lambda key: Variant("Likeness score", [{"y": [row[key] for row in rows]}], note="how alike"),
        first="score",
        columns=["matrix", STATE],
        parts=[[of_trace(0, "x"), of_trace(0, "y")]],
    )
    template = '<div class="figure" id="likeness"></div><p>{{ rows | length }} compared</p>'
    return Section("likeness", "Likeness: near relations", template, {"rows": rows}, figure=figure)
'''
SCHEMA = pa.schema([pa.field("name", pa.string()), pa.field("score", pa.float64())])


@pytest.fixture
def with_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "more_sections"
    folder.mkdir()
    (folder / "likeness.py").write_text(SECTION, encoding="utf-8")
    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(folder)])
    monkeypatch.setitem(SCHEMAS, "likeness", SCHEMA)
    yield
    sys.modules.pop("lmscope.report.sections.likeness", None)


def add_records(folder: Path) -> None:
    run = RunFolder.open(folder)
    manifest = run.manifest
    settings = {"bins": 64}
    with run.lock():
        run.write_manifest(
            checkpoint=manifest["checkpoint"],
            settings={"likeness": settings},
            **{name: manifest[name] for name in ("lmscope_version", "device", "isa", "machine")},
        )
        for name in ("model.pooler.weight", "model.layers.0.key.weight"):
            key = record_key(IDENTITY, name, "likeness", settings, "0.1.0")
            run.write("likeness", key, {"name": name, "score": len(name) / 64})


@pytest.mark.usefixtures("with_section")
def test_the_file_alone_adds_page_navigation_figure_and_plot(make_run: Callable[..., Path]) -> None:
    folder = make_run(layers=1)
    assert "likeness" not in build(folder).read_text(encoding="utf-8")
    add_records(folder)
    page = build(folder).read_text(encoding="utf-8")
    assert '<a href="#section-likeness">Likeness</a>' in page
    assert '<section id="section-likeness">\n<h2>Likeness: near relations</h2>' in page
    assert "<p>2 compared</p>" in page
    assert "Settings of likeness" in page
    assert list(figures_of(Records(folder))) == ["overview", "depth", "spectrum", "likeness"]
    assert list(lmscope.open_run(folder).plot("likeness", "score").data[0].y) == [19 / 64, 25 / 64]


def test_tables_are_read_when_asked_for_and_only_if_there(make_run: Callable[..., Path]) -> None:
    folder = make_run(layers=1)
    for record in (folder / "spectra").glob("*.parquet"):
        record.write_bytes(b"damaged")
    records = Records(folder)
    assert records.analyses == ["spectra"]
    assert records.rows("likeness") == []
    assert len(records.ledger) == 10


def test_a_figure_under_another_name_is_refused(
    make_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections, "__path__", [*sections.__path__, str(tmp_path / "odd")])
    monkeypatch.setitem(SCHEMAS, "likeness", SCHEMA)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "relations.py").write_text(SECTION, encoding="utf-8")
    folder = make_run(layers=1)
    add_records(folder)
    try:
        with pytest.raises(ValueError, match=r"relations: .* not 'likeness'"):
            build(folder)
    finally:
        sys.modules.pop("lmscope.report.sections.relations", None)
