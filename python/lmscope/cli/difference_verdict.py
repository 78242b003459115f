"""What moved between two checkpoints, as tables in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from lmscope.cli.output import console
from lmscope.cli.tables import legend_table, plain_table
from lmscope.visible import visible

if TYPE_CHECKING:
    from lmscope.runs.difference_summary import DifferenceSummary


def print_difference(summary: DifferenceSummary) -> None:
    """The tables with their legend, on stdout."""
    from lmscope.runs import difference_words as words

    out = console()
    for sentence in words.sentences(summary):
        out.print(escape(visible(sentence)), soft_wrap=not out.is_terminal)
    for title, columns, rows in words.tables(summary):
        table = plain_table(title)
        for name in columns:
            words_in_it = name in ("role", "matrix")
            table.add_column(
                name,
                justify="left" if words_in_it else "right",
                no_wrap=name != "matrix",
                overflow="fold",
            )
        for row in rows:
            table.add_row(*(escape(visible(cell)) for cell in row))
        out.print()
        out.print(table)
    out.print()
    if summary.compared:
        out.print(legend_table(words.legend(summary)))
        out.print()
