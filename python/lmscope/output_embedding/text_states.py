"""Positions of a text with what the head made of them: all that the effect of an edit is computed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope.output_embedding.steering_error import SteeringError
from lmscope.representations.next_states import NextStates
from lmscope.representations.token_averages import head_averages

if TYPE_CHECKING:
    import torch

    from lmscope.representations.output_head import OutputHead
    from lmscope.representations.token_averages import TokenAverages

__all__ = ["TextStates", "capped", "check_width", "products", "text_states"]

Floats = npt.NDArray[np.float64]

# Of float64 states at a time.
_BLOCK_BYTES = 16 << 20


@dataclass(frozen=True, repr=False, eq=False)
class TextStates:
    """The positions of a text and the log normaliser of the unedited head at each of them.

    Attributes:
        states: what the head reads, by :func:`lmscope.next_states`.
        log_normaliser: float64, shape (positions,): log Z.
    """

    states: NextStates
    log_normaliser: Floats

    def __len__(self) -> int:
        return len(self.log_normaliser)

    def __repr__(self) -> str:
        return f"TextStates({len(self)} positions, {len(np.unique(self.states.unit))} windows)"


def text_states(
    head: OutputHead,
    states: NextStates | TextStates,
    averages: TokenAverages | None = None,
    advance: Any = None,
) -> TextStates:
    """``states`` with their normalisers, of ``averages`` where given, else by one pass over the whole head.

    Raises:
        SteeringError: states of another width than the head's, averages of other positions.
    """
    check_width(head, states)
    if averages is not None and len(averages.log_normaliser) != len(states):
        raise SteeringError(
            f"averages over {len(averages.log_normaliser)} positions, but there are states of {len(states)}"
        )
    if isinstance(states, TextStates):
        return states
    if averages is None:
        averages = head_averages(head, states.states, covariance=False, advance=advance)
    return TextStates(states, np.asarray(averages.log_normaliser, dtype=np.float64))


def check_width(head: OutputHead, given: NextStates | TextStates) -> NextStates:
    """The states; SteeringError where they are of another width than the head's rows."""
    states = given.states if isinstance(given, TextStates) else given
    width = int(states.states.shape[1])
    if width != head.dimensions:
        raise SteeringError(f"states of {width} dimensions, but the head's rows have {head.dimensions}")
    return states


def products(states: torch.Tensor, rows: Floats) -> Floats:
    """Float64 ``states @ rows.T``, positions x rows, a block of positions at a time."""
    import torch

    right = torch.as_tensor(rows, dtype=torch.float64, device=states.device).T
    found = np.empty((len(states), len(rows)))
    block = max(1, _BLOCK_BYTES // (8 * states.shape[1]))
    with torch.inference_mode():
        for start in range(0, len(states), block):
            made = states[start : start + block].to(torch.float64) @ right
            found[start : start + block] = made.cpu().numpy()
    return found


def capped(logits: Floats, softcap: float | None) -> Floats:
    """What the head makes of ``scale * (E . h + b)``."""
    return logits if softcap is None else softcap * np.tanh(logits / softcap)
