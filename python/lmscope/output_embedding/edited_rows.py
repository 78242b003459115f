"""Rows of a head, moved along directions and rounded to what the head holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope.analyses.intake import matrix
from lmscope.output_embedding.calibrate import Lever
from lmscope.output_embedding.text_states import TextStates, capped, products

if TYPE_CHECKING:
    from lmscope.representations.output_head import OutputHead

__all__ = ["HeadRows", "moved"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class HeadRows:
    """Some rows of a head.

    Attributes:
        tokens: int64, shape (k,).
        stored: shape (k, dimensions), in the head's dtype; a copy.
        bias: float64, shape (k,); 0 where the head has none.
        scale, softcap: the head's.
    """

    tokens: npt.NDArray[np.int64]
    stored: npt.NDArray[Any]
    bias: Floats
    scale: float
    softcap: float | None

    @classmethod
    def of(cls, head: OutputHead, tokens: npt.NDArray[np.int64]) -> HeadRows:
        import torch

        chosen = torch.as_tensor(tokens, device=head.weight.device)
        bias = np.zeros(len(tokens))
        if head.bias is not None:
            bias = head.bias.detach()[chosen].to(torch.float64).cpu().numpy()
        stored = matrix("weight", head.weight.detach()[chosen].cpu())
        return cls(tokens, stored, bias, head.scale, head.softcap)

    @property
    def values(self) -> Floats:
        """The rows in float64."""
        return self.stored.astype(np.float64)

    def logits(
        self, text: TextStates, rows: Floats | None = None, places: npt.NDArray[np.int64] | None = None
    ) -> Floats:
        """Float64 logits, positions x k; of ``rows`` in the places of these ones where given."""
        made = products(text.states.states, self.values if rows is None else rows)
        return capped(
            self.scale * (made + (self.bias if places is None else self.bias[places])), self.softcap
        )

    def levers(self, text: TextStates, direction: Floats) -> list[Lever]:
        """How each token's mean probability depends on a step along ``direction``."""
        made = products(text.states.states, np.vstack([self.values, direction]))
        logits = self.scale * (made[:, :-1] + self.bias)
        pull = -self.scale * made[:, -1]
        return [Lever(column, pull, text.log_normaliser, self.softcap) for column in logits.T.copy()]


def moved(rows: HeadRows, places: npt.NDArray[np.int64], steps: Floats, direction: Floats) -> Floats:
    """``E_w - t u`` for rows by their place, rounded to the dtype of the head, in float64 again."""
    exact = rows.values[places] - steps[:, None] * direction[places]
    return exact.astype(rows.stored.dtype).astype(np.float64)
