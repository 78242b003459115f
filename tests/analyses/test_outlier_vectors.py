"""Outliers of closed form and their vectors: the tests of singular vectors against what theory says of them.

Entries of the noise have variance 1 / n, c = m / n = 0.4 (Benaych-Georges and Nadakuditi, J. Multivar. Anal.
111, 2012).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import linalg

from lmscope import activation_overlap, fit_marchenko_pastur, porter_thomas, singular_vectors
from lmscope.analyses.marchenko_pastur import asymptotic_edges

ROWS, COLUMNS, C = 600, 1500, 0.4


def decomposed(weight):
    """By the kernel, with numpy beside it: the values, and the extreme vectors, which gaps determine."""
    found = singular_vectors(weight)
    left, values, right = np.linalg.svd(weight, full_matrices=False)
    np.testing.assert_allclose(found.values, values, rtol=0, atol=1e-12 * values[0])
    for rank in (0, -1):
        gap = abs(values[rank] - values[1 if rank == 0 else -2]) / values[0]
        assert abs(found.right[:, rank] @ right[rank]) > 1 - (1e-13 / gap) ** 2 - 1e-12
        assert abs(found.left[:, rank] @ left[:, rank]) > 1 - (1e-13 / gap) ** 2 - 1e-12
    return found.values, found.left, found.right


def noise_and_direction(seed, active=None):
    """The noise, u and v; where asked v has only so many coordinates."""
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal((ROWS, COLUMNS)) / math.sqrt(COLUMNS)
    u, v = generator.standard_normal(ROWS), generator.standard_normal(COLUMNS)
    if active is not None:
        v[active:] = 0
    return noise, u / np.linalg.norm(u), v / np.linalg.norm(v)


def covariance_vectors(first, generator):
    """Eigenvectors of a covariance whose largest variance lies along ``first``."""
    q, _ = np.linalg.qr(np.column_stack([first, generator.standard_normal((len(first), len(first) - 1))]))
    return q


@pytest.fixture(scope="module")
def spiked():
    """theta = 1.5, above the threshold c^(1/4) = 0.795; v has 75 of 1500 coordinates."""
    noise, u, v = noise_and_direction(20, active=75)
    return u, v, decomposed(noise + 1.5 * np.outer(u, v))


@pytest.fixture(scope="module")
def suppressed():
    """Noise has nothing along u, and s u v^T puts a little there."""
    noise, u, v = noise_and_direction(21, active=75)
    return u, v, decomposed(noise - np.outer(u, u @ noise) + 0.15 * np.outer(u, v))


def test_upper_outlier(spiked):
    u, v, (values, left, right) = spiked
    theta = 1.5**2
    value = math.sqrt((1 + theta) * (C + theta) / theta)
    of_left, of_right = 1 - C * (1 + theta) / (theta * (theta + C)), 1 - (C + theta) / (theta * (theta + 1))
    assert np.round([value, of_left, of_right], 3).tolist() == [1.956, 0.782, 0.638]
    assert abs(values[0] - value) < 0.03
    assert abs((u @ left[:, 0]) ** 2 - of_left) < 0.03
    assert abs((v @ right[:, 0]) ** 2 - of_right) < 0.04
    verdict = fit_marchenko_pastur(values, (ROWS, COLUMNS))
    assert (verdict.n_below, verdict.n_above) == (0, 1)


def test_lower_outlier(suppressed):
    u, v, (values, left, right) = suppressed
    assert abs(values[-1] - 0.15 * math.sqrt(1 - C)) < 0.01
    assert (u @ left[:, -1]) ** 2 > 0.95
    assert abs((v @ right[:, -1]) ** 2 - (1 - C)) < 0.04
    verdict = fit_marchenko_pastur(values, (ROWS, COLUMNS))
    assert (verdict.n_below, verdict.n_above) == (1, 0)
    assert values[-2] > 0.9 * asymptotic_edges(1 / math.sqrt(COLUMNS), (ROWS, COLUMNS))[0]


def test_no_lower_outlier_without_suppression():
    noise, u, v = noise_and_direction(21, active=75)
    values, left, right = decomposed(noise + 0.15 * np.outer(u, v))
    verdict = fit_marchenko_pastur(values, (ROWS, COLUMNS))
    assert (verdict.n_below, verdict.n_above) == (0, 0)
    assert (u @ left[:, -1]) ** 2 < 0.05
    assert (v @ right[:, -1]) ** 2 < 0.05


def test_no_outlier_below_the_threshold():
    noise, u, v = noise_and_direction(22)
    values, _, right = decomposed(noise + 0.7 * np.outer(u, v))
    verdict = fit_marchenko_pastur(values, (ROWS, COLUMNS))
    assert (verdict.n_below, verdict.n_above) == (0, 0)
    assert (v @ right[:, 0]) ** 2 < 0.2
    assert porter_thomas(right).p_value.min() > 0.1 / ROWS


@pytest.mark.parametrize(("case", "rank"), [("spiked", 0), ("suppressed", -1)])
def test_vectors_of_outliers_stand_out_and_the_others_do_not(case, rank, request):
    """Both tests, on a direction that few inputs have and along which inputs vary most."""
    _, v, (_, _, right) = request.getfixturevalue(case)
    eigenvectors = covariance_vectors(v, np.random.default_rng(23))
    found = activation_overlap(right, eigenvectors, top=1)
    assert found.index[rank] == 0
    assert found.overlap[rank] == pytest.approx(math.sqrt(0.6 if rank else 0.638), abs=0.03)
    assert found.p_value[rank] < 1e-50
    test = porter_thomas(right)
    assert test.p_value[rank] == 1 / (test.draws + 1)
    others = np.delete(np.arange(ROWS), rank)
    # Of 599 expected: 1.8 outside the band of 0.3 %, 30 with p <= 0.05. What the outlier leaves of v is
    # spread over all of them.
    outside = (found.overlap[others] > found.null_high) | (found.overlap[others] < found.null_low)
    assert np.count_nonzero(outside) <= 8
    assert 12 <= np.count_nonzero(test.p_value[others] <= 0.05) <= 50
    assert np.abs(test.windowed[40:-40] - 0.5).max() < 0.5 - 0.12


def test_sampled_edges():
    values = linalg.svdvals(np.random.default_rng(24).standard_normal((512, 2048)))
    low, high = asymptotic_edges(1.0, (512, 2048))
    assert np.round([low, high], 3).tolist() == [22.627, 67.882]
    # Tracy-Widom: within a few n^(-2/3) of the edges.
    assert abs(values[-1] / low - 1) < 0.015
    assert abs(values[0] / high - 1) < 0.015
