"""`lmscope inspect`: what a checkpoint holds."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import typer

from lmscope.cli import options
from lmscope.cli.output import console, errors_to_exit_codes, message, print_json, shown

if TYPE_CHECKING:
    from lmscope.runs import Inspection


def inspect(
    checkpoint: options.CheckpointArgument,
    revision: options.Revision = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """List every tensor of a checkpoint with its role, and project the memory and time of an analysis.

    Reads headers only, no weights.

    [bold]Example[/bold]: lmscope inspect ./my-model
    """
    with errors_to_exit_codes(as_json=json):
        from lmscope.runs.inspect import inspect as inspect_checkpoint

        inspection = inspect_checkpoint(checkpoint, revision=revision, token=token)
        if json:
            print_json(inspection.as_dict())
        else:
            _print(inspection)
        for text in inspection.warnings:
            message("warning", text)
        planned = inspection.projection.matrices
        refused = [tensor for tensor in inspection.tensors if tensor.status == "refused"]
        if refused:
            message("warning", f"{len(refused)} tensors are refused: {refused[0].name}: {refused[0].reason}")
            raise typer.Exit(4 if planned else 3)


def _print(inspection: Inspection) -> None:
    from rich.markup import escape
    from rich.table import Table

    from lmscope.runs.ledger import ledger_row
    from lmscope.runs.progress import format_bytes, format_seconds

    out = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("tensor", overflow="fold")
    table.add_column("role", no_wrap=True)
    table.add_column("layer", justify="right")
    table.add_column("shape", justify="right", no_wrap=True)
    table.add_column("dtype", no_wrap=True)
    table.add_column("status", overflow="fold", min_width=7)
    for tensor in inspection.tensors:
        row = ledger_row(tensor)
        table.add_row(
            escape(shown(row["name"])),
            row["role"],
            "" if row["layer"] is None else str(row["layer"]),
            "x".join(map(str, row["shape"])),
            row["dtype"],
            escape(shown(f"refused: {tensor.reason}")) if tensor.status == "refused" else tensor.status,
            style="" if row["status"] == "planned" else "red" if row["status"] == "refused" else "dim",
        )
    out.print(table)
    projection = inspection.projection
    reasons = Counter(tensor.reason for tensor in inspection.tensors if tensor.status == "skipped")
    out.print()
    out.print(
        f"{escape(shown(inspection.name))} ({inspection.model_type or 'unknown type'}): "
        f"{len(inspection.tensors)} tensors, "
        f"{projection.matrices} matrices to analyse, {format_bytes(projection.read_bytes)}",
        style="bold",
        soft_wrap=not out.is_terminal,
    )
    for reason, count in reasons.most_common():
        out.print(f"{count} skipped: {escape(shown(reason))}", style="dim", soft_wrap=not out.is_terminal)
    out.print(
        f"An analysis needs about {format_bytes(projection.memory_bytes)} of memory and "
        f"{format_seconds(projection.seconds)}, assuming {projection.assumption}.",
        soft_wrap=not out.is_terminal,
    )
