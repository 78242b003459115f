"""The states that a model's head reads over texts, each with the token that follows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.representations.head import check_head
from lmscope.representations.language_model import LanguageModel
from lmscope.representations.measures.budget import Reading, spread
from lmscope.representations.passages import capture_windows
from lmscope.representations.texts import TextError, texts_of
from lmscope.representations.tokens_at_once import tokens_at_once
from lmscope.representations.windows import Window, cut, whole_number, window_size

if TYPE_CHECKING:
    import torch

__all__ = ["NextStates", "next_states"]


@dataclass(frozen=True, repr=False, eq=False)
class NextStates:
    """Positions of texts: a state that the head reads, and the token that the text has next.

    Attributes:
        states: torch tensor of shape (positions, dimensions), behind the final norm, in the model's dtype and
            on its device.
        targets: int64, shape (positions,): the next token.
        unit: int64, shape (positions,): number of the window that the position is of.
        texts: how many texts the windows are of.
        windows: how many were read.
        tokens: the positions that the texts have; more than there are here where their number was bounded.
    """

    states: torch.Tensor
    targets: npt.NDArray[np.int64]
    unit: npt.NDArray[np.int64]
    texts: int
    windows: int
    tokens: int

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        dtype = str(self.states.dtype).removeprefix("torch.")
        return (
            f"NextStates({len(self)} of {self.tokens} positions, {self.windows} windows, {self.texts} texts, "
            f"{self.states.shape[1]} dimensions, {dtype})"
        )

    def _repr_html_(self) -> str:
        facts = [
            ("positions", f"{len(self)} of {self.tokens}"),
            ("windows", self.windows),
            ("texts", self.texts),
            ("dimensions", self.states.shape[1]),
            ("dtype, device", f"{str(self.states.dtype).removeprefix('torch.')}, {self.states.device}"),
        ]
        return html_repr.block("Next states", html_repr.facts(facts))

    def part(self, mask: npt.NDArray[Any]) -> NextStates:
        """The positions that ``mask`` has: bool of shape (positions,), or positions by number.

        Windows and texts are counted as they are here; units keep their numbers.
        """
        import torch

        chosen = np.arange(len(self))[mask]
        own = torch.from_numpy(chosen).to(self.states.device)
        return NextStates(
            self.states[own], self.targets[chosen], self.unit[chosen], self.texts, self.windows, self.tokens
        )


def next_states(
    model: LanguageModel,
    texts: Iterable[str | Mapping[str, Any]],
    *,
    window: int | None = None,
    positions: int | None = None,
    text_column: str = "text",
    advance: Callable[[int], object] | None = None,
) -> NextStates:
    """The states of a causal model at every position of the texts whose next token is the text's own.

    Args:
        model: a causal model.
        texts: strings, or mappings that hold one under ``text_column``.
        window: tokens of one window, as for :func:`lmscope.capture`; the special tokens that the tokenizer
            puts before a text are context, and special tokens are never what comes next.
        positions: at most this many, in whole windows spread evenly over the texts; None for all.
        advance: called with the number of positions of each window once it has been read.

    Raises:
        ValueError: an encoder, a model whose body and head cannot be told apart, less than two windows within
            ``positions``.
        TextError: the texts have less than two windows with a position each.
    """
    if model.kind != "causal":
        raise ValueError(
            f"{model.label} is of type {model.model_type!r}, an encoder, which gives no next-token "
            "distribution; a causal model is needed"
        )
    if isinstance(texts, (str, Mapping)):
        raise TypeError("texts: one text was given; give a list of texts")
    check_head(model)
    every = [
        one for one in cut(model, texts_of(texts, text_column), window_size(model, window)) if _count(one)
    ]
    counts = [_count(one) for one in every]
    if len(every) < 2:
        found = f"{len(every)} window" + ("" if len(every) == 1 else "s")
        raise TextError(
            f"texts: {found} with {sum(counts)} positions; at least 2 windows are needed, as the spread over "
            "windows gives the intervals: give more text, or a smaller window"
        )
    chosen = every if positions is None else _within(every, counts, whole_number("positions", positions))
    targets = [np.asarray(one.ids[1:])[~one.special[1:]] for one in chosen]
    ends = np.cumsum([0, *map(len, targets)])
    states: torch.Tensor | None = None
    passages = capture_windows(model, chosen, batch_tokens=tokens_at_once(model))
    for start, stop, passage in zip(ends[:-1], ends[1:], passages, strict=True):
        own = passage.states[model.depth]
        if states is None:
            states = own.new_empty((int(ends[-1]), own.shape[1]))
        states[start:stop] = own[np.flatnonzero(~passage.special[1:])]
        if advance is not None:
            advance(int(stop - start))
    assert states is not None
    return NextStates(
        states,
        np.concatenate(targets).astype(np.int64),
        np.repeat(np.arange(len(chosen)), np.diff(ends)),
        len({one.text for one in chosen}),
        len(chosen),
        sum(counts),
    )


def _count(window: Window) -> int:
    """Positions of a window: tokens of the text that have something before them."""
    return int((~window.special[1:]).sum())


def _within(every: list[Window], counts: list[int], positions: int) -> list[Window]:
    chosen = spread(every, counts, Reading(window=None, eval_tokens=positions, seed=0))
    if len(chosen) < 2 or sum(map(_count, chosen)) > positions:
        raise ValueError(
            f"positions: {positions} are less than two whole windows; the largest has {max(counts)} "
            "positions: give more positions, or a smaller window"
        )
    return chosen
