"""Rows of the ledger: every tensor of a checkpoint, with what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmscope.architectures import TensorInfo


def ledger_row(tensor: TensorInfo, status: str | None = None, reason: str | None = None) -> dict[str, Any]:
    """One row; status and reason are the tensor's own unless given."""
    return {
        "name": tensor.name,
        "role": tensor.role,
        "layer": tensor.layer,
        "expert": tensor.expert,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "elements": tensor.elements,
        "status": tensor.status if status is None else status,
        "reason": tensor.reason if reason is None else reason,
        "tied_to": tensor.tied_to,
    }
