"""What a call of `icl` asked of an experiment: its cells, each a record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

Cell = dict[str, Any]

CELLS = "cells"
"""In the manifest's ``asked["icl"][experiment]``: name -> the values that were asked for."""


def cells(asked: Mapping[str, Any]) -> Iterator[Cell]:
    """Every combination of the values that ``asked`` names, the last name's values running first."""
    lists: Mapping[str, list[Any]] = asked[CELLS]
    for values in product(*lists.values()):
        yield dict(zip(lists, values, strict=True))


def record_name(cell: Mapping[str, Any]) -> str:
    """Of the cell's record, whatever the order of its names."""
    return json.dumps(cell, sort_keys=True, allow_nan=False)
