"""One checkpoint of an `unembedding` run: its states on the texts, and what is made of them when needed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope.checkpoints import CheckpointError
from lmscope.runs.errors import UsageError
from lmscope.runs.meter import Meter
from lmscope.runs.reading import Reading
from lmscope.runs.unembedding_settings import (
    LEAST_EVALUATED,
    LEAST_POSITIONS,
    UnembeddingSettings,
)
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


_LOG = logging.getLogger(__name__)

_PARTED = " (two thirds of the text are fitted, the last third is held out)"


@dataclass(frozen=True)
class Sizes:
    """What estimates of time are made from."""

    vocabulary: int
    dimensions: int
    parameters_without_embedding: int
    depth: int


def not_finite(model: LanguageModel) -> str:
    """Why nothing can be made of a model that has NaN or Inf among its weights; "" where it has not, as far
    as its output embedding and a pass over four tokens show."""
    import torch

    head = model.model.get_output_embeddings()
    if head is not None and getattr(head, "weight", None) is not None:
        sums = head.weight.detach().sum(1, dtype=torch.float32)
        if not sums.isfinite().all():
            row = int((~sums.isfinite()).nonzero()[0, 0])
            return f"the output embedding of {model.label} has NaN or Inf in row {row}"
    states = model.forward([model.some_ids(4)]).last_hidden_state
    if not states.isfinite().all():
        return f"the hidden states of {model.label} are NaN or Inf: some of its weights are not finite"
    return ""


class Subject:
    """A model, trained or not, on the texts; `model` gives it. What fails raises ValueError."""

    def __init__(
        self,
        model: Callable[[], LanguageModel],
        texts: ReadTexts,
        settings: UnembeddingSettings,
        meter: Meter,
    ) -> None:
        self._model = model
        self.meter = meter
        self.texts = texts
        self.settings = settings

    @property
    def model(self) -> LanguageModel:
        return self._model()

    @cached_property
    def head(self) -> OutputHead:
        from lmscope.representations.output_head import output_head

        reason = not_finite(self.model)
        if reason:
            raise ValueError(reason)
        return output_head(self.model)

    @property
    def embedding(self) -> torch.Tensor:
        return self.head.weight.cpu()

    @property
    def bias(self) -> npt.NDArray[np.float64] | None:
        return None if self.head.bias is None else self.head.bias.double().cpu().numpy()

    @cached_property
    def fit(self) -> NextStates:
        positions = self.settings.positions
        return self._states(self.texts.fit, positions, self.meter.over(positions))

    @cached_property
    def averages(self) -> TokenAverages:
        from lmscope.representations.token_averages import head_averages

        advance = self.meter.over(len(self.fit))
        return head_averages(self.head, self.fit.states, self.fit.targets, advance=advance)

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
        further = {"held_out": self.texts.held_out, "other": self.texts.other}
        positions = self.settings.eval_positions
        # Each position is read, and then normalised.
        advance = self.meter.over(2 * positions * sum(map(bool, further.values())))
        for name, texts in further.items():
            if texts:
                states = self._states(texts, positions, advance)
                found[name] = text_states(self.head, states, advance=advance)
        return found

    @cached_property
    def removal_states(self) -> NextStates:
        positions = self.settings.removal_positions
        return self._states(self.texts.held_out, positions, self.meter.over(positions))

    @property
    def other_removal_states(self) -> NextStates:
        """Of the other text, of which there must be some."""
        return self._states(self.texts.other, self.settings.removal_positions, lambda _: None)

    @cached_property
    def named_tokens(self) -> tuple[int, ...]:
        """Ids of those that the settings name; ValueError for one that the head has no row for."""
        from lmscope.output_embedding.reachable import check_tokens, token_id

        ids = [token_id(self.model, one) for one in self.settings.steer or ()]
        return tuple(check_tokens(self.head, ids).tolist())

    @cached_property
    def tokens(self) -> tuple[int, ...]:
        """Those that are steered."""
        from lmscope.output_embedding.middle_tokens import middle_tokens
        from lmscope.representations.windows import special_ids

        if self.settings.steer is not None:
            return self.named_tokens
        found = middle_tokens(
            self.averages.log_probability,
            self.counts,
            count=self.settings.steer_count,
            seed=self.settings.seed,
            special=sorted(special_ids(self.model.tokenizer)),
            largest_factor=max(self.settings.factors),
        )
        return tuple(found.tolist())

    @cached_property
    def prompts(self) -> list[list[int]]:
        """Beginnings of held-out windows that are continued."""
        from lmscope.runs.unembedding_prompts import prompts_of

        settings = self.settings
        return prompts_of(
            self.model,
            self.texts.held_out,
            window=settings.window_of(self.model.context),
            count=settings.prompts,
            new_tokens=settings.new_tokens,
        )

    @cached_property
    def untouched(self) -> list[list[int]]:
        """Their continuations by the model as it is."""
        return self.continuations()

    def continuations(self) -> list[list[int]]:
        """Greedy ones, by the model as it is now."""
        from lmscope.representations.generation import generate

        return generate(self.model, self.prompts, new_tokens=self.settings.new_tokens)

    def _states(self, texts: list[str], positions: int, advance: Callable[[int], None]) -> NextStates:
        from lmscope.representations.next_states import next_states

        window = self.settings.window_of(self.model.context)
        return next_states(self.model, texts, window=window, positions=positions, advance=advance)

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
        self.sizes = Sizes(0, 0, 0, 0)
        self._available: dict[str, int] = {}
        self._largest: dict[str, int] = {}
        self.meter = Meter()
        self.trained = Subject(lambda: reading.model, texts, settings, self.meter)
        self._twin: LanguageModel | None = None
        self.twin = Subject(self._untrained, texts, settings, self.meter)

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

    def positions(self, text: str, most: int) -> int:
        """How many of `most` are read; none of a text that is not given."""
        return min(most, self._available.get(text, 0))

    def _untrained(self) -> LanguageModel:
        """The twin in the model's place; nothing of the trained model is kept in memory."""
        if self._twin is None:
            self.trained.forget()
            self._twin = self.reading.untrained(self.settings.seed)
        return self._twin

    def check(self) -> None:
        """Load the model, note its sizes, and refuse what nothing can be made of.

        Raises `CheckpointError` for one without a head that is understood, `UsageError` for texts that are
        too short and for unknown tokens.
        """
        model = self.reading.model
        self.sizes = Sizes(
            model.vocabulary, model.hidden_size, model.parameters_without_embedding, model.depth
        )
        if model.kind != "causal":
            raise CheckpointError(
                f"{model.label} is of type {model.model_type!r}, an encoder, which has no head that gives "
                "next-token logits; give a causal model's checkpoint",
                file=self.checkpoint.path,
            )
        texts = self.trained.texts
        positions = self.settings.positions
        steered = {"eval_positions": self.settings.eval_positions} if self.settings.steering else {}
        removed = {"removal_positions": self.settings.removal_positions} if self.settings.removal else {}
        for name, read, least, bounds in (
            ("text", texts.fit, LEAST_POSITIONS, {"positions": positions}),
            ("held_out", texts.held_out, LEAST_EVALUATED, {**steered, **removed}),
            ("other_text", texts.other, LEAST_EVALUATED, {**steered, **removed}),
        ):
            if read or name != "other_text":
                self._check_text(model, name, read, least, bounds)
        if self.last and self.settings.removal:
            self._warn_of_few_windows()
        if not_finite(model):
            # Of these weights, not of this kind of model: its records fail, those of other checkpoints stand.
            return
        try:
            self.trained.head  # noqa: B018 - refuses a formula that is not known
        except ValueError as error:
            raise CheckpointError(str(error), file=self.checkpoint.path) from error
        if self.last and self.settings.steering and self.settings.steer is not None:
            try:
                self.trained.named_tokens  # noqa: B018 - refuses unknown ones
            except ValueError as error:
                raise UsageError(f"steer: {error}") from error

    def _check_text(
        self, model: LanguageModel, name: str, texts: list[str], least: int, bounds: Mapping[str, int]
    ) -> None:
        from lmscope.representations.windows import cut, window_size

        try:
            windows = list(cut(model, texts, window_size(model, self.settings.window_of(model.context))))
        except ValueError as error:
            raise UsageError(str(error)) from error
        positions = [int((~window.special[1:]).sum()) for window in windows]
        self._available[name] = sum(positions)
        held = sum(count > 0 for count in positions)
        if sum(positions) < least or held < 2:
            parted = _PARTED if self.trained.texts.parted and name != "other_text" else ""
            raise UsageError(
                f"{name}: {sum(positions)} positions in {held} windows for {self.name}; {least} in 2 windows "
                f"are needed: give more text, or a smaller window{parted}"
            )
        self._largest[name] = max(positions)
        for bound, most in bounds.items():
            # Whole windows are read, and intervals take two.
            if most < min(sum(positions), 2 * max(positions)):
                raise UsageError(
                    f"{bound}: {most} positions are less than two windows of {max(positions)} ({name}); give "
                    f"at least {2 * max(positions)}, or a smaller window"
                )

    def _warn_of_few_windows(self) -> None:
        """Of which half choose a removable set, and half check it."""
        from lmscope.analyses.lesion_impact import FEWEST_UNITS

        largest, most = self._largest["held_out"], self.settings.removal_positions
        chosen_on = self.positions("held_out", most) // largest // 2
        if chosen_on < FEWEST_UNITS:
            _LOG.warning(
                "removable set of %s: chosen without an interval: about %d windows of held-out text, %d are "
                "needed; give at least %d removal_positions and as much held-out text, or a smaller window",
                *(self.name, chosen_on, FEWEST_UNITS, 2 * FEWEST_UNITS * largest),
            )

    def forget(self) -> None:
        """Let go of the models and of all that was made with them."""
        self.trained.forget()
        self.twin.forget()
        self._twin = None
        self.reading.forget()
