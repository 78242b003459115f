"""`lmscope compare`: what moved between a base checkpoint and one tuned from it."""

from __future__ import annotations

from typing import Annotated

import typer

from lmscope.cli import options
from lmscope.cli.output import errors_to_exit_codes
from lmscope.cli.verdict import finish

_KINDS = "Folder, weight file or hub id"


def compare(
    base: Annotated[str, typer.Argument(metavar="BASE", help=f"{_KINDS} of the checkpoint tuned from.")],
    tuned: Annotated[str, typer.Argument(metavar="TUNED", help=f"{_KINDS} of the tuned checkpoint.")],
    out: options.Out = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    layers: options.Layers = None,
    roles: options.Roles = None,
    rounding: options.Rounding = "both",
    draws: options.Draws = 19,
    vectors: options.Vectors = "neurons",
    null_draws: options.TwinNullDraws = None,
    memory: options.Memory = None,
    seed: options.Seed = 0,
    false_positive_rate: options.MatchRate = 0.01,
    device: options.Device = "auto",
    revision: options.Revision = None,
    tuned_revision: options.TunedRevision = None,
    token: options.Token = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """What moved between a checkpoint and one tuned from it, and build the report.

    For every matrix and its twin: the spectrum of their difference, how many of its values the rounding of
    the stored numbers cannot explain, and how far the neurons have turned (DOCS). Tables at the end, and one
    HTML page. A killed run continues where it stopped.

    [bold]Example[/bold]: lmscope compare ./my-model ./my-model-tuned -o runs/my-model
    """
    with errors_to_exit_codes(as_json=json):
        from lmscope import runs

        run = runs.compare(
            base,
            tuned,
            include=include,
            exclude=exclude,
            layers=layers,
            roles=roles,
            out=out,
            device=device,
            progress=not quiet,
            rounding=rounding,
            draws=draws,
            vectors=vectors,
            null_draws=null_draws,
            memory=memory,
            seed=seed,
            false_positive_rate=false_positive_rate,
            revision=revision,
            tuned_revision=tuned_revision,
            token=token,
        )
        finish(
            run,
            report=run.path / "report.html",
            as_json=json,
            quiet=quiet,
            spectra=False,
            similarity=False,
            difference=True,
        )
