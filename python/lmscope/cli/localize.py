"""`lmscope localize`: singular vectors, activation overlap and lesions."""

from __future__ import annotations

from typing import Annotated

import typer

from lmscope.cli import options
from lmscope.cli.model_verdict import finish_model_run
from lmscope.cli.output import errors_to_exit_codes

_VECTORS = "Vectors and overlaps"
_LESIONS = "Lesions"


def localize(
    checkpoints: Annotated[
        list[str],
        typer.Argument(
            metavar="CKPT...",
            help="Folder or hub id of a model with its tokenizer, or a folder of checkpoint folders, such as "
            "training steps. Further ones get the same measures.",
        ),
    ],
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="UTF-8 text; may be repeated. Not needed with --no-lesions --no-overlaps.",
            rich_help_panel=options.TEXT,
        ),
    ] = None,
    split: options.Split = "file",
    window: Annotated[
        int | None,
        typer.Option(
            help="Tokens read at a time; longer texts are cut. Default: the model's context, at most 512; "
            "256 for loss, 128 at masked tokens.",
            show_default=False,
            rich_help_panel=options.TEXT,
        ),
    ] = None,
    out: options.Out = None,
    include: options.Include = None,
    exclude: options.Exclude = None,
    layers: options.Layers = None,
    roles: Annotated[
        list[str] | None,
        typer.Option(
            "--role",
            "--roles",
            metavar="LIST",
            help="Only these roles, such as query,key; may be repeated. Default: all in the layers.",
            show_default=False,
            rich_help_panel=options.WHICH,
        ),
    ] = None,
    overlaps: Annotated[
        bool,
        typer.Option(
            "--overlaps/--no-overlaps",
            help="Overlap of singular vectors with what the matrices are given.",
            rich_help_panel=_VECTORS,
        ),
    ] = True,
    center: Annotated[
        bool, typer.Option("--center/--no-center", help="Subtract the mean input.", rich_help_panel=_VECTORS)
    ] = True,
    signed: Annotated[
        bool,
        typer.Option(
            "--signed/--no-signed",
            help="The largest cosine with its sign, as the paper's code has it.",
            rich_help_panel=_VECTORS,
        ),
    ] = False,
    top: Annotated[
        int | None,
        typer.Option(
            help="Eigenvectors of the top space. Default: a tenth of the inputs.",
            show_default=False,
            rich_help_panel=_VECTORS,
        ),
    ] = None,
    maps: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            "--maps",
            metavar="GLOB",
            help="Matrices whose cosines with all eigenvectors are kept; may be repeated.",
            rich_help_panel=_VECTORS,
        ),
    ] = None,
    pt_window: Annotated[
        int,
        typer.Option(help="Neighbouring vectors whose p-values are averaged.", rich_help_panel=_VECTORS),
    ] = 15,
    false_positive_rate: Annotated[
        float,
        typer.Option(
            help="Share of random directions outside the band of overlaps.", rich_help_panel=_VECTORS
        ),
    ] = 0.003,
    untrained: Annotated[
        bool,
        typer.Option(
            "--untrained/--no-untrained",
            help="Look at the same configuration with random weights beside it.",
            rich_help_panel=_VECTORS,
        ),
    ] = True,
    layers_per_pass: Annotated[
        int,
        typer.Option(
            help="Layers whose inputs are gathered in one pass: more is faster and takes more memory.",
            rich_help_panel=_VECTORS,
        ),
    ] = 1,
    lesions: Annotated[
        bool,
        typer.Option("--lesions/--no-lesions", help="Remove slices and measure.", rich_help_panel=_LESIONS),
    ] = True,
    slices: Annotated[
        int,
        typer.Option(
            help="Slices of equal count that the singular values are cut into.", rich_help_panel=_LESIONS
        ),
    ] = 10,
    only_slices: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Which of them are removed, such as 1,10: 1 has the smallest values. Default: all.",
            show_default=False,
            rich_help_panel=_LESIONS,
        ),
    ] = None,
    controls: Annotated[
        bool,
        typer.Option(
            "--controls/--no-controls",
            help="Remove random subspaces of equal size and of equal energy as well.",
            rich_help_panel=_LESIONS,
        ),
    ] = True,
    control_draws: Annotated[
        int, typer.Option(help="Random subspaces of each kind.", rich_help_panel=_LESIONS)
    ] = 1,
    each_matrix: Annotated[
        bool,
        typer.Option(
            "--each-matrix/--no-each-matrix",
            help="Lesion every matrix alone as well.",
            rich_help_panel=_LESIONS,
        ),
    ] = False,
    measures: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="loss, masked_loss, embedding, retrieval, readout_loss, accuracy. Default: what it has.",
            show_default=False,
            rich_help_panel=_LESIONS,
        ),
    ] = None,
    labelled: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="CSV or JSON lines with columns text and label, for accuracy.",
            rich_help_panel=_LESIONS,
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            help="Tokens from one window of the loss to the next. Default: half a window.",
            show_default=False,
            rich_help_panel=_LESIONS,
        ),
    ] = None,
    eval_tokens: Annotated[
        int, typer.Option(help="Tokens that one evaluation reads.", rich_help_panel=_LESIONS)
    ] = 4096,
    seed: options.Seed = 0,
    device: options.ModelDevice = "auto",
    dtype: options.ModelDtype = "float32",
    revision: options.Revision = None,
    token: options.Token = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Where in the matrices information sits: by vectors, by activations and by removal.

    Which singular vectors are no random directions, beside the untrained model; which point where the
    inputs vary; what it costs to remove a slice of the singular values of a role in all layers, beside
    random subspaces. A killed run continues where it stopped.

    [bold]Examples[/bold]: lmscope localize ./my-model --text notes.txt --role query,key -o runs/my-model

    lmscope localize ./my-encoder --text notes.txt --split paragraph -o runs/my-encoder
    """
    with errors_to_exit_codes(as_json=json):
        from lmscope import runs
        from lmscope.runs import localize_words

        first, *others = checkpoints
        run = runs.localize(
            first,
            *others,
            text=text,
            split=split,
            include=include,
            exclude=exclude,
            layers=layers,
            roles=roles,
            window=window,
            stride=stride,
            slices=slices,
            only_slices=only_slices,
            lesions=lesions,
            overlaps=overlaps,
            controls=controls,
            control_draws=control_draws,
            each_matrix=each_matrix,
            maps=maps or (),
            measures=measures,
            labelled=labelled,
            eval_tokens=eval_tokens,
            untrained=untrained,
            center=center,
            signed=signed,
            top=top,
            pt_window=pt_window,
            false_positive_rate=false_positive_rate,
            layers_per_pass=layers_per_pass,
            seed=seed,
            out=out,
            device=device,
            dtype=dtype,
            progress=not quiet,
            revision=revision,
            token=token,
        )
        finish_model_run(run, "localize", run.localize(), localize_words, as_json=json, quiet=quiet)
