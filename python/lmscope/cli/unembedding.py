"""`lmscope unembedding`: token probabilities in the output embedding, steering, removable coordinates."""

from __future__ import annotations

from typing import Annotated

import typer

from lmscope.cli import options
from lmscope.cli.edits import apply_or_remove, edits_of, refuse_others, token_of
from lmscope.cli.model_verdict import finish_model_run
from lmscope.cli.output import errors_to_exit_codes, message

_STEERING = "Steering"
_REMOVAL = "Removal"
_GENERATIONS = "Continuations"
_FIT = "Fit"
_EDIT = "Edits of the checkpoint"


def unembedding(
    context: typer.Context,
    checkpoints: Annotated[
        list[str],
        typer.Argument(
            metavar="CKPT...",
            help="Folder or hub id of a causal model with its tokenizer, or a folder of checkpoint folders, "
            "the steps of a training: the last gets everything. Further ones, such as other seeds.",
        ),
    ],
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="UTF-8 text; may be repeated. Required.", rich_help_panel=options.TEXT
        ),
    ] = None,
    split: options.Split = "file",
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Text of the same kind that nothing is fitted on. Default: the last third of the text.",
            show_default=False,
            rich_help_panel=options.TEXT,
        ),
    ] = None,
    other_text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="Text of another kind, for steering.", rich_help_panel=options.TEXT
        ),
    ] = None,
    frequency_text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Text that token frequencies are counted in. Default: the text.",
            show_default=False,
            rich_help_panel=options.TEXT,
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            help="Tokens read at a time; longer texts are cut. Default: the model's context, at most 128.",
            show_default=False,
            rich_help_panel=options.TEXT,
        ),
    ] = None,
    positions: Annotated[
        int, typer.Option(help="Positions of the fitting text.", rich_help_panel=options.TEXT)
    ] = 8192,
    eval_positions: Annotated[
        int,
        typer.Option(help="Positions of held-out and of other text.", rich_help_panel=options.TEXT),
    ] = 2048,
    out: options.Out = None,
    vocabulary_sizes: Annotated[
        bool,
        typer.Option(
            "--vocabulary-sizes/--no-vocabulary-sizes",
            help="Fit random sub-vocabularies as well.",
            rich_help_panel=_FIT,
        ),
    ] = True,
    controls: Annotated[
        bool,
        typer.Option(
            "--controls/--no-controls",
            help="Shuffled rows, edits of the wrong sign and along random directions.",
            rich_help_panel=_FIT,
        ),
    ] = True,
    shuffles: Annotated[int, typer.Option(help="Shuffles of the rows.", rich_help_panel=_FIT)] = 3,
    untrained: Annotated[
        bool,
        typer.Option(
            "--untrained/--no-untrained",
            help="Look at the same configuration with random weights beside it.",
            rich_help_panel=_FIT,
        ),
    ] = True,
    steering: Annotated[
        bool,
        typer.Option(
            "--steering/--no-steering",
            help="Change the probability of single tokens and measure.",
            rich_help_panel=_STEERING,
        ),
    ] = True,
    steer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOKEN",
            help="Token, such as ' house', or its id as #5123; may be repeated. Default: --steer-count "
            "of middling frequency.",
            show_default=False,
            rich_help_panel=_STEERING,
        ),
    ] = None,
    steer_count: Annotated[
        int,
        typer.Option(help="Tokens that are steered where none is named.", rich_help_panel=_STEERING),
    ] = 20,
    factors: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="What mean probabilities are multiplied by, each in an edit of its own.",
            rich_help_panel=_STEERING,
        ),
    ] = "0.05,0.1,0.5,2,5,20",
    allocation: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="How an edit is spread over coordinates: even, minimum_norm, sparse. Controls, "
            "continuations and --edit take the first.",
            rich_help_panel=_STEERING,
        ),
    ] = "even,minimum_norm",
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate/--no-calibrate",
            help="Solve for the steps on the fitting text; steps by the theory are recorded in any case.",
            rich_help_panel=_STEERING,
        ),
    ] = True,
    removal: Annotated[
        bool,
        typer.Option(
            "--removal/--no-removal", help="Remove coordinates and measure.", rich_help_panel=_REMOVAL
        ),
    ] = True,
    shares: Annotated[
        str,
        typer.Option(metavar="LIST", help="Of the coordinates that are removed.", rich_help_panel=_REMOVAL),
    ] = "0.05,0.1,0.2,0.3,0.4,0.5,0.7,0.9",
    removal_positions: Annotated[
        int, typer.Option(help="Positions of held-out text.", rich_help_panel=_REMOVAL)
    ] = 2048,
    js: Annotated[
        float,
        typer.Option(
            help="Jensen-Shannon divergence, in nats, that the proposed set may have.",
            rich_help_panel=_REMOVAL,
        ),
    ] = 0.01,
    fill: Annotated[
        str,
        typer.Option(help="What stands in place of a coordinate: zero or mean.", rich_help_panel=_REMOVAL),
    ] = "zero",
    generations: Annotated[
        bool,
        typer.Option(
            "--generations/--no-generations",
            help="Continue held-out text greedily, with and without edits and removals.",
            rich_help_panel=_GENERATIONS,
        ),
    ] = True,
    prompts: Annotated[
        int,
        typer.Option(
            help="Continuations; MAUVE takes 100 of them and its package.", rich_help_panel=_GENERATIONS
        ),
    ] = 8,
    new_tokens: Annotated[int, typer.Option(help="Tokens of each.", rich_help_panel=_GENERATIONS)] = 48,
    edit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOKEN=FACTOR",
            help="One edit of all tokens that are given so, together; may be repeated. Needs --save-edit.",
            rich_help_panel=_EDIT,
        ),
    ] = None,
    save_edit: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Where that edit goes, a safetensors file.", rich_help_panel=_EDIT),
    ] = None,
    apply_edit: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write a copy of CKPT with this edit to --to, and do nothing else.",
            rich_help_panel=_EDIT,
        ),
    ] = None,
    remove_edit: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write a copy of CKPT without this edit to --to, and do nothing else.",
            rich_help_panel=_EDIT,
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="New folder for the copy.", rich_help_panel=_EDIT),
    ] = None,
    seed: options.Seed = 0,
    device: options.ModelDevice = "auto",
    dtype: options.ModelDtype = "float32",
    revision: options.Revision = None,
    token: options.Token = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """What the output embedding holds of token probabilities, and what can be done by it.

    How far mean next-token probabilities are a linear function of its rows; how exactly an edit of a row
    sets a token's probability; what the model loses with coordinates that hardly take part; when a training
    writes token frequencies into it. A killed run continues where it stopped.

    [bold]Examples[/bold]: lmscope unembedding ./my-model --text notes.txt -o runs/my-model

    lmscope unembedding ./my-model --text notes.txt --edit " house=5" --save-edit house.safetensors

    lmscope unembedding ./my-model --apply-edit house.safetensors --to ./my-steered-model
    """
    with errors_to_exit_codes(as_json=json):
        first, *others = checkpoints
        if apply_edit is not None or remove_edit is not None or to is not None:
            refuse_others(context)
            apply_or_remove(
                checkpoints, apply=apply_edit, remove=remove_edit, to=to, as_json=json, quiet=quiet
            )
            return
        from lmscope import runs
        from lmscope.runs import unembedding_words
        from lmscope.runs.checkpoint_folders import lone_steps

        if (folder := lone_steps(checkpoints)) is not None:
            message(
                "warning",
                f"several steps of {folder} are given one by one: each is looked at by itself, without "
                "dynamics; for those give the folder",
            )
        run = runs.unembedding(
            first,
            *others,
            text=text,
            split=split,
            held_out=held_out,
            other_text=other_text,
            frequency_text=frequency_text,
            window=window,
            positions=positions,
            eval_positions=eval_positions,
            steering=steering,
            steer=None if steer is None else [token_of(one) for one in steer],
            steer_count=steer_count,
            factors=factors,
            allocation=allocation,
            calibrate=calibrate,
            removal=removal,
            shares=shares,
            removal_positions=removal_positions,
            js=js,
            fill=fill,
            generations=generations,
            prompts=prompts,
            new_tokens=new_tokens,
            vocabulary_sizes=vocabulary_sizes,
            controls=controls,
            shuffles=shuffles,
            untrained=untrained,
            edit=None if edit is None else edits_of(edit),
            save_edit=save_edit,
            seed=seed,
            out=out,
            device=device,
            dtype=dtype,
            progress=not quiet,
            revision=revision,
            token=token,
        )
        summary = run.unembedding()
        heading = unembedding_words.heading(summary)
        finish_model_run(
            run, "unembedding", summary, unembedding_words, as_json=json, quiet=quiet, heading=heading
        )
