"""The tensors of a checkpoint, one row per role, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable

from lmscope import html_repr
from lmscope.architectures import ROLES, TensorInfo

_COLUMNS = ("role", "tensors", "planned", "skipped", "refused", "weights")


def tensors_by_role(tensors: Iterable[TensorInfo]) -> str:
    """HTML table: how many tensors of each role have which status, and the weights that they hold."""
    of_role: dict[str, list[TensorInfo]] = {}
    for tensor in tensors:
        of_role.setdefault(tensor.role, []).append(tensor)
    rows = [_cells(role, of_role[role]) for role in ROLES if role in of_role]
    return html_repr.table(_COLUMNS, rows)


def _cells(role: str, tensors: list[TensorInfo]) -> tuple[object, ...]:
    statuses = [tensor.status for tensor in tensors]
    counts = (statuses.count(status) for status in ("planned", "skipped", "refused"))
    return role, len(tensors), *counts, f"{sum(tensor.elements for tensor in tensors):,}"
