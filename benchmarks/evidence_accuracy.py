"""Accuracy of the singular values over the whole grid; writes benchmarks/results/accuracy.json.

Every case: one matrix, `method="auto"` and `method="gram"`, against float64 SVDs of the matrix and of its
transpose, whose difference is the reference's own uncertainty, or against the exactly known spectrum; up to
512 columns, Rayleigh quotients in extended precision replace the first. Run from the repository's root; it
takes some minutes.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from lmscope import __version__
from lmscope.kernels.runtime import get_num_threads, isa
from lmscope.kernels.singular_values import singular_values
from lmscope.reference import singular_values as reference

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests import shapes, tolerances

SHAPES = [(256, 256), (512, 256), (256, 512), (1024, 1024), (2048, 512), (512, 2048), (2048, 2048)]
TARGET = Path(__file__).parent / "results" / "accuracy.json"


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "isa": isa(),
        "threads": get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "lmscope": __version__,
    }


def cases() -> Iterator[tuple[str, str, Any, Any]]:
    """Kind, dtype, matrix, truth or None."""
    for order in (256, 1024, 2048):
        for side in ("left", "right"):
            matrix, truth = shapes.hadamard_times_diagonal(order, side)
            yield f"hadamard {side}", "bfloat16", matrix.astype(ml_dtypes.bfloat16), truth
    for epsilon in (1e-4, 1e-8):
        matrix, truth = shapes.lauchli(1000, epsilon)
        yield f"lauchli {epsilon:g}", "float64", matrix, truth
    for kind, make in shapes.RANDOM_KINDS.items():
        for shape in SHAPES:
            wide = make(shape)
            for dtype, stored in shapes.DTYPES.items():
                yield kind, dtype, wide.astype(stored), None


def truth_of(matrix: Any, known: Any) -> tuple[Any, Any]:
    if known is not None:
        exact = np.sort(np.asarray(known, dtype=np.longdouble))[::-1]
        return exact, 2 * tolerances.UNIT_ROUNDOFF * exact
    if min(matrix.shape) <= 512:
        return tuple(reference.singular_values(matrix))
    wide = matrix.astype(np.float64)
    first = np.linalg.svd(wide, compute_uv=False)
    return first, np.full(len(first), np.abs(first - np.linalg.svd(wide.T, compute_uv=False)).max())


def measure(matrix: Any, truth: Any, uncertainty: Any, method: Any) -> dict[str, Any]:
    result = singular_values(matrix, method=method)
    error = np.abs(result.values - truth).astype(np.float64)
    largest = float(result.values[0])
    ratio = np.where(error > 0, error / (result.bounds + uncertainty + 2.0**-1074), 0).astype(np.float64)
    visible = error > tolerances.VISIBLE_ERROR * largest
    large = result.values > tolerances.LARGE_VALUE * largest
    median = float(np.median(result.bounds[visible] / error[visible])) if visible.any() else None
    return {
        "asked": method,
        "method": result.method,
        "refined": result.refined,
        "largest_error_over_largest": float(error.max() / largest),
        "largest_error_of_large_values_over_largest": float(error[large].max() / largest),
        "largest_bound_of_large_values_over_largest": float(result.bounds[large].max() / largest),
        "uncertainty_over_largest": float(np.max(uncertainty) / largest),
        "worst_error_over_bound": float(ratio.max()),
        "median_bound_over_error": median,
        "holds": bool(
            ratio.max() <= 1
            and result.bounds[large].max() <= tolerances.BOUND_OF_LARGE_VALUES * largest
            and (method != "gram" or median is None or median <= tolerances.MEDIAN_BOUND_OVER_ERROR)
        ),
    }


def main() -> int:
    records = []
    for kind, dtype, matrix, known in cases():
        truth, uncertainty = truth_of(matrix, known)
        for method in ("auto", "gram"):
            record = {"kind": kind, "dtype": dtype, "shape": list(matrix.shape)}
            record |= measure(matrix, truth, uncertainty, method)
            records.append(record)
            print(
                *(f"{value:.2g}" if isinstance(value, float) else value for value in record.values()),
                flush=True,
            )
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps({"machine": machine(), "cases": records}, indent=1) + "\n")
    failed = [record for record in records if not record["holds"]]
    print(f"{len(records) - len(failed)} of {len(records)} cases hold", *failed, sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
