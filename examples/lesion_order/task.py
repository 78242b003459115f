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


class Task(NamedTuple):
    training: list[tuple[str, int]]
    test: list[tuple[str, int]]


def read_task(seed: int) -> Task:
    """Passages with the number of their page.

    Each page is cut between paragraphs into ten contiguous parts, three of which, drawn by ``seed``, are the
    test. A paragraph that occurs twice anywhere, as pages quote each other, is in neither.
    """
    pages = [_paragraphs(topics[page]) for page in PAGES]
    counts = Counter(_bare(paragraph) for page in pages for paragraph in page)
    draw = random.Random(seed)
    task = Task([], [])
    for label, page in enumerate(pages):
        once = [paragraph for paragraph in page if counts[_bare(paragraph)] == 1]
        held_out = set(draw.sample(range(PARTS), HELD_OUT_PARTS))
        training: list[str] = []
        test: list[str] = []
        for place, paragraph in enumerate(once):
            (test if place * PARTS // len(once) in held_out else training).extend(_passages(paragraph))
        for chosen, into, most in (
            (training, task.training, TRAINING_PASSAGES),
            (test, task.test, TEST_PASSAGES),
        ):
            draw.shuffle(chosen)
            into.extend((passage, label) for passage in chosen[:most])
    return task


def _paragraphs(text: str) -> list[str]:
    return [part for part in re.split(r"\n\s*\n", text) if part.strip()]


def _passages(paragraph: str) -> list[str]:
    words = paragraph.split()
    pieces = (words[start : start + WORDS[-1]] for start in range(0, len(words), WORDS[-1]))
    return [" ".join(piece) for piece in pieces if len(piece) in WORDS]


def _bare(passage: str) -> str:
    return re.sub(r"\W+", " ", passage).strip().lower()
