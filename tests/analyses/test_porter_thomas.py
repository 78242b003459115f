"""Porter-Thomas: p-values against uniformly random unit vectors are uniform, and so are windows of them."""

from __future__ import annotations

import math
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from scipy import special, stats

from lmscope import porter_thomas
from lmscope.analyses import porter_thomas_null as null_of


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """Draws of this module stay in one folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.delenv("LMSCOPE_CACHE", raising=False)
        null_of._null.cache_clear()
        yield folder
        null_of._null.cache_clear()


def unit_vectors(length, count, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((length, count))
    return vectors / np.linalg.norm(vectors, axis=0)


def within(found, count, rate, draws):
    """Whether so many of ``count`` p-values may be at or below ``rate``: each set of draws has a rate of its
    own."""
    at_most = round(rate * (draws + 1))
    low, high = stats.betabinom.ppf([0.0005, 0.9995], count, at_most, draws + 1 - at_most)
    return low <= found <= high


# ---- the law of one entry, and the distance to it


@pytest.mark.parametrize("length", [8, 9, 64, 768, 30000])
def test_law_of_one_entry(length):
    values = np.linspace(-0.9, 0.9, 7) * min(1, 6 / math.sqrt(length))
    # x sqrt((N - 1) / (1 - x^2)) has Student's law with N - 1 degrees of freedom.
    student = stats.t.cdf(values * np.sqrt((length - 1) / (1 - values**2)), length - 1)
    np.testing.assert_allclose(null_of.entry_cdf(values, length), student, atol=1e-13)
    assert null_of.entry_cdf([-1, 0, 1], length).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize("length", [8, 11, 768, 5000])
def test_distance_is_that_of_kstest(length):
    vectors = unit_vectors(length, 5)
    expected = [
        stats.kstest(column, lambda x: null_of.entry_cdf(x, length)).statistic for column in vectors.T
    ]
    found = null_of.distances(np.ascontiguousarray(vectors.T), length)
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-9)


# ---- p-values


@pytest.mark.parametrize("length", [8, 64, 768])
def test_p_values_of_random_directions_are_uniform(length):
    found = porter_thomas(unit_vectors(length, 6000, seed=1))
    assert found.draws == 9999
    for rate in (0.1, 0.05, 0.01, 0.001):
        assert within(np.count_nonzero(found.p_value <= rate), 6000, rate, found.draws)
    assert stats.ks_2samp(found.distance, null_of.distance_null(length).draws).pvalue > 1e-3
    assert abs(found.deviation.mean()) < 0.06
    assert abs(found.deviation.std() - 1) < 0.05


@pytest.mark.parametrize(("length", "draws"), [(8, 300_000), (40, 150_000), (333, 30_000), (6000, 1500)])
def test_mean_and_spread_of_the_distance_are_those_of_fresh_draws(length, draws):
    found = null_of.simulate(length, seed=77, draws=draws)
    mean, sd = null_of.moments(length)
    error = sd / math.sqrt(draws)
    assert abs(found.mean() - mean) < 4 * error
    assert abs(found.std() - sd) < 4 * error
    assert null_of.distance_null(length, draws=99).deviations(mean + 2 * sd) == pytest.approx(2)


def test_the_norm_matters_to_p_values():
    """Against the normal law, entries that are independent have uniform p-values; those of unit vectors are
    nearer to it than that."""
    length, count = 768, 6000
    entries = np.random.default_rng(2).standard_normal((count, length))
    unit = entries / np.linalg.norm(entries, axis=1, keepdims=True)

    def against_the_normal_law(rows):
        law = special.ndtr(np.sort(rows, axis=1))
        steps = np.arange(length + 1) / length
        distance = np.maximum((steps[1:] - law).max(axis=1), (law - steps[:-1]).max(axis=1))
        return stats.kstwo.sf(distance, length)

    independent = against_the_normal_law(entries)
    assert abs(independent.mean() - 0.5) < 0.015
    assert abs(np.mean(independent < 0.05) - 0.05) < 0.01
    scaled = against_the_normal_law(unit * math.sqrt(length))
    assert 0.525 < scaled.mean() < 0.555
    assert 0.54 < np.median(scaled) < 0.58
    assert 0.037 < np.mean(scaled < 0.05) < 0.049
    # The exact null makes up for it.
    exact = porter_thomas(unit.T).p_value
    assert abs(exact.mean() - 0.5) < 0.015
    assert within(np.count_nonzero(exact <= 0.05), count, 0.05, 9999)


@pytest.mark.parametrize("shape", [(96, 96), (60, 150)])
def test_singular_vectors_of_noise(shape):
    """Each is a random direction, and neighbours are independent enough for the band of the windows."""
    generator = np.random.default_rng(3)
    rate, window = 0.1, 15
    p_values, below, above, windows, neighbours = [], 0, 0, 0, []
    for _ in range(150):
        left, _, right = np.linalg.svd(generator.standard_normal(shape), full_matrices=False)
        for vectors in (left, right.T):
            found = porter_thomas(vectors, window=window, false_positive_rate=rate)
            apart = found.windowed[window // 2 : -(window // 2) : window]
            below += np.count_nonzero(apart < found.windowed_low)
            above += np.count_nonzero(apart > found.windowed_high)
            windows += len(apart)
            p_values.append(found.p_value)
            neighbours.append(np.corrcoef(found.p_value[:-1], found.p_value[1:])[0, 1])
    every = np.concatenate(p_values)
    for level in (0.1, 0.05, 0.01):
        assert within(np.count_nonzero(every <= level), every.size, level, 9999)
    low, high = stats.binom.interval(0.999, windows, rate / 2)
    assert low <= below <= high
    assert low <= above <= high
    # The mean over 300 sets of vectors, of standard error 1 / sqrt(300 * 95) or so.
    assert abs(np.mean(neighbours) + 1 / len(p_values[0])) < 0.03


def test_directions_that_are_not_random():
    length = 256
    generator = np.random.default_rng(4)
    heavy = generator.standard_t(2, length)
    constant = np.ones(length)
    single = np.eye(length)[:, 7]
    columns = np.stack([v / np.linalg.norm(v) for v in (heavy, constant, single)], axis=1)
    found = porter_thomas(columns)
    assert found.p_value.tolist() == [1e-4] * 3
    # How far is in the deviation, once the p-value has reached its smallest.
    assert 4 < found.deviation[0] < 20 < found.deviation[2] < found.deviation[1]
    assert porter_thomas(-columns).distance == pytest.approx(found.distance, abs=1e-12)
    # A window below the band needs no vector that is clear by itself.
    mild = generator.standard_t(5, (length, 31))
    mild /= np.linalg.norm(mild, axis=0)
    weak = porter_thomas(mild)
    assert weak.windowed[15] < weak.windowed_low
    assert weak.p_value.min() > 1e-3


def test_noise_in_columns_of_unequal_size_is_no_random_direction():
    """What the document warns of: nothing is learnt here."""
    generator = np.random.default_rng(5)
    noise = generator.standard_normal((256, 256)) * generator.lognormal(0, 1, 256)
    left, _, right = np.linalg.svd(noise)
    assert np.mean(porter_thomas(right.T).p_value <= 0.05) > 0.5
    assert np.mean(porter_thomas(left).p_value <= 0.05) < 0.1


# ---- windows


def test_band_of_a_window():
    vectors = unit_vectors(16, 3)

    def low(window, rate):
        found = porter_thomas(vectors, window=window, false_positive_rate=rate)
        assert math.isclose(found.windowed_high, 1 - found.windowed_low, rel_tol=1e-15)
        return found.windowed_low

    assert math.isclose(low(1, 0.02), 0.01, rel_tol=1e-9)
    # Three: t^3 / 6 up to a sum of 1.
    assert math.isclose(low(3, 0.02), (6 * 0.01) ** (1 / 3) / 3, rel_tol=1e-9)
    # Fifteen: the first terms of Irwin-Hall's alternating sum.
    total = 15 * low(15, 0.01)
    terms = [(-1) ** k * math.comb(15, k) * (total - k) ** 15 for k in range(math.floor(total) + 1)]
    assert math.isclose(math.fsum(terms) / math.factorial(15), 0.005, rel_tol=1e-6)
    # Many: the central limit.
    assert abs(low(301, 0.01) - (0.5 - stats.norm.isf(0.005) / math.sqrt(12 * 301))) < 1e-4


def test_windows_are_cut_at_the_ends():
    found = porter_thomas(unit_vectors(32, 9), window=5)
    p = found.p_value
    expected = [p[max(0, k - 2) : k + 3].mean() for k in range(9)]
    np.testing.assert_allclose(found.windowed, expected, rtol=1e-12)
    np.testing.assert_allclose(porter_thomas(unit_vectors(32, 9), window=99).windowed, p.mean(), rtol=1e-12)
    np.testing.assert_allclose(porter_thomas(unit_vectors(32, 9), window=1).windowed, p, rtol=1e-12)


# ---- what it takes, and what it costs


def test_blocks_orders_and_dtypes_do_not_matter():
    vectors = unit_vectors(512, 5000)
    assert vectors.size > 2 * null_of.BLOCK_ENTRIES
    found = porter_thomas(vectors)
    assert np.array_equal(porter_thomas(np.asfortranarray(vectors)).distance, found.distance)
    some = [0, 2047, 2048, 4999]
    assert np.array_equal(porter_thomas(vectors[:, some]).distance, found.distance[some])
    single = porter_thomas(vectors[:, some].astype(np.float32))
    np.testing.assert_allclose(single.distance, found.distance[some], atol=1e-7)
    assert np.array_equal(porter_thomas(torch.from_numpy(vectors[:, some])).p_value, found.p_value[some])


def test_memory_is_that_of_blocks():
    vectors = unit_vectors(512, 16384).astype(np.float32)
    porter_thomas(vectors[:, :2])
    tracemalloc.start()
    porter_thomas(vectors)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A float64 copy of the whole would be 67 MB; a block of 8 MB is copied, sorted, transformed.
    assert peak < 45e6


def test_draws_are_seeded_and_kept_on_disk(cache):
    vectors = unit_vectors(40, 200)
    first = porter_thomas(vectors)
    (file,) = (cache / "lmscope").glob("porter-thomas-*-40-draws9999-seed0.npz")
    drawn = null_of.simulate(40, seed=0, draws=9999)
    assert np.array_equal(np.sort(drawn), null_of.distance_null(40).draws)
    assert not np.array_equal(drawn, null_of.simulate(40, seed=1, draws=9999))
    other = porter_thomas(vectors, seed=1)
    assert np.array_equal(other.distance, first.distance)
    assert 0 < np.abs(other.p_value - first.p_value).max() < 0.03
    # A sound file is believed: it is read, not drawn again.
    np.savez(file, distance=np.linspace(0.9, 0.99, 9999))
    null_of._null.cache_clear()
    assert porter_thomas(vectors).p_value.tolist() == [1.0] * 200
    # No distance lies outside (0, 1).
    for wrong in (np.linspace(2, 3, 9999), np.linspace(-0.1, 0.5, 9999), np.linspace(0, 0.5, 9999)):
        np.savez(file, distance=wrong)
        null_of._null.cache_clear()
        assert np.array_equal(porter_thomas(vectors).p_value, first.p_value)
    file.unlink()
    null_of._null.cache_clear()
    assert np.array_equal(porter_thomas(vectors).p_value, first.p_value)


def test_threads_that_want_one_length_draw_it_once(monkeypatch):
    monkeypatch.setenv("LMSCOPE_CACHE", "0")
    with ThreadPoolExecutor(4) as threads:
        nulls = [threads.submit(null_of.distance_null, 300, draws=3000) for _ in range(4)]
    # The second to draw would hold draws of its own.
    assert len({id(null.result()) for null in nulls}) == 1


def test_fewer_draws_of_long_vectors():
    assert null_of.draws_for(13422) == 9999
    assert null_of.draws_for(28672) == 4681


def test_short_vectors_have_no_test_and_say_why():
    found = porter_thomas(unit_vectors(7, 4))
    assert found.reason == "vectors with 7 entries are too short for a test, which needs 8"
    assert found.reason in repr(found)
    for values in (found.distance, found.p_value, found.deviation, found.windowed):
        assert values.shape == (4,)
        assert np.isnan(values).all()
    assert (math.isnan(found.windowed_low), found.draws) == (True, 0)
    assert porter_thomas(unit_vectors(8, 4)).reason == ""


def test_what_is_wrong_is_named():
    vectors = unit_vectors(64, 5)
    longer, broken = vectors.copy(), vectors.copy()
    longer[:, 3] *= 1.01
    broken[5, 2] = np.nan
    with pytest.raises(ValueError, match=r"column 3 of vectors has norm 1\.01, expected a unit vector"):
        porter_thomas(longer)
    with pytest.raises(ValueError, match="column 2 of vectors has norm nan"):
        porter_thomas(broken)
    with pytest.raises(ValueError, match="column 3 of vectors"):
        porter_thomas(longer[:7] / np.linalg.norm(longer[:7], axis=0) * [1, 1, 1, 2, 1])
    with pytest.raises(ValueError, match="window must be odd"):
        porter_thomas(vectors, window=14)
    for rate in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="false_positive_rate"):
            porter_thomas(vectors, false_positive_rate=rate)
    with pytest.raises(ValueError, match="seed"):
        porter_thomas(vectors, seed=-1)
    with pytest.raises(ValueError, match=r"matrix with rows and columns, got shape \(64,\)"):
        porter_thomas(vectors[:, 0])
    with pytest.raises(TypeError, match="int64"):
        porter_thomas(np.ones((8, 2), np.int64))
