"""Modules of an example, which find each other as its scripts do."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def example(request: pytest.FixtureRequest) -> Iterator[dict[str, ModuleType]]:
    """By name, those that the test module's ``EXAMPLE`` asks for: a folder of examples, and its modules."""
    folder, *names = request.module.EXAMPLE
    path = sys.path.copy()
    sys.path[:0] = [str(EXAMPLES / folder), str(EXAMPLES / "common")]
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path[:] = path
        # Scripts of several examples have the same names.
        for name in names:
            sys.modules.pop(name, None)
