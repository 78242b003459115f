"""Rows of the ledger: every tensor of a checkpoint, with what became of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmscope.architectures import TensorInfo
    from lmscope.results import RunFolder
    from lmscope.runs.selection import Selection


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


def before(tensor: TensorInfo, selection: Selection) -> tuple[str, str]:
    """Status and reason of a tensor that has no record yet."""
    if tensor in selection or tensor.status == "skipped":
        return tensor.status, tensor.reason
    return "skipped", f"not selected ({selection})"


def analysed_elsewhere(folder: RunFolder, analyses: Collection[str]) -> set[str]:
    """Names that stand in records of the run's other analyses."""
    others = [analysis for analysis in folder.manifest.get("settings", {}) if analysis not in analyses]
    return set().union(*(folder.analysed(analysis) for analysis in others))
