"""Next-token loss of a causal model by strided windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lmscope.representations.head import check_head
from lmscope.representations.language_model import LanguageModel
from lmscope.representations.measures.budget import Reading, spread
from lmscope.representations.measures.measure import Scores
from lmscope.representations.measures.strided import stride_of, strided
from lmscope.representations.measures.token_losses import token_losses
from lmscope.representations.passages import capture_windows
from lmscope.representations.tokens_at_once import tokens_at_once
from lmscope.representations.windows import window_size

if TYPE_CHECKING:
    import torch

__all__ = ["LossMeasure"]

# Short, so that an evaluation has many windows, which its interval is over.
_WINDOW = 256


class LossMeasure:
    """Mean loss of the next token in nats; units are windows, weights their scored tokens."""

    def __init__(
        self,
        model: LanguageModel,
        texts: Sequence[str],
        reading: Reading,
        *,
        stride: int | None,
    ) -> None:
        if model.kind != "causal":
            raise ValueError(
                f"loss: {model.label} is of type {model.model_type!r}, an encoder, which gives no next-token "
                "loss; encoders have masked_loss, embedding, retrieval and readout_loss"
            )
        check_head(model)
        self._model = model
        size = window_size(model, reading.window)
        if reading.window is None:
            size = min(_WINDOW, size)
        step = stride_of(size, stride)
        every = list(strided(model, texts, size, step))
        if not every:
            raise ValueError("loss: the texts have no token with another before it")
        lengths = [len(one.window.ids) for one in every]
        self._windows = spread(every, lengths, reading)
        self._targets = [np.asarray(one.window.ids[one.first :]) for one in self._windows]
        self._weights = np.array([one.scored for one in self._windows], dtype=np.float64)
        self.names = ("loss",)
        self.chance = {"loss": float(np.log(model.vocabulary))}
        self.notes = {
            "loss": f"{int(self._weights.sum())} tokens scored in {len(self._windows)} of {len(every)} "
            f"windows of at most {size} tokens, {step} apart"
        }

    def evaluate(self) -> dict[str, Scores]:
        values = token_losses(self._model, self._states(), self._targets)
        return {"loss": Scores(np.array([one.mean() for one in values]), self._weights)}

    def _states(self) -> Iterator[torch.Tensor]:
        passages = capture_windows(
            self._model,
            (one.window for one in self._windows),
            batch_tokens=tokens_at_once(self._model),
        )
        for one, passage in zip(self._windows, passages, strict=True):
            yield passage.states[self._model.depth][one.first - 1 : -1]
