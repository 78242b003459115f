"""The largest fields of in-context learning that two cores should take: ground state and zero modes.

    python benchmarks/evidence_icl_scale.py [--dimension 64] [--tasks 100000] [--prompt-length 200]

Writes benchmarks/results/icl_scale.json: seconds of each step and the peak memory of this process, imports
included. Prompts are drawn, not their statistics.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from lmscope import spin_glass
from lmscope.runs.benchmarks.fingerprint import fingerprint
from resident import forget_peak, resident


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--prompt-length", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "icl_scale.json")
    arguments = parser.parse_args()
    sizes = {
        "dimension": arguments.dimension,
        "tasks": arguments.tasks,
        "prompt_length": arguments.prompt_length,
        "seed": arguments.seed,
    }
    forget_peak()
    seconds = {}

    began = time.monotonic()
    tasks = spin_glass.make_tasks(**sizes)
    form = spin_glass.fields(tasks)
    seconds["fields"] = time.monotonic() - began

    began = time.monotonic()
    found = spin_glass.ground_state(form)
    seconds["ground_state_and_zero_modes"] = time.monotonic() - began

    spins, size = form.spins, arguments.dimension
    expected = (size + 1) ** 2 - min(arguments.tasks, spins)
    if found.zero_modes != expected:
        print(f"zero modes: expected {expected}, found {found.zero_modes}", file=sys.stderr)
        return 1
    limit = spin_glass.population(tasks)
    result = {
        "machine": fingerprint({}, source=Path(__file__).parents[1]),
        "command": " ".join(["python", "benchmarks/evidence_icl_scale.py", *sys.argv[1:]]),
        **sizes,
        "spins": spins,
        "seconds": seconds | {"all": sum(seconds.values())},
        "peak_bytes": resident("VmHWM"),
        "zero_modes": found.zero_modes,
        "unique": found.unique,
        "residual": found.residual,
        "condition": found.condition,
        "loss": limit.loss(found.weights),
        "best_loss": limit.best_loss,
        "diagonal": float(np.diag(found.weights)[:-1].mean()),
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: result[name] for name in ("seconds", "peak_bytes", "zero_modes", "loss")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
