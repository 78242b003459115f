"""Instruction set levels and thread counts that the tests of every family run through."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import lmscope

from ..levels import LEVELS


@pytest.fixture(params=LEVELS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = lmscope.isa()
    try:
        lmscope.use_isa(request.param)
    except ValueError as error:
        pytest.skip(str(error))
    yield request.param
    lmscope.use_isa(before)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = lmscope.get_num_threads()
    yield lmscope.set_num_threads
    lmscope.set_num_threads(before)
