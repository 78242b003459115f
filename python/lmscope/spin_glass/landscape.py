"""The energy landscape of linear attention: a plane through the ground state, and where replicas come to
rest."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import as_number, not_negative, whole
from lmscope.spin_glass.couplings import Fields
from lmscope.spin_glass.memory import check_memory
from lmscope.spin_glass.modes import Modes, modes
from lmscope.spin_glass.replicas import mean_overlap, scatter
from lmscope.spin_glass.ridge import energy
from lmscope.spin_glass.streams import Stream, generator

__all__ = ["Landscape", "energy_landscape"]

Floats = npt.NDArray[np.float64]

# Weights, with their last column, times A, and a product of both.
_COPIES = 4


@dataclass(frozen=True, eq=False, repr=False)
class Landscape:
    """Energies of random weights, on a plane through the ground state, and of replicas that came to rest.

    Coordinates are distances from the ground state along the two axes.

    Attributes:
        axes: 2 x (dimension + 1) x (dimension + 1), orthonormal, last column 0: x, the softest, and y, the
            stiffest eigenvector of A.
        curvatures: (2,): of the energy along the axes, eigenvalue + regularization.
        ground_state: (dimension + 1) x (dimension + 1): the origin.
        ground_energy: of the ground state.
        points: samples x 2: coordinates of random weights.
        energies: (samples,): of these weights, which lie off the plane.
        explained: (2,): share of the energies above the ground state that lies along each axis.
        grid_x, grid_y: (resolution,): coordinates of the grid.
        grid_energies: resolution x resolution, one row a y: exact energies on the plane itself.
        relaxed: replicas x 2: where they came to rest.
        relaxed_energies: (replicas,): there.
        relaxed_overlap: mean cosine between two relaxed replicas; NaN of a single one.
        relaxed_distance: root mean squared distance between two replicas, over that between their starts; its
            square is flat_share on average.
        flat_share: zero modes among the spins that enter, over their number.
        zero_modes: with the dimension + 1 free spins.
        regularization, tasks: as given.
    """

    axes: Floats
    curvatures: Floats
    ground_state: Floats
    ground_energy: float
    points: Floats
    energies: Floats
    explained: Floats
    grid_x: Floats
    grid_y: Floats
    grid_energies: Floats
    relaxed: Floats
    relaxed_energies: Floats
    relaxed_overlap: float
    relaxed_distance: float
    flat_share: float
    zero_modes: int
    regularization: float
    tasks: int

    def __repr__(self) -> str:
        return (
            f"Landscape({self.tasks} tasks: {self.zero_modes} zero modes, relaxed_distance="
            f"{self.relaxed_distance:.6g}, relaxed_overlap={self.relaxed_overlap:.6g})"
        )

    def _repr_html_(self) -> str:
        number = html_repr.number
        return html_repr.block(
            f"Energy landscape of {self.tasks} tasks",
            html_repr.facts(
                [
                    ("zero modes, free spins included", self.zero_modes),
                    ("ground energy", number(self.ground_energy)),
                    ("curvature along the softest axis", number(self.curvatures[0])),
                    ("curvature along the stiffest axis", number(self.curvatures[1])),
                    (
                        "distance between relaxed replicas, of that between starts",
                        number(self.relaxed_distance),
                    ),
                    ("overlap of relaxed replicas", number(self.relaxed_overlap)),
                ]
            ),
        )


def energy_landscape(
    fields: Fields,
    *,
    regularization: float = 0.0,
    samples: int = 1000,
    replicas: int = 20,
    time: float | None = None,
    resolution: int = 61,
    seed: int = 0,
) -> Landscape:
    """What the energy H(W) = W'(A + lambda0) W / 2 - h'W looks like (arXiv 2408.02288, Fig. 3).

    H is quadratic: it has no separate local minima, whatever an interpolation of scattered samples shows.
    What few tasks have is flat directions, the zero modes of A: without regularization all of ground state +
    zero modes has the same least energy, and replicas that start apart along them stay apart; with it there
    is one minimum, at the end of valleys of curvature lambda0. From dimension * (dimension + 1) tasks on
    there is one basin.

    The plane goes through the ground state along two eigenvectors of A, so that the energy on it is
    ground energy + (curvature_x x^2 + curvature_y y^2) / 2, exactly. y is the stiffest one. x is a zero mode
    where there are any among the spins that enter: the direction along which the replicas' parts in zero
    modes lie furthest from the ground state (their first principal component about it); otherwise the softest
    one. Signs are such that the entry of largest size is positive. The free last column is left out: it is 0
    everywhere.

    Args:
        fields: of the tasks.
        regularization: lambda0, at least 0.
        samples: random weights, standard normal, whose energies are taken.
        replicas: random starts, standard normal, that relax by gradient flow dW/dt = -dH/dW.
        time: of the flow, whose solution is exact: ground state + exp(-(A + lambda0) t) (start - ground
            state). None: until all modes that the tasks tell of are at rest, but no zero mode has moved: the
            end of the flow where lambda0 is 0, and else a plateau before 1 / lambda0. ``math.inf``: its end.
        resolution: points of the grid along each axis, at least 2.
        seed: of the samples and the starts.

    Raises:
        ValueError: a number out of its range, tasks that tell nothing (A = 0), or arrays that do not fit in
            memory.
    """
    least = not_negative("regularization", regularization)
    number, starts_asked = whole("samples", samples, 1), whole("replicas", replicas, 1)
    side = whole("resolution", resolution, 2)
    whole("seed", seed, 0)
    if time is not None and not as_number("time", time) >= 0:
        raise ValueError(f"time must be at least 0, got {time}")
    check_memory(
        f"{number} samples and {starts_asked} replicas of {fields.spins} spins",
        8 * _COPIES * max(number, starts_asked) * fields.spins + 8 * side**2,
        "take fewer",
    )
    found = modes(fields)
    flat = found.values <= found.bounds
    if flat.all():
        raise ValueError("the tasks tell nothing: A is 0, and every direction is flat")
    ground = found.ground_state(least)
    origin = ground[:, :-1].ravel()
    starts = generator(seed, Stream.LANDSCAPE_REPLICAS).standard_normal((starts_asked, fields.spins))
    along = (starts - origin) @ found.vectors
    stiffness = np.where(flat, 0.0, found.values) + least
    relaxed = origin + (along * _kept(flat, stiffness, time)) @ found.vectors.T
    axes = _axes(found, flat, along)
    random = generator(seed, Stream.LANDSCAPE_WEIGHTS).standard_normal((number, fields.spins))
    points, relaxed_points = (random - origin) @ axes.T, (relaxed - origin) @ axes.T
    curvatures = stiffness[[-1, 0]]
    ground_energy = energy(fields, ground, regularization=least)
    energies = _energies(fields, random, least)
    reach = 1.05 * max(np.abs(points).max(), np.abs(relaxed_points).max())
    grid = np.linspace(-reach, reach, side)
    above = np.square(points) * curvatures / 2
    return Landscape(
        axes=_weights(fields, axes),
        curvatures=curvatures,
        ground_state=ground,
        ground_energy=float(ground_energy),
        points=points,
        energies=energies,
        explained=above.sum(axis=0) / (energies - ground_energy).sum(),
        grid_x=grid,
        grid_y=grid,
        grid_energies=ground_energy + curvatures[0] / 2 * grid**2 + curvatures[1] / 2 * grid[:, None] ** 2,
        relaxed=relaxed_points,
        relaxed_energies=_energies(fields, relaxed, least),
        relaxed_overlap=mean_overlap(relaxed),
        relaxed_distance=scatter(relaxed) / scatter(starts),
        flat_share=float(flat.mean()),
        zero_modes=found.zero_modes,
        regularization=least,
        tasks=fields.tasks,
    )


def _kept(flat: npt.NDArray[np.bool_], stiffness: Floats, time: float | None) -> Floats:
    """Share of each mode's distance from the ground state that is left."""
    if time is None:
        return flat.astype(np.float64)
    if math.isinf(time):
        return np.where(stiffness == 0, 1.0, 0.0)
    kept: Floats = np.exp(-stiffness * time)
    return kept


def _axes(found: Modes, flat: npt.NDArray[np.bool_], along: Floats) -> Floats:
    """2 x spins."""
    if flat.any():
        _, _, principal = np.linalg.svd(along[:, flat], full_matrices=False)
        softest = found.vectors[:, flat] @ principal[0]
    else:
        softest = found.vectors[:, -1]
    axes = np.stack([softest, found.vectors[:, 0]])
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1, keepdims=True), axis=1)
    signed: Floats = axes * np.sign(largest)
    return signed


def _energies(fields: Fields, spins: Floats, regularization: float) -> Floats:
    """(k,) of k x spins."""
    return np.asarray(energy(fields, _weights(fields, spins), regularization=regularization))


def _weights(fields: Fields, spins: Floats) -> Floats:
    """With the free last column, 0."""
    return np.pad(spins.reshape(len(spins), -1, fields.dimension), ((0, 0), (0, 0), (0, 1)))
