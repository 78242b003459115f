"""Arguments that several verbs share; spellings follow `hf` and transformers."""

from __future__ import annotations

from typing import Annotated

import typer

WHICH = "Which matrices"
HOW = "How"
TEXT = "What is read"
OUTPUT = "Output"

CheckpointArgument = Annotated[
    str,
    typer.Argument(
        metavar="CKPT", help="Folder, one .safetensors, .bin, .pt, .pth or .gguf file, or hub id (org/name)."
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--out",
        metavar="RUN",
        help="Result folder; the same folder continues a run. Default: runs/NAME-IDENTITY.",
        rich_help_panel=OUTPUT,
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB", help="Only tensors whose name matches; may be repeated.", rich_help_panel=WHICH
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB", help="Not tensors whose name matches; may be repeated.", rich_help_panel=WHICH
    ),
]
Layers = Annotated[
    str | None, typer.Option(metavar="LIST", help="Only these layers, such as 0-3,7.", rich_help_panel=WHICH)
]
Roles = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="Only these roles, such as query,key.", rich_help_panel=WHICH),
]
Nulls = Annotated[
    str,
    typer.Option(
        metavar="LIST",
        help="What spectra are compared with: iid, permutation, sign_flip.",
        rich_help_panel=HOW,
    ),
]
Draws = Annotated[int, typer.Option(help="Random draws per matrix and drawn null.", rich_help_panel=HOW)]
Seed = Annotated[int, typer.Option(help="Seed of every random draw.", rich_help_panel=HOW)]
FalsePositiveRate = Annotated[
    float, typer.Option(help="Share of pure-noise matrices that an iid test may flag.", rich_help_panel=HOW)
]
MatchRate = Annotated[
    float,
    typer.Option(help="Share of random vectors that count as matched.", rich_help_panel=HOW),
]
Vectors = Annotated[
    str,
    typer.Option(
        help="What is compared: neurons (columns of attention output and down, rows of all else), rows or "
        "columns.",
        rich_help_panel=HOW,
    ),
]
NullDraws = Annotated[
    int | None,
    typer.Option(
        help="Draws of random signs for neighbouring layers. Default: half their number, 3 to 19.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
TwinNullDraws = Annotated[
    int | None,
    typer.Option(
        help="Draws of random signs for every pair of twins. Default: 3.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
Rounding = Annotated[
    str,
    typer.Option(
        help="Whose rounding is noise: both, or tuned where the tuning began from exactly BASE.",
        rich_help_panel=HOW,
    ),
]
Control = Annotated[
    bool,
    typer.Option(
        "--control", help="Compare random matrices of the same shapes as well.", rich_help_panel=HOW
    ),
]
Indices = Annotated[
    str | None,
    typer.Option(
        metavar="ROLES",
        help="Roles, such as query,key, whose layers CKA, CCA and others compare as well; at most 2048 "
        "vectors a matrix.",
        rich_help_panel=HOW,
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="What comparisons may take, such as 8GB. Default: half of what is free.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
Device = Annotated[str, typer.Option(help="auto or cpu.", rich_help_panel=HOW)]
ModelDevice = Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=HOW)]
ModelDtype = Annotated[
    str,
    typer.Option(
        help="What the model runs in: float32, float64, bfloat16, float16 or auto, its own.",
        rich_help_panel=HOW,
    ),
]
Split = Annotated[
    str,
    typer.Option(help="What of a file is one text: file, paragraph or line.", rich_help_panel=TEXT),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub id.", rich_help_panel=HOW)]
TunedRevision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of TUNED.", rich_help_panel=HOW)
]
OtherRevision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of OTHER.", rich_help_panel=HOW)
]
Token = Annotated[
    str | None, typer.Option(help="Hub token; HF_TOKEN and `hf auth login` work too.", rich_help_panel=HOW)
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object and nothing else.", rich_help_panel=OUTPUT)
]
Quiet = Annotated[
    bool,
    typer.Option(
        "-q", "--quiet", help="No progress and no table: only the result's path.", rich_help_panel=OUTPUT
    ),
]
