from __future__ import annotations

import base64
import json
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotly.offline import get_plotlyjs

import lmscope
import lmscope.report
from lmscope.report import build
from lmscope.report.records import Records
from lmscope.report.spectrum_chart import histogram
from lmscope.report.themes import DARK, LIGHT
from lmscope.results import ResultsError
from lmscope.visible import visible

MakeRun = Callable[..., Path]
HOSTILE = "a</script ></script><img src=x onerror=alert(1)><b>&amp;\"'\u2028{{ 7*7 }}"


class Page(HTMLParser):
    """Elements, text outside of scripts, and scripts by id of a page."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(source)
        self.close()
        self.figures: dict[str, Any] = json.loads(self.scripts[0])["figures"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data

    def options(self, figure: str) -> int:
        return len(self.figures[figure]["variants"])


def built(folder: Path) -> Page:
    return Page(build(folder).read_text(encoding="utf-8"))


def unpacked(array: dict[str, str]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(array["bdata"]), np.dtype(array["dtype"]).newbyteorder("<"))


def no_verdict(record: dict[str, Any]) -> None:
    record.update(
        dict.fromkeys(["scale", "lower_edge", "upper_edge", "mp_p_value", "ks", "ks_p_value"], math.nan)
    )
    record.update(n_below=0, n_above=0, mp_reason="fewer than 32 values")


def no_random_nulls(record: dict[str, Any]) -> None:
    for null, above in (("sign_flip", "learnt"), ("permutation", "n_above_permutation")):
        record.update({f"{null}_edge": math.nan, f"{null}_p_value": math.nan, above: None})


def test_the_page_is_one_file_that_asks_for_nothing(make_run: MakeRun) -> None:
    folder = make_run()
    target = build(folder)
    assert target == folder / "report.html"
    source = target.read_text(encoding="utf-8")
    assert source.count(get_plotlyjs()) == 1
    page = Page(source)
    own = source.replace(get_plotlyjs(), "")
    assert not re.search(r"https?://|@import|url\(", own)
    assert not [attributes for _, attributes in page.elements if "src" in attributes]
    assert [attributes["href"] for tag, attributes in page.elements if tag == "link"] == ["data:,"]


def test_every_matrix_has_its_spectrum(make_run: MakeRun) -> None:
    folder = make_run(width=96)
    records, figure = Records(folder), built(folder).figures["spectrum"]
    assert len(records.spectra) == 2 + 3 * 6
    assert len(figure["variants"]) == len(records.spectra)
    for index, row in enumerate(records.spectra):
        variant = figure["variants"][str(index)]
        assert row["name"] in variant["label"]
        bars, curve, learnt, outside = variant["data"]
        counts, values = unpacked(bars["y"]), row["singular_values"]
        assert len(counts) <= 256
        end = bars["x0"] + len(counts) * bars["dx"]
        beyond = values[(values > end * (1 + 1e-12)) | (values < bars["x0"] * (1 - 1e-12))]
        assert counts.sum() + len(beyond) == row["M"]
        ticks = np.concatenate([unpacked(learnt["x"]), unpacked(outside["x"])])
        assert np.isin(beyond.astype(np.float32), ticks).all()
        assert len(unpacked(learnt["x"])) == row["learnt"]
        iid_only = ((values > row["upper_edge"]) | (values < row["lower_edge"])) & ~(
            values > row["sign_flip_edge"]
        )
        np.testing.assert_array_equal(unpacked(outside["x"]), values[iid_only].astype(np.float32))
        # the curve is the law of all values, in counts per bar
        area = np.trapezoid(unpacked(curve["y"]), dx=curve["dx"])
        assert area == pytest.approx(row["M"] * bars["dx"], rel=0.04)
        lines = sorted(shape["x0"] for shape in variant["layout"]["shapes"])
        named = ["lower_edge", "upper_edge", "permutation_edge", "sign_flip_edge"]
        assert lines == sorted(row[edge] for edge in named if row[edge])
        assert len({note["y"] for note in variant["layout"]["annotations"]}) >= len(lines)


def test_the_map_shows_the_measures(make_run: MakeRun) -> None:
    folder = make_run(layers=4)
    records, figure = Records(folder), built(folder).figures["overview"]
    base = figure["data"][0]
    assert base["x"] == ["0", "1", "2", "3"]
    assert base["y"] == ["query", "key", "value", "attention output", "up", "down"]
    share = {"outside": lambda row: (row["n_above"] + row["n_below"]) / row["M"]}
    for measure in ("learnt", "outside", "ks", "effective_rank", "stable_rank"):
        z = figure["variants"][measure]["data"][0]["z"]
        for index, row in enumerate(records.spectra):
            if row["layer"] is None:
                continue
            column, line = figure["cells"][str(index)]
            assert base["x"][column] == str(row["layer"])
            assert base["y"][line] == row["role"].replace("_", " ")
            assert base["customdata"][line][column] == str(index)
            assert z[line][column] == pytest.approx(share.get(measure, lambda row, m=measure: row[m])(row))


def test_a_matrix_that_failed_is_a_gap_that_says_why(make_run: MakeRun) -> None:
    page = built(make_run(failed={"model.layers.1.key.weight": "row 3, column 5 is not finite"}))
    figure = page.figures["overview"]
    base, line = figure["data"][0], figure["data"][0]["y"].index("key")
    assert "row 3, column 5 is not finite" in base["hovertext"][line][1]
    assert base["customdata"][line][1] is None
    assert figure["variants"]["learnt"]["data"][0]["z"][line][1] is None
    assert None not in figure["variants"]["learnt"]["data"][0]["z"][0]


def test_the_verdict_counts(make_run: MakeRun) -> None:
    folder = make_run(draws=3)
    records, text = Records(folder), built(folder).text
    learnt = [row["learnt"] for row in records.spectra]
    assert 0 < sum(count > 0 for count in learnt) < len(learnt)
    assert f"{sum(count > 0 for count in learnt)} of {len(learnt)} matrices carry" in text
    assert f"{sum(learnt)} values in all" in text
    assert "about 5 of them there by chance" in text  # 20 matrices, 3 draws
    refuted = sum(row["iid_p_value"] < 1e-6 for row in records.spectra)
    assert 0 < refuted < len(learnt)
    assert f"In {refuted} of {len(learnt)} matrices the entries are shown not to be" in text


def test_names_are_text(make_run: MakeRun) -> None:
    def rename(record: dict[str, Any]) -> None:
        record.update(name=HOSTILE + record["name"], warning=HOSTILE)

    folder = make_run(layers=1, model=HOSTILE, change=rename)
    source = build(folder).read_text(encoding="utf-8")
    page = Page(source)
    assert len(page.scripts) == 3
    assert "<" not in page.scripts[0]  # browsers end a script at more forms of its end tag than this parser
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert page.text.count(visible(HOSTILE)) >= 3 * 8
    figures = page.figures
    assert all(
        variant["label"].startswith(visible(HOSTILE)) for variant in figures["spectrum"]["variants"].values()
    )
    inserted = [variant["html"] for figure in figures.values() for variant in figure["variants"].values()]
    inserted += [text for line in figures["overview"]["data"][0]["hovertext"] for text in line]
    assert not [text for text in inserted if "<img" in text]


def test_nothing_in_a_name_is_invisible(make_run: MakeRun) -> None:
    odd = "a\u202eb\u2066c\x1bd\ne\u200bf\u00adg"

    def rename(record: dict[str, Any]) -> None:
        record.update(name=odd + record["name"], warning=odd, dtype=odd)

    folder = make_run(layers=1, model=odd, change=rename)
    page = built(folder)
    html = re.sub(r"<script.*?</script>", "", build(folder).read_text(encoding="utf-8"), flags=re.S)
    shown = [html, *(variant["label"] for variant in page.figures["spectrum"]["variants"].values())]
    for figure in page.figures.values():
        shown += [variant["html"] for variant in figure["variants"].values()]
        shown += [str(variant["data"][0].get("hovertext")) for variant in figure["variants"].values()]
    shown.append(str(page.figures["overview"]["data"][0]["hovertext"][0][0]))
    shown.append(str(lmscope.open_run(folder).plot("overview").layout.title.text))
    for text in shown:
        assert not {letter for letter in text if not letter.isprintable()} - set("\n\u202f\u2009")
    escaped = r"a\u202eb\u2066c\x1bd\ne\u200bf\xadg"
    assert html.count(escaped) > 20
    assert escaped in lmscope.open_run(folder)._repr_html_()
    names = [state["name"] for state in page.figures["spectrum"]["variants"].values()]
    assert all(name.startswith(odd) for name in names)


def test_a_run_without_spectra(make_run: MakeRun) -> None:
    page = built(make_run(layers=0, apart=()))
    assert page.figures == {}
    assert "No spectra have been computed" in page.text
    assert "quantised (int4 packed)" in page.text


def test_a_matrix_without_verdict_says_why(make_run: MakeRun) -> None:
    page = built(make_run(change=no_verdict))
    variant = page.figures["spectrum"]["variants"]["3"]
    assert "No Marchenko–Pastur verdict: fewer than 32 values" in variant["html"]
    assert variant["data"][1]["visible"] is False
    assert unpacked(variant["data"][0]["y"]).sum() == 48
    assert {shape["line"]["dash"] for shape in variant["layout"]["shapes"]} == {"solid", "dash"}
    assert {
        value for line in page.figures["overview"]["variants"]["ks"]["data"][0]["z"] for value in line
    } == {None}
    assert "fewer than 32 values" in page.text


def test_without_random_nulls(make_run: MakeRun) -> None:
    page = built(make_run(change=no_random_nulls))
    assert "none against random sign flips" in page.text
    variant = page.figures["spectrum"]["variants"]["3"]
    assert variant["html"].count("not asked for") == 2
    assert variant["data"][2]["visible"] is False


def test_without_any_null(make_run: MakeRun) -> None:
    def nothing(record: dict[str, Any]) -> None:
        no_verdict(record)
        no_random_nulls(record)
        record.update(n_below=None, n_above=None, mp_reason="not asked for")

    page = built(make_run(layers=1, change=nothing))
    variant = page.figures["spectrum"]["variants"]["0"]
    assert variant["layout"]["shapes"] == []
    assert unpacked(variant["data"][0]["y"]).sum() == 48


def test_one_matrix_without_a_layer(make_run: MakeRun) -> None:
    page = built(make_run(layers=0, apart=("other",)))
    assert list(page.figures) == ["spectrum"]
    assert page.text.count("model.other.weight") >= 3  # overview, choice, verdicts and ledger


def test_experts_and_twins_have_cells_of_their_own(make_run: MakeRun) -> None:
    def as_experts(record: dict[str, Any]) -> None:
        if record["role"] in ("up", "down"):
            record.update(expert=("up", "down").index(record["role"]), role="gate")
        if record["role"] == "value":
            record["role"] = "query"

    page = built(make_run(layers=2, change=as_experts))
    lanes = page.figures["overview"]["data"][0]["y"]
    assert lanes == ["query", "query (2)", "key", "attention output", "gate · expert 0", "gate · expert 1"]
    assert len(page.figures["overview"]["cells"]) == 12


def test_six_hundred_matrices(make_run: MakeRun) -> None:
    folder = make_run(layers=100, width=48, distinct=2)
    page = built(folder)
    assert page.options("spectrum") == 602
    assert (folder / "report.html").stat().st_size < 12e6
    assert len(page.figures["overview"]["cells"]) == 600


@pytest.mark.parametrize("factor", [0.0, 1e200, 1e-200])
def test_zero_huge_and_tiny_matrices(make_run: MakeRun, factor: float) -> None:
    def scaled(record: dict[str, Any]) -> None:
        if not factor:
            record.update(learnt=0, n_above=0, n_below=0, n_above_permutation=0)
        record["singular_values"] = [factor * value for value in record["singular_values"]]
        for name in (
            "sv_max",
            "sv_min",
            "scale",
            "lower_edge",
            "upper_edge",
            "permutation_edge",
            "sign_flip_edge",
        ):
            record[name] *= factor

    folder = make_run(layers=1, change=scaled)
    rows, figure = Records(folder).spectra, built(folder).figures["spectrum"]
    assert unpacked(figure["variants"]["0"]["data"][0]["y"]).sum() == 48
    for index, row in enumerate(rows):
        ticks = unpacked(figure["variants"][str(index)]["data"][2]["x"])
        assert len(ticks) == (row["learnt"] if factor else 0)
        assert np.isfinite(ticks).all()
        assert (ticks > 0).all()


def test_a_failure_leaves_the_old_page(make_run: MakeRun) -> None:
    folder = make_run(layers=1)
    before = build(folder).read_bytes()
    next((folder / "spectra").glob("*.parquet")).write_bytes(b"not parquet")
    with pytest.raises(ResultsError, match="unreadable"):
        build(folder)
    assert (folder / "report.html").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir() if "report" in path.name) == ["report.html"]


def test_the_same_records_give_the_same_page(make_run: MakeRun) -> None:
    folder = make_run(layers=1)
    assert build(folder).read_bytes() == build(folder).read_bytes()


def test_no_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=re.escape(str(tmp_path))):
        build(tmp_path)


def test_the_report_needs_neither_torch_nor_kernels(make_run: MakeRun) -> None:
    code = (
        "import sys, lmscope.report as report; report.page.as_html(report.Records(sys.argv[1]));"
        "print([name for name in sys.modules if name.split('.')[0] in ('torch', 'transformers')"
        " or name.startswith(('lmscope.kernels', 'lmscope._core', 'lmscope.checkpoints'))])"
    )
    folder = str(make_run(layers=1))
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_script_stays_small() -> None:
    script = Path(lmscope.report.__file__).with_name("page.js").read_text(encoding="utf-8")
    assert len(script.splitlines()) < 150
    assert max(map(len, script.splitlines())) <= 130


@given(
    values=st.lists(st.floats(0.0, 1e6), min_size=1, max_size=400),
    edges=st.none() | st.tuples(st.floats(0.0, 1e3), st.floats(1e-3, 1e4)),
)
def test_histogram_counts_everything_but_outliers(
    values: list[float], edges: tuple[float, float] | None
) -> None:
    lower, upper = (None, None) if edges is None else (min(edges), max(edges))
    array = np.array(values)
    start, width, counts = histogram(array, lower, upper)
    assert 1 <= len(counts) <= 256
    assert width > 0
    missed = array[(array < start) | (array > start + width * len(counts))]
    assert counts.sum() == len(array) - len(missed)
    if edges is None:
        assert not len(missed)
    else:
        assert ((missed < lower) | (missed > upper)).all()


def test_charts_and_page_have_the_same_colours() -> None:
    style = Path(lmscope.report.__file__).with_name("page.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--(\w+): ([^;]+);", block))
        for block in re.findall(r":root {(.*?)}", style.partition("@media print")[0], re.S)
    )
    for colours, theme in ((light, LIGHT), (dark, DARK)):
        assert theme["font"]["color"] == colours["ink"]
        assert theme["hoverlabel"]["bgcolor"] == colours["paper"]
        assert theme["template"]["layout"]["xaxis"]["gridcolor"] == colours["line"]
        assert theme["modebar"]["color"] == colours["soft"]
        assert theme["modebar"]["activecolor"] == colours["accent"]
    assert LIGHT["font"]["family"] == light["font"]


def test_the_command_at_the_foot_is_taken_by_the_verb(make_run: MakeRun) -> None:
    text = built(make_run(layers=1, model="my model")).text
    command = next(line for line in text.splitlines() if line.strip().startswith("lmscope spectra "))
    words = shlex.split(command)
    assert words[:3] == ["lmscope", "spectra", "models/my model"]
    done = subprocess.run(
        [sys.executable, "-m", "lmscope", *words[1:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr  # the options are right; there is no such checkpoint
