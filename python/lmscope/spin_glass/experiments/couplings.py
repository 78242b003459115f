"""Distributions of fields and couplings over sets of tasks, and how they settle with the prompt length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.spin_glass.coupling_blocks import (
    BLOCKS,
    BlockHistogram,
    coupling_blocks,
    fit_gaussians,
    histogram_divergence,
)
from lmscope.spin_glass.couplings import fields
from lmscope.spin_glass.experiments.settings import check_settings
from lmscope.spin_glass.memory import gram_bytes
from lmscope.spin_glass.task_law import make_tasks

__all__ = ["CELLS", "PRESETS", "TITLE", "TRAINS", "check", "need", "rows", "seconds"]

TITLE = "distributions of fields and couplings over sets of tasks, and how they settle with the prompt length"

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "seconds": {
        "dimensions": [5],
        "prompt_lengths": [25, 50, 100],
        "tasks": [1000],
        "sets": 50,
        "bins": 100,
        "seeds": 3,
    },
    "minutes": {
        "dimensions": [5],
        "prompt_lengths": [20, 40, 60, 80, 100, 140, 200],
        "tasks": [1000],
        "sets": 1000,
        "bins": 100,
        "seeds": 5,
    },
    "paper": {
        "dimensions": [5, 20],
        "prompt_lengths": [20 * step for step in range(1, 11)],
        "tasks": [1000],
        "sets": 1000,
        "bins": 100,
        "seeds": 100,
    },
}
CELLS = ("dimensions", "tasks")
TRAINS = False

_COPIES = 5
"""Of the Gram matrix, which a cell holds at its peak."""

_Blocks = dict[str, npt.NDArray[np.float64]]

_PILOT = 20
"""Sets whose values set the range of the bins."""


def check(settings: Mapping[str, Any]) -> None:
    check_settings(settings, copies=_COPIES)
    if min(settings["dimensions"]) < 2:
        raise ValueError("dimensions must be at least 2: a single spin of the block has no couplings, got 1")


def seconds(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> float:
    spins = cell["dimension"] * (cell["dimension"] + 1)
    one = 5e-4 + cell["tasks"] * (1e-6 + 5e-11 * spins**2) + 2e-8 * spins**2
    # Every length but the last twice.
    return float((2 * len(settings["prompt_lengths"]) - 1) * settings["sets"] * one)


def need(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> int:
    return gram_bytes(cell["dimension"], _COPIES)


def rows(
    settings: Mapping[str, Any],
    cell: Mapping[str, Any],
    *,
    device: str,
    advance: Callable[[float], None],
) -> list[dict[str, Any]]:
    lengths = sorted(settings["prompt_lengths"])
    sets = settings["sets"]
    streams = {length: _draws(cell, length, sets) for length in lengths}
    # As many sets again of the same law: how far apart such histograms are by chance.
    twins = {length: _draws(cell, length, sets, again=True) for length in lengths[:-1]}
    pilots = {length: [next(stream) for _ in range(min(_PILOT, sets))] for length, stream in streams.items()}
    pooled = {
        block: np.concatenate([one[block] for pilot in pilots.values() for one in pilot]) for block in BLOCKS
    }
    bins, parts = settings["bins"], len(lengths) + len(twins)
    found, again = {}, {}
    for number, length in enumerate(lengths):
        tell = _part(advance, number, parts)
        found[length] = _histograms(pooled, bins, chain(pilots[length], streams[length]), sets, tell)
    for number, (length, twin) in enumerate(twins.items(), len(lengths)):
        again[length] = _histograms(pooled, bins, twin, sets, _part(advance, number, parts))
    return [
        _row(cell, sets, length, block, found[length], found.get(following), again.get(length))
        for length, following in zip(lengths, [*lengths[1:], None], strict=True)
        for block in BLOCKS
    ]


def _histograms(
    pooled: _Blocks, bins: int, draws: Iterable[_Blocks], sets: int, tell: Callable[[float], None]
) -> dict[str, BlockHistogram]:
    found = {block: BlockHistogram(pooled[block], bins) for block in BLOCKS}
    for done, drawn in enumerate(draws, 1):
        for block, values in drawn.items():
            found[block].add(values)
        tell(done / sets)
    return found


def _part(advance: Callable[[float], None], number: int, parts: int) -> Callable[[float], None]:
    return lambda share: advance((number + share) / parts)


def _draws(cell: Mapping[str, Any], length: int, sets: int, *, again: bool = False) -> Iterator[_Blocks]:
    for number in range(sets):
        # Independent over lengths too: the divergence compares them. 63 bits: of a million sets two have the
        # same seed with a probability of 5e-8.
        words = np.random.SeedSequence([cell["seed"], length, again, number]).generate_state(1, np.uint64)
        tasks = make_tasks(
            tasks=cell["tasks"],
            dimension=cell["dimension"],
            prompt_length=length,
            seed=int(words[0] >> 1),
            draw="statistics",
        )
        yield coupling_blocks(fields(tasks))


def _row(
    cell: Mapping[str, Any],
    sets: int,
    length: int,
    block: str,
    here: Mapping[str, BlockHistogram],
    following: Mapping[str, BlockHistogram] | None,
    again: Mapping[str, BlockHistogram] | None,
) -> dict[str, Any]:
    histogram = here[block]
    row = {
        "kind": BLOCKS[block],
        "block": block,
        "dimension": cell["dimension"],
        "prompt_length": length,
        "tasks": cell["tasks"],
        "mean": histogram.mean,
        "sd": histogram.sd,
        "edges": histogram.edges.tolist(),
        "counts": histogram.counts.tolist(),
        "divergence": None,
        "divergence_null": None,
        "draws": sets,
        "mixture_share": None,
        "mixture_mean": None,
        "mixture_sd": None,
        "reason": "",
    }
    if following is not None and again is not None:
        row["divergence"] = histogram_divergence(histogram.counts, following[block].counts)
        row["divergence_null"] = histogram_divergence(histogram.counts, again[block].counts)
    # The fields of the diagonal of W stand apart: their mean is 1 / D.
    means = [0.0, 1 / cell["dimension"]] if block == "A" else [histogram.mean]
    try:
        parts = fit_gaussians(histogram.counts, histogram.edges, means)
    except (RuntimeError, ValueError) as error:
        return row | {"reason": f"no fit: {error}"}
    return row | {
        "mixture_share": parts.share.tolist(),
        "mixture_mean": parts.mean.tolist(),
        "mixture_sd": parts.sd.tolist(),
    }
