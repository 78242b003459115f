"""Settings of `icl`: presets with what was given instead, checked before anything is computed."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lmscope.runs.errors import UsageError
from lmscope.runs.settings import at_least, checked_seed, one_of

if TYPE_CHECKING:
    from lmscope.results.icl_cells import Cell
    from lmscope.spin_glass.experiments import Experiment

PRESETS = ("seconds", "minutes", "paper")
_SEEDS = "seeds"


@dataclass(frozen=True, eq=False)
class Chosen:
    """One experiment of a call; `given` are the settings that the call names, by the experiment's names."""

    name: str
    experiment: Experiment
    preset: str
    settings: Mapping[str, Any]
    given: Mapping[str, Any]
    seed: int

    @cached_property
    def key(self) -> dict[str, Any]:
        """What every record depends on: cells have records of their own."""
        split = {*self.experiment.CELLS, _SEEDS}
        return {name: value for name, value in self.settings.items() if name not in split}

    @cached_property
    def asked(self) -> dict[str, Any]:
        """Of the manifest: how the experiment was called, and the values of its cells."""
        from lmscope.spin_glass.experiments import SINGULAR

        lists = {SINGULAR[name]: list(self.settings[name]) for name in self.experiment.CELLS}
        lists["seed"] = list(range(self.seed, self.seed + self.settings[_SEEDS]))
        return {"preset": self.preset, "given": dict(self.given), "seed": self.seed, "cells": lists}

    @cached_property
    def cells(self) -> list[Cell]:
        from lmscope.results.icl_cells import cells

        return list(cells(self.asked))

    def told(self, cell: Mapping[str, Any]) -> str:
        """What the cell is called: ``phase-map, dimension 20, prompt length 5, seed 0``."""
        return told(self.name, cell)

    def seconds(self, cell: Mapping[str, Any]) -> float:
        return self.experiment.seconds(self.settings, cell)

    def need(self, cell: Mapping[str, Any]) -> int:
        """Bytes."""
        return self.experiment.need(self.settings, cell)


def told(experiment: str, cell: Mapping[str, Any]) -> str:
    values = (f"{name.replace('_', ' ')} {value}" for name, value in cell.items())
    return ", ".join((hyphened(experiment), *values))


def hyphened(experiment: str) -> str:
    """As the command line names it."""
    return experiment.replace("_", "-")


def chosen_experiments(
    experiments: str | Iterable[str] | None,
    preset: str,
    seed: int,
    overrides: Mapping[str, Any],
) -> list[Chosen]:
    """The experiments with their settings; raises `UsageError` naming the first wrong argument.

    `overrides`: setting, singular or plural -> value, a list of them or its text; None where not given. Each
    goes to every experiment that has such a setting.
    """
    from lmscope.spin_glass.experiments import EXPERIMENTS

    names = _names(experiments, EXPERIMENTS)
    preset, seed = one_of("preset", preset, PRESETS), checked_seed(seed)
    overrides = {name: value for name, value in overrides.items() if value is not None}
    if _SEEDS in overrides:
        at_least(_SEEDS, overrides[_SEEDS], 1)
    for name in overrides:
        if not any(_own_name(EXPERIMENTS[one], name) for one in names):
            _raise_unknown(name, names, EXPERIMENTS)
    return [_chosen(name, EXPERIMENTS[name], preset, seed, overrides) for name in names]


def _chosen(
    name: str, experiment: Experiment, preset: str, seed: int, overrides: Mapping[str, Any]
) -> Chosen:
    given: dict[str, Any] = {}
    for override, value in overrides.items():
        own = _own_name(experiment, override)
        if own is not None:
            given[own] = _read(override, value, own, name, experiment)
    settings = {**experiment.PRESETS[preset], **given}
    try:
        experiment.check(settings)
    except ValueError as error:
        raise UsageError(f"{hyphened(name)}: {error}") from error
    return Chosen(name, experiment, preset, settings, given, seed)


def _names(given: str | Iterable[str] | None, known: Mapping[str, Experiment]) -> list[str]:
    """In the order of `known`, each once."""
    if given is None:
        return list(known)
    pieces = [given] if isinstance(given, str) else list(given)
    asked = [word.strip() for piece in pieces for word in piece.split(",") if word.strip()]
    for name in asked:
        if name.replace("-", "_") not in known:
            choices = ", ".join(map(hyphened, known))
            raise UsageError(f"experiment: {name!r} is not known; choose from {choices}")
    if not asked:
        raise UsageError(f"experiment: none given; choose from {', '.join(map(hyphened, known))}")
    return [name for name in known if name in {one.replace("-", "_") for one in asked}]


def _own_name(experiment: Experiment, override: str) -> str | None:
    """What the experiment calls this setting, in singular or plural; None where it has none."""
    from lmscope.spin_glass.experiments import SINGULAR

    wanted = SINGULAR.get(override, override)
    names = experiment.PRESETS["seconds"]
    return next((name for name in names if SINGULAR.get(name, name) == wanted), None)


def _raise_unknown(override: str, chosen: list[str], known: Mapping[str, Experiment]) -> None:
    having = [hyphened(name) for name, experiment in known.items() if _own_name(experiment, override)]
    which = f"the experiments {', '.join(map(hyphened, chosen))}"
    if len(chosen) == 1:
        which = f"the experiment {hyphened(chosen[0])}"
    end = f"these have: {', '.join(having)}" if having else "nor has any other"
    raise UsageError(f"{override}: no setting of {which}; {end}")


def _read(override: str, value: Any, own: str, name: str, experiment: Experiment) -> Any:
    """The value in the type of the presets."""
    from lmscope.spin_glass.experiments import SINGULAR

    known = [settings[own] for settings in experiment.PRESETS.values() if settings[own] is not None]
    # None in every preset stands for a list that the experiment makes.
    several = any(isinstance(one, list) for one in known) if known else own in SINGULAR
    examples = [piece for one in known for piece in (one if isinstance(one, list) else [one])]
    pieces = _pieces(value)
    if not pieces:
        raise UsageError(f"{override}: an empty list")
    kind = _kind(examples)
    found = [_as_kind(override, piece, kind) for piece in pieces]
    if several:
        return list(dict.fromkeys(found))
    if len(found) > 1:
        raise UsageError(
            f"{override}: {hyphened(name)} takes one value, not {len(found)}; choose experiments that take "
            "several, or give one"
        )
    return found[0]


def _pieces(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [piece.strip() for piece in value.split(",") if piece.strip()]
    if isinstance(value, Iterable) and not isinstance(value, os.PathLike):
        return list(value)
    return [value]


def _kind(examples: list[Any]) -> Callable[[Any], Any]:
    for kind in (bool, str, float):
        if any(isinstance(one, kind) for one in examples):
            return kind
    return int


def _as_kind(name: str, value: Any, kind: Callable[[Any], Any]) -> Any:
    if kind is str:
        return str(value)
    if kind is bool:
        words = {"true": True, "false": False, "yes": True, "no": False}
        found = words.get(str(value).lower())
        if found is None:
            raise UsageError(f"{name}: {value!r} is neither true nor false")
        return found
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UsageError(f"{name}: {value!r} is no number") from None
    if not math.isfinite(number):
        raise UsageError(f"{name}: {value!r} is not finite")
    if kind is float:
        return number
    if isinstance(value, bool) or not number.is_integer():
        raise UsageError(f"{name}: {value!r} is no whole number")
    return int(value if not isinstance(value, str) else number)
