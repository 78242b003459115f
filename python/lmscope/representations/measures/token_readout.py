"""Loss of a read-out of masked tokens, fitted once where a checkpoint has no head."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lmscope.representations.language_model import LanguageModel
from lmscope.representations.measures.budget import Reading, spread
from lmscope.representations.measures.masking import MaskedWindow, mask_token, masked, short_window
from lmscope.representations.measures.measure import Scores
from lmscope.representations.measures.softmax_regression import fit_softmax_regression
from lmscope.representations.passages import capture_windows
from lmscope.representations.tokens_at_once import tokens_at_once
from lmscope.representations.windows import Window, cut

__all__ = ["TokenReadoutMeasure"]

_FEWEST = 12
"""Times that a token must occur in the windows of the fit to be one of those read out."""
_FIT = 8
"""Tokens read for the fit, over those of an evaluation."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class TokenReadoutMeasure:
    """Mean loss in nats at masked tokens of windows that the read-out was not fitted on; units are windows.

    Half of the windows are for the fit, drawn by the seed. The ``targets`` most frequent of their tokens are
    the classes; only such tokens are masked, in the fit and in evaluations. The features are the last hidden
    states at the masks, the read-out a softmax regression.
    """

    def __init__(
        self,
        model: LanguageModel,
        texts: Sequence[str],
        reading: Reading,
        *,
        targets: int,
    ) -> None:
        if model.kind != "encoder":
            raise ValueError(
                f"readout_loss: {model.label} is a causal model, which is not trained to read behind a mask; "
                "it has loss"
            )
        token = mask_token(model, "readout_loss")
        self._model = model
        size = short_window(model, reading.window)
        fit, held_out = _halves(list(cut(model, texts, size)), reading)
        self._tokens = _most_frequent(fit, targets)
        if len(self._tokens) < 2:
            raise ValueError(
                f"readout_loss: the texts are too short: {len(self._tokens)} tokens occur {_FEWEST} times or "
                f"more in the {len(fit)} windows to fit the read-out on, and it needs at least 2; give more "
                "text"
            )
        fitted = list(masked(fit, token, reading.seed, self._tokens))
        self._windows = list(masked(held_out, token, reading.seed, self._tokens))
        if len(fitted) < 4 or not self._windows:
            raise ValueError(
                f"readout_loss: the texts are too short: {len(fitted)} windows of at most {size} tokens to "
                f"fit the read-out on and {len(self._windows)} to hold out have a frequent token; 4 and 1 "
                "are needed: give more text or a smaller window"
            )
        labels = [self._labels(one) for one in fitted]
        # Whole windows, as the tokens of one are alike.
        validation = np.repeat(np.arange(len(labels)) % 4 == 3, [len(own) for own in labels])
        together = np.concatenate(labels)
        self._readout = fit_softmax_regression(
            np.concatenate(self._features(fitted)), together, len(self._tokens), validation
        )
        self._held_labels = [self._labels(one) for one in self._windows]
        self._weights = np.array([len(own) for own in self._held_labels], dtype=np.float64)
        shares = np.bincount(together, minlength=len(self._tokens)) + 1.0
        frequencies = np.log(shares / shares.sum())
        chance = float(-frequencies[np.concatenate(self._held_labels)].mean())
        self.names = ("readout_loss",)
        self.chance = {"readout_loss": chance}
        self.notes = {
            "readout_loss": f"a read-out of the {len(self._tokens)} most frequent tokens, fitted to "
            f"{len(together)} masked tokens of {len(fitted)} windows of the untouched model (ridge "
            f"{self._readout.ridge:g}); {int(self._weights.sum())} masked tokens of {len(self._windows)} "
            f"other windows are held out, where the tokens' frequencies alone lose {chance:.4g} nats"
        }

    def evaluate(self) -> dict[str, Scores]:
        features = self._features(self._windows)
        together = self._readout.losses(np.concatenate(features), np.concatenate(self._held_labels))
        ends = np.cumsum([0, *map(len, features)])
        means = [together[start:stop].mean() for start, stop in pairwise(ends)]
        return {"readout_loss": Scores(np.array(means), self._weights)}

    def _labels(self, window: MaskedWindow) -> Integers:
        return np.searchsorted(self._tokens, window.targets)

    def _features(self, windows: Sequence[MaskedWindow]) -> list[Floats]:
        passages = capture_windows(
            self._model, (one.window for one in windows), batch_tokens=tokens_at_once(self._model)
        )
        return [
            passage.states[self._model.depth][one.places].double().cpu().numpy()
            for one, passage in zip(windows, passages, strict=True)
        ]


def _halves(windows: list[Window], reading: Reading) -> tuple[list[Window], list[Window]]:
    order = np.random.default_rng([reading.seed, len(windows)]).permutation(len(windows))
    halves = [sorted(order[: len(order) // 2]), sorted(order[len(order) // 2 :])]
    chosen = []
    for places, times in zip(halves, (_FIT, 1), strict=True):
        own = [windows[place] for place in places]
        chosen.append(spread(own, [len(one.ids) for one in own], reading, times) if own else [])
    return chosen[0], chosen[1]


def _most_frequent(windows: Sequence[Window], most: int) -> Integers:
    """Ascending token ids; of equally frequent ones the smaller."""
    own = [np.asarray(one.ids, dtype=np.int64)[~one.special] for one in windows]
    tokens, counts = np.unique(np.concatenate([*own, np.zeros(0, np.int64)]), return_counts=True)
    often = counts >= _FEWEST
    order = np.argsort(-counts[often], kind="stable")[:most]
    return np.sort(tokens[often][order])
