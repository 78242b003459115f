"""A checkpoint on its texts: the model is loaded, and the texts are cut, when something asks for them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from lmscope.runs.errors import UsageError
from lmscope.runs.heap import give_back

if TYPE_CHECKING:
    import torch

    from lmscope.checkpoints import Checkpoint
    from lmscope.representations import LanguageModel
    from lmscope.representations.windows import Window

Head = Literal["masked_lm", "sequence_classification"]

SPLITS = ("file", "paragraph", "line")

_SNIPPET = 80

Paths = str | os.PathLike[str]


def texts_of(text: Paths | Iterable[Paths] | None, texts: Iterable[str] | None, split: str) -> list[str]:
    """The texts of files, or those given; raises `UsageError` where there are none or one cannot be read."""
    from lmscope.representations import TextError, read_texts

    if split not in SPLITS:
        raise UsageError(f"split: {split!r} is not known; choose from {', '.join(SPLITS)}")
    if (text is None) == (texts is None):
        raise UsageError(
            "text: give the file to read, --text FILE" if text is None else "text, texts: give one"
        )
    if texts is not None:
        found = list(texts)
        if not found or not all(isinstance(one, str) and one.strip() for one in found):
            raise UsageError("texts: give at least one text, none of them empty")
        return found
    paths = [text] if isinstance(text, (str, os.PathLike)) else list(text or ())
    if not paths:
        raise UsageError("text: no file given")
    try:
        return read_texts(paths, split=split)  # type: ignore[arg-type]
    except TextError as error:
        raise UsageError(f"text: {error}") from None


def paths_of(text: Paths | Iterable[Paths] | None) -> list[str] | None:
    """Of the files that were read, absolute; None where texts were given instead."""
    if text is None:
        return None
    return [os.path.abspath(one) for one in ([text] if isinstance(text, (str, os.PathLike)) else text)]


def digest(texts: Sequence[str]) -> str:
    """16 hex digits that two lists of texts share where they are equal."""
    found = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        found.update(len(data).to_bytes(8, "little"))
        found.update(data)
    return found.hexdigest()[:16]


def snippet(text: str) -> str:
    """Its beginning, on one line."""
    return " ".join(text[: 4 * _SNIPPET].split())[:_SNIPPET]


class Reading:
    """One checkpoint and the texts; raises `CheckpointError` and `UsageError` when first used.

    Where the head is not needed and the weights lack it, the model is loaded without; `without_head` then
    says why.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        texts: Sequence[str],
        *,
        window: int | None,
        device: str,
        dtype: str,
        head: Head | None = None,
        head_needed: bool = True,
    ) -> None:
        self.checkpoint = checkpoint
        self.texts = texts
        self._window = window
        self._device = device
        self._dtype = dtype
        self._head: Head | None = head
        self._head_needed = head_needed
        self.without_head = ""
        self._losses: dict[tuple[int, int], npt.NDArray[np.float64]] = {}
        self._twin: LanguageModel | None = None

    @property
    def label(self) -> str:
        return self.checkpoint.label

    @cached_property
    def model(self) -> LanguageModel:
        from lmscope.checkpoints import CheckpointError

        try:
            return self._loaded(self._head)
        except CheckpointError as error:
            if self._head is None or self._head_needed:
                raise
            model = self._loaded(None)
            self._head, self.without_head = None, str(error)
            return model

    def _loaded(self, head: Head | None) -> LanguageModel:
        from lmscope.representations import load_model

        self._end_twin()
        try:
            return load_model(self.checkpoint, device=self._device, dtype=self._dtype, head=head)
        except ValueError as error:
            raise UsageError(str(error)) from error

    @cached_property
    def windows(self) -> list[Window]:
        """All of them, in the texts' order."""
        from lmscope.representations.windows import cut, window_size

        try:
            found = list(cut(self.model, self.texts, window_size(self.model, self._window)))
        except ValueError as error:
            raise UsageError(str(error)) from error
        if sum(int((~window.special).sum()) for window in found) < 2:
            raise UsageError(f"text: one token for {self.label}; give more text")
        return found

    def losses(self, window: Window) -> npt.NDArray[np.float64]:
        """Nats of the window's tokens from the second on; the model is causal."""
        place = window.text, window.window
        if place not in self._losses:
            from lmscope.representations.next_token import next_token_losses

            self._losses[place] = next_token_losses(self.model, window.ids).losses
        return self._losses[place]

    def take_losses(self, window: Window, last_states: torch.Tensor) -> None:
        """Make them from the last hidden states of the whole window, without running the model."""
        from lmscope.representations.next_token import losses_of_states

        place = window.text, window.window
        if place not in self._losses:
            self._losses[place] = losses_of_states(self.model, window.ids, last_states)

    def losses_by_place(self) -> dict[str, list[float]]:
        """All that were made, to be kept in a file."""
        return {f"{text} {window}": values.tolist() for (text, window), values in self._losses.items()}

    def take_losses_by_place(self, kept: Mapping[str, Sequence[float]]) -> None:
        """What `losses_by_place` gave in another process."""
        for place, values in kept.items():
            text, window = map(int, place.split())
            self._losses[text, window] = np.array(values, dtype=np.float64)

    def own_losses(self, window: Window) -> npt.NDArray[np.float64]:
        """Those of tokens that are not special."""
        return self.losses(window)[~window.special[1:]]

    def untrained(self, seed: int) -> LanguageModel:
        """The model's untrained twin, in its place: the two are never in memory together.

        Once the model is loaded again the twin has no values.
        """
        model = self.model
        self.unload()
        # The twin is made after shapes and dtypes.
        _hollow(model)
        self._twin = model.untrained(seed)
        return self._twin

    def _end_twin(self) -> None:
        # Sites still refer to it, by which those of the model are found.
        if self._twin is not None:
            _hollow(self._twin)
            self._twin = None

    def unload(self) -> None:
        """Let go of the model, which is loaded again when something asks for it; the windows stay."""
        self.__dict__.pop("model", None)

    def forget(self) -> None:
        """Let go of the model and all that was made with it."""
        self.unload()
        self._end_twin()
        self.__dict__.pop("windows", None)
        self._losses.clear()


def _hollow(model: LanguageModel) -> None:
    """Let go of its parameters' values: of each, one element spread over its shape is left."""
    for parameter in model.model.parameters():
        parameter.data = parameter.data.new_zeros(()).expand(parameter.shape)
    give_back()
