"""Modules of benchmarks, which find each other as its scripts do."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def findings(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The one that the test module's ``FINDINGS`` names."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module(request.module.FINDINGS)
    finally:
        sys.path.remove(str(BENCHMARKS))
        sys.modules.pop(request.module.FINDINGS, None)
