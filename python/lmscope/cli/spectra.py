"""`lmscope spectra`: the spectra alone."""

from __future__ import annotations

from lmscope.cli import options
from lmscope.cli.output import errors_to_exit_codes
from lmscope.cli.verdict import finish


def spectra(
    checkpoint: options.CheckpointArgument,
    out: options.Out = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    layers: options.Layers = None,
    roles: options.Roles = None,
    nulls: options.Nulls = "iid,permutation,sign_flip",
    draws: options.Draws = 19,
    seed: options.Seed = 0,
    false_positive_rate: options.FalsePositiveRate = 0.01,
    device: options.Device = "auto",
    revision: options.Revision = None,
    token: options.Token = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Singular values and random-matrix verdicts of every weight matrix, without the report.

    The records are the same as those of [bold]lmscope analyze[/bold], and either continues the other.

    [bold]Example[/bold]: lmscope spectra ./my-model -o runs/my-model --include "*attention*"
    """
    with errors_to_exit_codes(as_json=json):
        from lmscope import runs

        run = runs.spectra(
            checkpoint,
            include=include,
            exclude=exclude,
            layers=layers,
            roles=roles,
            out=out,
            device=device,
            progress=not quiet,
            nulls=nulls,
            draws=draws,
            seed=seed,
            false_positive_rate=false_positive_rate,
            revision=revision,
            token=token,
        )
        finish(run, report=None, as_json=json, quiet=quiet, similarity=False)
