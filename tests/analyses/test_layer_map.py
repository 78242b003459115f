"""What is said of a map of layers: exact cases, and the rates that the blocks promise."""

from __future__ import annotations

import numpy as np
import pytest

from lmscope import docs
from lmscope.analyses.layer_blocks import _best_blocks, layer_blocks
from lmscope.analyses.layer_map import gini, neighbour_curve


def symmetric(layers: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((layers, layers))
    return noise + noise.T


def decaying(layers: int, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    distance = np.abs(np.subtract.outer(np.arange(layers), np.arange(layers)))
    return 0.12 + 0.1 * np.exp(-distance / 4) + noise * symmetric(layers, seed)


@pytest.mark.parametrize("size", [2, 3, 10, 101])
def test_gini_of_equal_values_and_of_one_that_is_all(size: int) -> None:
    assert gini(np.full(size, 0.37)) == 0.0
    assert gini(np.eye(1, size, size // 2)) == pytest.approx(1 - 1 / size, abs=1e-15)


def test_gini_is_the_mean_difference_over_twice_the_mean() -> None:
    x = np.random.default_rng(0).random(60)
    expected = np.abs(np.subtract.outer(x, x)).mean() / (2 * x.mean())
    assert gini(x) == pytest.approx(expected, rel=1e-12)
    assert gini(7 * x) == pytest.approx(expected, rel=1e-12)


def test_gini_of_a_map_leaves_the_diagonal_out() -> None:
    scores = np.full((5, 5), 0.2)
    np.fill_diagonal(scores, 1.0)
    assert gini(scores) == 0.0
    scores[0, 1] = scores[1, 0] = np.nan
    assert gini(scores) == 0.0
    assert np.isnan(gini(np.full((3, 3), np.nan)))
    with pytest.raises(ValueError, match="not negative"):
        gini([0.1, -0.1])


def test_gini_of_the_largest_and_smallest_numbers() -> None:
    assert gini([1e308, 1e308, 0.0]) == pytest.approx(1 / 3)
    assert gini([5e-324, 5e-324, 0.0]) == pytest.approx(1 / 3)


def test_neighbour_curve() -> None:
    similarity = np.array([[1, 5, 2, 7], [5, 1, 6, np.nan], [2, 6, 1, 4], [7, np.nan, 4, 1]])
    curve = neighbour_curve(similarity)
    assert curve.distances.tolist() == [1, 2, 3]
    assert curve.means.tolist() == [5.0, 2.0, 7.0]
    assert curve.counts.tolist() == [3, 1, 1]
    gaps = neighbour_curve(similarity, [0, 1, 4, 6])
    assert gaps.distances.tolist() == [1, 2, 3, 4, 6]
    assert gaps.means.tolist() == [5.0, 4.0, 6.0, 2.0, 7.0]
    with pytest.raises(ValueError, match="square"):
        neighbour_curve(np.ones((2, 3)))


def test_decay_alone_has_no_blocks() -> None:
    assert layer_blocks(decaying(24)) == []
    assert layer_blocks(decaying(24, noise=0.002)) == []


def test_planted_blocks_are_found() -> None:
    similarity = decaying(24, noise=0.001, seed=3)
    similarity[2:8, 2:8] += 0.02
    similarity[15:, 15:] += 0.02
    found = layer_blocks(similarity)
    assert [(block.first, block.last) for block in found] == [(2, 7), (15, 23)]
    assert all(block.p_value <= 0.05 for block in found)
    # The layers' own effects take part of what was planted.
    assert all(0.002 < block.gain < 0.02 for block in found)
    assert layer_blocks(similarity) == found


@pytest.mark.parametrize("layers", [6, 12])
def test_blocks_in_noise_are_as_rare_as_promised(layers: int) -> None:
    maps = 150
    flagged = sum(bool(layer_blocks(symmetric(layers, seed), draws=99, seed=seed)) for seed in range(maps))
    assert flagged <= 0.05 * maps


@pytest.mark.parametrize("unevenness", [0.0, 1.5])
def test_blocks_in_random_models_are_as_rare_as_promised(unevenness: float) -> None:
    """Real scores: pairs that share a layer are not independent, which the permutations assume.

    Coordinates of uneven scale raise every score of their layer, the more the more uneven they are.
    """
    layers, models, flagged = 12, 40, 0
    for seed in range(models):
        random = np.random.default_rng([9, seed])
        weights = random.standard_normal((layers, 24, 20))
        spread = random.uniform(0, unevenness, (layers, 1, 1))
        weights *= np.exp(spread * random.standard_normal((24, 1)))
        scores = np.ones((layers, layers))
        for i in range(layers):
            for j in range(i):
                scores[i, j] = scores[j, i] = docs(weights[i], weights[j]).score
        flagged += bool(layer_blocks(scores, draws=99, seed=seed))
    assert flagged <= 0.05 * models


@pytest.mark.parametrize(
    ("kind", "at_least", "at_most"), [("walk", 0.9, 1.0), ("strengths times decay", 0.15, 0.7)]
)
def test_maps_without_blocks_that_are_flagged_all_the_same(
    kind: str, at_least: float, at_most: float
) -> None:
    """What the p-values do not allow for, as the documentation says: drift, and products of effects."""
    layers, maps, flagged = 24, 30, 0
    places = np.arange(layers)
    apart = np.abs(np.subtract.outer(places, places))
    for seed in range(maps):
        random = np.random.default_rng([4, seed])
        if kind == "walk":
            weights = np.cumsum(random.standard_normal((layers, 500)), axis=0)
            weights /= np.linalg.norm(weights, axis=1, keepdims=True)
            similarity = weights @ weights.T
        else:
            strengths = np.exp(0.3 * random.standard_normal(layers))
            similarity = 0.1 + 0.05 * np.outer(strengths, strengths) * np.exp(-apart / 5)
            similarity += 0.001 * symmetric(layers, seed)
        flagged += bool(layer_blocks(similarity, draws=99, seed=seed))
    assert at_least <= flagged / maps <= at_most


def test_overlapping_blocks_are_chosen_by_squared_strengths() -> None:
    """One block of strength 10 stands for more than its halves of 8 each: 51 over the threshold's to 30."""
    strengths = np.full((8, 8), -np.inf)
    strengths[0, 7] = 10.0
    strengths[0, 3] = strengths[4, 7] = 8.0
    assert _best_blocks(strengths, 7.0) == [(0, 7)]
    strengths[0, 7] = 8.5
    assert _best_blocks(strengths, 7.0) == [(0, 3), (4, 7)]


def test_what_gives_no_blocks_and_what_is_refused() -> None:
    similarity = symmetric(8, 0)
    assert layer_blocks(similarity[:5, :5]) == []
    similarity[0, 3] = np.nan
    assert layer_blocks(similarity) == []
    with pytest.raises(ValueError, match="square"):
        layer_blocks(np.ones((6, 7)))
    with pytest.raises(ValueError, match="resolve no"):
        layer_blocks(symmetric(8, 0), draws=9)
