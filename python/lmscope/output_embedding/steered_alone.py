"""Every token and factor an edit of its own: for tables of how accurate steering is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lmscope.output_embedding.allocation import Allocation
from lmscope.output_embedding.realised import Realised

if TYPE_CHECKING:
    from lmscope.analyses.token_encoding import Encoding
    from lmscope.output_embedding.text_states import TextStates
    from lmscope.representations.next_states import NextStates
    from lmscope.representations.output_head import OutputHead
    from lmscope.representations.token_averages import TokenAverages

__all__ = ["Control", "SteeredToken", "steered_alone"]

Control = Literal["wrong_sign", "random_direction"]


@dataclass(frozen=True, repr=False, eq=False)
class SteeredToken:
    """One token by one factor.

    Attributes:
        token: id.
        factor: asked for.
        step: t of ``E_w' = E_w - t u``; NaN where the factor cannot be reached.
        edit_norm: Euclidean norm of the change of the row, after rounding; NaN likewise.
        reason: why the factor cannot be reached; "" where it can.
        realised: by name of text; empty where the factor cannot be reached.
    """

    token: int
    factor: float
    step: float
    edit_norm: float
    reason: str
    realised: Mapping[str, Realised]


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
    advance: Callable[[int], None] | None = None,
) -> Iterator[SteeredToken]:
    """Every token by every factor, tokens outermost.

    ``evaluated``: give :func:`text_states` of each text, made once, where several allocations or controls are
    looked at: else the normalisers are computed in every call, a pass over the whole head.
    """
    raise NotImplementedError
