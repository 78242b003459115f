"""A labelled task from prose that every Python carries: which page of its reference a passage is from."""

from __future__ import annotations

import random
import re
from collections import Counter
from pydoc_data.topics import topics
from typing import NamedTuple

PAGES = (
    "specialnames",
    "compound",
    "types",
    "formatstrings",
    "string-methods",
    "typesseq",
    "debugger",
    "typesmapping",
)
"""Long pages, as pydoc names them: the labels."""

WORDS = range(8, 41)
"""Of a passage; longer paragraphs are cut."""
PARTS = 10
HELD_OUT_PARTS = 3
TRAINING_PASSAGES = 90
TEST_PASSAGES = 40
"""At most, of a page."""
ROW = 10
"""Words in a row that tell a quotation."""


class Task(NamedTuple):
    training: list[tuple[str, int]]
    test: list[tuple[str, int]]


def read_task(seed: int) -> Task:
    """Passages with the number of their page.

    Each page is cut between paragraphs into ten contiguous parts, three of which, drawn by ``seed``, are the
    test. Pages quote each other and themselves: a paragraph that occurs twice anywhere is in neither, and a
    passage that shares ten words in a row with one of the test is not learnt from.
    """
    pages = [_paragraphs(topics[page]) for page in PAGES]
    counts = Counter(_bare(paragraph) for page in pages for paragraph in page)
    draw = random.Random(seed)
    training: list[list[str]] = [[] for _ in PAGES]
    test: list[list[str]] = [[] for _ in PAGES]
    for label, page in enumerate(pages):
        once = [paragraph for paragraph in page if counts[_bare(paragraph)] == 1]
        held_out = set(draw.sample(range(PARTS), HELD_OUT_PARTS))
        for place, paragraph in enumerate(once):
            part = test if place * PARTS // len(once) in held_out else training
            part[label].extend(_passages(paragraph))
    seen = {words for page in test for passage in page for words in rows_of_words(passage)}
    unseen = [[passage for passage in page if seen.isdisjoint(rows_of_words(passage))] for page in training]
    return Task(_drawn(unseen, TRAINING_PASSAGES, draw), _drawn(test, TEST_PASSAGES, draw))


def rows_of_words(passage: str) -> set[tuple[str, ...]]:
    """Every ten words that follow each other."""
    words = _bare(passage).split()
    return {tuple(words[start : start + ROW]) for start in range(len(words) - ROW + 1)}


def _drawn(pages: list[list[str]], most: int, draw: random.Random) -> list[tuple[str, int]]:
    return [
        (passage, label)
        for label, passages in enumerate(pages)
        for passage in draw.sample(passages, min(most, len(passages)))
    ]


def _paragraphs(text: str) -> list[str]:
    return [part for part in re.split(r"\n\s*\n", text) if part.strip()]


def _passages(paragraph: str) -> list[str]:
    words = paragraph.split()
    pieces = (words[start : start + WORDS[-1]] for start in range(0, len(words), WORDS[-1]))
    return [" ".join(piece) for piece in pieces if len(piece) in WORDS]


def _bare(passage: str) -> str:
    return re.sub(r"\W+", " ", passage).strip().lower()
