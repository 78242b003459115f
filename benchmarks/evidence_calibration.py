"""Does the Marchenko-Pastur verdict keep its word? Writes results/calibration.json.

Noise: the share of Gaussian matrices flagged at 10, 5 and 1 % beside the binomial 99.9 % interval, and
uniformity of both p-values. Scales: what each estimate of the scale costs in power, with the whole rate on
the upper edge. Power: the share of rank-one spikes, 1.3 times as strong as the BBP threshold, that are
flagged at 1 %.

Matrices are dense and Gaussian, decomposed by LAPACK, except 4096 x 1024 and the large power study:
bidiagonal draws with the same law, decomposed by LAPACK (dsterf), never by the kernel that calibrates the
verdict, and from other seeds. A spike t u v^T with uniform u, v has the singular values in law of t e_1
e_1^T, and reducing that matrix to bidiagonal form column by column changes
only the first diagonal entry: the norm of the first column, whose first entry has mean t.

    python benchmarks/evidence_calibration.py [--draws 2000] [--output benchmarks/results/calibration.json]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import linalg, stats

import lmscope
from lmscope.analyses.edge_calibration import (
    VERSION,
    bulk,
    bulk_statistics,
    chi_entries,
    median_scale,
    middle_ranks,
)
from lmscope.analyses.marchenko_pastur import MarchenkoPastur, fit_marchenko_pastur
from lmscope.kernels.bidiagonal import count_below, order_statistics

Floats = NDArray[np.float64]

NOISE_SHAPES = ((256, 256), (384, 384), (1536, 384), (300, 1200), (4096, 1024))
SPIKE_SHAPES = {(256, 256): 0.8, (1024, 256): 0.9, (1200, 300): 0.9}
RATES = (0.10, 0.05, 0.01)
SPIKE = 1.3
SEED = 20240


def threshold(shape: tuple[int, int]) -> float:
    """Strength above which a spike leaves the bulk of unit noise (Baik, Ben Arous and Peche): (k D)^(1/4)."""
    return math.prod(shape) ** 0.25


def dense(
    shape: tuple[int, int], draws: int, spike: float, generator: np.random.Generator
) -> Iterator[Floats]:
    for _ in range(draws):
        w = generator.standard_normal((max(shape), min(shape)))
        if spike:
            u, v = (generator.standard_normal(size) for size in w.shape)
            w += spike * np.outer(u / np.linalg.norm(u), v / np.linalg.norm(v))
        if w.shape[0] == w.shape[1]:
            yield linalg.svdvals(w, check_finite=False)
        else:
            # The smallest value of a rectangular matrix is far from zero: its square does no harm.
            yield np.sqrt(linalg.eigvalsh(w.T @ w, check_finite=False))


def bidiagonal(
    shape: tuple[int, int], draws: int, spike: float, generator: np.random.Generator
) -> Iterator[Floats]:
    smaller, larger = min(shape), max(shape)
    for _ in range(draws):
        diagonal, off_diagonal = (entries[0] for entries in chi_entries(smaller, larger, 1, generator))
        if spike:
            rest = generator.chisquare(larger - 1)
            diagonal[0] = math.sqrt((generator.standard_normal() + spike) ** 2 + rest)
        main = diagonal**2
        main[1:] += off_diagonal**2
        squares = linalg.eigvalsh_tridiagonal(
            main, diagonal[:-1] * off_diagonal, lapack_driver="sterf", check_finite=False
        )
        yield np.sqrt(np.maximum(squares, 0))


def generator_of(*key: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([SEED, *key]))


def flagged(verdict: MarchenkoPastur) -> bool:
    return verdict.n_below + verdict.n_above > 0


def calibration(shape: tuple[int, int], draws: int) -> dict[str, Any]:
    source: Callable[..., Iterator[Floats]] = bidiagonal if min(shape) > 512 else dense
    flags: dict[float, int] = dict.fromkeys(RATES, 0)
    p_values, ks_p_values, scales = [], [], []
    for values in source(shape, draws, 0.0, generator_of(0, *shape)):
        for rate in RATES:
            verdict = fit_marchenko_pastur(values, shape, false_positive_rate=rate)
            assert flagged(verdict) == (verdict.p_value <= rate)
            flags[rate] += flagged(verdict)
        p_values.append(verdict.p_value)
        ks_p_values.append(verdict.ks_p_value)
        scales.append((verdict.scale, verdict.bulk_scale))
    rates = []
    for rate in RATES:
        low, high = stats.binom.interval(0.999, draws, rate)
        inside = bool(low <= flags[rate] <= high)
        rates.append(
            {"rate": rate, "flagged": flags[rate], "interval": [int(low), int(high)], "inside": inside}
        )
    return {
        "shape": shape,
        "source": source.__name__,
        "draws": draws,
        "calibration_draws": verdict.draws,
        "rates": rates,
        "p_value_uniform": float(stats.kstest(p_values, "uniform").pvalue),
        "ks_p_value_uniform": float(stats.kstest(ks_p_values, "uniform").pvalue),
        "scale_mean": np.mean(scales, axis=0).tolist(),
        "scale_standard_deviation": np.std(scales, axis=0).tolist(),
    }


def power(shape: tuple[int, int], draws: int, wanted: float) -> dict[str, Any]:
    result: dict[str, Any] = {"shape": shape, "spike_over_threshold": SPIKE, "rate": 0.01, "wanted": wanted}
    spike = SPIKE * threshold(shape)
    for source, count in ((dense, draws), (bidiagonal, 10 * draws)):
        found = 0
        tops = np.empty(count)
        for i, values in enumerate(source(shape, count, spike, generator_of(1, *shape))):
            found += flagged(fit_marchenko_pastur(values, shape, false_positive_rate=0.01))
            tops[i] = values.max()
        error = math.sqrt(found / count * (1 - found / count) / count)
        result[source.__name__] = {"draws": count, "found": found / count, "standard_error": error}
    # What a test of the largest value alone would find if it knew the scale: nothing that estimates it can do
    # better.
    noise = np.array([values.max() for values in bidiagonal(shape, 10 * draws, 0.0, generator_of(2, *shape))])
    result["known_scale_one_sided"] = float(np.mean(tops > np.quantile(noise, 0.99)))
    return result


def scales(shape: tuple[int, int], draws: int) -> dict[str, Any]:
    """Share of spikes of SPIKE thresholds whose largest value, over each estimate of the scale, exceeds the
    99 % quantile
    of noise, and the standard deviation of the estimate: what the choice of the scale costs."""
    smaller, larger = min(shape), max(shape)
    cuts = (0.75, 0.9, 0.95)
    found: dict[str, list[Floats]] = {}
    for index, spike in enumerate((0.0, SPIKE * threshold(shape))):
        generator = generator_of(3, index, *shape)
        parts: list[dict[str, Floats]] = []
        for _ in range(draws // 500):
            diagonal, off_diagonal = chi_entries(smaller, larger, 500, generator)
            if spike:
                first = (generator.standard_normal(500) + spike) ** 2 + generator.chisquare(larger - 1, 500)
                diagonal[:, 0] = np.sqrt(first)
            ranks = [*middle_ranks(smaller), smaller - 1]
            low, high, top = order_statistics(diagonal, off_diagonal, ranks, rtol=1e-9).T
            median = median_scale(low, high, smaller, larger)
            thresholds = median[:, None] * bulk(smaller, larger).quantiles * math.sqrt(larger)
            counts = count_below(diagonal, off_diagonal, thresholds)
            squares = (diagonal**2).sum(axis=1) + (off_diagonal**2).sum(axis=1)
            part = {"known": np.ones(500), "median": median, "frobenius": np.sqrt(squares / math.prod(shape))}
            for cut in cuts:
                part[f"winsorised {cut}"] = median * bulk_statistics(counts, smaller, larger, cut)[0]
            parts.append({name: np.stack([scale, top / scale]) for name, scale in part.items()})
        for name in parts[0]:
            found.setdefault(name, []).append(np.concatenate([part[name] for part in parts], axis=1))
    result: dict[str, Any] = {"shape": shape, "draws": draws, "rate": 0.01, "one_sided": True}
    for name, (noise, spiked) in found.items():
        share = float(np.mean(spiked[1] > np.quantile(noise[1], 0.99)))
        result[name] = {"standard_deviation": float(noise[0].std()), "found": share}
    return result


def machine() -> dict[str, Any]:
    cpu = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next(
            (line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line),
            "",
        )
    return {
        "cpu": cpu or platform.processor(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "lmscope": lmscope.__version__,
        "isa": lmscope.isa(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "calibration.json")
    arguments = parser.parse_args()
    start = time.perf_counter()
    result: dict[str, Any] = {
        "machine": machine(),
        "seed": SEED,
        "calibration_seed": 0,
        "calibration_version": VERSION,
    }
    result["scales"] = [scales(shape, 20 * arguments.draws) for shape in SPIKE_SHAPES]
    print(json.dumps(result["scales"]), flush=True)
    result["noise"] = []
    for shape in NOISE_SHAPES:
        result["noise"].append(calibration(shape, arguments.draws))
        print(json.dumps(result["noise"][-1]), flush=True)
    result["power"] = []
    for shape, wanted in SPIKE_SHAPES.items():
        result["power"].append(power(shape, arguments.draws, wanted))
        print(json.dumps(result["power"][-1]), flush=True)
    result["seconds"] = round(time.perf_counter() - start, 1)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
