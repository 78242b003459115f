"""The command line: parses, calls `lmscope.runs`, prints. One file per verb; nothing is computed here.

Data goes to stdout, progress and messages to stderr, and no question is ever asked. Exit codes: 0 done,
2 wrong usage or a result folder of another checkpoint, 3 checkpoint unreadable or every matrix refused,
4 done but some tensors failed or were refused, 1 anything else.
"""

from __future__ import annotations

import inspect as python_inspect
import sys
from collections.abc import Callable
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from lmscope.cli.analyze import analyze
from lmscope.cli.bench import bench
from lmscope.cli.compare import compare
from lmscope.cli.icl import icl
from lmscope.cli.inspect import inspect
from lmscope.cli.localize import localize
from lmscope.cli.output import show_warnings, wrong_usage
from lmscope.cli.report import report
from lmscope.cli.similarity import similarity
from lmscope.cli.spectra import spectra
from lmscope.cli.tokens import tokens
from lmscope.cli.unembedding import unembedding


class _BareFlags:
    """Mixin of commands: their help shows flags without a type, as they take no value."""

    def get_params(self, context: Any) -> Any:
        parameters = super().get_params(context)  # type: ignore[misc]
        for parameter in parameters:
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
        return parameters


class _Verb(_BareFlags, TyperCommand):
    pass


class _Group(_BareFlags, TyperGroup):
    pass


def _paragraphs(verb: Callable[..., None]) -> str:
    """The docstring without the line breaks of its source: the help breaks where the terminal does."""
    text = python_inspect.cleandoc(verb.__doc__ or "")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


app = typer.Typer(
    name="lmscope",
    cls=_Group,
    help="Where a language model keeps what it learnt: spectra and random-matrix verdicts of its weights.",
    epilog="CKPT is a folder, a weight file or a hub id. Begin with: lmscope inspect CKPT",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        from lmscope import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


_VERBS = (inspect, analyze, spectra, similarity, compare, tokens, localize, unembedding, icl, report, bench)
for _verb in _VERBS:
    app.command(cls=_Verb, help=_paragraphs(_verb))(_verb)

# The command line parser's own error: BadParameter is the one name of its family that typer gives away.
_ParserError = cast("type[Exception]", typer.BadParameter.__mro__[1])


def main() -> None:
    """Entry point of the console script; leaves with the exit code."""
    show_warnings()
    try:
        code = app(prog_name="lmscope", standalone_mode=False)
    except _ParserError as error:
        # The parser's error lacks its context where an option lacks its value.
        verb = next((verb.__name__ for verb in _VERBS if sys.argv[1:2] == [verb.__name__]), None)
        code = wrong_usage(error, verb=verb, as_json="--json" in sys.argv)
    except typer.Abort:
        code = 1
    sys.exit(code)
