"""Rows of the ledger: every tensor of a checkpoint, with what became of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmscope.architectures import TensorInfo
    from lmscope.results import RunFolder
    from lmscope.runs.selection import Selection

ALL_ZERO = "all zero: no directions to compare"
NOT_ASKED_FOR = "no analysis of single weights was asked for"
ALONE = "similarity compares matrices of one role over the layers, and this one has no partner"


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


@dataclass
class Findings:
    """What one analysis of the run has found out about tensors, by name.

    Attributes:
        recorded: those in a record under the run's settings.
        failed: those that it failed on, with the reason.
        pending: those that are left to the pass; of pairs also those that are in records.
        without: status and reason of those that it has nothing to do with.
        remarks: what is to be told of recorded ones.
    """

    recorded: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)
    without: dict[str, tuple[str, str]] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)


def ledger_rows(
    tensors: Iterable[TensorInfo], selection: Selection, findings: Mapping[str, Findings]
) -> list[dict[str, Any]]:
    """One row per tensor, from what every analysis of the run found.

    A matrix that one analysis failed on is failed whatever the others found, unless `selection` excludes it
    by name; else one that is in a record is analysed, one that the pass will look at planned, and one outside
    the selection skipped.
    """
    from lmscope.results import SCHEMAS

    # In this order: what is told does not depend on which analysis ran last.
    found = [findings[analysis] for analysis in SCHEMAS if analysis in findings]
    return [ledger_row(tensor, *_status(tensor, selection, found)) for tensor in tensors]


def _status(tensor: TensorInfo, selection: Selection, findings: Sequence[Findings]) -> tuple[str, str]:
    name = tensor.name
    if tensor.status == "planned":
        for found in findings:
            if name in found.failed and selection.excludes(tensor):
                return "skipped", f"not selected ({selection}); it failed: {found.failed[name]}"
            if name in found.failed:
                return "failed", found.failed[name]
        if any(name in found.recorded and name not in found.pending for found in findings):
            remarks = dict.fromkeys(found.remarks[name] for found in findings if name in found.remarks)
            return "analysed", "; ".join(filter(None, (tensor.reason, *remarks)))
        if any(name in found.pending for found in findings):
            return "planned", tensor.reason
    if tensor.status != "skipped" and tensor not in selection:
        return "skipped", f"not selected ({selection})"
    return next(
        (found.without[name] for found in findings if name in found.without), (tensor.status, tensor.reason)
    )


def unread_rows(tensors: Iterable[TensorInfo]) -> list[dict[str, Any]]:
    """One row per tensor of a run of hidden states alone: what could be analysed was not asked for."""
    return [
        ledger_row(tensor) if tensor.status == "refused" else ledger_row(tensor, "skipped", NOT_ASKED_FOR)
        for tensor in tensors
    ]


def stored_findings(folder: RunFolder, analyses: Collection[str]) -> dict[str, Findings]:
    """By analysis of the run, other than `analyses`: what stands of it under the manifest's settings.

    Those of hidden states, of output embeddings, of overlaps and of lesions say nothing of tensors.
    """
    from lmscope.results import LOCATION_ANALYSES, PAIR_ANALYSES, TOKEN_ANALYSES, UNEMBEDDING_ANALYSES

    stored: dict[str, Findings] = {}
    silent = TOKEN_ANALYSES | UNEMBEDDING_ANALYSES | LOCATION_ANALYSES - {"vectors"}
    for name in folder.manifest["settings"].keys() - set(analyses) - silent:
        # The control's matrices are no tensors of the checkpoint.
        if name == "control":
            stored[name] = Findings(failed=folder.failures(name))
            continue
        stored[name] = Findings(
            recorded=folder.analysed(name),
            failed=folder.failures(name),
            pending=folder.pending(name),
            remarks=dict.fromkeys(folder.all_zero(name), ALL_ZERO),
        )
        if name not in PAIR_ANALYSES:
            stored[name].pending -= stored[name].recorded
    return stored


def write_findings(folder: RunFolder, name: str, found: Findings) -> None:
    """Keep what other passes cannot see from the records of analysis `name`: failures, and what is left."""
    folder.write_failures(name, found.failed)
    folder.write_pending(name, found.pending)
