"""Roles compared across layers."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmscope.report import Records
from lmscope.report.figures import Figure
from lmscope.report.sections import depth

MakeRun = Callable[..., Path]


def figure_of(folder: Path) -> tuple[Records, Figure]:
    records = Records(folder)
    section = depth.section(records)
    assert section is not None
    assert section.figure is not None
    return records, section.figure


def test_one_line_per_role_with_the_records_numbers(make_run: MakeRun) -> None:
    records, figure = figure_of(make_run(layers=4))
    assert [line["name"] for line in figure.data] == [
        "query",
        "key",
        "value",
        "attention output",
        "up",
        "down",
    ]
    assert figure.states["ks"] == "KS distance"
    for measure in ("learnt", "ks", "effective_rank", "stable_rank"):
        variant = figure.variant(measure)
        for line, values in zip(figure.data, variant.data, strict=True):
            role = line["name"].replace(" ", "_")
            rows = [row for row in records.spectra if row["role"] == role and row["layer"] is not None]
            assert line["x"] == [row["layer"] for row in rows] == [0, 1, 2, 3]
            assert values["y"] == [row[measure] for row in rows]
            assert values["ids"] == [row["name"] for row in rows]
            assert [records.spectra[int(key)]["name"] for key in values["customdata"]] == values["ids"]


def test_twelve_roles_have_twelve_markers(make_run: MakeRun) -> None:
    roles = (
        "query",
        "key",
        "value",
        "attention_output",
        "gate",
        "up",
        "down",
        "router",
        "other",
        "classifier",
    )
    _, figure = figure_of(make_run(layers=1, roles=(*roles, "buffer", "pooler"), apart=()))
    looks = [(line["line"]["color"], line["marker"]["symbol"]) for line in figure.data]
    assert len(looks) == 12
    assert len({symbol for _, symbol in looks}) == 12
    assert figure.layout["xaxis"]["tickvals"] == [0]


def test_experts_are_a_median_that_one_of_them_has_in_a_band(make_run: MakeRun) -> None:
    def as_experts(record: dict[str, Any]) -> None:
        places = {"query": 0, "key": 1, "value": 2, "attention_output": 3}
        if record["role"] in places:
            record.update(expert=places[record["role"]], role="gate")

    records, figure = figure_of(make_run(layers=3, change=as_experts))
    assert [line.get("name") for line in figure.data] == [None, None, "gate", "up", "down"]
    low, high, middle, *_ = figure.variant("ks").data
    for place, layer in enumerate((0, 1, 2)):
        values = sorted(
            row["ks"] for row in records.spectra if (row["role"], row["layer"]) == ("gate", layer)
        )
        assert len(values) == 4
        assert (low["y"][place], high["y"][place]) == (values[0], values[-1])
        assert middle["y"][place] == statistics.median_low(values)
        chosen = records.spectra[int(middle["customdata"][place])]
        assert chosen["ks"] == middle["y"][place]
        assert "median of 4 experts" in middle["hovertext"][place]


def test_matrices_without_the_number_are_gaps(make_run: MakeRun) -> None:
    def change(record: dict[str, Any]) -> None:
        if record["name"] == "model.layers.1.key.weight":
            record.update(ks=float("nan"), name="model.<b>.key")

    _, figure = figure_of(make_run(layers=3, change=change))
    values = figure.variant("ks").data[1]
    assert values["y"][1] is None
    assert None not in (values["y"][0], values["y"][2])
    assert "<b>model.&lt;b&gt;.key</b>" in values["hovertext"][1]


def test_no_layers_no_section(make_run: MakeRun) -> None:
    assert depth.section(Records(make_run(layers=0, apart=("other",)))) is None


@pytest.mark.parametrize("layers", [1, 30])
def test_ticks_name_every_layer_while_they_fit(make_run: MakeRun, layers: int) -> None:
    _, figure = figure_of(make_run(layers=layers, distinct=1))
    assert ("tickvals" in figure.layout["xaxis"]) is (layers == 1)
