"""`lmscope bench`: our kernels beside their competitors."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmscope.cli import options
from lmscope.cli.output import console, errors_to_exit_codes, message, print_json
from lmscope.runs.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from lmscope.runs.benchmarks import Bench, CaseResult

_SECONDS_BETWEEN_LINES = 10.0


def bench(
    family: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="singular_values, symmetric_eigenvalues, column_cosine, lasso, token_averages or "
            "couplings; may be repeated; all without it.",
        ),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROWSxCOLUMNS",
            help="Instead of the default shapes, for one family (else singular_values); may be repeated.",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Small shapes and two seeds, a minute; below the sizes that targets are for."
        ),
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="Gaussian inputs per shape: 5, fewer where one takes minutes, with --quick 2.", min=1
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="Write the JSON here too.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Time our kernels beside torch, numpy and scipy on this machine.

    Same inputs for all, one process each, in turns; answers checked against values of higher accuracy. The
    default shapes take hours on two cores, --family singular_values one or two of them, which the progress
    line projects; the machine should have nothing else to do.

    [bold]Example[/bold]: lmscope bench --quick
    """
    with errors_to_exit_codes(as_json=json):
        from lmscope.runs.benchmarks import cases_of, document, families_of, run_bench, write_json
        from lmscope.runs.benchmarks.cpu_time import share_now
        from lmscope.runs.benchmarks.turns import FOREIGN_LIMIT

        if shape and family is not None and len(family) > 1:
            raise UsageError("--shape goes with one --family: what its sides mean depends on it")
        # Shapes without a family meant singular values before there was another.
        chosen = families_of(["singular_values"] if shape and not family else family or [])
        if not quiet and (share := share_now()) > FOREIGN_LIMIT:
            message(
                "warning",
                f"other processes use {share:.0%} of the CPUs now; disturbed samples are taken again, which "
                "takes longer, and ratios of disturbed ones mean little",
            )
        found = []
        with _progress(wanted=not quiet) as tell:
            for one in chosen:
                cases = cases_of(shape) if shape else one.cases("quick" if quick else "full")
                found.append(
                    run_bench(
                        one,
                        cases,
                        seeds=seeds or (2 if quick else None),
                        tries=2 if quick else 4,
                        quick=quick,
                        source=Path.cwd(),
                        progress=tell,
                    )
                )
        if out is not None:
            write_json(found, out)
        if json:
            print_json(document(found))
        elif not quiet:
            _print(found)
        for text in dict.fromkeys(text for bench in found for text in bench.absent.values()):
            message("warning", f"left out: {text}")


@contextmanager
def _progress(*, wanted: bool) -> Iterator[Callable[[str, int, int], None]]:
    if not wanted:
        yield lambda text, done, total: None
        return
    if not sys.stderr.isatty():
        last = time.monotonic() - _SECONDS_BETWEEN_LINES

        def say(text: str, done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                message("bench", f"{done} of {total} samples; {text}")

        yield say
        return
    from rich.console import Console

    # The spinner turns once a second: this process must not disturb what it watches.
    with Console(stderr=True).status("starting the processes", refresh_per_second=1) as status:
        yield lambda text, done, total: status.update(f"{done} of {total} samples; {text}")


def _print(benches: Sequence[Bench]) -> None:
    out = console()
    for bench in benches:
        if len(benches) > 1:
            out.rule(bench.family.name, style="dim")
        for result in bench.results:
            out.print(_table(result))
            for line in _remarks(result):
                out.print(line)
            out.print()
        for line in _foot(bench):
            out.print(line, soft_wrap=not out.is_terminal)
        out.print(
            "times ours: their seconds over ours on the same input, median (range). error: "
            f"{bench.family.error}. GFLOP/s: {bench.family.formula}. A sample is disturbed where other "
            "processes used more than 3 % of the CPUs; ~ is before ratios where all are.",
            style="dim",
            soft_wrap=not out.is_terminal,
        )


def _foot(bench: Bench) -> Iterator[str]:
    from lmscope.runs.benchmarks import OURS

    machine, ours = bench.machine, bench.machine["libraries"][OURS]
    rates = [
        f"{title} {bench.rates[name] / 1e9:.0f} GFLOP/s" for name, title in bench.family.yardsticks.items()
    ]
    libraries = [str(ours[name]) for name in ours if name not in ("lmscope", "isa", "threads")]
    yield "; ".join([f"{machine['processor']}, {machine['cores']} cores, {ours['isa']}", *rates, *libraries])
    if machine["environment"]:
        settings = " ".join(f"{name}={value}" for name, value in machine["environment"].items())
        yield f"Set in the environment: {settings}"


def _table(result: CaseResult) -> Table:
    from rich.table import Table

    from lmscope.runs.benchmarks import OURS

    # The foot says which peak: the table has 80 columns.
    share = result.family.yardsticks[result.family.yardstick(result.case)].rpartition(" ")[2]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(result.case.name, no_wrap=True)
    for title in ("seconds", "GFLOP/s", share, "times ours", "target", "error"):
        table.add_column(title, justify="right", no_wrap=True)
    for name in result.competitors():
        ratio, verdict = "", ""
        if name != OURS:
            ratios = result.ratios(name)
            median = statistics.median(ratios)
            digits = 2 if max(ratios) < 10 else 1
            ratio = f"{median:.{digits}f} ({min(ratios):.{digits}f}-{max(ratios):.{digits}f})"
            if len(result.rounds) in (result.disturbed(name), result.disturbed(OURS)):
                ratio = f"~{ratio}"
            target = result.case.targets.get(name)
            if target is not None:
                verdict = f"{target:g} {'met' if median >= target else 'missed'}"
        table.add_row(
            result.family.ours(result) if name == OURS else name,
            f"{result.seconds(name):.3g}",
            f"{result.rate(name) / 1e9:.3g}",
            f"{result.share(name):.0%}",
            ratio,
            verdict,
            f"{result.error(name):.1e}",
            style="bold" if name == OURS else None,
        )
    return table


def _remarks(result: CaseResult) -> Iterator[str]:
    yield from result.family.remarks(result)
    for aim in result.family.aims(result):
        bound = "at most" if aim.most else "at least"
        yield f"{aim.found:.3g} {aim.what}, wanted {bound} {aim.wanted:g}: {'met' if aim.met else 'missed'}"
    for name in result.competitors():
        if result.disturbed(name):
            yield f"{name}: {result.disturbed(name)} of {len(result.samples(name))} samples disturbed"
