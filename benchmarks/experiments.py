"""What scripts of real experiments share: each in a process of its own, its figures kept after each.

Such a script hands :func:`main` two functions. ``measure(name, folder, quick)`` runs one experiment into
``folder``/run, in the process that :func:`in_a_process` starts, and tells what it cost; ``kept(name, runs,
quick)`` starts that process and says what the result file holds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lmscope
from lmscope.runs.benchmarks.fingerprint import fingerprint

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("numpy", "scipy", "torch", "transformers")

Cost = dict[str, Any]


def folder_of(name: str, runs: Path, quick: bool) -> Path:
    return runs / (f"{name}-quick" if quick else name)


def in_a_process(script: str, name: str, folder: Path, quick: bool) -> Cost:
    """What ``measure`` told of it. Time and memory are those of the process that made the whole run, kept
    beside it, and None where several did or the settings have changed since."""
    run, file = folder / "run", folder / "cost.json"
    whole = not run.exists()
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, script, "--measure", name, "--runs", folder, *(["--quick"] if quick else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    cost: Cost = json.loads(done.stdout.splitlines()[-1])
    settings = lmscope.open_run(run).manifest["settings"]
    if whole:
        file.write_text(json.dumps({"settings": settings, "cost": cost}, indent=1) + "\n")
        return cost
    there = json.loads(file.read_text()) if file.is_file() else {}
    if there.get("settings") == settings:
        return dict(there["cost"])
    measured = [figure for figure in cost if figure == "seconds" or figure.startswith("peak_")]
    return cost | dict.fromkeys(measured)


def main(
    script: str,
    doc: str,
    *,
    experiments: Sequence[str],
    runs: Path,
    result: str,
    measure: Callable[[str, Path, bool], Cost],
    kept: Callable[[str, Path, bool], Any],
) -> None:
    """The command line of such a script; ``result`` is the name of its file in benchmarks/results."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(experiments))
    parser.add_argument("--runs", type=Path, default=runs)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.runs, arguments.quick)))
        return
    asked = arguments.only.split(",")
    if unknown := set(asked) - set(experiments):
        parser.error(f"--only may be of {', '.join(experiments)}, not {', '.join(sorted(unknown))}")
    results = ROOT / "build" / "benchmarks" if arguments.quick else ROOT / "benchmarks" / "results"
    out = arguments.out or results / result
    found: dict[str, Any] = json.loads(out.read_text()) if out.is_file() else {}
    out.parent.mkdir(parents=True, exist_ok=True)
    for name in filter(asked.__contains__, experiments):
        found[name] = kept(name, arguments.runs, arguments.quick)
        found["command"] = f"python benchmarks/{Path(script).name}"
        found["machine"] = fingerprint({name: {"version": version(name)} for name in PACKAGES}, source=ROOT)
        # After each: they take long.
        out.write_text(json.dumps(found, indent=1) + "\n")
        print(f"{name}: {out}", file=sys.stderr)
