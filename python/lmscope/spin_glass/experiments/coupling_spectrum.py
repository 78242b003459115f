"""Spectra of the tokens of a prompt and of the couplings against the Marchenko-Pastur law."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

from lmscope.spin_glass.couplings import fields
from lmscope.spin_glass.experiments.cost import eigen_seconds
from lmscope.spin_glass.experiments.settings import check_settings
from lmscope.spin_glass.feature_spectrum import CouplingSpectrum, coupling_spectrum, token_spectrum
from lmscope.spin_glass.memory import check_memory, gram_bytes
from lmscope.spin_glass.task_law import make_tasks

__all__ = ["CELLS", "PRESETS", "TITLE", "TRAINS", "check", "need", "rows", "seconds"]

TITLE = "spectra of tokens and of couplings against the Marchenko-Pastur law"

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "seconds": {
        "token_dimension": 50,
        "token_ratios": [1, 4],
        "dimensions": [6],
        "prompt_lengths": [100],
        "tasks": [84, 420],
        "kinds": ["tokens", "features"],
        "seeds": 3,
    },
    "minutes": {
        "token_dimension": 100,
        "token_ratios": [1, 2, 5, 10, 20, 50, 100],
        "dimensions": [10],
        "prompt_lengths": [100],
        "tasks": [220, 1100, 5500],
        "kinds": ["tokens", "features"],
        "seeds": 5,
    },
    "paper": {
        "token_dimension": 100,
        "token_ratios": [1, 2, 5, 10, 20, 50, 100],
        "dimensions": [10, 20],
        "prompt_lengths": [100],
        "tasks": [220, 840, 1100, 4200, 5500, 21000],
        "kinds": ["tokens", "features"],
        "seeds": 20,
    },
}
CELLS = ("kinds",)
TRAINS = False

_COPIES = 4
"""Of the Gram matrix, which a cell holds at its peak."""


def check(settings: Mapping[str, Any]) -> None:
    check_settings(settings, copies=_COPIES)
    longest = settings["token_dimension"] * max(settings["token_ratios"])
    check_memory(f"token_ratios: prompts of {longest} tokens", _token_bytes(settings), "take smaller ratios")
    if unknown := set(settings["kinds"]) - {"tokens", "features"}:
        raise ValueError(f"kinds must be of tokens, features, got {', '.join(sorted(unknown))}")


def seconds(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> float:
    if cell["kind"] == "tokens":
        size = settings["token_dimension"]
        return float(sum(0.1 + 1e-9 * size**3 * ratio for ratio in settings["token_ratios"]))
    counts = len(settings["prompt_lengths"]) * len(settings["tasks"])
    return counts * sum(0.02 + eigen_seconds(dimension) for dimension in settings["dimensions"])


def need(settings: Mapping[str, Any], cell: Mapping[str, Any]) -> int:
    if cell["kind"] == "tokens":
        return _token_bytes(settings)
    return gram_bytes(max(settings["dimensions"]), _COPIES)


def rows(
    settings: Mapping[str, Any],
    cell: Mapping[str, Any],
    *,
    device: str,
    advance: Callable[[float], None],
) -> list[dict[str, Any]]:
    find = _tokens if cell["kind"] == "tokens" else _features
    sizes = _token_sizes(settings) if cell["kind"] == "tokens" else _feature_sizes(settings)
    found = []
    for done, size in enumerate(sizes, 1):
        found.append({"kind": cell["kind"], **size, **_columns(find(size, cell["seed"]))})
        advance(done / len(sizes))
    return found


def _token_bytes(settings: Mapping[str, Any]) -> int:
    """Of the block of tasks that one prompt is drawn in."""
    return int(64 * 8 * settings["token_dimension"] ** 2 * max(settings["token_ratios"]))


def _token_sizes(settings: Mapping[str, Any]) -> list[dict[str, int]]:
    size = settings["token_dimension"]
    return [
        {"dimension": size, "prompt_length": size * ratio, "tasks": 1} for ratio in settings["token_ratios"]
    ]


def _feature_sizes(settings: Mapping[str, Any]) -> list[dict[str, int]]:
    names = ("dimension", "prompt_length", "tasks")
    lists = (settings["dimensions"], settings["prompt_lengths"], settings["tasks"])
    return [dict(zip(names, values, strict=True)) for values in product(*lists)]


def _tokens(size: Mapping[str, Any], seed: int) -> CouplingSpectrum:
    (prompts,) = make_tasks(seed=seed, **size).prompts()
    return token_spectrum(prompts.tokens[0])


def _features(size: Mapping[str, Any], seed: int) -> CouplingSpectrum:
    return coupling_spectrum(fields(make_tasks(seed=seed, draw="statistics", **size)))


def _columns(found: CouplingSpectrum) -> dict[str, Any]:
    fit = found.fit
    row: dict[str, Any] = {
        "values": found.values.tolist(),
        "scale": None if math.isnan(fit.scale) else fit.scale,
        "lower_edge": None,
        "upper_edge": None,
        "n_below": None,
        "n_above": None,
        "ks": None,
        "p_value": None,
        "label_outliers": None,
        "reason": fit.reason,
    }
    if fit.reason:
        return row
    return row | {
        "lower_edge": found.lower_edge,
        "upper_edge": found.upper_edge,
        "n_below": found.below,
        "n_above": found.above,
        "ks": fit.ks,
        "p_value": fit.p_value,
        "label_outliers": found.label_outliers if found.kind == "features" else None,
    }
