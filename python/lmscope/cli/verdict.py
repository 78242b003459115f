"""The verdict at the end of a run: a table per role, the matrices that stand out, the page's path."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from lmscope.cli.output import console, message, print_json, shown

if TYPE_CHECKING:
    from rich.table import Table

    from lmscope.runs import Run
    from lmscope.runs.summary import RunSummary

_MOST_MESSAGES = 10
_LEARNT = {
    "sign_flip": "above all those of the same matrix with random signs on its entries",
    "permutation": "above all those of the same matrix with its entries in random order",
    "iid": "above the edge for independent, identically distributed entries",
}


def finish(run: Run, *, report: Path | None, as_json: bool, quiet: bool) -> None:
    """Print verdict, warnings and path; leave with 4 or 3 where tensors failed or were refused."""
    summary = run.summary()
    if as_json:
        print_json(
            {
                "run": str(run.path),
                "report": None if report is None else str(report),
                "checkpoint": run.manifest["checkpoint"],
                "settings": run.manifest["settings"],
                **asdict(summary),
            }
        )
    elif quiet:
        typer.echo(report or run.path)
    else:
        print_verdict(run, summary)
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


def print_verdict(run: Run, summary: RunSummary) -> None:
    """The two tables with their legend, on stdout."""
    out = console()
    checkpoint = run.manifest["checkpoint"]
    states = ", ".join(
        f"{summary.statuses[status]} {status}"
        for status in ("analysed", "skipped", "refused", "failed")
        if summary.statuses.get(status)
    )
    share = summary.elements_analysed / summary.elements if summary.elements else 0.0
    kind = checkpoint["model_type"] or "unknown type"
    out.print()
    out.print(
        f"[bold]{escape(shown(checkpoint['name']))}[/bold] ({escape(kind)})", soft_wrap=not out.is_terminal
    )
    out.print(
        f"{sum(summary.statuses.values())} tensors: {states}; {share:.1%} of all weights analysed",
        soft_wrap=not out.is_terminal,
    )
    if not summary.roles:
        out.print("No matrix was analysed.")
        return
    out.print()
    out.print(_roles(summary))
    if summary.top:
        out.print()
        out.print(_top(summary))
    out.print()
    out.print(_legend(run, summary))
    out.print()


def _roles(summary: RunSummary) -> Table:
    table = _table("What stands above the noise, by role")
    table.add_column("role", no_wrap=True)
    for name in ("matrices", "learnt", "share", "of norm", "layer", "not iid", "KS"):
        table.add_column(name, justify="right", no_wrap=True)
    for role in summary.roles:
        table.add_row(
            role.role,
            str(role.matrices),
            f"[bold green]{role.learnt}[/]" if role.learnt else "0",
            f"{role.share:.1%}",
            "-" if role.norm_share is None else f"{role.norm_share:.1%}",
            "-" if role.strongest_layer is None else f"{role.strongest_layer} ({role.strongest_learnt})",
            f"{role.iid_refuted} of {role.iid_tested}" if role.iid_tested else "-",
            "-" if role.median_ks is None else f"{role.median_ks:.3f}",
            style="" if role.learnt else "dim",
        )
    return table


def _top(summary: RunSummary) -> Table:
    table = _table("Matrices where the learnt values carry most of the norm")
    table.add_column("matrix", overflow="fold")
    table.add_column("shape", justify="right", no_wrap=True)
    table.add_column("learnt", justify="right", no_wrap=True)
    table.add_column("of norm", justify="right", no_wrap=True)
    table.add_column("top / edge", justify="right", no_wrap=True)
    for matrix in summary.top:
        table.add_row(
            escape(shown(matrix.name)),
            f"{matrix.rows}x{matrix.columns}",
            _of(matrix.learnt or 0, matrix.values),
            "-" if matrix.norm_share is None else f"{matrix.norm_share:.1%}",
            "-" if matrix.excess is None else f"{matrix.excess:.2f}",
        )
    return table


def _legend(run: Run, summary: RunSummary) -> Table:
    from rich.table import Table

    settings = run.manifest["settings"]["spectra"]
    chance = (
        f"{summary.false_positive_rate:.1%}"
        if summary.measure == "iid"
        else f"{1 / (settings['draws'] + 1):.1%}"
    )
    legend = Table.grid(padding=(0, 2, 0, 0))
    legend.add_column(style="bold", no_wrap=True)
    legend.add_column(max_width=86)
    legend.add_row(
        "learnt",
        f"singular values {_LEARNT[summary.measure]}: directions that noise does not make. "
        f"Of matrices of pure noise, {chance} show one by chance",
    )
    legend.add_row("share", "of all singular values")
    legend.add_row("of norm", "part of the squared Frobenius norm in the learnt values")
    legend.add_row("layer", "the one with the most learnt values, and how many")
    legend.add_row("top / edge", "largest singular value over the largest of the noise")
    legend.add_row(
        "not iid",
        "matrices with entries that are not independent and identically distributed: values outside the "
        "Marchenko-Pastur edges say nothing about learning there",
    )
    legend.add_row("KS", "median distance between the spectra and the Marchenko-Pastur law")
    return legend


def _table(title: str) -> Table:
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


def _of(count: int, total: int) -> str:
    return f"[bold green]{count}[/] of {total}" if count else f"0 of {total}"
