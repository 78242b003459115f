"""A bench as plain data, for a JSON file, and what its targets say."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmscope.runs.benchmarks.singular_values import ERROR_TARGET, OURS, Bench, CaseResult

FORMULA = "N M^2 + 4/3 M^3 operations, N the longer and M the shorter side, the same for all"


@dataclass(frozen=True)
class Target:
    """One aim: what, at least how much, and how much it is."""

    what: str
    wanted: float
    found: float

    @property
    def met(self) -> bool:
        return self.found >= self.wanted


def targets(result: CaseResult) -> list[Target]:
    """The aims of one case, for the competitors that were there."""
    found = [
        Target(f"times as fast as {rival}", wanted, statistics.median(result.ratios(rival)))
        for rival, wanted in result.case.targets.items()
        if result.samples(rival)
    ]
    rival, wanted = ERROR_TARGET
    if result.case.targets and result.samples(rival):
        found.append(
            Target(
                f"times smaller largest error than {rival}", wanted, result.error(rival) / result.error(OURS)
            )
        )
    return found


def as_dict(bench: Bench) -> dict[str, Any]:
    """Everything measured: medians, ratios with their range, rates, errors, every sample, the machine."""
    return {
        "benchmark": "singular_values",
        "input": "bfloat16; competitors convert inside their time",
        "formula": FORMULA,
        "gemm_gflops": bench.gemm_rate / 1e9,
        "absent": bench.absent,
        "cases": [_case(result, bench.gemm_rate) for result in bench.results],
        "machine": bench.machine,
    }


def _case(result: CaseResult, gemm_rate: float) -> dict[str, Any]:
    competitors = {}
    for name in result.competitors():
        entry: dict[str, Any] = {
            "median_seconds": result.seconds(name),
            "gflops": result.rate(name) / 1e9,
            "share_of_gemm": result.rate(name) / gemm_rate,
            "largest_error": result.error(name),
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
        "shape": [result.case.rows, result.case.columns],
        "competitors": competitors,
        "targets": [
            {"what": aim.what, "wanted": aim.wanted, "found": aim.found, "met": aim.met}
            for aim in targets(result)
        ],
        "rounds": [
            {
                "matrix": one.kind,
                "seed": one.seed,
                "smallest_over_largest": one.smallest_over_largest,
                "reference_uncertainty": one.reference_uncertainty,
                "samples": {
                    name: {
                        "seconds": measured.sample.seconds,
                        "own_cpu_seconds": measured.sample.own_cpu_seconds,
                        "foreign_share": measured.sample.foreign_share,
                        "disturbed": measured.sample.disturbed,
                        "thrown_away": [list(entry) for entry in measured.sample.thrown_away],
                        "error": measured.error,
                        **measured.sample.words,
                    }
                    for name, measured in one.measured.items()
                },
            }
            for one in result.rounds
        ],
    }


def write_json(bench: Bench, path: Path) -> None:
    """`as_dict` into a file, folders made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_dict(bench), indent=1) + "\n", encoding="utf-8")
