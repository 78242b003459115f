"""The first words on a page of experiments without a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmscope.report.icl_axes import spins
from lmscope.report.icl_rows import SIGNS, points_of
from lmscope.report.icl_solvers import training_sentences
from lmscope.report.records import Records, Row
from lmscope.report.words import count, listing, number, plain

_INTRODUCTION = (
    "Linear attention that learns linear regression from examples in its prompt, as a spin glass: its "
    "weights are continuous spins, tasks give their couplings and fields, and the exact ground state is "
    "what training can find at best."
)


def icl_summary(records: Records) -> dict[str, Any]:
    """What the header's template is filled in with."""
    return {
        "model": records.title,
        "about": _about(records),
        "verdict": _INTRODUCTION,
        "others": [
            *_emergence(records),
            *_phase_map(records),
            *_landscape(records),
            *_amp(records),
            *training_sentences(records),
        ],
        "limits": _failed(records),
        "tiles": [(len(records.rows(name)), f"rows of {plain(name)}", "") for name in records.analyses],
    }


def asked_of(records: Records, experiment: str) -> Mapping[str, Any]:
    """How the run's last call asked for the experiment: preset, what it gave, first seed, lists."""
    asked: Mapping[str, Any] = (records.manifest.get("asked") or {}).get("icl", {}).get(experiment, {})
    return asked


def _about(records: Records) -> list[str]:
    """Experiments, presets, sizes, seeds, version and machine."""
    manifest = records.manifest
    asked = {name: asked_of(records, name) for name in records.analyses}
    presets = list(dict.fromkeys(str(one["preset"]) for one in asked.values() if "preset" in one))
    cells = [one.get("cells", {}) for one in asked.values()]
    seeds = [len(one["seed"]) for one in cells if "seed" in one]
    rows = [row for name in records.analyses for row in records.without_lists(name)]
    machine = manifest.get("machine")
    cpus = machine.get("cpus") if isinstance(machine, dict) else None
    words = [
        count(len(records.analyses), "experiment"),
        presets and f"{'preset' if len(presets) == 1 else 'presets'} {listing(presets)}",
        *(_span(SIGNS[column], rows, column) for column in ("dimension", "prompt_length", "tasks")),
        seeds and _seeds(seeds),
        f"lmscope {manifest.get('lmscope_version')}",
        cpus and count(cpus, "CPU"),
        f"device {manifest.get('device')}",
    ]
    return [str(word) for word in words if word]


def _span(sign: str, rows: list[Row], column: str) -> str:
    values = sorted({row[column] for row in rows if row.get(column) is not None})
    if not values:
        return ""
    return (
        f"{sign} = {number(values[0])}"
        if len(values) == 1
        else f"{sign} from {number(values[0])} to {number(values[-1])}"
    )


def _seeds(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return count(low, "seed") if low == high else f"{number(low)} to {count(high, 'seed')}"


def _failed(records: Records) -> list[str]:
    """Cells without a record, with the reason of the first."""
    told = []
    for name in records.analyses:
        failures = records.failures(name)
        if failures:
            cell, reason = min(failures.items())
            more = f", and {count(len(failures) - 1, 'more cell')}" if len(failures) > 1 else ""
            told.append(f"No record of {cell}{more}: {reason}")
    return told


def _emergence(records: Records) -> list[str]:
    """Where the ground state becomes unique, by dimension."""
    told = []
    rows = [row for row in records.rows("emergence") if row["zero_mode_ratio"] is not None]
    for dimension in sorted({row["dimension"] for row in rows}):
        some = [row for row in rows if row["dimension"] == dimension]
        exact = sum(abs(row["zero_mode_ratio"] - row["expected_ratio"]) < 1e-12 for row in some)
        unique = [row["tasks"] for row in some if row["unique"]]
        first = f"the first unique one is at P = {number(min(unique))}" if unique else "none is unique"
        told.append(
            f"Emergence, D = {dimension}: the zero modes of {exact} of {count(len(some), 'ground state')} "
            f"are exactly those of the formula; {first}, and D(D+1) is {number(spins(dimension))}."
        )
    return told


def _phase_map(records: Records) -> list[str]:
    """Where the loss without regularization, or the least one, peaks; the longest prompts."""
    told = []
    rows = records.rows("phase_map")
    for dimension in sorted({row["dimension"] for row in rows}):
        some = [row for row in rows if row["dimension"] == dimension]
        level = min(row["regularization"] for row in some)
        length = max(row["prompt_length"] for row in some)
        line = points_of(
            [row for row in some if (row["regularization"], row["prompt_length"]) == (level, length)],
            "tasks",
            "loss",
            logarithmic=True,
        )
        held = [one for one in line if one.x >= spins(dimension) / 2]
        if len(held) < 2:
            continue
        top = max(held, key=lambda one: one.band.mean)
        told.append(
            f"Phase map, D = {dimension}, N = {number(length)}, λ₀ = {number(level)}: of the numbers of "
            f"tasks from D(D+1)/2 on, the loss on unseen tasks is highest at P = {number(top.x)} "
            f"({number(top.band.mean)}; at the most tasks, P = {number(held[-1].x)}, "
            f"{number(held[-1].band.mean)}); D(D+1) is {number(spins(dimension))}."
        )
    return told


def _landscape(records: Records) -> list[str]:
    rows = [row for row in records.without_lists("landscape") if row["relaxed_overlap"] is not None]
    if not rows:
        return []
    by_tasks = points_of(rows, "tasks", "relaxed_overlap")
    words = [f"{number(one.band.mean)} at P = {number(one.x)}" for one in by_tasks]
    return [f"Landscape: the mean cosine between replicas at rest is {listing(words)}."]


def _amp(records: Records) -> list[str]:
    told = []
    rows = records.without_lists("amp")
    for onsager in (True, False):
        some = [row for row in rows if row["onsager"] is onsager]
        held = [row["mean_error"] for row in some if row["converged"] and row["mean_error"] is not None]
        if some:
            worst = f", with means within {number(max(held))} of the exact ground state" if held else ""
            told.append(
                f"Message passing {'with' if onsager else 'without'} the Onsager term converged in "
                f"{sum(row['converged'] for row in some)} of {count(len(some), 'run')}{worst}."
            )
    return told
