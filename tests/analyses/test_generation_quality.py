"""Diversity and repetition of generated tokens against counts by hand and against drawing."""

from __future__ import annotations

import numpy as np
import pytest

import lmscope
from lmscope.analyses.generation_quality import same_tokens, token_share


def test_counts_by_hand() -> None:
    found = lmscope.generation_quality([[1, 2, 1, 2, 1], [1, 2, 3]])
    assert found.distinct_1 == 3 / 8
    # 12, 21, 12, 21 and 12, 23: n-grams do not reach over the end of a sequence.
    assert found.distinct_2 == 3 / 6
    # 121, 212, 121 and 123.
    assert found.distinct_3 == 3 / 4
    assert found.repetition == 0
    assert (found.tokens, found.sequences) == (8, 2)


def test_repetition_is_what_lies_in_a_4_gram_said_before() -> None:
    # 1234 comes back at place 5; one token before and one behind are new.
    assert lmscope.generation_quality([[1, 2, 3, 4, 9, 1, 2, 3, 4, 8]]).repetition == 4 / 10
    # In a loop of two tokens all but the first two lie in a 4-gram that began before.
    assert lmscope.generation_quality([[1, 2] * 5]).repetition == 8 / 10
    # What another sequence said is no repetition.
    assert lmscope.generation_quality([[1, 2, 3, 4], [1, 2, 3, 4]]).repetition == 0


def test_rarefaction_is_the_mean_over_draws() -> None:
    generator = np.random.default_rng(0)
    tokens = generator.zipf(1.6, 300) % 60
    found = lmscope.generation_quality([tokens.tolist()], at=50).distinct_1
    draws = [len(set(generator.permutation(tokens)[:50].tolist())) / 50 for _ in range(4000)]
    assert found == pytest.approx(np.mean(draws), abs=4 * np.std(draws) / 4000**0.5)


def test_at_equal_numbers_the_length_of_a_generation_does_not_count() -> None:
    generator = np.random.default_rng(1)
    long = (generator.zipf(1.6, 20000) % 500).tolist()
    short = (generator.zipf(1.6, 500) % 500).tolist()
    whole = [lmscope.generation_quality([tokens]).distinct_1 for tokens in (long, short)]
    equal = [lmscope.generation_quality([tokens], at=400).distinct_1 for tokens in (long, short)]
    assert whole[0] < 0.3 * whole[1]  # type: ignore[operator]
    assert equal[0] == pytest.approx(equal[1], rel=0.1)


def test_all_n_grams_are_the_last_draw() -> None:
    tokens = [[1, 2, 2, 3, 1, 1]]
    assert lmscope.generation_quality(tokens, at=4).distinct_1 > 3 / 6  # type: ignore[operator]
    assert lmscope.generation_quality([[1, 2, 2]], at=1).distinct_2 == pytest.approx(1)


def test_no_more_than_all_drawn_are_distinct() -> None:
    every = [list(range(30_000))]
    for at in (1, 7, 299, 12_345, 29_997):
        found = lmscope.generation_quality(every, at=at).distinct_1
        assert found is not None
        assert 1 - 1e-14 <= found <= 1
    # One token of 1000 is there twice: it takes its chance of both being drawn.
    twice = [[*range(999), 0]]
    found = lmscope.generation_quality(twice, at=500).distinct_1
    assert found == pytest.approx(1 - (500 * 499) / (1000 * 999) / 500, rel=1e-14)


def test_nothing_generated() -> None:
    found = lmscope.generation_quality([[], []])
    assert (found.distinct_1, found.distinct_3, found.repetition, found.tokens) == (None, None, None, 0)
    assert lmscope.generation_quality([[5, 6]]).distinct_3 is None


def test_what_two_generations_share() -> None:
    assert same_tokens([[1, 2, 3], [4]], [[1, 9, 3, 7], [4]]) == 3 / 5
    assert same_tokens([[]], [[]]) is None
    assert token_share([[1, 2, 1], [1]], 1) == 3 / 4
    assert token_share([[]], 1) is None
    with pytest.raises(ValueError, match="1 sequences and 2 others"):
        same_tokens([[1]], [[1], [2]])


@pytest.mark.parametrize(
    ("at", "sentence"), [(0, "at least one"), (4, "at: 4 n-grams, but there are 3 of length 1")]
)
def test_refusals(at: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        lmscope.generation_quality([[1, 2, 3]], at=at)
