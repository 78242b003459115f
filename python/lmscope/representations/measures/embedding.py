"""How far embeddings turn, and whether the halves of a text still find each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lmscope.representations.language_model import LanguageModel
from lmscope.representations.measures.budget import Reading
from lmscope.representations.measures.embeddings import counted, sums_of_states, unit_rows
from lmscope.representations.measures.halved import halved
from lmscope.representations.measures.measure import Scores
from lmscope.representations.windows import window_size

__all__ = ["FEWEST_TEXTS", "SHORTEST_TEXT", "EmbeddingMeasure", "long_enough", "retrieval_ranks"]

FEWEST_TEXTS = 4
SHORTEST_TEXT = 16
"""Own tokens that a text needs for its halves to be told from those of others."""

Floats = npt.NDArray[np.float64]


class EmbeddingMeasure:
    """``embedding`` and ``retrieval`` from one forward pass over both halves of texts; units are texts."""

    def __init__(
        self,
        model: LanguageModel,
        texts: Sequence[str],
        reading: Reading,
        *,
        names: Sequence[str],
    ) -> None:
        self._model = model
        self._texts = halved(model, texts, window_size(model, reading.window), reading)
        self._long = np.flatnonzero(np.array(self._texts.sizes) >= SHORTEST_TEXT)
        if "retrieval" in names and len(self._long) < FEWEST_TEXTS:
            raise ValueError(
                f"retrieval: {len(self._long)} of the {len(self._texts.sizes)} texts read have "
                f"{SHORTEST_TEXT} tokens or more, and at least {FEWEST_TEXTS} are needed for halves to be "
                "found among others; split the text into several, or raise eval_tokens"
            )
        self.names = tuple(names)
        read = f"at most {self._texts.read} tokens of each half"
        notes = {
            "embedding": f"mean of the last hidden states of {counted(model)}, of "
            f"{len(self._texts.sizes)} of {len(texts)} texts, {read}, beside those untouched",
            "retrieval": f"{len(self._long)} of {len(texts)} texts, {read}; mean rank by chance is "
            f"{(len(self._long) + 1) / 2:g}; equally close halves share their ranks",
        }
        chance = {"retrieval": (len(self._long) + 1) / 2}
        self.notes = {name: notes[name] for name in names}
        self.chance = {name: value for name, value in chance.items() if name in names}
        self._reference, _ = self._embeddings()

    def evaluate(self) -> dict[str, Scores]:
        whole, halves = self._embeddings()
        found = {}
        if "embedding" in self.names:
            # Of unit vectors this is 1 - cosine, and exactly 0 where nothing changed.
            turned = 0.5 * np.sum((whole - self._reference) ** 2, axis=1)
            found["embedding"] = Scores(turned, np.ones(len(turned)))
        if "retrieval" in self.names:
            first, second = (half[self._long] for half in halves)
            ranks = retrieval_ranks(unit_rows(first, "first half"), unit_rows(second, "second half"))
            found["retrieval"] = Scores(ranks, np.ones(len(ranks)))
        return found

    def _embeddings(self) -> tuple[Floats, tuple[Floats, Floats]]:
        """Unit embeddings of texts, and the sums of their halves' states: zeros where there is no half."""
        sums = sums_of_states(self._model, self._texts.windows, self._texts.keys)
        texts = range(len(self._texts.sizes))
        nothing = np.zeros_like(next(iter(sums.values()))[0]), 0
        halves = tuple(np.array([sums.get((text, half), nothing)[0] for text in texts]) for half in (0, 1))
        # Cosines know no length, so that sums serve for means.
        return unit_rows(halves[0] + halves[1], "text"), (halves[0], halves[1])


def retrieval_ranks(first: Floats, second: Floats) -> Floats:
    """Rank, from 1, of each row of ``second`` among all by cosine to the same row of ``first``.

    Both of unit rows; those equally close share the mean of their ranks.
    """
    cosines = first @ second.T
    own = np.diag(cosines)[:, None]
    ranks: Floats = 0.5 + (cosines > own).sum(1) + 0.5 * (cosines == own).sum(1)
    return ranks


def long_enough(model: LanguageModel, texts: Sequence[str]) -> bool:
    """Whether ``retrieval`` has as many texts as it needs."""
    around = model.tokenizer.num_special_tokens_to_add(pair=False)
    found = 0
    for text in texts:
        tokens = model.tokenizer(text, verbose=False)["input_ids"]
        found += len(tokens) - around >= SHORTEST_TEXT
        if found >= FEWEST_TEXTS:
            return True
    return False
