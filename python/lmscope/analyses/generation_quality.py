"""How varied generated tokens are, how often they repeat themselves, and how far two generations agree."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lmscope import html_repr

__all__ = ["GenerationQuality", "generation_quality", "same_tokens", "token_share"]

_REPEATED = 4
"""Length of what counts as said before: as in seq-rep-4 of Welleck et al. (2020, arXiv 1908.04319)."""


@dataclass(frozen=True, repr=False)
class GenerationQuality:
    """Diversity and repetition of generated token ids.

    Attributes:
        distinct_1, distinct_2, distinct_3: different n-grams over n-grams, over all sequences, n-grams within
            one sequence (Li et al. 2016, arXiv 1510.03055). They fall with the number of tokens: compare them
            at equal numbers, ``at`` of :func:`lmscope.generation_quality`. None where no sequence is
            so long.
        repetition: share of the tokens that lie in a 4-gram which the same sequence had before; None where
            there are no tokens.
        tokens: in all sequences.
        sequences: how many.
        at: the number of n-grams that distinct_n was brought to; None for all there are.
    """

    distinct_1: float | None
    distinct_2: float | None
    distinct_3: float | None
    repetition: float | None
    tokens: int
    sequences: int
    at: int | None

    def __repr__(self) -> str:
        return (
            f"GenerationQuality(distinct {html_repr.number(self.distinct_1)}, "
            f"{html_repr.number(self.distinct_2)}, {html_repr.number(self.distinct_3)}, "
            f"repetition={html_repr.number(self.repetition)}, tokens={self.tokens})"
        )

    def _repr_html_(self) -> str:
        facts = [
            ("distinct 1-grams", html_repr.number(self.distinct_1)),
            ("distinct 2-grams", html_repr.number(self.distinct_2)),
            ("distinct 3-grams", html_repr.number(self.distinct_3)),
            ("of n-grams", "all" if self.at is None else self.at),
            ("repetition", html_repr.number(self.repetition)),
        ]
        return html_repr.block(
            f"{self.tokens} generated tokens in {self.sequences} sequences", html_repr.facts(facts)
        )


def generation_quality(sequences: Sequence[Sequence[int]], *, at: int | None = None) -> GenerationQuality:
    """Distinct-n and repetition of generated tokens.

    Args:
        sequences: token ids of each generation, without its prompt.
        at: number of n-grams that are drawn, without replacement, for distinct_n: its expectation over all
            draws, in closed form (rarefaction, Hurlbert 1971). So generations of different lengths can be
            compared at the number of the shortest; the same for n = 1, 2 and 3.

    Raises:
        ValueError: ``at`` is below 1, or more than there are n-grams.
    """
    if at is not None and at < 1:
        raise ValueError(f"at: {at} n-grams; at least one is needed")
    tokens = sum(map(len, sequences))
    one, two, three = (_distinct(Counter(_grams(sequences, length)), length, at) for length in (1, 2, 3))
    repeated = sum(_repeated(sequence) for sequence in sequences)
    return GenerationQuality(
        one, two, three, repeated / tokens if tokens else None, tokens, len(sequences), at
    )


def same_tokens(sequences: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> float | None:
    """Share of places with the same token in both; a place that only one of two sequences has counts as
    different. None where neither has tokens.

    ValueError for different numbers of sequences.
    """
    places = same = 0
    for one, other in _pairs(sequences, others):
        places += max(len(one), len(other))
        same += sum(token == second for token, second in zip(one, other, strict=False))
    return same / places if places else None


def token_share(sequences: Sequence[Sequence[int]], token: int) -> float | None:
    """Share of the tokens that are ``token``; None where there are none."""
    tokens = sum(map(len, sequences))
    return sum(list(sequence).count(token) for sequence in sequences) / tokens if tokens else None


def _pairs(
    sequences: Sequence[Sequence[int]], others: Sequence[Sequence[int]]
) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    if len(sequences) != len(others):
        raise ValueError(
            f"{len(sequences)} sequences and {len(others)} others: generations of the same prompts are "
            "compared"
        )
    return zip(sequences, others, strict=True)


def _grams(sequences: Sequence[Sequence[int]], length: int) -> Iterator[tuple[int, ...]]:
    for sequence in sequences:
        for start in range(len(sequence) - length + 1):
            yield tuple(sequence[start : start + length])


def _distinct(counts: Counter[tuple[int, ...]], length: int, at: int | None) -> float | None:
    total = counts.total()
    if not total:
        return None
    if at is None or at == total:
        return len(counts) / total
    if at > total:
        raise ValueError(f"at: {at} n-grams, but there are {total} of length {length}")

    def drawn(count: int) -> float:
        """Chance that one of the ``at`` drawn is one of ``count``."""
        if total - count < at:
            return 1.0
        return -math.expm1(math.fsum(math.log1p(-at / (total - place)) for place in range(count)))

    # Few counts differ: each chance is needed once.
    found = math.fsum(many * drawn(count) for count, many in Counter(counts.values()).items())
    # No more can be distinct than are drawn, nor than there are, but for rounding.
    return min(found, at, len(counts)) / at


def _repeated(sequence: Sequence[int]) -> int:
    """Tokens that lie in a 4-gram which began earlier in the sequence as well."""
    seen: set[tuple[int, ...]] = set()
    covered: set[int] = set()
    for start, gram in enumerate(_grams([sequence], _REPEATED)):
        if gram in seen:
            covered.update(range(start, start + _REPEATED))
        seen.add(gram)
    return len(covered)
