"""`lmscope similarity`: how alike layers, experts and checkpoints are."""

from __future__ import annotations

from typing import Annotated

import typer

from lmscope.cli import options
from lmscope.cli.output import errors_to_exit_codes
from lmscope.cli.verdict import finish


def similarity(
    checkpoint: options.CheckpointArgument,
    other: Annotated[
        str | None,
        typer.Argument(metavar="[OTHER]", help="A second checkpoint, to compare matrix by matrix."),
    ] = None,
    out: options.Out = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    layers: options.Layers = None,
    roles: options.Roles = None,
    vectors: options.Vectors = "neurons",
    null_draws: options.NullDraws = None,
    control: options.Control = False,
    indices: options.Indices = None,
    memory: options.Memory = None,
    seed: options.Seed = 0,
    false_positive_rate: options.MatchRate = 0.01,
    device: options.Device = "auto",
    revision: options.Revision = None,
    other_revision: options.OtherRevision = None,
    token: options.Token = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """How alike the weights of different layers are, or those of two checkpoints, without the report.

    DOCS of every pair of layers, role by role, beside what chance gives: each neuron looks for its nearest
    partner in the other layer. The records are the same as those of [bold]lmscope analyze[/bold], and either
    continues the other.

    [bold]Example[/bold]: lmscope similarity ./my-model ./my-model-tuned -o runs/my-model
    """
    with errors_to_exit_codes(as_json=json):
        from lmscope import runs

        run = runs.similarity(
            checkpoint,
            other,
            include=include,
            exclude=exclude,
            layers=layers,
            roles=roles,
            out=out,
            device=device,
            progress=not quiet,
            vectors=vectors,
            null_draws=null_draws,
            control=control,
            indices=indices,
            memory=memory,
            seed=seed,
            false_positive_rate=false_positive_rate,
            revision=revision,
            other_revision=other_revision,
            token=token,
        )
        finish(run, report=None, as_json=json, quiet=quiet, spectra=False)
