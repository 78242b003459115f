"""A bench as plain data, for a JSON file."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmscope.runs.benchmarks.family import OURS
from lmscope.runs.benchmarks.results import Bench, CaseResult


def document(benches: Sequence[Bench]) -> dict[str, Any]:
    """`as_dict` of the only one, or of each under "benchmarks"."""
    found = [as_dict(bench) for bench in benches]
    return found[0] if len(found) == 1 else {"benchmarks": found}


def as_dict(bench: Bench) -> dict[str, Any]:
    """Everything measured: medians, ratios with their range, rates, errors, every sample, the machine."""
    return {
        "benchmark": bench.family.name,
        "input": bench.family.input,
        "formula": bench.family.formula,
        **{f"{yardstick}_gflops": rate / 1e9 for yardstick, rate in bench.rates.items()},
        "absent": bench.absent,
        "cases": [_case(result) for result in bench.results],
        "machine": bench.machine,
    }


def _case(result: CaseResult) -> dict[str, Any]:
    case = result.case
    competitors = {}
    for name in result.competitors():
        entry: dict[str, Any] = {
            "median_seconds": result.seconds(name),
            "gflops": result.rate(name) / 1e9,
            f"share_of_{result.family.yardstick(case)}": result.share(name),
            "largest_error": result.error(name),
            "most_extra_bytes": result.extra_bytes(name),
            "disturbed_samples": result.disturbed(name),
        }
        if name != OURS:
            ratios = result.ratios(name)
            entry["times_slower_than_ours"] = {
                "median": statistics.median(ratios),
                "min": min(ratios),
                "max": max(ratios),
            }
        competitors[name] = entry
    return {
        "shape": [case.rows, case.columns],
        **case.options,
        "inputs": {kind: sum(one.kind == kind for one in result.rounds) for kind in result.family.kinds},
        "not_timed_here": [
            name for name in result.family.usual_rivals(case) if name not in result.competitors()
        ],
        "competitors": competitors,
        "targets": [
            {
                "what": aim.what,
                "wanted_at_most" if aim.most else "wanted": aim.wanted,
                "found": aim.found,
                "met": aim.met,
            }
            for aim in result.targets()
        ],
        "rounds": [
            {
                "matrix": one.kind,
                "seed": one.seed,
                **one.details,
                "samples": {
                    name: {
                        "seconds": measured.sample.seconds,
                        "own_cpu_seconds": measured.sample.own_cpu_seconds,
                        "foreign_share": measured.sample.foreign_share,
                        "disturbed": measured.sample.disturbed,
                        "thrown_away": [list(entry) for entry in measured.sample.thrown_away],
                        "error": measured.error,
                        "extra_bytes": measured.sample.extra_bytes,
                        **measured.sample.words,
                    }
                    for name, measured in one.measured.items()
                },
            }
            for one in result.rounds
        ],
    }


def write_json(benches: Sequence[Bench], path: Path) -> None:
    """`document` into a file, folders made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document(benches), indent=1) + "\n", encoding="utf-8")
