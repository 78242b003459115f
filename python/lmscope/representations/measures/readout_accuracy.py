"""How many labelled texts a read-out of the embedding recognises, fitted once where there is no head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lmscope.representations.language_model import LanguageModel
from lmscope.representations.measures.budget import Reading, firsts
from lmscope.representations.measures.embeddings import counted, sums_of_states
from lmscope.representations.measures.labelled_windows import commonest_share, first_windows, spread_labels
from lmscope.representations.measures.masking import short_window
from lmscope.representations.measures.measure import Scores
from lmscope.representations.measures.softmax_regression import fit_softmax_regression
from lmscope.representations.windows import Window

__all__ = ["ReadoutAccuracyMeasure"]

_FIT = 8
"""Tokens read for the fit, over those of an evaluation."""
_FEWEST = 4
"""Texts that every label needs: two to fit, one of them to choose the ridge, and two to test."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class ReadoutAccuracyMeasure:
    """Whether a read-out of the text's embedding gives the label; fitted once on half of the labelled texts.

    The halves are drawn by the seed, each with its share of every label; a text that repeats one before it,
    as far as it is read, is left out. The read-out is a softmax regression. Units are texts of the other
    half, their values 1 or 0.
    """

    def __init__(
        self,
        model: LanguageModel,
        texts: Sequence[str],
        labels: Sequence[str | int],
        reading: Reading,
    ) -> None:
        self._model = model
        size = short_window(model, reading.window)
        every = first_windows(model, texts, size)
        kept = firsts(one.ids for one in every)
        every = [every[place] for place in kept]
        names, numbers = np.unique([str(labels[place]) for place in kept], return_inverse=True)
        if len(names) < 2:
            raise ValueError(f"accuracy: every label is {str(names[0])!r}; at least two are needed")
        for number, name in enumerate(names):
            count = int((numbers == number).sum())
            if count < _FEWEST:
                raise ValueError(
                    f"accuracy: label {str(name)!r} has {count} texts without repeats; a read-out needs at "
                    f"least {_FEWEST} of each label"
                )
        fit, test = _stratified_halves(numbers, reading.seed)
        fit = spread_labels(fit, every, numbers, reading, _FIT)
        test = spread_labels(test, every, numbers, reading)
        unseen = sorted(set(numbers.tolist()) - set(numbers[fit].tolist()))
        if unseen:
            raise ValueError(
                f"accuracy: eval_tokens: {reading.eval_tokens} leaves no text of label "
                f"{str(names[unseen[0]])!r} to fit"
            )
        self._windows = [every[place] for place in test]
        self._labels = numbers[test]
        # By label and place, so that every fourth text of a label chooses the ridge.
        order = np.lexsort((fit, numbers[fit]))
        validation = np.zeros(len(fit), dtype=bool)
        validation[order[1::4]] = True
        self._readout = fit_softmax_regression(
            self._features([every[place] for place in fit]), numbers[fit], len(names), validation
        )
        self.names = ("accuracy",)
        self.chance = {"accuracy": commonest_share(self._labels)}
        self.notes = {
            "accuracy": f"by a read-out of {len(names)} labels from the mean of the last hidden states of "
            f"{counted(model)}, fitted to {len(fit)} texts of the untouched model (ridge "
            f"{self._readout.ridge:g}) and tested on {len(test)} others of {len(texts)}, the first {size} "
            f"tokens of each, {len(texts) - len(kept)} repeated ones left out; the commonest label makes "
            f"{self.chance['accuracy']:.3g}"
        }

    def evaluate(self) -> dict[str, Scores]:
        chosen = self._readout.log_probabilities(self._features(self._windows)).argmax(1)
        right = (chosen == self._labels).astype(np.float64)
        return {"accuracy": Scores(right, np.ones(len(right)))}

    def _features(self, windows: Sequence[Window]) -> Floats:
        sums = sums_of_states(self._model, windows, range(len(windows)))
        return np.array([total / tokens for total, tokens in (sums[row] for row in range(len(windows)))])


def _stratified_halves(labels: Integers, seed: int) -> tuple[Integers, Integers]:
    generator = np.random.default_rng([seed, len(labels)])
    fit, test = [], []
    for label in np.unique(labels):
        own = generator.permutation(np.flatnonzero(labels == label))
        fit.append(own[: len(own) // 2])
        test.append(own[len(own) // 2 :])
    return np.concatenate(fit), np.concatenate(test)
