"""A bend is found where it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope import spin_glass as sg


@given(
    knot=st.floats(2.5, 7.5),
    slopes=st.tuples(st.floats(-5, -0.5), st.floats(0.1, 5)),
    offset=st.floats(-10, 10),
)
def test_of_two_straight_lines(knot: float, slopes: tuple[float, float], offset: float) -> None:
    x = np.arange(11.0)
    y = offset + np.where(x < knot, slopes[0] * (x - knot), slopes[1] * (x - knot))
    assert sg.bend(x, y) == pytest.approx(knot, abs=1e-6)


def test_noise_moves_it_by_its_standard_error() -> None:
    """Over 200 draws the root mean square error is that of the linearised least squares, within 25 %."""
    random = np.random.default_rng(2)
    x, knot, noise = np.linspace(0, 10, 41), 4.3, 0.2
    found = [sg.bend(x, np.maximum(knot - x, 0) + noise * random.standard_normal(41)) for _ in range(200)]
    design = np.column_stack([np.ones(41), x, np.maximum(x - knot, 0), -(x > knot).astype(float)])
    # The last column is the derivative by the knot, at a change of slope of 1.
    error = noise * np.sqrt(np.linalg.inv(design.T @ design)[3, 3])
    assert np.sqrt(np.mean(np.square(np.array(found) - knot))) == pytest.approx(error, rel=0.25)


@pytest.mark.parametrize(
    ("x", "y", "told"),
    [
        ([1, 2, 3], [1, 2], "equally long"),
        ([1, 2, 3, 4], [1, 2, 3, 4], "at least 5"),
        ([1, 2, 3, 4, np.inf], [1, 2, 3, 4, 5], "finite"),
    ],
)
def test_bad_points_are_refused(x: list[float], y: list[float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        sg.bend(x, y)
