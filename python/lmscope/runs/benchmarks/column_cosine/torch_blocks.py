"""Cosine histogram and nearest partners in torch, in the fastest of several ways.

Normalised columns in the type of the input are multiplied block by block; every block gives its counts and
both sides' maxima before the next one is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from lmscope.runs.benchmarks.column_cosine.brute_force import BINS
from lmscope.runs.benchmarks.column_cosine.tuning import fastest

# At most 2^24 pairs a block: histc counts in the type of its input, float32.
_BLOCKS = ((256, 4096), (512, 4096), (1024, 4096), (4096, 4096), (512, 1024), (1024, 1024), (2048, 2048))
_SAMPLE = 4096
COUNTINGS = ("histc", "bincount", "patterns")
_PATTERNS = 1 << 16


@dataclass(frozen=True)
class Way:
    """How to go about it.

    Attributes:
        rows: columns of x in a block.
        columns: columns of y in a block.
        counting: "histc" of the block in float32; "bincount" of the numbers of bins; "patterns": bincount of
            the bit patterns of a bfloat16 block, which go to their bins at the end.
        norms: "vector_norm" or "sum of squares".
        maxima: dtype in which the block's maxima are taken.
    """

    rows: int = 512
    columns: int = 4096
    counting: str = "histc"
    norms: str = "sum of squares"
    maxima: str = "bfloat16"

    def __str__(self) -> str:
        return (
            f"blocks {self.rows} x {self.columns}, {self.counting}, norms by {self.norms}, "
            f"maxima in {self.maxima}"
        )


def best_way(x: torch.Tensor, y: torch.Tensor, *, places: bool, countings: Sequence[str] = COUNTINGS) -> Way:
    """One choice after the other, on at most 4096 columns a side; float32 has too many patterns to count."""
    x, y = x[:, :_SAMPLE].contiguous(), y[:, :_SAMPLE].contiguous()

    def run(way: Way) -> None:
        compare(x, y, way, places=places)

    narrow = x.dtype == torch.bfloat16
    way = Way(maxima="bfloat16" if narrow else "float32")
    possible = [counting for counting in countings if narrow or counting != "patterns"]
    way = fastest([replace(way, counting=counting) for counting in possible], run)
    way = fastest([replace(way, rows=rows, columns=columns) for rows, columns in _BLOCKS], run)
    way = fastest([replace(way, norms=norms) for norms in ("sum of squares", "vector_norm")], run)
    if narrow:
        way = fastest([replace(way, maxima=maxima) for maxima in ("bfloat16", "float32")], run)
    return way


def compare(x: torch.Tensor, y: torch.Tensor, way: Way, *, places: bool) -> dict[str, torch.Tensor]:
    """Counts and largest magnitudes of both sides, with the partners that attain them where `places`."""
    unit_x, unit_y = _unit(x, way), _unit(y, way)
    counts = torch.zeros(_PATTERNS if way.counting == "patterns" else BINS, dtype=torch.int64)
    sides = [_Side(unit.shape[1], getattr(torch, way.maxima), places) for unit in (unit_x, unit_y)]
    for i in range(0, x.shape[1], way.rows):
        of_x = unit_x[:, i : i + way.rows].T
        for j in range(0, y.shape[1], way.columns):
            block = of_x @ unit_y[:, j : j + way.columns]
            counts += _count(block, way.counting)
            magnitudes = block.abs() if block.dtype == sides[0].dtype else block.to(sides[0].dtype).abs_()
            sides[0].take(magnitudes, 1, i, j)
            sides[1].take(magnitudes, 0, j, i)
    found = {"counts": _by_bin(counts) if way.counting == "patterns" else counts}
    for side, name in zip(sides, "xy", strict=True):
        found[f"max_abs_{name}"] = side.largest
        if places:
            found[f"argmax_{name}"] = side.partner
    return found


class _Side:
    """Largest magnitudes of one side so far."""

    def __init__(self, columns: int, dtype: Any, places: bool) -> None:
        self.dtype = dtype
        self.largest = torch.full((columns,), -1.0, dtype=dtype)
        self.partner = torch.full((columns,), -1, dtype=torch.int64)
        self._places = places

    def take(self, magnitudes: torch.Tensor, axis: int, start: int, other_start: int) -> None:
        here = slice(start, start + magnitudes.shape[1 - axis])
        if not self._places:
            self.largest[here] = torch.maximum(self.largest[here], magnitudes.amax(axis))
            return
        largest, partner = magnitudes.max(axis)
        better = largest > self.largest[here]
        self.largest[here] = torch.where(better, largest, self.largest[here])
        self.partner[here] = torch.where(better, partner + other_start, self.partner[here])


def _unit(w: torch.Tensor, way: Way) -> torch.Tensor:
    wide = w.to(torch.float32)
    if way.norms == "vector_norm":
        scale = torch.linalg.vector_norm(wide, dim=0).reciprocal_()
    else:
        scale = wide.square().sum(0).rsqrt_()
    unit: torch.Tensor = (wide * scale).to(w.dtype)
    return unit


def _count(block: torch.Tensor, counting: str) -> torch.Tensor:
    if counting == "patterns":
        return torch.bincount(block.view(torch.int16).flatten().to(torch.int32) + 32768, minlength=_PATTERNS)
    if counting == "histc":
        return torch.histc(block.to(torch.float32), BINS, -1.0, 1.0).to(torch.int64)
    places = block.to(torch.float32, copy=True).add_(1.0).mul_(BINS / 2).to(torch.int32).clamp_(0, BINS - 1)
    return torch.bincount(places.flatten(), minlength=BINS)


def _by_bin(counts: torch.Tensor) -> torch.Tensor:
    values = torch.arange(-32768, 32768, dtype=torch.int32).to(torch.int16).view(torch.bfloat16).double()
    inside = values.abs() <= 1.0
    places = ((values[inside] + 1.0) * (BINS / 2)).to(torch.int64).clamp_(0, BINS - 1)
    return torch.zeros(BINS, dtype=torch.int64).index_add_(0, places, counts[inside])
