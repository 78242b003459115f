"""Data of charts and tables, saved by a real browser, against the records."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmscope.report import Records, build

from ..browsing import Watched

pytestmark = pytest.mark.browser
MakeRun = Callable[..., Path]


def saved(watched: Watched, what: str) -> tuple[str, list[dict[str, str]]]:
    """File name and lines of what the button beside a chart or table saves."""
    with watched.page.expect_download() as download:
        watched.page.click(f"[data-save={what}]")
    text = Path(download.value.path()).read_bytes().decode("utf-8")
    return download.value.suggested_filename, list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_map_and_the_lines(make_run: MakeRun, watched: Watched) -> None:
    folder = make_run(layers=3, failed={"model.layers.1.key.weight": "not finite"})
    rows = {row["name"]: row for row in Records(folder).spectra}
    watched.open(build(folder))
    watched.page.select_option("select[data-switch=overview] >> nth=1", "effective_rank")
    name, lines = saved(watched, "overview")
    assert name == "tiny-test-model-overview-effective_rank.csv"
    assert list(lines[0]) == ["matrix", "layer", "role", "expert", "Effective rank"]
    assert len(lines) == 18
    for line in lines:
        value = rows[line["matrix"]]["effective_rank"] if line["matrix"] in rows else None
        assert line["Effective rank"] == ("" if value is None else repr(value))
        assert f".{line['layer']}.{line['role']}." in line["matrix"]
    name, lines = saved(watched, "depth")
    assert name == "tiny-test-model-depth-effective_rank.csv"
    assert {line["role"] for line in lines} == {
        "query",
        "key",
        "value",
        "attention_output",
        "up",
        "down",
    }
    assert len(lines) == 17
    for line in lines:
        row = rows[line["matrix, or the expert at the median"]]
        assert float(line["Effective rank"]) == row["effective_rank"]
        assert (int(line["layer"]), line["matrices"], line["lowest"]) == (row["layer"], "1", "")
    assert watched.complaints == []


def test_experts_have_the_ends_of_their_band(make_run: MakeRun, watched: Watched) -> None:
    def as_experts(record: dict[str, Any]) -> None:
        if record["role"] in ("up", "down"):
            record.update(expert=("up", "down").index(record["role"]), role="gate")

    folder = make_run(layers=2, change=as_experts)
    watched.open(build(folder))
    _, lines = saved(watched, "depth")
    gates = [line for line in lines if line["role"] == "gate"]
    assert [line["matrices"] for line in gates] == ["2", "2"]
    for line in gates:
        learnt = sorted(
            row["learnt"]
            for row in Records(folder).spectra
            if row["role"] == "gate" and row["layer"] == int(line["layer"])
        )
        assert [int(line[end]) for end in ("lowest", "highest")] == learnt


def test_a_spectrum(make_run: MakeRun, watched: Watched) -> None:
    folder = make_run(layers=2, width=96)
    rows = Records(folder).spectra
    index = next(i for i, row in enumerate(rows) if row["name"] == "model.layers.1.query.weight")
    row, values = rows[index], rows[index]["singular_values"]
    watched.open(build(folder))
    watched.page.select_option("select[data-switch=spectrum]", str(index))
    name, lines = saved(watched, "spectrum")
    assert name == "tiny-test-model-spectrum-model.layers.1.query.weight.csv"
    assert {line["matrix"] for line in lines} == {row["name"]}
    start, end, many = "singular value, or start of the bin", "end of the bin", "number of values"

    def of(what: str) -> list[dict[str, str]]:
        return [line for line in lines if line["what"] == what]

    for line in of("bin of the histogram"):
        inside = (values >= float(line[start])) & (values < float(line[end]))
        assert int(line[many]) == inside.sum()
    learnt = [float(line[start]) for line in of("value learnt")]
    assert learnt == values[: row["learnt"]].astype(np.float32).tolist()
    assert len(of("Marchenko-Pastur noise, per bin")) == 200
    assert float(of("sign-flip edge")[0][start]) == row["sign_flip_edge"]
    assert float(of("lower iid edge")[0][start]) == row["lower_edge"]
    assert watched.complaints == []


def test_tables_as_they_are_filtered_and_sorted(make_run: MakeRun, watched: Watched) -> None:
    folder = make_run(layers=2)
    rows = {row["name"]: row for row in Records(folder).spectra}
    watched.open(build(folder))
    watched.page.fill("input[data-filter=verdict-table]", "layers.1.")
    watched.page.locator("#verdict-table th", has_text="KS").click()
    name, lines = saved(watched, "verdict-table")
    assert name == "tiny-test-model-verdicts.csv"
    assert len(lines) == 6
    for line in lines:
        row = rows[line["Matrix"]]
        assert [line["Rows"], line["Columns"]] == [str(row["rows"]), str(row["columns"])]
        assert (line["Role"], line["Expert"]) == (row["role"], "")
        assert (
            float(line["effective rank: exponential of the entropy of the squared values"])
            == (row["effective_rank"])
        )
        assert line["Remark"] == row["warning"]
    name, lines = saved(watched, "ledger-table")
    assert name == "tiny-test-model-ledger.csv"
    assert [line["Tensor"] for line in lines] == [row["name"] for row in Records(folder).ledger]
    assert [line["Role"] for line in lines] == [row["role"] for row in Records(folder).ledger]
    assert lines[0]["Layer"] == ""
    shapes = {line["Tensor"]: (line["Rows"], line["Columns"], line["Further sizes"]) for line in lines}
    assert shapes["model.layers.0.up.weight"] == ("192", "48", "")
    assert shapes["model.layers.0.norm.weight"] == ("48", "", "")
    assert watched.complaints == []


def test_experts_and_ties_have_columns_of_their_own(make_run: MakeRun, watched: Watched) -> None:
    def change(record: dict[str, Any]) -> None:
        if record["role"] in ("up", "down"):
            record.update(expert=("up", "down").index(record["role"]), role="gate")

    folder = make_run(layers=1, change=change, tied={"model.head.weight": "model.token_embedding.weight"})
    watched.open(build(folder))
    _, lines = saved(watched, "verdict-table")
    assert [(line["Role"], line["Expert"]) for line in lines if line["Role"] == "gate"] == [
        ("gate", "0"),
        ("gate", "1"),
    ]
    _, lines = saved(watched, "ledger-table")
    assert [line["Expert"] for line in lines if line["Role"] == "gate"] == ["0", "1"]
    assert [(line["Tensor"], line["Reason"], line["Tied to"]) for line in lines if line["Tied to"]] == [
        ("model.head.weight", "shares its values", "model.token_embedding.weight")
    ]


@pytest.mark.parametrize(
    "start", ["=1", "+a", "-a", "@a", "\t=", " =1", "\n=1", "\r", "\uff1d1", "\u00a0\uff0ba"]
)
def test_what_begins_like_a_formula_is_text(make_run: MakeRun, watched: Watched, start: str) -> None:
    def rename(record: dict[str, Any]) -> None:
        if record["role"] == "pooler":
            record["name"] = start + "(cmd)"

    watched.open(build(make_run(layers=1, roles=("query",), apart=("pooler",), change=rename)))
    for table, column in (("verdict-table", "Matrix"), ("ledger-table", "Tensor")):
        _, lines = saved(watched, table)
        names = [line[column] for line in lines]
        assert f"'{start}(cmd)" in names
        assert any(name.startswith("model.") for name in names)


def test_no_cell_is_a_formula(make_run: MakeRun, watched: Watched) -> None:
    name = '=HYPERLINK("http://a","b")'

    def rename(record: dict[str, Any]) -> None:
        if record["role"] in ("pooler", "query"):
            record["name"] = name + record["name"]

    folder = make_run(layers=1, change=rename, model="@model/=x")
    watched.open(build(folder))
    file, lines = saved(watched, "ledger-table")
    assert file.startswith("_x-")
    assert sum(line["Tensor"].startswith('\'=HYPERLINK("http://a","b")') for line in lines) == 2
    _, lines = saved(watched, "overview")
    assert lines[0]["matrix"].startswith("'=HYPERLINK")
    index = next(i for i, row in enumerate(Records(folder).spectra) if row["name"].startswith("="))
    watched.page.select_option("select[data-switch=spectrum]", str(index))
    file, lines = saved(watched, "spectrum")
    assert "/" not in file
    assert '"' not in file
    assert all(line["matrix"].startswith("'=") for line in lines)
