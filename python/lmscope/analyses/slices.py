"""One matrix cut into slices of its singular values, and how far each of them is from noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses import value_noise
from lmscope.analyses.intake import vector, whole
from lmscope.analyses.marchenko_pastur_law import sides

__all__ = ["SliceScore", "slice_ranks", "slice_scores"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False)
class SliceScore:
    """One slice of the singular values of one matrix; None is what the given arrays do not tell.

    Attributes:
        slice, slices: which, from 1 (the smallest values) to ``slices`` (the largest).
        first_rank, last_rank: of its values in descending order from 0, both within.
        energy_share: of the sum of squared singular values.
        vector_deviation: mean over its vectors, left and right, of their Porter-Thomas deviation. For noise
            its mean is 0 and its standard deviation ``1 / sqrt(2 * values)``.
        value_deviation: mean over its values of ``|ln(value / quantile)|``, the quantile of the fitted
            Marchenko-Pastur law at that rank, less ``value_noise``. For noise its mean is 0.
        value_noise, value_noise_sd: mean and standard deviation of the first term for iid noise of this
            shape, drawn (lmscope.analyses.value_noise says how).
        value_noise_draws: their number. ``value_deviation`` of all matrices of a shape has the same error of
            ``value_noise_sd / sqrt(value_noise_draws)``, which they seem to have in common.
        outside: values beyond the fitted edges.
        overlap_excess: mean overlap with the activations' eigenvectors over ``null_location``, less 1: about
            0.01 for random vectors, as the location is their median.
        top_share: mean share of the vectors in the space of the largest eigenvectors.
    """

    slice: int
    slices: int
    first_rank: int
    last_rank: int
    energy_share: float | None
    vector_deviation: float | None
    value_deviation: float | None
    value_noise: float | None
    value_noise_sd: float | None
    value_noise_draws: int | None
    outside: int | None
    overlap_excess: float | None
    top_share: float | None

    def __repr__(self) -> str:
        return (
            f"SliceScore({self.slice} of {self.slices}, ranks {self.first_rank} to {self.last_rank}: "
            f"vector_deviation={html_repr.number(self.vector_deviation)}, "
            f"value_deviation={html_repr.number(self.value_deviation)}, "
            f"energy_share={html_repr.number(self.energy_share)})"
        )

    def _repr_html_(self) -> str:
        return html_repr.block(
            f"Slice {self.slice} of {self.slices}",
            html_repr.facts(
                [
                    ("ranks", f"{self.first_rank} to {self.last_rank}"),
                    ("share of the energy", html_repr.number(self.energy_share)),
                    ("deviation of the vectors", html_repr.number(self.vector_deviation)),
                    ("deviation of the values", html_repr.number(self.value_deviation)),
                    ("values beyond the edges", "–" if self.outside is None else self.outside),
                    ("excess of the overlap", html_repr.number(self.overlap_excess)),
                    ("share in the top space", html_repr.number(self.top_share)),
                ]
            ),
        )


def slice_ranks(count: int, slices: int = 10) -> tuple[range, ...]:
    """Ranks, in descending order of values from 0, of each slice of ``count`` singular values.

    The first range is slice 1, the smallest values. Sizes differ by one at most. ValueError for fewer values
    than slices, or less than one slice.
    """
    count, slices = whole("count", count, 0), whole("slices", slices, 1)
    if count < slices:
        raise ValueError(f"{count} singular values cannot be cut into {slices} slices: ask for fewer slices")
    ends = [position * count // slices for position in range(slices + 1)]
    return tuple(range(count - ends[number + 1], count - ends[number]) for number in range(slices))


def slice_scores(
    values: npt.ArrayLike,
    shape: tuple[int, int],
    *,
    scale: float | None = None,
    lower_edge: float | None = None,
    upper_edge: float | None = None,
    deviation_right: npt.ArrayLike | None = None,
    deviation_left: npt.ArrayLike | None = None,
    overlap: npt.ArrayLike | None = None,
    null_location: float | None = None,
    top_share: npt.ArrayLike | None = None,
    slices: int = 10,
    seed: int = 0,
) -> list[SliceScore]:
    """Scores of each slice, the smallest values first.

    Values that are zero to working precision count as ``eps * max(shape)`` times the largest. What is None or
    NaN leaves the scores that rest on it None. All arrays go by rank, the largest value first.

    Args:
        values: all min(shape) singular values, descending.
        shape: of the matrix.
        scale, lower_edge, upper_edge: of :func:`lmscope.fit_marchenko_pastur`.
        deviation_right, deviation_left: of :func:`lmscope.porter_thomas`.
        overlap, null_location, top_share: of :func:`lmscope.activation_overlap`.
        slices: how many.
        seed: of the draws of noise behind ``value_noise``; the first call for a shape takes them, for half a
            minute at most (4 s for 384 values), later ones find them. Matrices of two models that are to be
            compared take seeds of their own.

    Raises:
        ValueError: fewer values than slices, values that are not finite, negative or not descending, or
            arrays of another length.
    """
    smaller, larger = sides(shape)
    ordered = vector("values", values, length=smaller)
    if ordered[-1] < 0 or np.any(np.diff(ordered) > 0):
        raise ValueError("values must be descending and not negative")
    ranks = slice_ranks(smaller, slices)
    right = _by_rank("deviation_right", deviation_right, smaller)
    left = _by_rank("deviation_left", deviation_left, smaller)
    overlaps = _by_rank("overlap", overlap, smaller)
    shares = _by_rank("top_share", top_share, smaller)
    vectors = None if right is None or left is None else (right + left) / 2
    # Over the largest, first: squares of small numbers vanish.
    energies = (ordered / ordered[0]) ** 2 if ordered[0] > 0 else None
    law, low, high, location = map(_given, (scale, lower_edge, upper_edge, null_location))
    outside = None if low is None or high is None else (ordered < low) | (ordered > high)
    spread = None if law is None else value_noise.deviations(ordered, law, smaller, larger)
    noise = None if law is None else value_noise.value_noise(smaller, larger, ranks, seed=seed)

    found = []
    for number, own in enumerate(ranks):
        part = slice(own.start, own.stop)
        own_overlap, own_spread = _mean(overlaps, part), _mean(spread, part)
        of_noise = None if noise is None else float(noise.mean[number])
        found.append(
            SliceScore(
                slice=number + 1,
                slices=slices,
                first_rank=own.start,
                last_rank=own.stop - 1,
                energy_share=None if energies is None else float(energies[part].sum() / energies.sum()),
                vector_deviation=_mean(vectors, part),
                value_deviation=None if own_spread is None or of_noise is None else own_spread - of_noise,
                value_noise=of_noise,
                value_noise_sd=None if noise is None else float(noise.sd[number]),
                value_noise_draws=None if noise is None else noise.draws,
                outside=None if outside is None else int(outside[part].sum()),
                overlap_excess=None
                if own_overlap is None or location is None
                else own_overlap / location - 1,
                top_share=_mean(shares, part),
            )
        )
    return found


def _mean(array: Floats | None, part: slice) -> float | None:
    return None if array is None else float(array[part].mean())


def _given(number: float | None) -> float | None:
    return None if number is None or math.isnan(number) else float(number)


def _by_rank(name: str, given: npt.ArrayLike | None, count: int) -> Floats | None:
    if given is None:
        return None
    array = np.asarray(given, dtype=np.float64)
    if array.shape != (count,):
        raise ValueError(f"{name} must hold {count} numbers, one for each value, got shape {array.shape}")
    return None if np.isnan(array).any() else array
