"""Zero modes by count, modes by their definition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lmscope.spin_glass as sg

from .plain_features import features


def law(tasks: int, dimension: int = 5, prompt_length: int = 30, **more: Any) -> sg.Tasks:
    return sg.make_tasks(tasks=tasks, dimension=dimension, prompt_length=prompt_length, **more)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    tasks=st.integers(1, 120),
    dimension=st.integers(1, 8),
    prompt_length=st.integers(1, 60),
    seed=st.integers(0, 2**32),
)
def test_rank_and_ratio_are_exact(tasks: int, dimension: int, prompt_length: int, seed: int) -> None:
    rank = min(tasks, dimension * (dimension + 1))
    found = sg.zero_modes(sg.fields(law(tasks, dimension, prompt_length, seed=seed)))
    assert found.count == (dimension + 1) ** 2 - rank
    assert found.ambiguous == 0
    assert found.ratio == found.expected == 1 - rank / (dimension + 1) ** 2
    ratio = sg.zero_mode_ratio(tasks=tasks, dimension=dimension, prompt_length=prompt_length, seed=seed)
    assert ratio == found.ratio


# Section 3d, Fig. S7, N = 100.
@pytest.mark.parametrize(
    ("dimension", "tasks", "published"),
    [
        (10, 25, 0.7934),
        (10, 100, 0.1736),
        (10, 200, 0.0909),
        (10, 2000, 0.0909),
        (20, 100, 0.7732),
        (20, 500, 0.0476),
        (20, 2000, 0.0476),
    ],
)
def test_the_papers_ratios(dimension: int, tasks: int, published: float) -> None:
    found = sg.zero_mode_ratio(tasks=tasks, dimension=dimension, prompt_length=100, seed=482)
    assert found == pytest.approx(published, abs=5e-5)


@pytest.mark.parametrize(
    "more",
    [
        {"correlation": 0.95},
        {"correlation": 0.95, "correlated": "coordinates"},
        {"distinct_teachers": 2},
        {"teacher": "low_rank"},
    ],
)
def test_other_laws_leave_no_more_modes(more: dict[str, Any]) -> None:
    if "teacher" in more:
        more = {**more, "teacher_size": 1}
    for tasks in (10, 30, 200):
        found = sg.zero_modes(sg.fields(law(tasks, seed=1, **more)))
        assert found.count == 36 - min(tasks, 30)


def test_modes_that_no_number_of_tasks_tells_of_are_told() -> None:
    """Tokens along one line: contexts along it and labels, times queries along it: two spins."""
    stream = sg.StreamingFields(5)
    for prompts in law(400, correlation=1.0, correlated="coordinates").prompts():
        stream.update(prompts)
    found = sg.zero_modes(stream)
    assert found.count == 34
    assert found.ambiguous == 28
    assert found.expected == pytest.approx(1 / 6)
    assert repr(found) == "ZeroModes(34, 28 of them ambiguous: ratio 0.944444, expected 0.166667)"
    assert "<td" in found._repr_html_()
    few = sg.zero_modes(sg.fields(law(1, correlation=1.0, correlated="coordinates")))
    assert (few.count, few.ambiguous) == (35, 0)
    assert repr(few) == "ZeroModes(35: ratio 0.972222, expected 0.972222)"


@pytest.mark.parametrize("tasks", [3, 29, 30, 31, 500])
def test_values_keep_their_bounds(tasks: int) -> None:
    of = law(tasks, seed=6, correlation=0.9)
    couplings = sg.fields(of)
    exact = np.linalg.svd(features(of), compute_uv=False) / math.sqrt(tasks)
    counted, found = sg.zero_modes(couplings), sg.modes(couplings)
    assert (np.abs(counted.values - exact) <= counted.bounds).all()
    eigenvalues = np.zeros(30)
    eigenvalues[: len(exact)] = exact**2
    assert (np.abs(found.values - eigenvalues) <= found.bounds).all()
    assert found.zero_modes == counted.count
    assert found.zero_mode_ratio == counted.ratio
    assert found.smallest == pytest.approx(exact[-1] ** 2, rel=1e-6)


@pytest.mark.parametrize("tasks", [8, 30, 500])
def test_modes_are_eigenvectors(tasks: int) -> None:
    couplings = sg.fields(law(tasks, seed=6))
    found = sg.modes(couplings)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(30), atol=1e-13)
    np.testing.assert_allclose((found.vectors * found.values) @ found.vectors.T, couplings.gram, atol=1e-13)
    np.testing.assert_allclose(found.vectors @ found.along, couplings.field, atol=1e-13)
    assert repr(found).startswith("Modes(30 from ")
    assert "<td" in found._repr_html_()


@pytest.mark.parametrize("tasks", [8, 29, 31, 500])
def test_ground_states_of_many_regularizations(tasks: int) -> None:
    couplings = sg.fields(law(tasks, seed=6))
    found = sg.modes(couplings)
    for regularization in (0.0, 1e-18, 1e-4, 0.01, 10.0):
        expected = sg.ground_state(couplings, regularization=regularization)
        tolerance = 1e-14 * max(expected.condition, 1) * (1 + np.abs(expected.weights).max())
        np.testing.assert_allclose(found.ground_state(regularization), expected.weights, atol=tolerance)


@pytest.mark.parametrize("tasks", [8, 30, 500])
def test_variances_are_the_diagonal_of_the_inverse(tasks: int) -> None:
    couplings = sg.fields(law(tasks, seed=6))
    found = sg.modes(couplings)
    for regularization, beta in ((0.01, 1.0), (0.3, 100.0)):
        expected = np.diag(np.linalg.inv(beta * (couplings.gram + regularization * np.eye(30))))
        variances = found.variances(regularization, beta)
        np.testing.assert_allclose(variances[:, :-1].ravel(), expected, rtol=1e-10)
        np.testing.assert_allclose(variances[:, -1], 1 / (beta * regularization), rtol=1e-15)
        assert found.spread(regularization, beta) == pytest.approx(expected.mean(), rel=1e-10)


def test_variances_without_regularization() -> None:
    enough = sg.modes(sg.fields(law(500, seed=6)))
    variances = enough.variances(0.0)
    assert np.isfinite(variances[:, :-1]).all()
    assert np.isinf(variances[:, -1]).all()
    assert enough.spread(0.0) == pytest.approx(variances[:, :-1].mean(), rel=1e-12)
    few = sg.modes(sg.fields(law(29, seed=6)))
    assert np.isinf(few.variances(0.0)).all()
    assert few.spread(0.0) == math.inf
    # Only what a zero mode moves: the tokens never go along the second axis.
    given = [sg.Statistics(np.eye(3)[[0, 2]], np.eye(2)[[0, 0]], np.ones(2))]
    expected = [[2, math.inf, math.inf], [math.inf] * 3, [2, math.inf, math.inf]]
    np.testing.assert_allclose(sg.modes(sg.fields(given)).variances(0.0), expected)


def test_variances_of_infinitely_many_tasks() -> None:
    """Section 3b; the spread of the spectrum raises the mean inverse by spins / tasks."""
    beta, regularization, dimension, length = 2.0, 0.05, 4, 25
    found = sg.modes(sg.fields(law(100_000, dimension, length, seed=3, draw="statistics")))
    variances = found.variances(regularization, beta)
    block = 1 / (beta * (regularization + (1 + (dimension + 1) / length) / dimension))
    label = 1 / (beta * (regularization + (1 + 2 / dimension) * (1 + 2 / length)))
    np.testing.assert_allclose(variances[:-1, :-1], block, rtol=0.05)
    np.testing.assert_allclose(variances[-1, :-1], label, rtol=0.05)
    assert variances[:-1, :-1].mean() == pytest.approx(block, rel=0.01)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_temperatures_that_are_none(wrong: float) -> None:
    found = sg.modes(sg.fields(law(40)))
    for ask in (lambda: found.variances(0.1, wrong), lambda: found.spread(0.1, wrong)):
        with pytest.raises(ValueError, match="inverse_temperature must be above 0 and finite, got"):
            ask()


def test_nothing_but_zeros() -> None:
    zeros = sg.fields(sg.Statistics(np.zeros((4, 3)), np.zeros((4, 2)), np.zeros(4)))
    assert sg.zero_modes(zeros).count == 9
    assert math.isnan(sg.modes(zeros).smallest)
    np.testing.assert_array_equal(sg.modes(zeros).variances(0.5), np.full((3, 3), 2.0))
