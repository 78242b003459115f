"""`lmscope icl`: experiments on in-context learning as a spin glass; no checkpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.markup import escape

from lmscope.cli import options
from lmscope.cli.model_verdict import finish_model_run
from lmscope.cli.output import console, errors_to_exit_codes, print_json
from lmscope.cli.tables import plain_table

_SIZES = "Settings, for every chosen experiment that has them"


def _several(told: str) -> Any:
    return typer.Option(metavar="LIST", help=told, rich_help_panel=_SIZES, show_default=False)


def icl(
    experiment: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Experiment, as --list names it; may be repeated. Default: all.",
            show_default=False,
            rich_help_panel=options.HOW,
        ),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="Sizes and repeats: seconds, minutes or paper, about what they take; --list tells.",
            rich_help_panel=options.HOW,
        ),
    ] = "seconds",
    list_: Annotated[
        bool,
        typer.Option(
            "--list",
            help="Tell the experiments, what they take on two cores, and what their records are kept by; "
            "do nothing else.",
            rich_help_panel=options.HOW,
        ),
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="Repeats with other tasks: intervals are over them. Default: the preset's.",
            show_default=False,
            rich_help_panel=options.HOW,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The first of them.", rich_help_panel=options.HOW)] = 0,
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            metavar="RUN",
            help="Result folder; the same folder continues a run. Default: runs/icl.",
            show_default=False,
            rich_help_panel=options.OUTPUT,
        ),
    ] = None,
    dimension: Annotated[str | None, _several("D: entries of a token and of a teacher.")] = None,
    prompt_lengths: Annotated[str | None, _several("N: labelled tokens of a prompt.")] = None,
    tasks: Annotated[str | None, _several("P: prompts that the couplings come from.")] = None,
    regularization: Annotated[
        str | None, _several("lambda0: weight of |W|^2 / 2 in the energy; 0: the minimum norm.")
    ] = None,
    inverse_temperature: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER",
            help="beta of the Boltzmann distribution.",
            rich_help_panel=_SIZES,
            show_default=False,
        ),
    ] = None,
    correlations: Annotated[
        str | None,
        _several("Of the tokens of a prompt, 0 to 1; with --set correlated=coordinates of theirs."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any other setting, such as replicas=50; may be repeated. A run's manifest.json names all.",
            rich_help_panel=_SIZES,
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(help="Where models are trained: auto, cpu or cuda.", rich_help_panel=options.HOW),
    ] = "auto",
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Linear regression in context as a spin glass: when tasks leave one ground state, and what finds it.

    Nothing is read: tasks are drawn, models are trained here. Couplings and fields of linear attention come
    from prompts; the exact ground state, message passing and training are held against each other.

    A killed run continues where it stopped. More seeds, or a longer list of what records are kept by (--list
    tells), compute only what is new; any other changed setting computes its experiments anew.

    Leaves with 4 where a record failed, with 3 where all did. The page is built by lmscope report RUN.

    [bold]Examples[/bold]: lmscope icl --list

    lmscope icl --experiment phase-map --preset minutes -o runs/peak

    lmscope icl --experiment amp --dimension 10 --tasks 100,500,5000 --seeds 10 -o runs/amp
    """
    with errors_to_exit_codes(as_json=json):
        if list_:
            _print_list(as_json=json)
            return
        from lmscope import runs
        from lmscope.runs import icl_words
        from lmscope.runs.icl_settings import experiment_names

        run = runs.icl(
            experiment,
            preset=preset,
            seeds=seeds,
            seed=seed,
            dimension=dimension,
            prompt_lengths=prompt_lengths,
            tasks=tasks,
            regularization=regularization,
            inverse_temperature=inverse_temperature,
            correlations=correlations,
            settings=_further(setting or []),
            out=out,
            device=device,
            progress=not quiet,
        )
        summary = run.icl()
        # What failed in another call is no failure of this one.
        asked = experiment_names(experiment)
        failed = tuple(one for one in summary.failures if one["experiment"] in asked)
        finish_model_run(
            run,
            "icl",
            replace(summary, failures=failed),
            icl_words,
            as_json=json,
            quiet=quiet,
            all_failed=not any(summary.seeds[name] for name in asked),
        )


def _further(given: list[str]) -> dict[str, str]:
    from lmscope.runs.errors import UsageError

    found: dict[str, str] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"set: {one!r} is no NAME=VALUE, such as replicas=50")
        own = name.strip().replace("-", "_")
        if own in found:
            raise UsageError(f"set: {own} is given twice; write several values as one list, {own}=1,2")
        found[own] = value
    return found


def _print_list(*, as_json: bool) -> None:
    from lmscope.runs.icl import experiments_told
    from lmscope.runs.progress import format_seconds

    told = experiments_told()
    if as_json:
        print_json({"experiments": told})
        return
    out = console()
    table = plain_table("Experiments, and about what they take on two cores")
    table.add_column("experiment", no_wrap=True)
    table.add_column("what it tells")
    presets = list(told[0]["seconds"])
    for preset in presets:
        table.add_column(preset, justify="right", no_wrap=True)
    for one in told:
        times = (
            format_seconds(took) if (took := one["seconds"][preset]) >= 1 else "< 1 s" for preset in presets
        )
        kept_by = ", ".join(name.replace("_", " ") for name in one["kept_by"])
        table.add_row(one["name"], f"{escape(one['title'])}\n[dim]kept by: {kept_by}[/dim]", *times)
    out.print(table)
    out.print(
        "\nkept by: settings of which every value has records of its own. A longer list of these computes "
        "only what is new; any other changed setting, lists too, computes the experiment anew."
    )
