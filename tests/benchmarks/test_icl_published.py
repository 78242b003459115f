"""How published numbers and ours are compared."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from .conftest import BENCHMARKS


@pytest.fixture(scope="module")
def published() -> ModuleType:
    spec = importlib.util.spec_from_file_location("icl_published", BENCHMARKS / "icl_published.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_number_is_within_three_standard_deviations_or_is_not(published: ModuleType) -> None:
    values = [1.0, 1.1, 0.9, 1.0]  # standard deviation .0816
    near = published.beside("1", "x", 1.2, values)
    assert near["within_three_sd"]
    assert near["standard_errors"] == pytest.approx(0.2 / (np.std(values, ddof=1) * np.sqrt(1 / 4 + 1)))
    assert not published.beside("1", "x", 1.25, values)["within_three_sd"]
    assert published.beside("1", "x", 1.3, values, digit=0.2)["within_three_sd"]


def test_the_difference_has_its_interval(published: ModuleType) -> None:
    def row(seed: int, solver: str, regularization: float, loss: float) -> dict[str, Any]:
        return {
            "prompt_length": 20,
            "seed": seed,
            "solver": solver,
            "regularization": regularization,
            "loss": loss,
        }

    rows = []
    for seed, apart in enumerate([0.1, 0.2, 0.3]):
        rows += [row(seed, "adam", 0.005, 1 + apart), row(seed, "amp", 0.01, 2.0)]
        rows += [row(seed, "ground_state", one, 1.0) for one in (0.005, 0.01)]
    found = published.against_ground_state(rows)[0]
    assert found["mean"] == pytest.approx(0.2)
    assert found["interval"] == pytest.approx(
        [0.2 - 4.3027 * 0.1 / 3**0.5, 0.2 + 4.3027 * 0.1 / 3**0.5], rel=1e-4
    )


def test_correlated_tokens_are_told_as_rise_and_fall(published: ModuleType) -> None:
    def row(correlation: float, solver: str, regularization: float, loss: float | None) -> dict[str, Any]:
        return {
            "correlated": "tokens",
            "seed": 0,
            "correlation": correlation,
            "solver": solver,
            "regularization": regularization,
            "loss": loss,
            "converged": loss is not None,
        }

    losses = {0.1: 0.3, 0.5: 0.5, 0.9: 0.2}
    rows = [row(at, "ground_state", 0.01, loss) for at, loss in losses.items()]
    rows += [row(at, "adam", 0.005, 2 * loss) for at, loss in losses.items()]
    rows += [row(at, "amp", 0.01, loss if at < 0.5 else None) for at, loss in losses.items()]
    found = published.correlated_tokens(rows)
    assert found["highest_at"] == 0.5
    assert found["rises_before_and_falls_behind"]
    assert [point["message_passing_converged"] for point in found["points"]] == [1, 0, 0]
    assert [point["message_passing_over_training"] for point in found["points"]] == [0.5, None, None]
    rows += [row(0.95, "ground_state", 0.01, 0.3), row(0.95, "adam", 0.005, 0.3), row(0.95, "amp", 0.01, 0.3)]
    assert not published.correlated_tokens(rows)["rises_before_and_falls_behind"]


def test_a_peak_is_told_with_its_grid_point(published: ModuleType) -> None:
    losses = {4: 1.0, 5: 2.0, 6: 9.0, 7: 3.0, 12: 1.5}
    rows = [
        {"dimension": 2, "prompt_length": 3, "regularization": 0.0, "tasks": tasks, "loss": loss, "seed": 0}
        for tasks, loss in losses.items()
    ]
    (found,) = published.peaks(rows)
    assert (found["highest_at"], found["grid_points_from_peak"]) == (6, 0)
    assert found["ratio_to_twice_the_tasks"] == 6.0
    assert not found["loss_falls_over_the_peak"]


def test_zero_modes_are_published_to_the_last_digit(published: ModuleType) -> None:
    assert all(one["to_the_last_digit"] for one in published.zero_modes())
