"""The verdict at the end of a run: a table per role, the matrices that stand out, the page's path."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lmscope.cli.output import console, message, print_json

if TYPE_CHECKING:
    from rich.box import Box
    from rich.table import Table

    from lmscope.runs import Run
    from lmscope.runs.summary import RunSummary

_LEARNT = {
    "sign_flip": "above every singular value that the matrix has after random sign flips of its entries",
    "permutation": "above every singular value that the matrix has after random permutation of its entries",
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
    if not quiet:
        for text in summary.warnings:
            message("warning", text)
    for trouble in summary.troubles:
        message(
            "error" if trouble["status"] == "failed" else "warning",
            "{name}: {status}: {reason}".format(**trouble),
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
    out.print()
    out.print(
        f"[bold]{checkpoint['name']}[/bold] ({checkpoint['model_type'] or 'unknown type'})", soft_wrap=True
    )
    out.print(
        f"{sum(summary.statuses.values())} tensors: {states}; {share:.1%} of all weights analysed",
        soft_wrap=True,
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
    out.print(
        f"[bold]learnt[/bold]  singular values {_LEARNT[summary.measure]}: directions that noise of the same "
        "sizes does not make",
    )
    out.print("[bold]of norm[/bold] their part of the squared Frobenius norm")
    out.print()


def _roles(summary: RunSummary) -> Table:
    from rich.table import Table

    table = Table(
        title="What stands above the noise, by role", title_justify="left", title_style="bold", box=_box()
    )
    table.add_column("role", no_wrap=True)
    for name in ("matrices", "values", "learnt", "of values", "of norm", "not iid", "median KS"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("strongest layer", justify="right")
    for role in summary.roles:
        table.add_row(
            role.role,
            str(role.matrices),
            str(role.values),
            str(role.learnt),
            f"{role.share:.1%}",
            f"{role.norm_share:.1%}",
            f"{role.iid_refuted} of {role.iid_tested}" if role.iid_tested else "-",
            "-" if role.median_ks is None else f"{role.median_ks:.3f}",
            "-" if role.strongest_layer is None else f"{role.strongest_layer} ({role.strongest_learnt})",
            style="" if role.learnt else "dim",
        )
    return table


def _top(summary: RunSummary) -> Table:
    from rich.table import Table

    table = Table(
        title="Matrices with the largest learnt share", title_justify="left", title_style="bold", box=_box()
    )
    table.add_column("matrix", overflow="fold")
    for name in ("shape", "learnt", "of norm", "largest / noise edge"):
        table.add_column(name, justify="right", no_wrap=True)
    for matrix in summary.top:
        table.add_row(
            matrix.name,
            f"{matrix.rows}x{matrix.columns}",
            f"{matrix.learnt} of {matrix.values}",
            "-" if matrix.norm_share is None else f"{matrix.norm_share:.1%}",
            "-" if matrix.excess is None else f"{matrix.excess:.2f}",
        )
    return table


def _box() -> Box:
    from rich import box

    return box.SIMPLE_HEAD
