"""The linear theory of message passing against what message passing does."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmscope.spin_glass import Fields, amp, fields, make_tasks, message_stability


def couplings_of(dimension: int, tasks: int) -> Fields:
    return fields(make_tasks(tasks=tasks, dimension=dimension, prompt_length=20, seed=tasks))


@pytest.mark.parametrize("dimension", [4, 7])
def test_the_prediction_separates_converged_from_diverged(dimension: int) -> None:
    """Half to twenty times as many tasks as spins, four regularizations, three dampings, both kinds."""
    outcomes = []
    spins = dimension * (dimension + 1)
    for tasks in np.unique(np.geomspace(0.5 * spins, 20 * spins, 10).astype(int)).tolist():
        of = couplings_of(dimension, tasks)
        for regularization in (0.0, 0.01, 0.1, 1.0):
            for onsager in (True, False):
                for damping in (0.0, 0.5, 0.9):
                    predicted = message_stability(
                        of, regularization=regularization, onsager=onsager, damping=damping
                    )
                    found = amp(
                        of, regularization=regularization, onsager=onsager, damping=damping, max_steps=30_000
                    )
                    assert predicted.stable == found.converged, (tasks, regularization, onsager, damping)
                    assert found.converged != found.diverged
                    outcomes.append((predicted.exists, found.converged, found.spin is None))
    assert outcomes.count((True, True, True)) > 40
    assert outcomes.count((False, False, False)) > 50
    # The variances have a fixed point, and the means run away from theirs.
    assert outcomes.count((True, False, True)) >= 3


@pytest.mark.parametrize("onsager", [True, False])
def test_the_radius_is_the_rate(onsager: bool) -> None:
    of = couplings_of(6, 800)
    predicted = message_stability(of, regularization=0.01, onsager=onsager)
    changes = amp(of, regularization=0.01, onsager=onsager, tol=1e-12, strict=True).changes
    rate = (changes[-1] / changes[-41]) ** (1 / 40)
    # From below, while faster modes still die.
    assert predicted.radius - 5e-3 < rate < predicted.radius


def test_existence_needs_neither_damping_nor_temperature() -> None:
    of = couplings_of(7, 200)
    found = message_stability(of, regularization=0.01)
    assert not found.exists
    assert not found.stable
    assert math.isnan(found.radius)
    assert math.isnan(found.variance_radius)
    for damping in (0.0, 0.5, 0.99):
        assert not message_stability(of, regularization=0.01, damping=damping).exists
        # Lost for certain, only later with more damping.
        assert amp(of, regularization=0.01, damping=damping, inverse_temperature=100).spin is not None


def test_variances_at_the_edge() -> None:
    """Just inside the edge of existence the variances' radius comes close to 1, from below."""
    of = couplings_of(5, 300)
    inside, outside = 1.0, 0.0
    assert not message_stability(of, regularization=outside).exists
    for _ in range(40):
        middle = (inside + outside) / 2
        if message_stability(of, regularization=middle, damping=0.0).exists:
            inside = middle
        else:
            outside = middle
    assert 0.999 < message_stability(of, regularization=inside, damping=0.0).variance_radius < 1
    assert amp(of, regularization=inside * 1.01, max_steps=100_000).converged
    assert amp(of, regularization=inside / 1.01, max_steps=100_000).spin is not None


def test_equal_couplings_by_hand() -> None:
    """Two spins, A = 1 on the diagonal and c off it: u = 1 / (1 + lambda0 - c^2 u)."""
    c, regularization = 0.4, 0.2
    of = Fields(np.array([[1.0, c], [c, 1.0]]), np.ones(2), 1.0, 10, 1, None)
    stiff = 1 + regularization
    u = (stiff - math.sqrt(stiff**2 - 4 * c**2)) / (2 * c**2)
    found = message_stability(of, regularization=regularization, damping=0.0)
    np.testing.assert_allclose(found.variance_radius, (u * c) ** 2, rtol=1e-12)
    # Eigenvalues of 1 - u (A + lambda0): 1 - u (stiff -+ c).
    np.testing.assert_allclose(found.mean_radius, abs(1 - u * (stiff + c)), rtol=1e-12)
    biased = message_stability(of, regularization=regularization, damping=0.5, onsager=False)
    np.testing.assert_allclose(biased.mean_radius, 0.5 + 0.5 * u * c, rtol=1e-12)
    assert "exists" in found._repr_html_()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("regularization", -1.0),
        ("damping", 1.0),
        ("damping", None),
        ("damping", "x"),
        ("regularization", None),
    ],
)
def test_arguments_out_of_range(argument: str, value: object) -> None:
    settings = {"regularization": 0.01} | {argument: value}
    with pytest.raises((ValueError, TypeError), match=f"^{argument} must"):
        message_stability(couplings_of(2, 5), **settings)  # type: ignore[arg-type]
