"""The claims from records of slices: rates on noise of matrices of unlike shapes, and what is compared."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

import lmscope
from lmscope.analyses import edge_calibration as calibration
from lmscope.analyses import value_noise
from lmscope.kernels import bidiagonal
from lmscope.runs import localize_claims

SHAPES = {"query": (10, 10), "key": (10, 10), "value": (10, 60), "output": (10, 60), "up": (10, 60)}
LAYERS, SLICES = 10, 3


def noise(generator: np.random.Generator, seed: int) -> list[dict[str, Any]]:
    """Records of slices of Gaussian matrices, through the scores of their values."""
    found = []
    for role, (smaller, larger) in SHAPES.items():
        entries = calibration.chi_entries(smaller, larger, LAYERS, generator)
        values = bidiagonal.order_statistics(*entries, np.arange(smaller), rtol=1e-9)
        low, high = calibration.middle_ranks(smaller)
        for layer, ascending in enumerate(values):
            scale = calibration.median_scale(ascending[low], ascending[high], smaller, larger)
            scores = lmscope.slice_scores(
                ascending[::-1], (larger, smaller), scale=float(scale), slices=SLICES, seed=seed
            )
            about = {"name": f"{role} {layer}", "role": role, "layer": layer, "expert": None}
            told = ("slice", *localize_claims.SCORES, "value_noise_sd", "value_noise_draws", "overlap_excess")
            found += [{**about, **{name: getattr(score, name) for name in told}} for score in scores]
    return found


def test_roles_of_noise_in_unlike_shapes_are_called_alike_at_the_rate_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From values to claims: mean and spread of the noise differ from shape to shape."""
    monkeypatch.setenv("LMSCOPE_CACHE", "0")
    monkeypatch.setattr(localize_claims, "SCORES", ("value_deviation",))
    monkeypatch.setattr(value_noise, "draws_for", lambda _: localize_claims._DRAWS_PER_MATRIX * LAYERS)
    generator = np.random.default_rng(1)
    consistent, agree, runs = [], [], 40
    for seed in range(runs):
        value_noise.value_noise.cache_clear()
        one, other = noise(generator, 2 * seed), noise(generator, 2 * seed + 1)
        (role, _) = localize_claims._consistent(one, seed)
        (both,) = localize_claims._agreements(one, other, "other", seed)
        assert role["reason"] == both["reason"] == ""
        consistent.append(role["p_value"] <= 0.05)
        agree.append(both["value"])
    assert np.mean(consistent) <= stats.binom.ppf(1 - 1e-3, runs, 0.05) / runs
    # Spearman's correlation of five independent pairs has the standard deviation 1 / 2.
    assert abs(np.mean(agree)) < 3.5 * 0.5 / np.sqrt(runs)


def test_noise_known_from_few_draws_is_compared_with_nothing() -> None:
    rows = noise(np.random.default_rng(2), 0)
    # In units of noise: raw, the smallest values of the square ones would decide alone.
    units = np.reshape([row["value_deviation"] / row["value_noise_sd"] for row in rows], (-1, SLICES))
    labels = [[row[label] for row in rows[::SLICES]] for label in ("role", "layer")]
    explained = lmscope.variance_explained(units, *labels)
    (role,) = [
        row
        for row in localize_claims._consistent(rows, 0)
        if (row["score"], row["against"]) == ("value_deviation", "role")
    ]
    assert (role["value"], role["p_value"]) == (explained.role, explained.role_p_value)
    for row in rows:
        row["value_noise_draws"] = localize_claims._DRAWS_PER_MATRIX * LAYERS - 1
    claims = {(row["score"], row["against"]): row for row in localize_claims._consistent(rows, 0)}
    found = claims["value_deviation", "role"]
    assert found["value"] is found["p_value"] is None
    assert found["reason"] == (
        "the noise of the 10 matrices of role query is known from 299 draws, and a comparison of roles takes "
        "30 for each matrix"
    )
    assert claims["vector_deviation", "role"]["reason"] == "no matrix has this score"
    (_, both) = localize_claims._agreements(noise(np.random.default_rng(3), 1), rows, "other", 0)
    assert both["reason"] == found["reason"]


def located(roles: dict[str, int], slices: int = 4) -> list[dict[str, Any]]:
    """Slices of roles in so many layers each, whose scores and overlaps agree within roles alone."""
    generator = np.random.default_rng(4)
    found = []
    for role, layers in roles.items():
        for layer, number in itertools.product(range(layers), range(slices)):
            score = float(generator.standard_normal())
            found.append(
                {
                    "name": f"{role} {layer}",
                    "role": role,
                    "layer": layer,
                    "expert": None,
                    "slice": number,
                    "vector_deviation": score,
                    "value_deviation": None,
                    "overlap_excess": score + float(generator.standard_normal()),
                }
            )
    return found


def claim(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    found = localize_claims._diagnostic(rows, [], 0)
    (row,) = [row for row in found if (row["claim"], row["score"]) == (name, "vector_deviation")]
    return row


def test_roles_are_compared_where_all_of_them_are() -> None:
    six = dict.fromkeys("abcdef", 10)
    assert claim(located(six), "diagnostic")["points"] == 6 * 10 * 4
    assert claim(located({**six, "f": 9}), "diagnostic")["points"] == 6 * 9 * 4
    # A role in one layer would leave one layer of the others.
    row = claim(located({**six, "rare": 1}), "diagnostic")
    assert row["points"] == 6 * 10 * 4
    assert row["p_value"] < 0.05
    assert row["beyond_low"] > 0
    assert claim(located({**six, "rare": 1}), "beyond_roles")["points"] == 6 * 10 * 4 + 4


def test_few_roles_are_refused_with_the_reason() -> None:
    row = claim(located(dict.fromkeys("abcd", 5)), "diagnostic")
    assert row["value"] is None
    assert row["reason"] == "an interval takes 5 independent groups, and there are 4"
    described = claim(located(dict.fromkeys("abcd", 5)), "beyond_roles")
    assert described["p_value"] < 0.05
    assert described["reason"] == ""
