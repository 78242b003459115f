"""Every token and factor an edit of its own: for tables of how accurate steering is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.output_embedding.allocation import Allocation, direction_of
from lmscope.output_embedding.edited_rows import HeadRows, moved
from lmscope.output_embedding.reachable import check_factor, check_tokens, factor_of
from lmscope.output_embedding.realised import Realised, effect
from lmscope.output_embedding.steering_error import SteeringError
from lmscope.output_embedding.text_states import TextStates, text_states

if TYPE_CHECKING:
    from lmscope.analyses.token_encoding import Encoding
    from lmscope.representations.next_states import NextStates
    from lmscope.representations.output_head import OutputHead
    from lmscope.representations.token_averages import TokenAverages

__all__ = ["Control", "SteeredToken", "steered_alone"]

Floats = npt.NDArray[np.float64]
Control = Literal["wrong_sign", "random_direction"]

# Edits whose products with the states are made at once: 8 MB of them for 8000 positions.
_AT_ONCE = 128


@dataclass(frozen=True, repr=False, eq=False)
class SteeredToken:
    """One token by one factor.

    Attributes:
        token: id.
        factor: asked for.
        step: t of ``E_w' = E_w - t u``; NaN where the factor cannot be reached.
        edit_norm: Euclidean norm of the change of the row, after rounding; NaN likewise.
        reason: why the factor cannot be reached; "" where it can.
        realised: by name of text, arrays of shape (1,); empty where the factor cannot be reached.
    """

    token: int
    factor: float
    step: float
    edit_norm: float
    reason: str
    realised: Mapping[str, Realised]

    def __repr__(self) -> str:
        found = self.reason or ", ".join(
            f"{name} {float(one.factor[0]):.4g}" for name, one in self.realised.items()
        )
        return f"SteeredToken({self.token}, factor={self.factor:g}: {found})"

    def _repr_html_(self) -> str:
        rows = [
            [name, *(html_repr.number(float(value[0])) for value in (one.factor, one.low, one.high))]
            for name, one in self.realised.items()
        ]
        table = html_repr.table(("text", "factor", "from", "to"), rows) if rows else ""
        reason = html_repr.line(self.reason) if self.reason else ""
        return html_repr.block(f"Token {self.token} by {self.factor:g}", table, reason)


def steered_alone(
    head: OutputHead,
    fit: NextStates | TextStates,
    averages: TokenAverages,
    encoding: Encoding | None,
    tokens: Sequence[int],
    factors: Sequence[float],
    evaluated: Mapping[str, NextStates | TextStates],
    *,
    allocation: Allocation = "even",
    coordinates: int | None = None,
    calibrate: bool = True,
    control: Control | None = None,
    seed: int = 0,
    confidence: float = 0.95,
    advance: Callable[[int], object] | None = None,
) -> Iterator[SteeredToken]:
    """Every token by every factor, tokens outermost.

    Args:
        head, averages, encoding, allocation, coordinates, calibrate: as for :func:`lmscope.steer_tokens`.
        fit: the text that directions and steps are of.
        evaluated: by name, the texts that the edits are tried on. Where several allocations or controls are
            looked at, give :func:`~lmscope.output_embedding.text_states.text_states` of each, made once:
            otherwise its normalisers are computed in every call, by a pass over the whole head.
        control: an edit that should fail: ``"wrong_sign"`` takes the step backwards, ``"random_direction"``
            takes it along a Gaussian direction of the same norm, drawn for each token from ``seed``.
        advance: called with 1 after every edit.

    Raises:
        SteeringError: as :func:`lmscope.steer_tokens`, but for factors that cannot be reached: those are
            results with a reason.
    """
    if control not in (None, "wrong_sign", "random_direction"):
        raise SteeringError(f"control: {control!r} is neither 'wrong_sign' nor 'random_direction'")
    fitting = text_states(head, fit, averages)
    texts = {name: text_states(head, states) for name, states in evaluated.items()}
    chosen = check_tokens(head, tokens)
    asked = [factor_of(int(chosen[0]), factor) for factor in factors]
    found = direction_of(head, averages, encoding, allocation, coordinates)
    per_block = max(1, _AT_ONCE // max(1, len(asked)))
    for start in range(0, len(chosen), per_block):
        block = chosen[start : start + per_block]
        edits = _Edits(head, fitting, averages, block, asked, found, calibrate)
        if control is not None:
            edits.spoil(control, seed)
        yield from edits.on(texts, confidence, advance)


class _Edits:
    """The edits of a few tokens by all factors: a row each."""

    def __init__(
        self,
        head: OutputHead,
        fit: TextStates,
        averages: TokenAverages,
        tokens: npt.NDArray[np.int64],
        factors: Sequence[float],
        direction: Floats,
        calibrate: bool,
    ) -> None:
        self.rows = HeadRows.of(head, tokens)
        self.direction = np.tile(direction, (len(tokens), 1))
        levers = self.rows.levers(fit, direction) if calibrate else []
        self.edits = []
        for place, token in enumerate(tokens):
            for factor in factors:
                step, reason = math.nan, ""
                try:
                    check_factor(int(token), factor, float(averages.log_probability[token]))
                    step = levers[place].step_for(factor) if calibrate else math.log(factor)
                except SteeringError as error:
                    reason = str(error)
                self.edits.append((place, factor, step, reason))

    def spoil(self, control: Control, seed: int) -> None:
        if control == "wrong_sign":
            self.direction = -self.direction
            return
        for place, token in enumerate(self.rows.tokens):
            drawn = np.random.default_rng([seed, int(token)]).standard_normal(self.direction.shape[1])
            self.direction[place] = drawn / np.linalg.norm(drawn) * np.linalg.norm(self.direction[place])

    def on(
        self,
        texts: Mapping[str, TextStates],
        confidence: float,
        advance: Callable[[int], object] | None,
    ) -> Iterator[SteeredToken]:
        done = [edit for edit in self.edits if not edit[3]]
        places = np.array([edit[0] for edit in done], dtype=np.int64)
        steps = np.array([edit[2] for edit in done])
        after = moved(self.rows, places, steps, self.direction)
        norms = np.linalg.norm(after - self.rows.values[places], axis=1)
        unedited = {
            name: (self.rows.logits(text), *self.rows.log_probabilities(text, together=False))
            for name, text in texts.items()
        }
        edited = {name: self.rows.logits(text, after, places) for name, text in texts.items()}
        number = 0
        for place, factor, step, reason in self.edits:
            token = int(self.rows.tokens[place])
            if reason:
                result = SteeredToken(token, factor, math.nan, math.nan, reason, {})
            else:
                realised = {}
                for name, text in texts.items():
                    logits, log_probability, log_others = unedited[name]
                    realised[name] = effect(
                        log_probability[:, place, None],
                        log_others[:, place],
                        edited[name][:, number, None] - logits[:, place, None],
                        text.states.unit,
                        confidence,
                    )
                result = SteeredToken(token, factor, step, float(norms[number]), "", realised)
                number += 1
            if advance is not None:
                advance(1)
            yield result
