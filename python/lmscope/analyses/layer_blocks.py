"""Blocks of consecutive layers that are more alike than their distance explains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["LayerBlock", "layer_blocks"]

Floats = npt.NDArray[np.float64]

_SMALLEST_BLOCK = 3
_SMALLEST_MAP = 6


@dataclass(frozen=True)
class LayerBlock:
    """Places ``first`` to ``last``, both included; ``gain`` is the mean similarity of its pairs over what
    their layers and distances explain; ``p_value`` is corrected for all blocks that were looked at, and holds
    where residuals can be exchanged within a distance, see :func:`layer_blocks`."""

    first: int
    last: int
    gain: float
    p_value: float


def layer_blocks(
    similarity: npt.ArrayLike, *, false_positive_rate: float = 0.05, draws: int = 999, seed: int = 0
) -> list[LayerBlock]:
    """Blocks of at least three consecutive layers whose pairs are more similar than both layers and their
    distance explain.

    Every value is reduced to its residual from a least-squares fit of one effect per layer and one per
    distance, so that neither a similarity that falls with distance nor layers that are alike to all others
    (or to none) make blocks. A block's strength is the sum of these residuals over its pairs, divided by the
    root of their number. The threshold is the quantile of the largest strength of any block under
    permutations of the residuals within each diagonal, which destroy the blocks. Of the blocks beyond it
    those that do not overlap and whose squared strengths over the threshold's add up to the most are chosen,
    by dynamic programming.

    Args:
        similarity: layers x layers, symmetric, no NaN off the diagonal, which is not used.
        false_positive_rate: probability of finding any block in a map whose residuals at each distance are
            exchangeable: additive effects of layers and of distance, and noise. The fit makes them less alike
            within a block than that, so that blocks are rarer there. Other maps have more: layers that drift
            unevenly (weights that are a random walk: a block in every map of 24 layers) and strengths of
            layers that multiply the decay (in over a third of those maps). Such a block may be real
            closeness, but the rate does not hold for it, nor is its p-value a test of it.
        draws: permutations; at least ``1 / false_positive_rate``.
        seed: of the permutations.

    Returns:
        Blocks from the first layer to the last. None for fewer than 6 layers, where no rearrangement is rare
        enough, and where a value is missing.

    Raises:
        ValueError: not square, or too few draws for the rate.
    """
    array = np.asarray(similarity, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(f"similarity must be square, got shape {array.shape}")
    if not 0 < false_positive_rate < 1 or draws * false_positive_rate < 1:
        raise ValueError(f"{draws} draws resolve no false_positive_rate of {false_positive_rate}")
    layers = len(array)
    if layers < _SMALLEST_MAP or not np.isfinite(array[np.triu_indices(layers, 1)]).all():
        return []
    residuals = _residuals(array)
    diagonals = [np.diagonal(residuals, d) for d in range(1, layers)]
    strengths = _strengths(diagonals)
    random = np.random.default_rng(seed)
    largest = np.sort(
        [_strengths([random.permutation(values) for values in diagonals]).max() for _ in range(draws)]
    )
    # Rank tests: as many draws may reach the threshold as leave a p-value at the rate.
    reached = int(false_positive_rate * (draws + 1))
    threshold = float(largest[draws - reached])
    if not threshold > 0:
        return []
    return [
        LayerBlock(
            first=first,
            last=last,
            gain=float(strengths[first, last] / np.sqrt(_pairs(last - first + 1))),
            p_value=float((1 + np.count_nonzero(largest >= strengths[first, last])) / (draws + 1)),
        )
        for first, last in _best_blocks(strengths, threshold)
    ]


def _residuals(similarity: Floats) -> Floats:
    """What a least-squares fit of effects of both layers and of their distance leaves; above the diagonal."""
    layers = len(similarity)
    first, last = np.triu_indices(layers, 1)
    pair = np.arange(len(first))
    effects = np.zeros((len(first), 2 * layers - 1))
    effects[pair, first] = effects[pair, last] = effects[pair, layers + last - first - 1] = 1.0
    values = similarity[first, last]
    fitted = effects @ np.linalg.lstsq(effects, values, rcond=None)[0]
    left = values - fitted
    residuals = np.zeros_like(similarity)
    # Rounding of the fit is no structure.
    residuals[first, last] = np.where(np.abs(left) > 1e-12 * np.abs(values).max(initial=0.0), left, 0.0)
    return residuals


def _pairs(layers: int) -> float:
    return layers * (layers - 1) / 2


def _strengths(diagonals: list[Floats]) -> Floats:
    """Strength of the block from each layer to each; -inf for those that are too short."""
    layers = len(diagonals) + 1
    sums = np.zeros((layers, layers))
    strengths = np.full((layers, layers), -np.inf)
    # A block's sum is that of both blocks a layer shorter, less their overlap, and its corner.
    for distance, values in enumerate(diagonals, 1):
        firsts = np.arange(layers - distance)
        lasts = firsts + distance
        sums[firsts, lasts] = sums[firsts + 1, lasts] + sums[firsts, lasts - 1] + values
        if distance > 1:
            sums[firsts, lasts] -= sums[firsts + 1, lasts - 1]
        if distance + 1 >= _SMALLEST_BLOCK:
            strengths[firsts, lasts] = sums[firsts, lasts] / np.sqrt(_pairs(distance + 1))
    return strengths


def _best_blocks(strengths: Floats, threshold: float) -> list[tuple[int, int]]:
    layers = len(strengths)
    best = np.zeros(layers + 1)
    start = np.full(layers + 1, -1)
    for end in range(1, layers + 1):
        best[end] = best[end - 1]
        for first in range(end - _SMALLEST_BLOCK + 1):
            strength = strengths[first, end - 1]
            if strength > threshold:
                gain = best[first] + strength**2 - threshold**2
                if gain > best[end]:
                    best[end], start[end] = gain, first
    blocks: list[tuple[int, int]] = []
    end = layers
    while end > 0:
        if start[end] < 0:
            end -= 1
        else:
            blocks.append((int(start[end]), end - 1))
            end = int(start[end])
    return blocks[::-1]
