"""`lmscope report`: the page again."""

from __future__ import annotations

from typing import Annotated

import typer

from lmscope.cli import options
from lmscope.cli.output import errors_to_exit_codes, print_json


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Result folder of an earlier run.")],
    json: options.Json = False,
) -> None:
    """Build the HTML page of a run again, from its records alone.

    [bold]Example[/bold]: lmscope report runs/my-model
    """
    with errors_to_exit_codes(as_json=json):
        from lmscope import runs

        page = runs.open_run(run).report()
        if json:
            print_json({"run": run, "report": str(page)})
        else:
            typer.echo(page)
