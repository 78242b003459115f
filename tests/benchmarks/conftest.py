"""Modules of benchmarks, which find each other as its scripts do."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@contextmanager
def benchmark_module(name: str) -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def findings(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The one that the test module's ``FINDINGS`` names."""
    with benchmark_module(request.module.FINDINGS) as module:
        yield module
