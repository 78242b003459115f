"""`lmscope analyze`: the main job."""

from __future__ import annotations

from lmscope.cli import options
from lmscope.cli.output import errors_to_exit_codes
from lmscope.cli.verdict import finish


def analyze(
    checkpoint: options.CheckpointArgument,
    out: options.Out = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    layers: options.Layers = None,
    roles: options.Roles = None,
    nulls: options.Nulls = "iid,permutation,sign_flip",
    draws: options.Draws = 19,
    vectors: options.Vectors = "neurons",
    null_draws: options.NullDraws = None,
    control: options.Control = False,
    memory: options.Memory = None,
    seed: options.Seed = 0,
    false_positive_rate: options.FalsePositiveRate = 0.01,
    device: options.Device = "auto",
    revision: options.Revision = None,
    token: options.Token = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Analyse every weight matrix of a checkpoint and build the report.

    Which matrices hold what the model learnt, and which cannot be told from noise: singular values and
    random-matrix verdicts of each; how alike the layers are, role by role; tables at the end, and one HTML
    page. A killed run continues where it stopped.

    [bold]Example[/bold]: lmscope analyze ./my-model -o runs/my-model --layers 0-3 --roles query,key
    """
    with errors_to_exit_codes(as_json=json):
        from lmscope import runs

        run = runs.analyze(
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
            vectors=vectors,
            null_draws=null_draws,
            control=control,
            memory=memory,
            seed=seed,
            false_positive_rate=false_positive_rate,
            revision=revision,
            token=token,
        )
        finish(run, report=run.path / "report.html", as_json=json, quiet=quiet)
