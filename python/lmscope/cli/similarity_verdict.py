"""Similarities as tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from lmscope.cli.output import console, shown
from lmscope.cli.tables import legend_table, plain_table

if TYPE_CHECKING:
    from lmscope.runs.similarity_summary import SimilaritySummary


def print_similarity(summary: SimilaritySummary) -> None:
    """The tables that the run fills, with their legend and what the pass took, on stdout."""
    from lmscope.runs import similarity_words as words

    out = console()
    for title, columns, rows in (
        (words.ROLES_TITLE, words.ROLE_COLUMNS, map(words.role_cells, summary.roles)),
        (words.EXPERTS_TITLE, words.EXPERT_COLUMNS, map(words.expert_cells, summary.experts)),
        (words.TWINS_TITLE, words.TWIN_COLUMNS, map(words.twin_cells, summary.twins)),
    ):
        _print(title, columns, list(rows))
    out.print()
    out.print(legend_table(words.legend(summary)))
    if told := words.cost(summary):
        out.print()
        out.print(told, soft_wrap=not out.is_terminal)
    out.print()


def _print(title: str, columns: Sequence[str], rows: list[Iterable[str]]) -> None:
    if not rows:
        return
    out = console()
    table = plain_table(title)
    for name in columns:
        text = name in ("role", "blocks", "least alike", "of")
        table.add_column(name, justify="left" if text else "right", no_wrap=name != "of", overflow="fold")
    for row in rows:
        table.add_row(*(escape(shown(cell)) for cell in row))
    out.print()
    out.print(table)
