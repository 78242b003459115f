"""What analyses that run a model found, as tables and sentences in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Protocol

import typer
from rich.markup import escape

from lmscope.cli.output import console, message, print_json
from lmscope.cli.tables import legend_table, plain_table
from lmscope.visible import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from lmscope.runs import Run

_MOST_MESSAGES = 10
_TEXT_COLUMNS = (
    *("checkpoint", "method", "form", "refused", "role", "side", "score", "held against"),
    *("edit", "text", "fitted", "changed"),
    *("solver", "model", "teachers", "of", "block", "Onsager term", "correlated"),
)
_NAMES = {"checkpoint": 2, "method": 1, "form": 1, "role": 1, "score": 2, "edit": 2, "series": 1}
"""First column -> how many columns say what a row is of, 1 unless named: they stand in every part of a
table."""

_SIZES = {"D", "N", "P", "\u03bb\u2080", "correlation", "distinct", "solver", "teachers", "of", "block"}
_SIZES |= {"Onsager term", "model", "correlated"}
"""Columns of experiments that say what a row is of; which of them lead a table depends on the run."""

_WIDEST_REASON = 48


class Words(Protocol):
    """A module that puts a summary into words."""

    def tables(self, summary: Any, /) -> Iterable[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]: ...

    def sentences(self, summary: Any, /) -> list[str]: ...

    def legend(self, summary: Any, /) -> list[tuple[str, str]]: ...

    def failures(self, summary: Any, /) -> list[str]: ...


def finish_model_run(
    run: Run,
    name: str,
    summary: Any,
    words: Words,
    *,
    as_json: bool,
    quiet: bool,
    warning: str = "",
    heading: Sequence[tuple[str, str]] = (),
    all_failed: bool = False,
) -> None:
    """Print the tables, `warning`, what failed, and the path; leave with 4 where something failed, with 3
    where that is all there was."""
    if as_json:
        print_json(
            {
                "run": str(run.path),
                "checkpoint": run.manifest["checkpoint"],
                "settings": run.manifest["settings"],
                name: asdict(summary),
            }
        )
    elif quiet:
        typer.echo(run.path)
    else:
        print_summary(run, summary, words, heading)
        typer.echo(f"Records: {run.path}")
    if warning:
        message("warning", warning)
    told = words.failures(summary)
    for text in told[:_MOST_MESSAGES]:
        message("error", text)
    if len(told) > _MOST_MESSAGES:
        message("error", f"{len(told) - _MOST_MESSAGES} more failed; --json gives each with its reason")
    if told:
        raise typer.Exit(3 if all_failed else 4)


def print_summary(run: Run, summary: Any, words: Words, heading: Sequence[tuple[str, str]] = ()) -> None:
    """Heading, tables, sentences and legend, on stdout; the run's checkpoint heads
    them, or each name of `heading` with what is to be said of it."""
    out = console()
    checkpoint = run.manifest["checkpoint"]
    kind = checkpoint["model_type"] or "unknown type"
    out.print()
    for name, more in heading or [(checkpoint["name"], "")]:
        told = f"[bold]{escape(visible(name))}[/bold] ({escape(kind)})"
        out.print(f"{told}: {escape(visible(more))}" if more else told, soft_wrap=not out.is_terminal)
    for title, columns, rows in words.tables(summary):
        out.print()
        # Not the table's own title: that is broken into lines no wider than the table.
        out.print(f"[bold]{escape(visible(title))}[/bold]")
        for table in fitting_tables(out, columns, rows):
            out.print(table)
    out.print()
    for sentence in words.sentences(summary):
        out.print(escape(visible(sentence)), soft_wrap=not out.is_terminal)
    if legend := words.legend(summary):
        out.print()
        out.print(legend_table(legend))
    out.print()


def fitting_tables(out: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Table]:
    """The table, or where it is too wide with intervals below their means, or then in several parts."""
    from rich.measure import Measurement

    rows = [[visible(cell) for cell in row] for row in rows]
    unlimited = out.options.update(max_width=10_000)

    def fits(table: Table) -> bool:
        return Measurement.get(out, unlimited, table).maximum <= out.width

    whole = _table(columns, rows, range(len(columns)), out.width)
    if fits(whole):
        return [whole]
    names = list(range(_leading(columns)))
    low = [
        [*row[: len(names)], *(cell.replace(" (", "\n(", 1) for cell in row[len(names) :])] for row in rows
    ]
    parts = [list(names)]
    for place in range(len(names), len(columns)):
        wider = [*parts[-1], place]
        if parts[-1] == names or fits(_table(columns, low, wider, out.width, broken=True)):
            parts[-1] = wider
        else:
            parts.append([*names, place])
    return [_table(columns, low, part, out.width, broken=True) for part in parts]


def _leading(columns: Sequence[str]) -> int:
    """How many columns say what a row is of."""
    if columns[0] in _SIZES:
        return sum(1 for _ in takewhile(_SIZES.__contains__, columns))
    return 3 if columns[1:3] == ("edit", "text") else _NAMES.get(columns[0], 1)


def _table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    shown: Sequence[int],
    width: int,
    *,
    broken: bool = False,
) -> Table:
    table = plain_table()
    for place in shown:
        text = columns[place] in _TEXT_COLUMNS
        widest = _WIDEST_REASON if columns[place] == "refused" else width // 2 if place == 0 else None
        table.add_column(
            columns[place] if place == 0 or not broken else columns[place].replace(" ", "\n", 1),
            justify="left" if text else "right",
            no_wrap=not text,
            overflow="fold",
            max_width=widest,
        )
    for row in rows:
        table.add_row(*(escape(row[place]) for place in shown))
    return table
