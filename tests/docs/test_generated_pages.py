"""The pages that are made from the program name all that it has."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from lmscope.results.schemas import COLUMNS

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generated_pages", DOCS / "generated_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_table_says_what_its_rows_are(pages: ModuleType) -> None:
    assert set(pages._ROWS) == set(COLUMNS)
    text = "\n".join(pages.result_files())
    assert all(f"## `{analysis}/*.parquet`\n\n{pages._ROWS[analysis]}" in text for analysis in COLUMNS)


def test_every_example_of_the_help_is_a_command_to_copy(pages: ModuleType) -> None:
    text = pages.command_line()
    assert 'font-weight: bold">Example' not in text
    inside = False
    for line in text.splitlines():
        inside = inside != line.startswith("```")
        assert inside or not line.startswith("lmscope "), line
    examples = text.partition("**Examples**:")[2].partition("```sh\n")[2].partition("\n```")[0]
    assert [line.split()[:2] for line in examples.splitlines()] == [["lmscope", "localize"]] * 2
