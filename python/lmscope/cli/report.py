"""`lmscope report`: the page again, and its figures as files."""

from __future__ import annotations

from typing import Annotated

import typer

from lmscope.cli import options
from lmscope.cli.output import errors_to_exit_codes, print_json

_KEPT = "files written so far are whole and stay, the same command writes all of them again"


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Result folder of an earlier run.")],
    figures: Annotated[
        bool,
        typer.Option(
            "--figures",
            help="Also write every figure as PNG and SVG to RUN/figures; needs Chrome or Chromium.",
        ),
    ] = False,
    include: options.Include = None,
    exclude: options.Exclude = None,
    layers: options.Layers = None,
    roles: options.Roles = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Build the HTML page of a run again, from its records alone.

    With --figures also its figures as files; the options that choose matrices choose whose spectra are drawn.

    [bold]Example[/bold]: lmscope report runs/my-model --figures --layers 0-3
    """
    with errors_to_exit_codes(as_json=json, kept=_KEPT):
        from lmscope import runs
        from lmscope.runs.errors import UsageError

        chosen = {"include": include, "exclude": exclude, "layers": layers, "roles": roles}
        if not figures and any(value is not None for value in chosen.values()):
            names = ", ".join(f"--{name}" for name, value in chosen.items() if value is not None)
            raise UsageError(f"report: {names} without --figures; the page always shows every matrix")
        opened = runs.open_run(run)
        page = opened.report()
        if not json:
            typer.echo(page)
        written = (
            opened.write_figures(
                include=include, exclude=exclude, layers=layers, roles=roles, progress=not quiet
            )
            if figures
            else []
        )
        if json:
            answer = {"run": run, "report": str(page)}
            print_json({**answer, "figures": [str(path) for path in written]} if figures else answer)
        elif figures:
            typer.echo(page.parent / "figures")
