"""One checkpoint of an `unembedding` run: its states on the texts and what is made of them, each when needed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope.checkpoints import CheckpointError
from lmscope.runs.errors import UsageError
from lmscope.runs.reading import Reading
from lmscope.runs.unembedding_settings import LEAST_EVALUATED, LEAST_POSITIONS, UnembeddingSettings
from lmscope.runs.unembedding_texts import ReadTexts, token_counts

if TYPE_CHECKING:
    import torch

    from lmscope.analyses.token_encoding import Encoding
    from lmscope.checkpoints import Checkpoint
    from lmscope.output_embedding.text_states import TextStates
    from lmscope.representations import LanguageModel
    from lmscope.representations.next_states import NextStates
    from lmscope.representations.output_head import OutputHead
    from lmscope.representations.token_averages import TokenAverages


class Subject:
    """A model, trained or not, on the texts; `model` gives it. What fails raises ValueError."""

    def __init__(
        self, model: Callable[[], LanguageModel], texts: ReadTexts, settings: UnembeddingSettings
    ) -> None:
        self._model = model
        self.texts = texts
        self.settings = settings

    @property
    def model(self) -> LanguageModel:
        return self._model()

    @cached_property
    def head(self) -> OutputHead:
        from lmscope.representations.output_head import output_head

        return output_head(self.model)

    @property
    def embedding(self) -> torch.Tensor:
        return self.head.weight.cpu()

    @property
    def bias(self) -> npt.NDArray[np.float64] | None:
        return None if self.head.bias is None else self.head.bias.double().cpu().numpy()

    @cached_property
    def fit(self) -> NextStates:
        return self._states(self.texts.fit, self.settings.positions)

    @cached_property
    def averages(self) -> TokenAverages:
        from lmscope.representations.token_averages import head_averages

        return head_averages(self.head, self.fit.states, self.fit.targets)

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """How often each token comes next in the fitting text."""
        return np.bincount(self.fit.targets, minlength=self.head.vocabulary)

    @cached_property
    def frequencies(self) -> npt.NDArray[np.int64]:
        """How often each token occurs in the text of the frequencies."""
        found = token_counts(self.model, self.texts.frequency)
        return np.pad(found, (0, max(0, self.head.vocabulary - len(found))))[: self.head.vocabulary]

    @cached_property
    def encoding(self) -> Encoding:
        """Of the mean probabilities of all tokens."""
        from lmscope.analyses.token_encoding import fit_token_encoding

        return fit_token_encoding(
            self.embedding,
            self.averages.log_probability,
            bias=self.bias,
            hidden_mean=self.averages.hidden_mean,
        )

    @cached_property
    def evaluated(self) -> dict[str, TextStates]:
        """What steering is measured on, by its name in the records."""
        from lmscope.output_embedding.text_states import text_states

        found = {"fit": text_states(self.head, self.fit, self.averages)}
        for name, texts in (("held_out", self.texts.held_out), ("other", self.texts.other)):
            if texts:
                found[name] = text_states(self.head, self._states(texts, self.settings.eval_positions))
        return found

    @cached_property
    def removal_states(self) -> NextStates:
        return self._states(self.texts.held_out, self.settings.removal_positions)

    @cached_property
    def tokens(self) -> tuple[int, ...]:
        """Those that are steered."""
        from lmscope.output_embedding.middle_tokens import middle_tokens
        from lmscope.output_embedding.steering import token_ids
        from lmscope.representations.windows import special_ids
        from lmscope.runs.unembedding_settings import MIDDLE_TOKENS

        if self.settings.steer is not None:
            return tuple(int(one) for one in token_ids(self.model, self.settings.steer))
        found = middle_tokens(
            self.averages.log_probability,
            self.counts,
            count=MIDDLE_TOKENS,
            seed=self.settings.seed,
            special=sorted(special_ids(self.model.tokenizer)),
        )
        return tuple(int(one) for one in found)

    def _states(self, texts: list[str], positions: int) -> NextStates:
        from lmscope.representations.next_states import next_states

        return next_states(self.model, texts, window=self.settings.window, positions=positions)

    def forget(self) -> None:
        """Let go of all that was made."""
        for name, kind in vars(type(self)).items():
            if isinstance(kind, cached_property):
                self.__dict__.pop(name, None)


class Examined:
    """A checkpoint of a series; `last`: it gets every table, the others heads, encoding and dynamics.

    Where there are `several` series, its name is told with that of its series.
    """

    def __init__(
        self,
        reading: Reading,
        step: int | None,
        series: str,
        texts: ReadTexts,
        settings: UnembeddingSettings,
        *,
        last: bool,
        several: bool,
    ) -> None:
        self.reading = reading
        self.step = step
        self.series = series
        self.settings = settings
        self.last = last
        self._several = several
        self.trained = Subject(lambda: reading.model, texts, settings)
        self._twin: LanguageModel | None = None
        self.twin = Subject(self._untrained, texts, settings)

    @property
    def checkpoint(self) -> Checkpoint:
        return self.reading.checkpoint

    @property
    def name(self) -> str:
        """By which failures and progress tell it."""
        alone = not self._several or self.series == self.reading.label
        return self.reading.label if alone else f"{self.series}/{self.reading.label}"

    @property
    def about(self) -> dict[str, Any]:
        return {
            "checkpoint": self.reading.label,
            "identity": self.checkpoint.identity,
            "step": self.step,
            "series": self.series,
        }

    def told(self, what: str) -> str:
        return f"{self.name}, {what}"

    def record(self, what: str = "") -> str:
        return f"{self.checkpoint.identity} {what}".rstrip()

    def _untrained(self) -> LanguageModel:
        """The twin in the model's place; nothing of the trained model is kept in memory."""
        if self._twin is None:
            self.trained.forget()
            self._twin = self.reading.untrained(self.settings.seed)
        return self._twin

    def check(self) -> None:
        """Load the model and refuse what nothing can be made of: raises `CheckpointError` for one without a
        head, `UsageError` for texts that are too short."""
        model = self.reading.model
        if model.kind != "causal":
            raise CheckpointError(
                f"{model.label} is of type {model.model_type!r}, an encoder, which has no head that gives "
                "next-token logits; give a causal model's checkpoint",
                file=self.checkpoint.path,
            )
        texts = self.trained.texts
        for name, read, least in (
            ("text", texts.fit, LEAST_POSITIONS),
            ("held_out", texts.held_out, LEAST_EVALUATED),
            ("other_text", texts.other, LEAST_EVALUATED),
        ):
            if read or name != "other_text":
                self._check_text(model, name, read, least)

    def _check_text(self, model: LanguageModel, name: str, texts: list[str], least: int) -> None:
        from lmscope.representations.windows import cut, window_size

        try:
            windows = list(cut(model, texts, window_size(model, self.settings.window)))
        except ValueError as error:
            raise UsageError(str(error)) from error
        positions = [int((~window.special[1:]).sum()) for window in windows]
        held = sum(count > 0 for count in positions)
        if sum(positions) < least or held < 2:
            what = "two thirds of it are fitted, the rest is held out" if name != "other_text" else ""
            raise UsageError(
                f"{name}: {sum(positions)} positions in {held} windows for {self.name}; at least {least} in 2 "
                f"windows are needed: give more text, or a smaller --window{f' ({what})' if what else ''}"
            )

    def forget(self) -> None:
        """Let go of the models and of all that was made with them."""
        self.trained.forget()
        self.twin.forget()
        self._twin = None
        self.reading.forget()
