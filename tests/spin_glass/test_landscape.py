"""The energy landscape: exact on its plane, flat where tasks are few, one basin where they are many."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmscope.spin_glass import Fields, Landscape, energy, energy_landscape, fields, ground_state, make_tasks


def couplings_of(tasks: int, *, dimension: int = 10) -> Fields:
    return fields(make_tasks(tasks=tasks, dimension=dimension, prompt_length=50, seed=7))


@pytest.fixture(scope="module")
def few() -> Fields:
    return couplings_of(10)


@pytest.fixture(scope="module")
def many() -> Fields:
    return couplings_of(1000)


def weights_on_the_plane(found: Landscape, x: float, y: float) -> np.ndarray:
    return found.ground_state + x * found.axes[0] + y * found.axes[1]


@pytest.mark.parametrize("tasks", [10, 1000])
@pytest.mark.parametrize("regularization", [0.0, 0.01])
def test_grid_energies_are_those_of_the_weights_there(tasks: int, regularization: float) -> None:
    of = couplings_of(tasks)
    found = energy_landscape(of, regularization=regularization, samples=50, resolution=7)
    axes = found.axes[:, :, :-1].reshape(2, -1)
    np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-12)
    assert (found.axes[:, :, -1] == 0).all()
    assert found.grid_energies.shape == (7, 7)
    for row, y in enumerate(found.grid_y):
        for column, x in enumerate(found.grid_x):
            expected = energy(of, weights_on_the_plane(found, x, y), regularization=regularization)
            np.testing.assert_allclose(found.grid_energies[row, column], expected, rtol=0, atol=1e-10)
    ground = ground_state(of, regularization=regularization)
    np.testing.assert_allclose(found.ground_energy, ground.energy, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.ground_state, ground.weights, rtol=0, atol=1e-10)
    assert found.grid_energies.min() >= found.ground_energy - 1e-12


def test_ten_tasks_leave_valleys_and_a_thousand_one_basin(few: Fields, many: Fields) -> None:
    """Without regularization replicas end far apart at the same energy, or in one point (papers' Fig. 3)."""
    valley = energy_landscape(few, samples=100)
    assert valley.zero_modes == 100 + 11
    assert valley.flat_share == 100 / 110
    np.testing.assert_allclose(valley.relaxed_energies, valley.ground_energy, rtol=0, atol=1e-11)
    assert valley.relaxed_distance > 0.9
    assert valley.relaxed_overlap < 0.2
    assert np.ptp(valley.relaxed[:, 0]) > 3
    np.testing.assert_allclose(valley.relaxed[:, 1], 0, atol=1e-11)
    assert valley.curvatures[0] == 0
    assert np.ptp(valley.grid_energies, axis=1).max() == 0

    basin = energy_landscape(many, samples=100)
    assert basin.zero_modes == 11
    assert basin.flat_share == 0
    np.testing.assert_allclose(basin.relaxed_energies, basin.ground_energy, rtol=0, atol=1e-11)
    assert basin.relaxed_distance < 1e-12
    np.testing.assert_allclose(basin.relaxed_overlap, 1, rtol=1e-12)
    np.testing.assert_allclose(basin.relaxed, 0, atol=1e-11)
    assert basin.curvatures[0] > 0.01
    assert np.ptp(basin.grid_energies, axis=1).min() > 0


@pytest.mark.parametrize("tasks", [5, 15, 25])
def test_distance_of_relaxed_replicas_is_the_share_of_flat_directions(tasks: int) -> None:
    """relaxed_distance^2 is a beta variable about the share of flat directions: within 5 standard deviations
    (false alarm below 1e-6)."""
    of = couplings_of(tasks, dimension=5)
    replicas = 50
    found = energy_landscape(of, samples=1, replicas=replicas)
    share = 1 - tasks / 30
    assert found.flat_share == pytest.approx(share)
    deviation = math.sqrt(2 * share * (1 - share) / ((replicas - 1) * 30 + 2))
    assert abs(found.relaxed_distance**2 - share) < 5 * deviation


def test_gradient_flow_is_exact(few: Fields) -> None:
    """Small steps of gradient descent come to the same energies; the plateau is between both time scales."""
    early = energy_landscape(few, regularization=0.01, samples=1, replicas=3, time=2.0)
    start = energy_landscape(few, regularization=0.01, samples=1, replicas=3, time=0.0)
    rng = np.random.default_rng([0, 104])
    spins = rng.standard_normal((3, few.spins))
    np.testing.assert_allclose(
        start.relaxed_energies,
        [energy(few, np.pad(w.reshape(11, 10), ((0, 0), (0, 1))), regularization=0.01) for w in spins],
        rtol=1e-10,
    )
    steps = 20_000
    for _ in range(steps):
        spins -= 2.0 / steps * (spins @ few.gram + 0.01 * spins - few.field)
    np.testing.assert_allclose(
        early.relaxed_energies,
        [energy(few, np.pad(w.reshape(11, 10), ((0, 0), (0, 1))), regularization=0.01) for w in spins],
        rtol=1e-3,
    )
    assert start.relaxed_distance == pytest.approx(1)


def test_regularization_ends_all_replicas_in_one_point_at_last(few: Fields) -> None:
    plateau = energy_landscape(few, regularization=0.01, samples=1)
    assert plateau.relaxed_distance > 0.9
    # What is left is lambda0 / 2 times the squared length along zero modes.
    assert plateau.relaxed_energies.min() > plateau.ground_energy + 0.1
    assert plateau.curvatures[0] == 0.01
    end = energy_landscape(few, regularization=0.01, samples=1, time=math.inf)
    assert end.relaxed_distance < 1e-12
    np.testing.assert_allclose(end.relaxed_energies, end.ground_energy, rtol=0, atol=1e-12)
    late = energy_landscape(few, regularization=0.01, samples=1, time=1e4)
    np.testing.assert_allclose(late.relaxed_energies, end.ground_energy, rtol=0, atol=1e-10)
    # Without regularization the end of the flow is the plateau.
    np.testing.assert_array_equal(
        energy_landscape(few, samples=1, time=math.inf).relaxed, energy_landscape(few, samples=1).relaxed
    )


def test_samples_are_projected_and_their_energies_exact(many: Fields) -> None:
    found = energy_landscape(many, regularization=0.01, samples=400)
    spins = np.random.default_rng([0, 103]).standard_normal((400, 110))
    weights = np.pad(spins.reshape(400, 11, 10), ((0, 0), (0, 0), (0, 1)))
    np.testing.assert_allclose(found.energies, energy(many, weights, regularization=0.01), rtol=1e-12)
    on_plane = np.einsum("kij,aij->ka", weights - found.ground_state, found.axes)
    np.testing.assert_allclose(found.points, on_plane, rtol=0, atol=1e-12)
    above = found.energies - found.ground_energy
    shares = [np.sum(found.curvatures[a] * found.points[:, a] ** 2 / 2) / above.sum() for a in (0, 1)]
    np.testing.assert_allclose(found.explained, shares, rtol=1e-10)
    # The least of many random samples lies far above the ground state: no sample shows a minimum.
    assert above.min() > 0.5
    assert found.explained[1] > 10 * found.explained[0]


def test_reproducible_and_shown(many: Fields) -> None:
    first = energy_landscape(many, samples=20, seed=3)
    again = energy_landscape(many, samples=20, seed=3)
    np.testing.assert_array_equal(first.points, again.points)
    np.testing.assert_array_equal(first.axes, again.axes)
    other = energy_landscape(many, samples=20, seed=4)
    assert np.abs(other.points - first.points).min() > 0
    np.testing.assert_array_equal(other.axes, first.axes)
    assert "1000 tasks: 11 zero modes" in repr(first)
    assert "relaxed replicas" in first._repr_html_()
    single = energy_landscape(many, samples=1, replicas=1)
    assert math.isnan(single.relaxed_distance)
    assert math.isnan(single.relaxed_overlap)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("regularization", -1.0),
        ("samples", 0),
        ("replicas", 0),
        ("resolution", 1),
        ("time", -1.0),
        ("time", math.nan),
        ("time", "x"),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", None),
    ],
)
def test_arguments_out_of_range(many: Fields, argument: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^{argument} must"):
        energy_landscape(many, **{argument: value})  # type: ignore[arg-type]


def test_tasks_that_tell_nothing() -> None:
    nothing = Fields(np.zeros((6, 6)), np.zeros(6), 0.0, 5, 2, None)
    with pytest.raises(ValueError, match="the tasks tell nothing"):
        energy_landscape(nothing)


def test_samples_that_cannot_fit(many: Fields) -> None:
    with pytest.raises(
        ValueError, match=r"10000000000 samples and 20 replicas of 110 spins would take \d+\.\d+ GB"
    ):
        energy_landscape(many, samples=10**10)
