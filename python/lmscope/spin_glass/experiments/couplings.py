"""Distributions of fields and couplings over sets of tasks, and how they settle with the prompt length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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

_PILOT = 20
"""Sets whose values set the range of the bins."""


def check(settings: Mapping[str, Any]) -> None:
    check_settings(settings, copies=_COPIES)


def seconds(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> float:
    spins = cell["dimension"] * (cell["dimension"] + 1)
    one = 5e-4 + cell["tasks"] * (1e-6 + 5e-11 * spins**2) + 2e-8 * spins**2
    return float(len(settings["prompt_lengths"]) * settings["sets"] * one)


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
    pilots = {length: [next(stream) for _ in range(min(_PILOT, sets))] for length, stream in streams.items()}
    pooled = {
        block: np.concatenate([one[block] for pilot in pilots.values() for one in pilot]) for block in BLOCKS
    }
    found = {
        length: {block: BlockHistogram(pooled[block], settings["bins"]) for block in BLOCKS}
        for length in lengths
    }
    for number, length in enumerate(lengths):
        for done, drawn in enumerate(chain(pilots[length], streams[length]), 1):
            for block, values in drawn.items():
                found[length][block].add(values)
            advance((number + done / sets) / len(lengths))
    return [
        _row(cell, sets, length, block, found[length], found.get(following))
        for length, following in zip(lengths, [*lengths[1:], None], strict=True)
        for block in BLOCKS
    ]


def _draws(cell: Mapping[str, Any], length: int, sets: int) -> Iterator[dict[str, npt.NDArray[np.float64]]]:
    for number in range(sets):
        tasks = make_tasks(
            tasks=cell["tasks"],
            dimension=cell["dimension"],
            prompt_length=length,
            # Independent over lengths too: the divergence compares them.
            seed=int(np.random.SeedSequence([cell["seed"], length, number]).generate_state(1)[0]),
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
        "draws": sets,
        "mixture_share": None,
        "mixture_mean": None,
        "mixture_sd": None,
        "reason": "",
    }
    if following is not None:
        row["divergence"] = histogram_divergence(histogram.counts, following[block].counts)
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
