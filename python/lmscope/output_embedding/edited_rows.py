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

# Of float64 logits over the vocabulary at a time.
_LOGITS_BYTES = 64 << 20
# Other tokens' probability below which they are added up: float32 logits leave 1e-6 of it uncertain.
_CERTAIN = 0.01


@dataclass(frozen=True, repr=False, eq=False)
class HeadRows:
    """Some rows of a head.

    Attributes:
        tokens: int64, shape (k,).
        stored: shape (k, dimensions), in the head's dtype; a copy.
        bias: float64, shape (k,); 0 where the head has none.
        head: that they are of.
    """

    tokens: npt.NDArray[np.int64]
    stored: npt.NDArray[Any]
    bias: Floats
    head: OutputHead

    @classmethod
    def of(cls, head: OutputHead, tokens: npt.NDArray[np.int64]) -> HeadRows:
        import torch

        chosen = torch.as_tensor(tokens, device=head.weight.device)
        bias = np.zeros(len(tokens))
        if head.bias is not None:
            bias = head.bias.detach()[chosen].to(torch.float64).cpu().numpy()
        stored = matrix("weight", head.weight.detach()[chosen].cpu())
        return cls(tokens, stored, bias, head)

    @property
    def values(self) -> Floats:
        """The rows in float64."""
        return self.stored.astype(np.float64)

    def logits(
        self, text: TextStates, rows: Floats | None = None, places: npt.NDArray[np.int64] | None = None
    ) -> Floats:
        """Float64 logits, positions x k; of ``rows`` in the places of these ones where given."""
        made = products(text.states.states, self.values if rows is None else rows)
        bias = self.bias if places is None else self.bias[places]
        return capped(self.head.scale * (made + bias), self.head.softcap)

    def log_probabilities(self, text: TextStates, *, together: bool) -> tuple[Floats, Floats]:
        """Before an edit: of each token, positions x k, and of what the edit leaves as it is.

        The latter is positions x 1 where all of the rows are edited ``together``, and positions x k where
        each is by itself.

        Of the head's own logits, rounded as those are that its normalisers were made of: exact logits beside
        rounded normalisers give probabilities above 1. Where a token is all but certain, the others are added
        up, as 1 less its probability has no digits.
        """
        import torch

        states = text.states.states
        own = self.head.logits(states, self.tokens)
        found: Floats = own.double().cpu().numpy() - text.log_normaliser[:, None]
        certain = np.flatnonzero(_left(found, together).min(1) < _CERTAIN)
        block = max(1, _LOGITS_BYTES // (8 * self.head.vocabulary))
        added, places = np.empty(len(certain)), np.zeros(len(certain), dtype=np.int64)
        edited = torch.as_tensor(self.tokens, device=states.device)
        for start in range(0, len(certain), block):
            part = slice(start, start + block)
            logits = self.head.logits(states[torch.as_tensor(certain[part], device=states.device)]).double()
            total = logits.logsumexp(1)
            rows = logits[:, edited]
            found[certain[part]] = (rows - total[:, None]).cpu().numpy()
            if together:
                logits[:, edited] = -torch.inf
            else:
                highest = rows.argmax(1)
                logits.scatter_(1, edited[highest][:, None], -torch.inf)
                places[part] = highest.cpu().numpy()
            added[part] = (logits.logsumexp(1) - total).cpu().numpy()
        others = np.log(np.maximum(_left(found, together), np.finfo(np.float64).tiny))
        others[certain, places] = added
        return found, others

    def levers(self, text: TextStates, direction: Floats) -> list[Lever]:
        """How each token's mean probability depends on a step along ``direction``."""
        made = products(text.states.states, np.vstack([self.values, direction]))
        logits = self.head.scale * (made[:, :-1] + self.bias)
        pull = -self.head.scale * made[:, -1]
        columns = (one.T.copy() for one in (logits, *self.log_probabilities(text, together=False)))
        return [
            Lever(one, pull, log_probability, log_others, self.head.softcap)
            for one, log_probability, log_others in zip(*columns, strict=True)
        ]


def _left(log_probability: Floats, together: bool) -> Floats:
    """1 less the probability of all tokens, positions x 1, or of each, positions x k."""
    probability = np.exp(log_probability)
    left: Floats = 1 - (probability.sum(1, keepdims=True) if together else probability)
    return left


def moved(rows: HeadRows, places: npt.NDArray[np.int64], steps: Floats, direction: Floats) -> Floats:
    """``E_w - t u`` for rows by their place, rounded to the dtype of the head, in float64 again."""
    exact = rows.values[places] - steps[:, None] * direction[places]
    return exact.astype(rows.stored.dtype).astype(np.float64)
