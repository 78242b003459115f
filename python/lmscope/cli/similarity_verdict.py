"""Similarities as tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from lmscope.cli.output import console
from lmscope.cli.tables import legend_table, plain_table
from lmscope.visible import visible

if TYPE_CHECKING:
    from lmscope.runs.similarity_summary import SimilaritySummary


def print_similarity(summary: SimilaritySummary) -> None:
    """The tables that the run fills, with their legend and what the pass took, on stdout."""
    from lmscope.runs import similarity_words as words

    out = console()
    for title, columns, rows in words.tables(summary):
        _print(title, columns, rows)
    if legend := words.legend(summary):
        out.print()
        out.print(legend_table(legend))
    for told in filter(None, (words.alike(summary), words.zero(summary), words.cost(summary))):
        out.print()
        out.print(escape(visible(told)), soft_wrap=not out.is_terminal)
    out.print()


def _print(title: str, columns: Sequence[str], rows: Iterable[Iterable[str]]) -> None:
    out = console()
    table = plain_table(title)
    for name in columns:
        text = name in ("role", "blocks", "least alike", "lowest of", "pair", "roles", "identical")
        table.add_column(
            name,
            justify="left" if text else "right",
            no_wrap=name not in ("lowest of", "pair", "roles"),
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(escape(visible(cell)) for cell in row))
    out.print()
    out.print(table)
