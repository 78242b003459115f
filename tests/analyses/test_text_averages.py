"""Averages over texts: the convention of Diff-eRank, and intervals that cover what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lmscope import (
    Entropy,
    average_entropies,
    conditional_entropy,
    diff_erank,
    representation_entropy,
    skill_entropy,
)


def text(spread: float, seed: int, tokens: int = 40) -> Entropy:
    z = np.random.default_rng([seed, 5]).standard_normal((tokens, 12)) * np.geomspace(1, spread, 12)
    return representation_entropy(z)


def test_entropies_are_averaged_before_they_are_exponentiated() -> None:
    found = [text(spread, seed) for seed, spread in enumerate((1, 3, 10, 50))]
    average = average_entropies(found)
    assert average.effective_rank == pytest.approx(math.exp(np.mean([one.matrix_entropy for one in found])))
    assert average.effective_rank < np.mean([one.effective_rank for one in found]) - 0.05
    assert average.normalized == pytest.approx(np.mean([one.normalized for one in found]))
    assert average.effective_rank_low < average.effective_rank < average.effective_rank_high
    wider = average_entropies(found, confidence=0.99)
    assert wider.normalized_low < average.normalized_low < average.normalized < average.normalized_high
    assert average.texts == 4


def test_one_text_has_no_interval() -> None:
    one = text(3, 0)
    average = average_entropies([one])
    assert average.normalized == one.normalized
    assert math.isnan(average.normalized_low)
    assert math.isnan(average.effective_rank_high)
    found = diff_erank(one, text(1, 1))
    assert (
        found.difference
        == pytest.approx(found.pairwise)
        == pytest.approx(text(1, 1).effective_rank - one.effective_rank)
    )
    assert math.isnan(found.low)


def test_intervals_cover() -> None:
    """Texts whose spread varies: measured coverage of the 95 % intervals over 150 samples of 12 texts."""
    generator = np.random.default_rng(0)
    pool = [
        (
            text(math.exp(generator.normal(2, 0.4)), seed),
            text(math.exp(generator.normal(0.5, 0.2)), seed + 10**6),
        )
        for seed in range(600)
    ]
    entropies = np.array([[one.matrix_entropy for one in pair] for pair in pool])
    normalized = np.mean([pair[0].normalized for pair in pool])
    ranks = np.exp(entropies.mean(axis=0))
    held = np.zeros(3)
    repeats = 150
    for _ in range(repeats):
        chosen = [pool[index] for index in generator.integers(0, len(pool), 12)]
        trained, untrained = zip(*chosen, strict=True)
        average, difference = average_entropies(trained), diff_erank(trained, untrained)
        held += [
            average.normalized_low <= normalized <= average.normalized_high,
            average.effective_rank_low <= ranks[0] <= average.effective_rank_high,
            difference.low <= ranks[1] - ranks[0] <= difference.high,
        ]
    # Three standard errors of 150 trials are 5.3 points.
    assert (held >= 0.897 * repeats).all()
    assert (held < repeats).all()


def test_windows_of_a_text_are_averaged_first() -> None:
    windows = [text(spread, seed) for seed, spread in enumerate((1, 3, 10, 50, 2))]
    texts = [4, 4, 9, 9, 9]
    found = average_entropies(windows, texts=texts)
    means = [np.mean([one.normalized for one in some]) for some in (windows[:2], windows[2:])]
    matrix = [np.mean([one.matrix_entropy for one in some]) for some in (windows[:2], windows[2:])]
    expected = stats.ttest_1samp(means, 0).confidence_interval()
    assert (found.normalized, found.texts) == (pytest.approx(np.mean(means)), 2)
    assert (found.normalized_low, found.normalized_high) == pytest.approx(tuple(expected))
    assert found.effective_rank == pytest.approx(math.exp(np.mean(matrix)))
    twins = [text(1, seed) for seed in range(5)]
    difference = diff_erank(windows, twins, texts=texts)
    ranks = np.array([b.effective_rank - a.effective_rank for a, b in zip(windows, twins, strict=True)])
    assert difference.texts == 2
    assert difference.pairwise == pytest.approx((ranks[:2].mean() + ranks[2:].mean()) / 2)
    with pytest.raises(ValueError, match="texts must name the text of each of 5 entropies, got 2"):
        average_entropies(windows, texts=[0, 1])


def test_what_does_not_belong_together() -> None:
    with pytest.raises(ValueError, match="give one for each text"):
        average_entropies([])
    other = representation_entropy(np.eye(4, 12))
    with pytest.raises(ValueError, match="text 1 has other dimensions or settings"):
        average_entropies([text(1, 0), representation_entropy(np.eye(4, 11))])
    with pytest.raises(ValueError, match="trained has 1 texts, untrained 2"):
        diff_erank(other, [other, other])
    with pytest.raises(ValueError, match="text 0 is not the same in trained and untrained"):
        diff_erank(other, text(1, 0))
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1, got 95"):
        average_entropies([other, other], confidence=95)


def test_conditional_entropy_is_a_mean_over_tokens() -> None:
    losses = [np.array([1.0, 2.0, 3.0]), np.array([5.0])]
    found = conditional_entropy(losses)
    assert found.mean == pytest.approx(11 / 4)
    assert found.perplexity == pytest.approx(math.exp(11 / 4))
    assert (found.texts, found.tokens) == (2, 4)
    assert found.low < found.mean < found.high
    assert math.isnan(conditional_entropy(losses[:1]).low)


def test_conditional_entropy_covers_over_texts() -> None:
    """Texts of different length and difficulty; an interval over tokens would be far too narrow."""
    generator = np.random.default_rng(1)

    def draw(texts: int) -> list[np.ndarray]:
        return [
            generator.gamma(2, generator.uniform(0.5, 2), generator.integers(10, 100)) for _ in range(texts)
        ]

    truth = conditional_entropy(draw(20000)).mean
    found = [conditional_entropy(draw(25)) for _ in range(300)]
    assert 0.91 * 300 <= sum(one.low <= truth <= one.high for one in found) < 300
    # Lengths vary, and yet the error is what the means scatter by: nats alone scatter a half more.
    half = np.mean([one.high - one.low for one in found]) / 2
    assert half == pytest.approx(stats.t.ppf(0.975, 24) * np.std([one.mean for one in found]), rel=0.15)


def test_conditional_entropy_refuses() -> None:
    for losses, message in (
        ([], "holds no text"),
        ([np.array([])], r"losses of text 0 must be one-dimensional, got shape \(0,\)"),
        ([np.ones(2), np.array([1.0, np.nan])], "losses of text 1 has nan at row 0, column 1"),
        ([np.array([-0.5])], "text 0 has a loss of -0.5"),
    ):
        with pytest.raises(ValueError, match=message):
            conditional_entropy(losses)


def test_skill_tail() -> None:
    """log(loss - a) against log(skills learnt) has the slope -alpha, and the asymptote meets the sum."""
    skills = np.geomspace(1e4, 1e8, 9)
    loss = skill_entropy(skills, alpha=0.3, a=0.5, b=4.0)
    slope = np.polyfit(np.log(skills), np.log(loss - 0.5), 1)[0]
    assert slope == pytest.approx(-0.300, abs=0.005)
    assert skill_entropy(skills, alpha=0.3, a=0.5, b=4.0, asymptotic=True) == pytest.approx(loss, rel=1e-4)


def test_skill_sum() -> None:
    frequencies = np.arange(1.0, 10**6) ** -2.5
    frequencies /= frequencies.sum()
    for learnt in (0, 1, 7):
        expected = 0.2 * frequencies[:learnt].sum() + 3 * frequencies[learnt:].sum()
        assert skill_entropy(learnt, alpha=1.5, a=0.2, b=3.0) == pytest.approx(expected, rel=1e-8)
    with pytest.raises(ValueError, match="learnt must be from 0 up"):
        skill_entropy([-1], alpha=1, a=0, b=1)
    with pytest.raises(ValueError, match="alpha must be above 0"):
        skill_entropy(1, alpha=0, a=0, b=1)
