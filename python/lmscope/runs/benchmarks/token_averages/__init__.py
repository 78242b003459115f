"""`average_probabilities` beside naive chunking in torch, over chunks of several sizes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import ml_dtypes
import numpy as np

from lmscope.runs.benchmarks.family import OURS, Arrays, Case, Competitor, Family, Target, Verdict
from lmscope.runs.benchmarks.memory_aims import extra_memory, speed_and_memory
from lmscope.runs.benchmarks.results import CaseResult
from lmscope.runs.benchmarks.token_averages import competitors
from lmscope.runs.benchmarks.token_averages.dense import log_averages

_POSITIONS = 256
# Relative, of average probabilities; bfloat16 rounds each logit to 1 part in 256.
_TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}
# Of the memory that the fastest chunking takes beyond its input.
_MEMORY_SHARE = 0.1


class TokenAveragesFamily(Family):
    name = "token_averages"
    rivals = tuple(competitors.CHUNKS)
    kinds = ("gaussian",)
    input = (
        "a vocabulary x dimensions head and positions x dimensions states, gaussian with a common mean, "
        "their logits of standard deviation 1.5; ours gives the spread of logits, the mean log-probability "
        "and the log normalisers as well, without the covariance of the states; naive chunking multiplies "
        "so many states with the head, takes torch's softmax, and adds up its sum in float64"
    )
    formula = "2 x positions x vocabulary x dimensions, the product"
    error = "largest relative error of an average probability"
    yardsticks: ClassVar = {"float32_peak": "float32 peak"}

    def operations(self, case: Case) -> float:
        return 2.0 * _positions(case) * case.rows * case.columns

    def yardstick(self, case: Case) -> str:
        return "float32_peak"

    def competitor(self, name: str) -> Competitor:
        return competitors.COMPETITORS[name]()

    def make(self, case: Case, kind: str, seed: int) -> Arrays:
        rng = np.random.default_rng([seed, case.rows, case.columns])
        states = rng.standard_normal((_positions(case), case.columns), dtype=np.float32)
        states += rng.standard_normal(case.columns, dtype=np.float32)
        weight = rng.standard_normal((case.rows, case.columns), dtype=np.float32)
        weight *= np.float32(1.5 / np.sqrt(case.columns))
        dtype = ml_dtypes.bfloat16 if _dtype(case) == "bfloat16" else np.float32
        return {"states": states.astype(dtype), "weight": weight.astype(dtype)}

    def reference(self, inputs: Arrays) -> Arrays:
        dtype = np.array(inputs["weight"].dtype.name)
        return {"log_probability": log_averages(inputs["states"], inputs["weight"]), "dtype": dtype}

    def check(self, competitor: str, found: Arrays, reference: Arrays) -> Verdict:
        offsets = np.expm1(found["log_probability"] - reference["log_probability"])
        error, limit = float(np.abs(offsets).max()), _TOLERANCE[str(reference["dtype"])]
        problem = None if error <= limit else f"an average off by {error:.3g}, more than {limit:g}"
        return Verdict(error, problem, {})

    def aims(self, result: CaseResult) -> list[Target]:
        best = _fastest_chunks(result)
        if best is None:
            return []
        return speed_and_memory(result, best, _MEMORY_SHARE)

    def remarks(self, result: CaseResult) -> Iterator[str]:
        return extra_memory(result)


def _fastest_chunks(result: CaseResult) -> str | None:
    there = [name for name in result.competitors() if name != OURS]
    return min(there, key=result.seconds, default=None)


def _positions(case: Case) -> int:
    return int(case.options.get("positions", _POSITIONS))


def _dtype(case: Case) -> str:
    return str(case.options.get("dtype", "float32"))
