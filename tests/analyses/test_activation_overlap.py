"""Overlaps with the input covariance: their exact null, planted directions, spaces."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, linalg, special, stats

from lmscope import activation_overlap, overlap_map, principal_cosines, singular_vectors
from lmscope.analyses.largest_entry_law import largest_entry_quantile, largest_entry_tail

LENGTHS = [8, 64, 256, 768]


def unit_vectors(length, count, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((length, count))
    return vectors / np.linalg.norm(vectors, axis=0)


def haar(size, generator):
    q, r = np.linalg.qr(generator.standard_normal((size, size)))
    return q * np.sign(np.diag(r))


def largest_entries(length, count, signed):
    """Of random directions, drawn."""
    generator = np.random.default_rng([5, length])
    found = []
    for _ in range(count // 1000):
        rows = generator.standard_normal((1000, length))
        largest = (rows if signed else np.abs(rows)).max(axis=1)
        found.append(largest / np.linalg.norm(rows, axis=1))
    return np.concatenate(found)


def independent_beta(x, length):
    return special.betainc(0.5, (length - 1) / 2, x * x) ** length


def independent_gaussian(x, length):
    return (2 * stats.norm.cdf(x * math.sqrt(length)) - 1) ** length


# ---- the law of the largest entry


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_law_of_the_largest_entry_against_draws(length, signed):
    draws = largest_entries(length, 40000 if length < 500 else 10000, signed)
    for probability in (0.0015, 0.05, 0.5, 0.95, 0.9985):
        x = largest_entry_quantile(probability, length, signed=signed)
        low, high = stats.binom.interval(0.9995, draws.size, probability)
        assert low <= np.count_nonzero(draws <= x) <= high
    grid = np.quantile(draws, np.linspace(0.001, 0.999, 200))
    share = 1 - largest_entry_tail(grid, length, signed=signed)
    # Kolmogorov: exceeded once in 1e4.
    assert np.abs(share - np.linspace(0.001, 0.999, 200)).max() < 2.23 / math.sqrt(draws.size)


@pytest.mark.parametrize(
    ("length", "beta", "gaussian"),
    [(8, 0.123, 0.154), (64, 0.0206, 0.0197), (256, 0.0068, 0.0063), (768, 0.0035, 0.0033)],
)
def test_independent_entries_are_another_law(length, beta, gaussian):
    """What products of marginals say at the exact 0.15 % quantile; in the upper tail Beta is right, Gaussian
    not."""
    x = largest_entry_quantile(0.0015, length)
    assert abs(independent_beta(x, length) / beta - 1) < 0.02
    assert abs(independent_gaussian(x, length) / gaussian - 1) < 0.02
    x = largest_entry_quantile(0.9985, length)
    assert abs((1 - independent_beta(x, length)) / 0.0015 - 1) < 0.01
    assert (1 - independent_gaussian(x, length)) / 0.0015 > 1.1


@pytest.mark.parametrize("length", [8, 9, 16])
def test_upper_half_of_the_law_in_closed_form(length):
    """No two entries of a unit vector have squares above one half: the union bound is exact there."""
    x = np.array([0.7072, 0.75, 0.8, 0.9])
    union = length * stats.beta.sf(x * x, 0.5, (length - 1) / 2)
    np.testing.assert_allclose(largest_entry_tail(x, length), union, rtol=1e-10)
    np.testing.assert_allclose(largest_entry_tail(x, length, signed=True), union / 2, rtol=1e-10)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("length", [8, 16, 64, 768, 28672])
def test_law_from_end_to_end(length, signed):
    least = (-1 if signed else 1) / math.sqrt(length)
    assert (
        largest_entry_tail([least, least * (1 + 1e-12 * math.copysign(1, least))], length, signed=signed)[0]
        == 1
    )
    x = np.linspace(least, 1, 150)
    tail = largest_entry_tail(x, length, signed=signed)
    assert (np.diff(tail) <= 1e-11).all()
    assert tail[-1] == 0
    # Where the union bound takes over, 1e-6, neither side jumps.
    square = stats.beta.isf(1e-6 * (1 + signed) / length, 0.5, (length - 1) / 2)
    below, above = largest_entry_tail(np.sqrt(square) * np.array([1 - 1e-9, 1 + 1e-9]), length, signed=signed)
    assert math.isclose(below, above, rel_tol=1e-6)
    assert math.isclose(above, 1e-6, rel_tol=1e-6)


@pytest.mark.parametrize("length", [64, 256, 768])
def test_mean_of_the_law(length):
    mean = (
        1 / math.sqrt(length)
        + integrate.quad(
            lambda x: float(largest_entry_tail(x, length)[0]),
            1 / math.sqrt(length),
            1,
            epsabs=1e-9,
            limit=200,
        )[0]
    )
    draws = largest_entries(length, 10000, False)
    assert abs(draws.mean() - mean) < 4 * draws.std() / math.sqrt(draws.size)


# ---- the published table: two Haar bases


@pytest.mark.parametrize(
    ("length", "mean", "location", "low", "high"),
    [
        (64, 0.322, 0.3188, 0.208, 0.529),
        (256, 0.190, 0.1875, 0.140, 0.283),
        (768, 0.121, 0.1198, 0.095, 0.172),
    ],
)
def test_overlaps_of_random_bases(length, mean, location, low, high):
    generator = np.random.default_rng(6)
    pairs = 3000 // length
    found = [activation_overlap(haar(length, generator), haar(length, generator)) for _ in range(pairs)]
    overlaps = np.concatenate([one.overlap for one in found])
    # The published mean is that of one pair.
    assert abs(overlaps.mean() - mean) < 2 * overlaps.std() / math.sqrt(length)

    def formula(probability):
        return stats.norm.ppf((1 + probability ** (1 / length)) / 2) / math.sqrt(length)

    assert abs(formula(0.5) - location) < 6e-5
    assert np.round([formula(0.0015), formula(0.9985)], 3).tolist() == [low, high]
    # Ours is that of the unit sphere: the band is inside the formula's on both sides.
    assert low < found[0].null_low < found[0].null_location < found[0].null_high < high
    assert abs(found[0].null_location / location - 1) < 0.004
    assert abs(found[0].null_low / low - 1) < 0.14


@pytest.mark.parametrize("signed", [False, True])
def test_bands_and_p_values_at_their_rate(signed):
    generator = np.random.default_rng(7)
    size, pairs = 64, 300
    bases = [(haar(size, generator), haar(size, generator)) for _ in range(pairs)]
    for rate in (0.003, 0.05):
        found = [
            activation_overlap(right, eigenvectors, signed=signed, false_positive_rate=rate)
            for right, eigenvectors in bases
        ]
        bounds = stats.binom.interval(0.9995, size * pairs, rate / 2)
        for outside in (
            sum(np.count_nonzero(one.overlap < one.null_low) for one in found),
            sum(np.count_nonzero(one.overlap > one.null_high) for one in found),
            sum(np.count_nonzero(one.top_share < one.top_low) for one in found),
            sum(np.count_nonzero(one.top_share > one.top_high) for one in found),
        ):
            assert bounds[0] <= outside <= bounds[1]
        p_values = np.concatenate([one.p_value for one in found])
        assert stats.kstest(p_values, "uniform").pvalue > 1e-3
        shares = np.concatenate([one.top_share for one in found])
        assert stats.kstest(shares, stats.beta(6 / 2, 58 / 2).cdf).pvalue > 1e-3
        assert found[0].top == 6


def test_singular_vectors_of_noise_against_a_sampled_covariance():
    """Whatever covariance the inputs have: the vectors of noise know nothing of it."""
    generator = np.random.default_rng(8)
    inputs, above, below, count = 96, 0, 0, 0
    for _ in range(60):
        data = generator.standard_normal((400, inputs)) * generator.lognormal(0, 1, inputs)
        _, eigenvectors = np.linalg.eigh(np.cov(data.T))
        right = singular_vectors(generator.standard_normal((40, inputs))).right
        found = activation_overlap(right, eigenvectors[:, ::-1], false_positive_rate=0.02)
        above += np.count_nonzero(found.overlap > found.null_high)
        below += np.count_nonzero(found.overlap < found.null_low)
        count += found.overlap.size
    low, high = stats.binom.interval(0.999, count, 0.01)
    assert low <= above <= high
    assert low <= below <= high


# ---- directions that are planted


def test_planted_directions_overlap_wholly():
    generator = np.random.default_rng(9)
    weight = generator.standard_normal((40, 96))
    right = singular_vectors(weight).right
    oracle = np.linalg.svd(weight, full_matrices=False)[2]
    np.testing.assert_allclose(np.abs((oracle.T * right).sum(axis=0)), 1, atol=1e-12)
    # Inputs whose covariance has them as its eigenvectors, in another order, and noise beside.
    order = generator.permutation(40)
    basis = np.concatenate([right[:, order], linalg.null_space(right.T)], axis=1)
    data = generator.standard_normal((500, 96))
    data -= data.mean(axis=0)
    scores = np.linalg.qr(data)[0] * np.linspace(10, 1, 96)
    _, eigenvectors = np.linalg.eigh(np.cov((scores @ basis.T).T))
    found = activation_overlap(right, eigenvectors[:, ::-1], top=10)
    np.testing.assert_allclose(found.overlap, 1, atol=1e-10)
    assert np.array_equal(order[found.index], np.arange(40))
    assert (found.p_value < 1e-100).all()
    np.testing.assert_allclose(found.top_share, (found.index < 10).astype(float), atol=1e-10)
    mapped = overlap_map(right, eigenvectors[:, ::-1])
    assert mapped.shape == (40, 96)
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(mapped, np.arange(96) == found.index[:, None], atol=1e-6)


def test_spread_alignment_shows_in_the_share_alone():
    """A vector spread evenly over many top directions has no large overlap with any of them."""
    size, top = 400, 40
    spread = np.zeros((size, 1))
    spread[:top] = 1 / math.sqrt(top)
    found = activation_overlap(spread, np.eye(size), top=top)
    assert found.null_low < found.overlap[0] < found.null_high
    assert found.top_share[0] == pytest.approx(1)
    assert found.top_high < 0.2


def test_blocks_signs_and_dtypes():
    right = unit_vectors(64, 70000)
    size = len(right)
    assert right.size > 2**22
    directions = haar(size, np.random.default_rng(10))
    products = right.T @ directions
    found = activation_overlap(right, directions)
    np.testing.assert_allclose(found.overlap, np.abs(products).max(axis=1), rtol=1e-13)
    assert np.array_equal(found.index, np.abs(products).argmax(axis=1))
    np.testing.assert_allclose(found.top_share, (products[:, :6] ** 2).sum(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(overlap_map(right, directions), np.abs(products).astype(np.float32))
    signed = activation_overlap(right, directions, signed=True)
    np.testing.assert_allclose(signed.overlap, products.max(axis=1), rtol=1e-13)
    assert np.array_equal(signed.index, products.argmax(axis=1))
    assert np.array_equal(activation_overlap(-right, directions).overlap, found.overlap)
    few = activation_overlap(torch.from_numpy(right[:, :9]).float(), directions.astype(np.float32))
    np.testing.assert_allclose(few.overlap, found.overlap[:9], atol=1e-6)
    # P-values are functions of the overlap, whichever block it came from.
    some = slice(0, 70000, 7001)
    np.testing.assert_allclose(found.p_value[some], largest_entry_tail(found.overlap[some], size), rtol=1e-12)


# ---- spaces


def test_principal_cosines():
    generator = np.random.default_rng(11)
    first, second = haar(50, generator)[:, :7], haar(50, generator)[:, :20]
    found = principal_cosines(first, second)
    angles = linalg.subspace_angles(first, second)
    np.testing.assert_allclose(found, np.cos(angles)[::-1], atol=1e-12)
    assert (np.diff(found) <= 0).all()
    np.testing.assert_allclose(found, principal_cosines(second, first), atol=1e-12)
    # A space inside the other; and one of which four of seven directions are.
    turned = second @ haar(20, generator)
    np.testing.assert_allclose(principal_cosines(turned[:, :7], second), 1, atol=1e-12)
    outside = linalg.null_space(second.T)[:, :3]
    mixed = np.concatenate([turned[:, :4], outside], axis=1) @ haar(7, generator)
    np.testing.assert_allclose(principal_cosines(mixed, second), [1, 1, 1, 1, 0, 0, 0], atol=1e-7)


def test_principal_cosines_of_random_spaces():
    generator = np.random.default_rng(12)
    space = np.eye(60)[:, :12]
    squares = [(principal_cosines(haar(60, generator)[:, :5], space) ** 2).mean() for _ in range(400)]
    # max(5, 12) / 60; one vector's share has a standard deviation of 0.05.
    assert abs(np.mean(squares) - 0.2) < 4 * 0.05 / math.sqrt(400 * 5)


# ---- what is wrong is named


def test_what_is_wrong_is_named():
    directions = haar(20, np.random.default_rng(13))
    right = unit_vectors(20, 5)
    with pytest.raises(ValueError, match=r"got shapes \(19, 19\) and \(20, 5\)"):
        activation_overlap(right, directions[:19, :19])
    with pytest.raises(ValueError, match=r"got shapes \(20, 10\)"):
        activation_overlap(right, directions[:, :10])
    with pytest.raises(ValueError, match="column 3 of right has norm 2"):
        activation_overlap(right * [1, 1, 1, 2, 1], directions)
    skewed = directions.copy()
    skewed[:, 4] += 0.01 * skewed[:, 5]
    for wrong in (skewed, 1.01 * directions, np.where(directions == directions[3, 3], np.nan, directions)):
        with pytest.raises(ValueError, match="eigenvectors must have orthonormal columns"):
            activation_overlap(right, wrong)
    with pytest.raises(ValueError, match="at least 8 inputs, got 7"):
        overlap_map(np.eye(7), np.eye(7))
    for top in (0, 20):
        with pytest.raises(ValueError, match="top must be"):
            activation_overlap(right, directions, top=top)
    for rate in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="false_positive_rate"):
            activation_overlap(right, directions, false_positive_rate=rate)
    with pytest.raises(ValueError, match="space must have orthonormal columns"):
        principal_cosines(directions[:, :3], right)
    with pytest.raises(ValueError, match=r"same length, got shapes \(20, 3\) and \(8, 8\)"):
        principal_cosines(directions[:, :3], np.eye(8))
    with pytest.raises(TypeError, match="list"):
        activation_overlap([[1.0]], directions)
