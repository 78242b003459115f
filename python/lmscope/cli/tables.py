"""What all tables in the terminal look like."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def plain_table(title: str | None = None) -> Table:
    """A table with a rule below its heading and nothing else."""
    from rich import box
    from rich.table import Table

    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def legend_table(lines: Iterable[tuple[str, str]]) -> Table:
    """Column names and what they say."""
    from rich.table import Table

    legend = Table.grid(padding=(0, 2, 0, 0))
    legend.add_column(style="bold", no_wrap=True)
    legend.add_column(max_width=86)
    for name, meaning in lines:
        legend.add_row(name, meaning)
    return legend
