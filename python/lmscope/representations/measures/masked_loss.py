"""Loss of an encoder's own masked-LM head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmscope.representations.head import check_head
from lmscope.representations.language_model import LanguageModel
from lmscope.representations.measures.budget import Reading, spread
from lmscope.representations.measures.masking import mask_token, masked, short_window
from lmscope.representations.measures.measure import Scores
from lmscope.representations.measures.token_losses import token_losses
from lmscope.representations.passages import capture_windows
from lmscope.representations.tokens_at_once import tokens_at_once
from lmscope.representations.windows import cut

__all__ = ["MaskedLossMeasure"]


class MaskedLossMeasure:
    """Mean loss at masked tokens in nats; units are windows, weights their masked tokens."""

    def __init__(self, model: LanguageModel, texts: Sequence[str], reading: Reading) -> None:
        if model.head != "masked_lm":
            raise ValueError(
                f"masked_loss: {model.label} was loaded without a masked-LM head; load it with "
                'head="masked_lm", which needs the head\'s weights in the checkpoint'
            )
        token = mask_token(model, "masked_loss")
        check_head(model)
        self._model = model
        size = short_window(model, reading.window)
        every = [one for one in cut(model, texts, size) if not one.special.all()]
        if not every:
            raise ValueError("masked_loss: the texts have nothing but special tokens")
        windows = spread(every, [len(one.ids) for one in every], reading)
        self._windows = list(masked(windows, token, reading.seed))
        self._weights = np.array([len(one.places) for one in self._windows], dtype=np.float64)
        self.names = ("masked_loss",)
        self.chance = {"masked_loss": float(np.log(model.vocabulary))}
        self.notes = {
            "masked_loss": f"{int(self._weights.sum())} masked tokens, 15 % of each of {len(self._windows)} "
            f"of {len(every)} windows of at most {size} tokens, all replaced by the mask token"
        }

    def evaluate(self) -> dict[str, Scores]:
        passages = capture_windows(
            self._model,
            (one.window for one in self._windows),
            batch_tokens=tokens_at_once(self._model),
        )
        states = (
            passage.states[self._model.depth][one.places]
            for one, passage in zip(self._windows, passages, strict=True)
        )
        found = token_losses(self._model, states, [one.targets for one in self._windows])
        return {"masked_loss": Scores(np.array([one.mean() for one in found]), self._weights)}
