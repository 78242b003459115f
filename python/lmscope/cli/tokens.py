"""`lmscope tokens`: entropy of the hidden states, and which tokens carry the next one."""

from __future__ import annotations

from typing import Annotated

import typer

from lmscope.cli import options
from lmscope.cli.model_verdict import finish_model_run
from lmscope.cli.output import errors_to_exit_codes

_ENTROPY = "Entropy"
_SELECTION = "Selected tokens"


def tokens(
    checkpoints: Annotated[
        list[str],
        typer.Argument(
            metavar="CKPT...",
            help="Folder or hub id of a model with its tokenizer. Further ones add their entropy and its law "
            "over sizes.",
        ),
    ],
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="UTF-8 text; may be repeated. Required.", rich_help_panel=options.TEXT
        ),
    ] = None,
    split: options.Split = "file",
    window: Annotated[
        int | None,
        typer.Option(
            help="Tokens read at a time; longer texts are cut. Default: the model's context, at most 512.",
            show_default=False,
            rich_help_panel=options.TEXT,
        ),
    ] = None,
    out: options.Out = None,
    layers: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Only these and the last, such as 0,6: 0 enters the first block, i leaves block i. "
            "Default: all.",
            show_default=False,
            rich_help_panel=_ENTROPY,
        ),
    ] = None,
    special: Annotated[
        str,
        typer.Option(
            help="Special tokens of the entropy and the distances: drop or keep. They are outliers that move "
            "the mean.",
            rich_help_panel=_ENTROPY,
        ),
    ] = "drop",
    epsilon2: Annotated[
        float, typer.Option(help="Squared distortion of the coding length.", rich_help_panel=_ENTROPY)
    ] = 0.5,
    center: Annotated[
        bool,
        typer.Option("--center/--no-center", help="Subtract the mean over tokens.", rich_help_panel=_ENTROPY),
    ] = True,
    normalize_rows: Annotated[
        bool,
        typer.Option(
            "--normalize-rows/--no-normalize-rows",
            help="Scale every token's state to norm 1.",
            rich_help_panel=_ENTROPY,
        ),
    ] = True,
    untrained: Annotated[
        bool,
        typer.Option(
            "--untrained/--no-untrained",
            help="Run the same configuration with random weights beside it.",
            rich_help_panel=_ENTROPY,
        ),
    ] = True,
    positions: Annotated[
        int,
        typer.Option(help="Sampled positions; 0: no selection of tokens.", rich_help_panel=_SELECTION),
    ] = 200,
    min_context: Annotated[
        int, typer.Option(help="Tokens that come before a sampled position.", rich_help_panel=_SELECTION)
    ] = 32,
    k: Annotated[
        str,
        typer.Option(
            "-k", "--k", metavar="LIST", help="How many tokens are selected.", rich_help_panel=_SELECTION
        ),
    ] = "1,2,4,8,16",
    ridge: Annotated[
        float,
        typer.Option(
            help="Ridge of the residual and of the information gain, for states of norm 1.",
            rich_help_panel=_SELECTION,
        ),
    ] = 0.01,
    divergence: Annotated[
        bool,
        typer.Option(
            "--divergence/--no-divergence",
            help="Run the model with the selected tokens alone, in three ways.",
            rich_help_panel=_SELECTION,
        ),
    ] = True,
    seed: options.Seed = 0,
    device: options.ModelDevice = "auto",
    dtype: Annotated[
        str,
        typer.Option(
            help="float32, bfloat16, float16 or auto, the checkpoint's own: small divergences drown in the "
            "rounding of 16 bits.",
            rich_help_panel=options.HOW,
        ),
    ] = "float32",
    revision: options.Revision = None,
    token: options.Token = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """How rich the hidden states of a text are, layer by layer, and which tokens carry the next one.

    Entropy of every layer, beside random rows and the untrained model. At sampled positions the tokens that
    the Lasso, attention and others select: what they leave of the state there, and what the model says next
    when only they are kept. A killed run continues where it stopped.

    [bold]Example[/bold]: lmscope tokens ./my-model --text notes.txt -o runs/my-model
    """
    with errors_to_exit_codes(as_json=json):
        from lmscope import runs
        from lmscope.runs import tokens_words

        first, *others = checkpoints
        run = runs.tokens(
            first,
            *others,
            text=text,
            split=split,
            window=window,
            layers=layers,
            special=special,
            epsilon2=epsilon2,
            center=center,
            normalize_rows=normalize_rows,
            untrained=untrained,
            positions=positions,
            min_context=min_context,
            k=k,
            ridge=ridge,
            divergence=divergence,
            seed=seed,
            out=out,
            device=device,
            dtype=dtype,
            progress=not quiet,
            revision=revision,
            token=token,
        )
        summary = run.tokens()
        missing = "" if summary.positions else tokens_words.lacking_positions(summary)
        finish_model_run(run, "tokens", summary, tokens_words, as_json=json, quiet=quiet, warning=missing)
