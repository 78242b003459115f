"""What the token analyses found, as tables in the terminal."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from lmscope.cli.output import console, message, print_json
from lmscope.cli.tables import legend_table, plain_table
from lmscope.visible import visible

if TYPE_CHECKING:
    from lmscope.runs import Run
    from lmscope.runs.tokens_summary import TokensSummary

_MOST_MESSAGES = 10
_TEXT_COLUMNS = ("checkpoint", "method", "form", "refused")


def finish_tokens(run: Run, *, as_json: bool, quiet: bool) -> None:
    """Print the tables, what failed, and the path; leave with 4 where something failed."""
    from lmscope.runs import tokens_words as words

    summary = run.tokens()
    if as_json:
        print_json(
            {
                "run": str(run.path),
                "checkpoint": run.manifest["checkpoint"],
                "settings": run.manifest["settings"],
                "tokens": asdict(summary),
            }
        )
    elif quiet:
        typer.echo(run.path)
    else:
        print_tokens(run, summary)
        typer.echo(f"Records: {run.path}")
    told = words.failures(summary)
    for text in told[:_MOST_MESSAGES]:
        message("error", text)
    if len(told) > _MOST_MESSAGES:
        message("error", f"{len(told) - _MOST_MESSAGES} more failed; --json gives each with its reason")
    if told:
        raise typer.Exit(4)


def print_tokens(run: Run, summary: TokensSummary) -> None:
    """Heading, sentences, tables and legend, on stdout."""
    from lmscope.runs import tokens_words as words

    out = console()
    checkpoint = run.manifest["checkpoint"]
    name, kind = visible(checkpoint["name"]), checkpoint["model_type"] or "unknown type"
    out.print()
    out.print(f"[bold]{escape(name)}[/bold] ({escape(kind)})", soft_wrap=not out.is_terminal)
    for title, columns, rows in words.tables(summary):
        table = plain_table(title)
        for column in columns:
            text = column in _TEXT_COLUMNS
            table.add_column(column, justify="left" if text else "right", no_wrap=not text, overflow="fold")
        for row in rows:
            table.add_row(*(escape(visible(cell)) for cell in row))
        out.print()
        out.print(table)
    out.print()
    for sentence in words.sentences(summary):
        out.print(escape(visible(sentence)), soft_wrap=not out.is_terminal)
    if legend := words.legend(summary):
        out.print()
        out.print(legend_table(legend))
    out.print()
