"""Singular values and eigenvalues as on a CPU without AVX-512, beside the library calls that they replace.

Everybody runs under LMSCOPE_ISA=avx2 and OPENBLAS_CORETYPE=Haswell. The competitors are calls of the OpenBLAS
that lmscope brings, dsyrk and dsyevd_2stage, in a process that times nothing of ours; ours is not to be
slower. They take turns as in `lmscope bench`, one input of each kind.

    python benchmarks/evidence_avx2.py [--quick] [--out FILE]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lmscope.runs.benchmarks import FAMILIES, OURS, Bench, Case, run_bench, write_json

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = {"LMSCOPE_ISA": "avx2", "OPENBLAS_CORETYPE": "Haswell"}
COMPOSITIONS = {"singular_values": "openblas", "symmetric_eigenvalues": "openblas 2stage"}
SHAPES = {
    "singular_values": [(1024, 1024), (2048, 2048), (4096, 4096), (11008, 4096)],
    "symmetric_eigenvalues": [(1024, 1024), (2048, 2048), (4096, 4096)],
}
QUICK = {"singular_values": [(300, 200), (200, 300)], "symmetric_eigenvalues": [(256, 256)]}
SEEDS = 1


def cases(name: str, quick: bool) -> list[Case]:
    rival = COMPOSITIONS[name]
    return [
        Case(rows, columns, {rival: 1.0}, rivals=[rival])
        for rows, columns in (QUICK if quick else SHAPES)[name]
    ]


def measure(names: Sequence[str], quick: bool) -> list[Bench]:
    """All workers inherit the settings."""
    os.environ.update(SETTINGS)
    found = []
    for name in names:
        bench = run_bench(
            FAMILIES[name],
            cases(name, quick),
            seeds=1 if quick else SEEDS,
            tries=1 if quick else 4,
            quick=quick,
            source=ROOT,
            progress=lambda text, done, total: print(f"{done} of {total}: {text}", file=sys.stderr),
        )
        level = bench.machine["libraries"][OURS]["isa"]
        assert level == SETTINGS["LMSCOPE_ISA"], level
        facts = bench.machine["libraries"][COMPOSITIONS[name]]["openblas"]
        assert facts.endswith(SETTINGS["OPENBLAS_CORETYPE"]), facts
        found.append(bench)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small shapes, a record in build/benchmarks")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    folder = ROOT / "build" / "benchmarks" if arguments.quick else ROOT / "benchmarks" / "results"
    out = arguments.out or folder / "avx2.json"
    benches = measure(list(SHAPES), arguments.quick)
    write_json(benches, out)
    for bench in benches:
        for result in bench.results:
            for aim in result.targets():
                verdict = "met" if aim.met else "missed"
                bound = "at most" if aim.most else "at least"
                print(f"{bench.family.name} {result.case.name}: {aim.found:.3g} {aim.what}, ", end="")
                print(f"wanted {bound} {aim.wanted:g}: {verdict}")
    print(out)


if __name__ == "__main__":
    main()
