"""Entropy of 512 tokens in 2048 dimensions beside Diff-eRank's definition, a decomposition of 2048 x 2048.

Both take the same float32 states, in processes of their own, in turn; samples that other processes disturbed
are marked. Matrix entropies must agree to 1e-8.

    python benchmarks/evidence_entropy.py [--rounds 5] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from lmscope.runs.benchmarks.cpu_time import busy_seconds, foreign_share
from lmscope.runs.benchmarks.fingerprint import fingerprint

TOKENS, DIMENSIONS = 512, 2048
TOLERANCE = 1e-8
FOREIGN_LIMIT = 0.03


def states() -> np.ndarray:
    generator = np.random.default_rng(0)
    scales = np.geomspace(1, 0.01, DIMENSIONS)
    return (generator.standard_normal((TOKENS, DIMENSIONS)) * scales).astype(np.float32)


def ours(z: np.ndarray) -> float:
    import lmscope

    return lmscope.representation_entropy(z).matrix_entropy


def diff_erank(z: np.ndarray) -> float:
    """As the released code has it, in float64: rows centred and normalised, covariance, torch.svd, nansum."""
    import torch

    rows = torch.from_numpy(z.astype(np.float64))
    rows = rows - rows.mean(dim=0)
    rows = torch.nn.functional.normalize(rows, dim=1)
    covariance = rows.T @ rows / len(rows)
    values = torch.svd(covariance / torch.trace(covariance))[1]
    return float(-(values * torch.log(values)).nansum())


COMPETITORS = {"lmscope": (ours, 20), "torch.svd": (diff_erank, 1)}
"""Name -> what is timed, and how many calls are one sample."""


def work(name: str) -> None:
    """Answer each line of stdin with one sample."""
    call, repeats = COMPETITORS[name]
    z = states()
    call(z)
    for _ in sys.stdin:
        begin, own, busy = time.perf_counter(), time.process_time(), busy_seconds()
        for _ in range(repeats):
            value = call(z)
        seconds = time.perf_counter() - begin
        share = foreign_share(
            seconds=seconds,
            own=time.process_time() - own,
            busy=busy_seconds() - busy,
            cpus=len(os.sched_getaffinity(0)),
        )
        print(json.dumps({"seconds": seconds / repeats, "value": value, "foreign_share": share}), flush=True)


def sample(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "entropy.json")
    parser.add_argument("--worker", choices=COMPETITORS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker)
        return 0
    processes = {
        name: subprocess.Popen(
            [sys.executable, __file__, "--worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in COMPETITORS
    }
    rounds = [{name: sample(process) for name, process in processes.items()} for _ in range(arguments.rounds)]
    for process in processes.values():
        process.communicate()
    seconds = {name: statistics.median(one[name]["seconds"] for one in rounds) for name in COMPETITORS}
    values = {name: rounds[0][name]["value"] for name in COMPETITORS}
    result = {
        "machine": fingerprint({}, source=Path(__file__).parents[1]),
        "command": " ".join(["python", "benchmarks/evidence_entropy.py", *sys.argv[1:]]),
        "tokens": TOKENS,
        "dimensions": DIMENSIONS,
        "median_seconds": seconds,
        "ratio": seconds["torch.svd"] / seconds["lmscope"],
        "values": values,
        "disturbed": any(
            one[name]["foreign_share"] > FOREIGN_LIMIT for one in rounds for name in COMPETITORS
        ),
        "rounds": rounds,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{seconds} ratio {result['ratio']:.0f}, difference {values['lmscope'] - values['torch.svd']:.2g}")
    return not math.isclose(*values.values(), rel_tol=0, abs_tol=TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
