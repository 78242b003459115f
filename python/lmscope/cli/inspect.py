"""`lmscope inspect`: what a checkpoint holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from lmscope.cli import options
from lmscope.cli.output import console, errors_to_exit_codes, message, print_json
from lmscope.visible import visible

if TYPE_CHECKING:
    from lmscope.checkpoints import TensorInfo
    from lmscope.runs import Inspection

# A number alone between dots, as in layers.7.mlp.experts.0.w1, or behind "expert" in a part's name.
_NUMBER = re.compile(r"(?<=\.)[0-9]+(?=\.)|(?<=#expert)[0-9]+(?=\.|$)")
_LONGEST = 300  # characters of a name or reason in the table


def inspect(
    checkpoint: options.CheckpointArgument,
    revision: options.Revision = None,
    token: options.Token = None,
    every: Annotated[
        bool, typer.Option("--all", help="A row for every tensor, also where layers or experts are alike.")
    ] = False,
    json: options.Json = False,
) -> None:
    """List the tensors of a checkpoint with their roles, and project the memory and time of an analysis.

    Reads headers only, no weights. Like layers or experts are folded into one row, with a * for their
    numbers, unless --all is given; --json always has every tensor.

    [bold]Example[/bold]: lmscope inspect ./my-model
    """
    with errors_to_exit_codes(as_json=json):
        from lmscope.runs.inspect import inspect as inspect_checkpoint

        inspection = inspect_checkpoint(checkpoint, revision=revision, token=token)
        if json:
            print_json(inspection.as_dict())
        else:
            _print(inspection, every=every)
        for text in inspection.warnings:
            message("warning", text)
        planned = inspection.projection.matrices
        refused = [tensor for tensor in inspection.tensors if tensor.status == "refused"]
        if refused:
            message("warning", f"{len(refused)} tensors are refused: {refused[0].name}: {refused[0].reason}")
            raise typer.Exit(4 if planned else 3)


@dataclass(frozen=True)
class _Like:
    """Tensors that differ in nothing but numbers in their names, like one matrix of every layer."""

    name: str
    tensors: list[TensorInfo]

    @property
    def layers(self) -> str:
        from lmscope.runs.selection import ranges

        return ranges({tensor.layer for tensor in self.tensors if tensor.layer is not None})


def _alike(tensors: Iterable[TensorInfo]) -> list[_Like]:
    groups: dict[tuple[object, ...], list[TensorInfo]] = {}
    for tensor in tensors:
        name, reason = (_NUMBER.sub("*", text) for text in (tensor.name, tensor.reason))
        key = (name, tensor.role, tensor.shape, tensor.dtype, tensor.status, reason)
        groups.setdefault(key, []).append(tensor)
    return [
        _Like(str(name) if len(alike) > 1 else alike[0].name, alike) for (name, *_), alike in groups.items()
    ]


def _short(text: str) -> str:
    """``text`` for the table: without its middle where it is too long."""
    if len(text) > _LONGEST:
        half = (_LONGEST - 3) // 2
        text = f"{text[:half]}...{text[-half:]}"
    return visible(text)


def _print(inspection: Inspection, *, every: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from lmscope.runs.progress import format_bytes

    out = console()
    rows = (
        [_Like(tensor.name, [tensor]) for tensor in inspection.tensors]
        if every
        else _alike(inspection.tensors)
    )
    counted = len(rows) < len(inspection.tensors)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("tensor", overflow="fold")
    if counted:
        table.add_column("count", justify="right")
    table.add_column("role", no_wrap=True)
    table.add_column("layer", justify="right")
    table.add_column("shape", justify="right", no_wrap=True)
    table.add_column("dtype", no_wrap=True)
    table.add_column("status", overflow="fold", min_width=7)
    for row in rows:
        tensor = row.tensors[0]
        reason = _NUMBER.sub("*", tensor.reason) if len(row.tensors) > 1 else tensor.reason
        table.add_row(
            escape(_short(row.name)),
            *([str(len(row.tensors))] if counted else []),
            tensor.role,
            row.layers,
            "x".join(map(str, tensor.shape)),
            tensor.dtype,
            escape(_short(f"refused: {reason}")) if tensor.status == "refused" else tensor.status,
            style="" if tensor.status == "planned" else "red" if tensor.status == "refused" else "dim",
        )
    out.print(table)
    projection = inspection.projection
    reasons = Counter(tensor.reason for tensor in inspection.tensors if tensor.status == "skipped")
    out.print()
    out.print(
        f"{escape(visible(inspection.name))} ({inspection.model_type or 'unknown type'}): "
        f"{len(inspection.tensors)} tensors, "
        f"{projection.matrices} matrices to analyse, {format_bytes(projection.read_bytes)}",
        style="bold",
        soft_wrap=not out.is_terminal,
    )
    for reason, count in reasons.most_common():
        out.print(f"{count} skipped: {escape(visible(reason))}", style="dim", soft_wrap=not out.is_terminal)
    for sentence in projection.sentences():
        out.print(f"{sentence}.", soft_wrap=not out.is_terminal)
