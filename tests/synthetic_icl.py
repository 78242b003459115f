"""Records as `lmscope icl` writes them, from plain numpy on small tasks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscope.results import RunFolder, record_key
from lmscope.results.icl_cells import cells, record_name

Floats = NDArray[np.float64]
Rows = list[dict[str, Any]]

IDENTITY = "spin_glass"
VERSION = "0.1.0"
DIMENSION = 5
SPINS = DIMENSION * (DIMENSION + 1)
LENGTHS = (8, 40)
TASKS = (10, 20, 25, 28, 30, 32, 36, 45, 60, 120)
SEEDS = (3, 4, 5)
LEVELS = (0.0, 0.01)
_END = {"seconds": 0.01, "reason": ""}


@cache
def couplings(tasks: int, length: int, seed: int, dimension: int = DIMENSION) -> tuple[Floats, Floats, float]:
    """Gram matrix, field and target power of the first tasks of a seed."""
    random = np.random.default_rng([seed, length])
    features, targets = [], []
    for _ in range(tasks):
        teacher = random.standard_normal(dimension) / math.sqrt(dimension)
        tokens = random.standard_normal((length, dimension))
        query = random.standard_normal(dimension)
        labels = tokens @ teacher
        context = np.append(labels @ tokens, labels @ labels) / length
        features.append(np.outer(context, query).ravel())
        targets.append(query @ teacher)
    s, y = np.array(features), np.array(targets)
    return s.T @ s / tasks, s.T @ y / tasks, float(np.mean(y**2))


def ridge(gram: Floats, field: Floats, level: float) -> Floats:
    """The ground state; the one of least norm without regularization."""
    values, vectors = np.linalg.eigh(gram)
    keep = values > 1e-10
    inverse = np.zeros_like(values)
    inverse[keep | (level > 0)] = 1 / (values[keep | (level > 0)] + level)
    return np.asarray(vectors @ (inverse * (vectors.T @ field)))


def exact_loss(weights: Floats, length: int, dimension: int = DIMENSION) -> float:
    """On unseen tasks: the closed form of isotropic tokens and teachers."""
    w = weights.reshape(dimension + 1, dimension)
    block, label = w[:dimension], w[dimension]
    fit = 1 - 2 / dimension * np.trace(block) + (1 + (dimension + 1) / length) * np.sum(block**2) / dimension
    return float(fit + (1 + 2 / dimension) * (1 + 2 / length) * np.sum(label**2))


def emergence_rows(cell: Mapping[str, Any], tasks: Iterable[int] = TASKS) -> Rows:
    length, seed = cell["prompt_length"], cell["seed"]
    beta, level, side = 100.0, 0.01, (DIMENSION + 1) ** 2
    rows = []
    for number in tasks:
        values = np.linalg.eigvalsh(couplings(number, length, seed)[0])
        held = values[values > 1e-10]
        spread = float(np.mean(1 / (beta * (values + level))))
        rows.append(
            {
                **_sizes(cell, number),
                "regularization": level,
                "inverse_temperature": beta,
                "zero_modes": side - len(held),
                "zero_mode_ratio": (side - len(held)) / side,
                "expected_ratio": 1 - min(number, SPINS) / side,
                "unique": len(held) == SPINS,
                "smallest": float(held.min()),
                "spread": spread,
                "spread_sampled": spread * (1 + 0.02 * math.sin(seed)),
                "overlap": min(1.0, len(held) / SPINS),
                "bend": SPINS + 0.5 * (seed - SEEDS[1]),
                **_END,
            }
        )
    return rows


def phase_rows(
    cell: Mapping[str, Any],
    tasks: Iterable[int] = TASKS,
    levels: Iterable[float] = LEVELS,
    dimension: int = DIMENSION,
) -> Rows:
    length, seed = cell["prompt_length"], cell["seed"]
    rows = []
    for number in tasks:
        gram, field, power = couplings(number, length, seed, dimension)
        for level in levels:
            weights = ridge(gram, field, level)
            matrix = weights.reshape(dimension + 1, dimension)
            diagonal = float(np.trace(matrix[:dimension]))
            rows.append(
                {
                    **_sizes(cell, number, dimension),
                    "regularization": level,
                    "loss": exact_loss(weights, length, dimension),
                    "training_loss": max(0.0, float(power - 2 * field @ weights + weights @ gram @ weights)),
                    "contrast": diagonal / math.sqrt(dimension + 1) / float(np.linalg.norm(weights)),
                    "diagonal": diagonal / dimension,
                    "best_loss": (dimension + 1) / (length + dimension + 1),
                    **_END,
                }
            )
    return rows


def landscape_rows(cell: Mapping[str, Any], tasks: Iterable[int] = (10, 60), grid: int = 21) -> Rows:
    """A plane through 0; replicas at rest are ground states, random along the floor."""
    length, seed = cell["prompt_length"], cell["seed"]
    random = np.random.default_rng([seed, 7])
    rows = []
    for number in tasks:
        gram, field, _ = couplings(number, length, seed)
        ground = ridge(gram, field, 0.0)
        values, vectors = np.linalg.eigh(gram)
        floor = vectors[:, values < 1e-10]
        samples = random.standard_normal((200, SPINS))
        replicas = ground + random.standard_normal((20, SPINS)) @ floor @ floor.T
        axes, _ = np.linalg.qr(random.standard_normal((SPINS, 2)))
        places = np.linspace(-3, 3, grid)
        along, up = np.meshgrid(places, places)
        plane = np.stack([along.ravel(), up.ravel()], axis=1) @ axes.T

        def energy(w: Floats, gram: Floats = gram, field: Floats = field) -> Floats:
            return np.asarray(0.5 * np.einsum("ri,ij,rj->r", w, gram, w) - w @ field)

        units = replicas / np.linalg.norm(replicas, axis=1, keepdims=True)
        rows.append(
            {
                **_sizes(cell, number),
                "regularization": 0.0,
                "x": (samples @ axes[:, 0]).tolist(),
                "y": (samples @ axes[:, 1]).tolist(),
                "energy": energy(samples).tolist(),
                "axes_x": places.tolist(),
                "axes_y": places.tolist(),
                "grid": energy(plane).tolist(),
                "relaxed_x": (replicas @ axes[:, 0]).tolist(),
                "relaxed_y": (replicas @ axes[:, 1]).tolist(),
                "relaxed_energy": energy(replicas).tolist(),
                "relaxed_overlap": float((units @ units.T)[np.triu_indices(20, 1)].mean()),
                "relaxed_distance": 0.0 if number >= SPINS else 0.7,
                "zero_modes": (DIMENSION + 1) ** 2 - min(number, SPINS),
                "ground_energy": float(energy(ground[None])[0]),
                **_END,
            }
        )
    return rows


def amp_rows(cell: Mapping[str, Any], levels: Iterable[float] = (0.001, 0.01, 0.1, 1.0)) -> Rows:
    """Message passing on dense couplings, damped, with and without the Onsager term."""
    length, seed, number, beta = cell["prompt_length"], cell["seed"], cell["tasks"], 10.0
    gram, field, _ = couplings(number, length, seed)
    rows = []
    for level in levels:
        exact = np.linalg.solve(gram + level * np.eye(SPINS), field)
        variances = np.diag(np.linalg.inv(beta * (gram + level * np.eye(SPINS))))
        for onsager in (True, False):
            mean, variance, changes = _passed(gram, field, level, beta, onsager=onsager)
            diverged = mean is None
            converged = not diverged and changes[-1] < 1e-14
            rows.append(
                {
                    **_sizes(cell, number),
                    "regularization": level,
                    "inverse_temperature": beta,
                    "onsager": onsager,
                    "converged": converged,
                    "diverged": diverged,
                    "steps": len(changes),
                    "mean_error": None if mean is None else float(np.abs(mean - exact).max()),
                    "variance_error": None if mean is None else float(np.abs(variance / variances - 1).max()),
                    "loss": None if mean is None else exact_loss(mean, length),
                    "ridge_loss": exact_loss(exact, length),
                    "changes": changes,
                    "seconds": 0.01,
                    "reason": "a variance became negative" if diverged else "",
                }
            )
    return rows


def _passed(
    gram: Floats, field: Floats, level: float, beta: float, *, onsager: bool
) -> tuple[Floats | None, Floats, list[float]]:
    stiffness = beta * (level + np.diag(gram))
    apart = beta * (np.diag(np.diag(gram)) - gram)
    mean, variance = np.zeros(SPINS), 1 / stiffness
    changes: list[float] = []
    for _ in range(300):
        reaction = apart**2 @ variance
        open_ = stiffness - reaction
        if (open_ <= 0).any():
            return None, variance, changes or [1.0]
        heard = apart @ mean - (reaction * mean if onsager else 0)
        new = 0.8 * mean + 0.2 * (beta * field + heard) / open_
        fresh = 0.8 * variance + 0.2 / open_
        changes.append(float(np.mean((new - mean) ** 2) + np.mean((fresh - variance) ** 2)))
        mean, variance = new, fresh
        if changes[-1] < 1e-14 or changes[-1] > 1e6:
            break
    return (mean if changes[-1] < 1e6 else None), variance, changes


def _sizes(cell: Mapping[str, Any], tasks: int, dimension: int = DIMENSION) -> dict[str, Any]:
    return {
        "seed": cell["seed"],
        "dimension": dimension,
        "prompt_length": cell["prompt_length"],
        "tasks": tasks,
    }


ROWS = {"emergence": emergence_rows, "phase_map": phase_rows, "landscape": landscape_rows, "amp": amp_rows}
CELLS: dict[str, dict[str, list[int]]] = {
    "emergence": {"prompt_length": list(LENGTHS), "seed": list(SEEDS)},
    "phase_map": {"prompt_length": list(LENGTHS), "seed": list(SEEDS)},
    "landscape": {"prompt_length": [40], "seed": [3]},
    "amp": {"prompt_length": [40], "tasks": [20, 60, 400, 1600], "seed": list(SEEDS)},
}


def write_icl_run(
    folder: Path,
    experiments: Iterable[str] = tuple(ROWS),
    *,
    rows: Mapping[str, Any] = ROWS,
    lists: Mapping[str, dict[str, list[int]]] = CELLS,
    given: Mapping[str, Any] | None = None,
) -> Path:
    """What a run of `icl` leaves: no ledger row, one record per cell."""
    names = list(experiments)
    settings = {name: {"inverse_temperature": 10.0, "dimension": DIMENSION} for name in names}
    asked = {
        name: {"preset": "seconds", "given": dict(given or {}), "seed": SEEDS[0], "cells": lists[name]}
        for name in names
    }
    run = RunFolder.create(folder, IDENTITY)
    with run.lock():
        run.write_manifest(
            checkpoint={
                "name": "Spin glass of in-context learning",
                "path": "",
                "identity": IDENTITY,
                "model_type": "linear attention",
            },
            settings=settings,
            lmscope_version=VERSION,
            device="cpu",
            isa="avx2",
            machine={"system": "Linux", "cpus": 2},
            asked={"icl": asked},
        )
        run.write_ledger([])
        for name in names:
            for cell in cells(asked[name]):
                key = record_key(IDENTITY, record_name(cell), name, settings[name], VERSION)
                run.write(name, key, *rows[name](cell))
    return folder
