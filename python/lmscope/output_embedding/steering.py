"""Steering: rows of the head moved so that the mean probability of their tokens changes by chosen factors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope.output_embedding.allocation import ALLOCATIONS, Allocation
from lmscope.output_embedding.realised import Realised

if TYPE_CHECKING:
    from lmscope.analyses.token_encoding import Encoding
    from lmscope.representations.language_model import LanguageModel
    from lmscope.representations.next_states import NextStates
    from lmscope.representations.output_head import OutputHead
    from lmscope.representations.token_averages import TokenAverages

__all__ = ["Steering", "steer_token", "steer_tokens"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class Steering:
    """An edit of rows of the head.

    Attributes:
        tokens: int64, shape (k,): ids.
        factors: float64, shape (k,): what was asked for.
        steps: float64, shape (k,): t of ``E_w' = E_w - t u``; log(factor) where not calibrated.
        rows_before, rows_after: shape (k, dimensions), the head's dtype (bfloat16 by ml_dtypes).
        allocation: of the direction u.
        calibrated: the steps were solved for on the fitting text.
        label, identity: of the model whose head it is; identity None where it was not loaded from a
            checkpoint, label "" for a head made of arrays.
        head: that :meth:`realised` computes with; None for an edit that was read from a file.
    """

    tokens: npt.NDArray[np.int64]
    factors: Floats
    steps: Floats
    rows_before: npt.NDArray[Any]
    rows_after: npt.NDArray[Any]
    allocation: str
    calibrated: bool
    label: str = ""
    identity: str | None = None
    head: OutputHead | None = None

    def realised(
        self,
        states: NextStates | TextStates,
        *,
        head: OutputHead | None = None,
        confidence: float = 0.95,
    ) -> Realised:
        """What the edit does to the next-token distributions of a text."""
        raise NotImplementedError

    def applied(self, model: LanguageModel) -> AbstractContextManager[None]:
        """Within the ``with`` block the model has the edited rows; a tied head is untied in memory."""
        raise NotImplementedError

    def save(self, path: str | Path) -> None:
        """Write the edit as a safetensors file, by :func:`lmscope.output_embedding.edit_file.write_steering`."""
        raise NotImplementedError


def steer_token(
    model_or_head: LanguageModel | OutputHead, token: int | str, factor: float, **options: Any
) -> Steering:
    """:func:`steer_tokens` of one token."""
    return steer_tokens(model_or_head, {token: factor}, **options)


def steer_tokens(
    model_or_head: LanguageModel | OutputHead,
    factors: Mapping[int | str, float],
    *,
    fit: NextStates | TextStates,
    averages: TokenAverages | None = None,
    encoding: Encoding | None = None,
    allocation: Allocation = "even",
    coordinates: int | None = None,
    calibrate: bool = True,
) -> Steering:
    raise NotImplementedError
