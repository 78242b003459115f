"""`lmscope bench`: our kernels beside their competitors."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmscope.cli import options
from lmscope.cli.output import console, errors_to_exit_codes, message, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from lmscope.runs.benchmarks import Bench
    from lmscope.runs.benchmarks.singular_values import CaseResult

_SECONDS_BETWEEN_LINES = 10.0


def bench(
    shape: Annotated[
        list[str] | None,
        typer.Option(metavar="ROWSxCOLUMNS", help="Instead of the default shapes; may be repeated."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small shapes and two seeds: seconds, not minutes.")
    ] = False,
    seeds: Annotated[
        int | None, typer.Option(help="Gaussian matrices per shape [default: 5].", min=1)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="Write the JSON here too.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Time our singular values beside torch, numpy and scipy on this machine.

    Same bfloat16 matrices for all, one process each, in turns; errors against values of higher accuracy.
    The default shapes take about a quarter of an hour on two cores, and the machine should have nothing else
    to do.

    [bold]Example[/bold]: lmscope bench --quick
    """
    with errors_to_exit_codes(as_json=json):
        from lmscope.runs.benchmarks import (
            as_dict,
            bench_singular_values,
            cases_from_file,
            cases_of,
            write_json,
        )

        cases = cases_of(shape) if shape else cases_from_file("quick" if quick else "full")
        with _progress(wanted=not quiet) as tell:
            found = bench_singular_values(
                cases,
                seeds=seeds or (2 if quick else 5),
                tries=2 if quick else 4,
                gemm_order=1024 if quick else 3072,
                source=Path.cwd(),
                progress=tell,
            )
        if out is not None:
            write_json(found, out)
        if json:
            print_json(as_dict(found))
        elif not quiet:
            _print(found)
        for text in found.absent.values():
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


def _print(found: Bench) -> None:
    from lmscope.runs.benchmarks.report import FORMULA
    from lmscope.runs.benchmarks.singular_values import OURS

    out = console()
    for result in found.results:
        out.print(_table(result, found.gemm_rate))
        for line in _remarks(result):
            out.print(line)
        out.print()
    machine = found.machine
    ours = machine["libraries"][OURS]
    out.print(
        f"{machine['processor']}, {machine['cores']} cores, {ours['isa']}; "
        f"dgemm {found.gemm_rate / 1e9:.0f} GFLOP/s; {ours['openblas']}",
        soft_wrap=not out.is_terminal,
    )
    if machine["environment"]:
        settings = " ".join(f"{name}={value}" for name, value in machine["environment"].items())
        out.print(f"Set in the environment: {settings}", soft_wrap=not out.is_terminal)
    out.print(
        "times ours: their seconds over ours on the same matrix, median (range). error: largest of the "
        f"sampled values, over the largest value. GFLOP/s: {FORMULA}. A sample is disturbed where other "
        "processes used more than 3 % of the CPUs.",
        style="dim",
        soft_wrap=not out.is_terminal,
    )


def _table(result: CaseResult, gemm_rate: float) -> Table:
    from rich.table import Table

    from lmscope.runs.benchmarks.singular_values import OURS

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(result.case.name, no_wrap=True)
    for title in ("seconds", "GFLOP/s", "dgemm", "times ours", "target", "error"):
        table.add_column(title, justify="right", no_wrap=True)
    for name in result.competitors():
        ratio, verdict = "", ""
        if name != OURS:
            ratios = result.ratios(name)
            median = statistics.median(ratios)
            ratio = f"{median:.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
            target = result.case.targets.get(name)
            if target is not None:
                verdict = f"{target:g} {'met' if median >= target else 'missed'}"
        table.add_row(
            name,
            f"{result.seconds(name):.3g}",
            f"{result.rate(name) / 1e9:.3g}",
            f"{result.rate(name) / gemm_rate:.0%}",
            ratio,
            verdict,
            f"{result.error(name):.1e}",
            style="bold" if name == OURS else None,
        )
    return table


def _remarks(result: CaseResult) -> Iterator[str]:
    from lmscope.runs.benchmarks.report import targets
    from lmscope.runs.benchmarks.singular_values import OURS

    for one in result.rounds:
        words = one.measured[OURS].sample.words
        smallest = f"smallest value {one.smallest_over_largest:.1e} of the largest"
        yield f"{one.kind} {one.seed}: method {words['method']}, {words['refined']} refined, {smallest}"
    for aim in targets(result):
        if "error" in aim.what:
            yield f"{aim.found:.3g} {aim.what}, wanted {aim.wanted:g}: {'met' if aim.met else 'missed'}"
    for name in result.competitors():
        if result.disturbed(name):
            yield f"{name}: {result.disturbed(name)} of {len(result.samples(name))} samples disturbed"
