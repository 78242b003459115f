"""The command line: parses, calls `lmscope.runs`, prints. One file per verb; nothing is computed here.

Data goes to stdout, progress and messages to stderr, and no question is ever asked. Exit codes: 0 done,
2 wrong usage or a result folder of another checkpoint, 3 checkpoint unreadable or every matrix refused,
4 done but some tensors failed or were refused, 1 anything else.
"""

from __future__ import annotations

from typing import Annotated

import typer

from lmscope.cli.analyze import analyze
from lmscope.cli.bench import bench
from lmscope.cli.inspect import inspect
from lmscope.cli.output import show_warnings
from lmscope.cli.report import report
from lmscope.cli.spectra import spectra

app = typer.Typer(
    name="lmscope",
    help="Where a language model keeps what it learnt: spectra and random-matrix verdicts of its weights.",
    epilog="CKPT is a folder, a .safetensors file or a hub id. Begin with: lmscope inspect CKPT",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        from lmscope import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


for _verb in (inspect, analyze, spectra, report):
    app.command(no_args_is_help=True)(_verb)
app.command()(bench)


def main() -> None:
    """Entry point of the console script; leaves with the exit code."""
    show_warnings()
    app()
