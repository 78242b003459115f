"""Loss of a read-out of masked tokens, fitted once where a checkpoint has no head."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lmscope.representations.language_model import LanguageModel
from lmscope.representations.measures.budget import Reading, firsts, spread
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
_DRAWS = 8
"""Most times that a window of the fit is masked, where there are too few windows for so many tokens."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class TokenReadoutMeasure:
    """Mean loss in nats at masked tokens of windows that the read-out was not fitted on; units are windows.

    What an evaluation reads, at most half of the windows, is drawn by the seed; the others are for the fit,
    masked several times where they are few. Windows that repeat another's tokens are left out. The
    ``targets`` most frequent tokens of the fit's windows are the classes; only such tokens are masked, in the
    fit and in evaluations. The features are the last hidden states at the masks, the read-out a softmax
    regression.
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
        every = list(cut(model, texts, size))
        unlike = [every[place] for place in firsts(one.ids for one in every)]
        fit, held_out = _parts(unlike, reading)
        self._tokens = _most_frequent(fit, targets)
        if len(self._tokens) < 2:
            raise ValueError(
                f"readout_loss: the texts are too short: {len(self._tokens)} tokens occur {_FEWEST} times or "
                f"more in the {len(fit)} windows to fit the read-out on, and it needs at least 2; give more "
                "text"
            )
        draws = min(_DRAWS, _FIT * reading.eval_tokens // sum(len(one.ids) for one in fit))
        fitted = [
            one
            for draw in range(max(1, draws))
            for one in masked(fit, token, reading.seed, self._tokens, draw)
        ]
        self._windows = list(masked(held_out, token, reading.seed, self._tokens))
        places = [(one.window.text, one.window.window) for one in fitted]
        windows = {place: number for number, place in enumerate(dict.fromkeys(places))}
        if len(windows) < 4 or not self._windows:
            raise ValueError(
                f"readout_loss: the texts are too short: {len(windows)} windows of at most {size} tokens to "
                f"fit the read-out on and {len(self._windows)} to hold out have a frequent token; 4 and 1 "
                "are needed: give more text or a smaller window"
            )
        labels = [self._labels(one) for one in fitted]
        # Whole windows, as the tokens of one are alike.
        chosen = np.array([windows[place] % 4 == 3 for place in places])
        validation = np.repeat(chosen, [len(own) for own in labels])
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
            f"{len(together)} masked tokens of {len(windows)} windows of the untouched model (ridge "
            f"{self._readout.ridge:g}, each window masked {max(1, draws)} times, {len(every) - len(unlike)} "
            f"repeated ones left out); {int(self._weights.sum())} masked tokens of {len(self._windows)} "
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


def _parts(windows: Sequence[Window], reading: Reading) -> tuple[list[Window], list[Window]]:
    """Windows of the fit and of evaluations, in their order."""
    order = np.random.default_rng([reading.seed, len(windows)]).permutation(len(windows))
    half = sorted(order[len(order) // 2 :].tolist())
    held_out = spread(half, [len(windows[place].ids) for place in half], reading)
    fit = sorted(set(range(len(windows))) - set(held_out))
    if fit:
        fit = spread(fit, [len(windows[place].ids) for place in fit], reading, _FIT)
    return [windows[place] for place in fit], [windows[place] for place in held_out]


def _most_frequent(windows: Sequence[Window], most: int) -> Integers:
    """Ascending token ids; of equally frequent ones the smaller."""
    own = [np.asarray(one.ids, dtype=np.int64)[~one.special] for one in windows]
    tokens, counts = np.unique(np.concatenate([*own, np.zeros(0, np.int64)]), return_counts=True)
    often = counts >= _FEWEST
    order = np.argsort(-counts[often], kind="stable")[:most]
    return np.sort(tokens[often][order])
