"""How many labelled texts the checkpoint's own head recognises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.representations.language_model import LanguageModel
from lmscope.representations.measures.budget import Reading
from lmscope.representations.measures.labelled_windows import commonest_share, first_windows, spread_labels
from lmscope.representations.measures.masking import short_window
from lmscope.representations.measures.measure import Scores
from lmscope.representations.tokens_at_once import tokens_at_once

__all__ = ["HeadAccuracyMeasure"]

Integers = npt.NDArray[np.int64]


class HeadAccuracyMeasure:
    """Whether the checkpoint's own head gives the label; units are texts, their values 1 or 0."""

    def __init__(
        self,
        model: LanguageModel,
        texts: Sequence[str],
        labels: Sequence[str | int],
        reading: Reading,
    ) -> None:
        self._model = model
        known = {int(number): str(name) for number, name in model.model.config.id2label.items()}
        if len(known) < 2 or model.model.config.problem_type in ("regression", "multi_label_classification"):
            raise ValueError(f"accuracy: the head of {model.label} does not choose one of several labels")
        numbers = _numbers(labels, known)
        size = short_window(model, reading.window)
        every = first_windows(model, texts, size)
        chosen = spread_labels(np.arange(len(every)), every, numbers, reading)
        self._windows = [every[place] for place in chosen]
        self._labels = numbers[chosen]
        self.names = ("accuracy",)
        self.chance = {"accuracy": commonest_share(self._labels)}
        self.notes = {
            "accuracy": f"by the checkpoint's own head, {len(known)} labels; {len(chosen)} of {len(texts)} "
            f"texts, the first {size} tokens of each; the commonest label makes {self.chance['accuracy']:.3g}"
        }

    def evaluate(self) -> dict[str, Scores]:
        right = np.empty(len(self._windows))
        for rows in self._batches():
            logits = self._model.outputs([self._windows[row].ids for row in rows]).logits
            finite = logits.isfinite().all(1).cpu().numpy()
            if not finite.all():
                wrong = self._windows[rows[int(np.flatnonzero(~finite)[0])]]
                raise ValueError(
                    f"accuracy: labelled text {wrong.text}: the logits of {self._model.label} are not finite"
                )
            right[rows] = logits.argmax(1).cpu().numpy() == self._labels[rows]
        return {"accuracy": Scores(right, np.ones(len(right)))}

    def _batches(self) -> Iterator[list[int]]:
        """Windows by length; one at a time where the model cannot tell where a padded one ends."""
        order = sorted(range(len(self._windows)), key=lambda row: -len(self._windows[row].ids))
        padded = self._model.model.config.pad_token_id is not None
        tokens = tokens_at_once(self._model)
        while order:
            rows = max(1, tokens // len(self._windows[order[0]].ids)) if padded else 1
            yield order[:rows]
            order = order[rows:]


def _numbers(labels: Sequence[str | int], known: dict[int, str]) -> Integers:
    """The head's number of each label: by its name, else as a number."""
    by_name: dict[Any, int] = {name: number for number, name in known.items()}
    found = []
    for text, label in enumerate(labels):
        number = by_name.get(label)
        if number is None and str(label).isdecimal() and int(label) in known:
            number = int(label)
        if number is None:
            some = ", ".join(f"{name!r} ({number})" for number, name in list(known.items())[:8])
            raise ValueError(
                f"accuracy: labelled text {text} has the label {label!r}, which the checkpoint's head does "
                f"not have; it has {some}"
            )
        found.append(number)
    return np.array(found, dtype=np.int64)
