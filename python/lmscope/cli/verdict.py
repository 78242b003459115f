"""The verdict at the end of a run: a table per role, the matrices that stand out, the page's path."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from lmscope.cli.difference_verdict import print_difference
from lmscope.cli.output import console, message, print_json
from lmscope.cli.similarity_verdict import print_similarity
from lmscope.cli.tables import legend_table, plain_table
from lmscope.visible import visible

if TYPE_CHECKING:
    from rich.table import Table

    from lmscope.runs import Run
    from lmscope.runs.summary import RunSummary

_MOST_MESSAGES = 10
_OF_SPECTRA = ("measure", "false_positive_rate", "chance", "roles", "top")


def finish(
    run: Run,
    *,
    report: Path | None,
    as_json: bool,
    quiet: bool,
    spectra: bool = True,
    similarity: bool = True,
    difference: bool = False,
) -> None:
    """Print the verdicts of what the verb looked at, warnings and path; leave with 4 or 3 where tensors
    failed or were refused."""
    from lmscope.results import PAIR_ANALYSES

    summary = run.summary()
    alike = run.similarity() if similarity and PAIR_ANALYSES & run.manifest["settings"].keys() else None
    moved = run.difference() if difference else None
    if as_json:
        told = asdict(summary)
        if "spectra" not in run.manifest["settings"]:
            told = {name: value for name, value in told.items() if name not in _OF_SPECTRA}
        print_json(
            {
                "run": str(run.path),
                "report": None if report is None else str(report),
                "checkpoint": run.manifest["checkpoint"],
                "settings": run.manifest["settings"],
                **told,
                **({} if alike is None else {"similarity": asdict(alike)}),
                **({} if moved is None else {"difference": asdict(moved)}),
            }
        )
    elif quiet:
        typer.echo(report or run.path)
    else:
        print_heading(run, summary)
        if spectra:
            print_verdict(run, summary)
        if alike is not None:
            print_similarity(alike)
        if moved is not None:
            print_difference(moved)
        typer.echo(f"Report: {report}" if report else f"Records: {run.path}")
    for status, kind in (("failed", "error"), ("refused", "warning")):
        troubles = [trouble for trouble in summary.troubles if trouble["status"] == status]
        for trouble in troubles[:_MOST_MESSAGES]:
            message(kind, "{name}: {status}: {reason}".format(**trouble))
        if len(troubles) > _MOST_MESSAGES:
            more = len(troubles) - _MOST_MESSAGES
            message(
                kind,
                f"{more} more tensors {status}: {run.path / 'ledger.parquet'} gives each with its reason",
            )
    if summary.troubles:
        failed = any(trouble["status"] == "failed" for trouble in summary.troubles)
        raise typer.Exit(4 if failed or summary.statuses.get("analysed") else 3)


def print_heading(run: Run, summary: RunSummary) -> None:
    """The checkpoint and what became of its tensors, on stdout."""
    from lmscope.runs import verdict_words

    out = console()
    checkpoint = run.manifest["checkpoint"]
    kind = checkpoint["model_type"] or "unknown type"
    out.print()
    out.print(
        f"[bold]{escape(visible(checkpoint['name']))}[/bold] ({escape(kind)})", soft_wrap=not out.is_terminal
    )
    out.print(verdict_words.statuses(summary), soft_wrap=not out.is_terminal)


def print_verdict(run: Run, summary: RunSummary) -> None:
    """The two tables with their legend, on stdout."""
    from lmscope.runs import verdict_words

    out = console()
    if not summary.roles:
        out.print("No matrix was analysed.")
        return
    out.print(verdict_words.against_chance(summary.chance), soft_wrap=not out.is_terminal)
    out.print()
    out.print(_roles(summary))
    if summary.top and summary.chance.exceeded:
        out.print()
        out.print(_top(summary))
    out.print()
    settings = run.manifest["settings"]["spectra"]
    out.print(legend_table(verdict_words.legend(summary, settings["draws"])))
    out.print()


def _roles(summary: RunSummary) -> Table:
    from lmscope.runs import verdict_words

    table = plain_table(verdict_words.ROLES_TITLE)
    for name in verdict_words.ROLE_COLUMNS:
        table.add_column(name, justify="left" if name == "role" else "right", no_wrap=True)
    for role in summary.roles:
        cells = dict(zip(verdict_words.ROLE_COLUMNS, verdict_words.role_cells(role), strict=True))
        if role.learnt:
            cells["learnt"] = f"[bold green]{cells['learnt']}[/]"
        table.add_row(*cells.values(), style="" if role.learnt else "dim")
    return table


def _top(summary: RunSummary) -> Table:
    from lmscope.runs import verdict_words

    table = plain_table(verdict_words.MATRICES_TITLE)
    first, *others = verdict_words.MATRIX_COLUMNS
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    for matrix in summary.top:
        name, *cells = verdict_words.matrix_cells(matrix)
        table.add_row(escape(visible(name)), *cells)
    return table
