"""`column_cosine` beside blockwise products in torch and numpy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from lmscope.runs.benchmarks.column_cosine import brute_force, competitors
from lmscope.runs.benchmarks.column_cosine.brute_force import BINS
from lmscope.runs.benchmarks.family import OURS, Arrays, Case, Competitor, Family, Target, Verdict
from lmscope.runs.benchmarks.results import CaseResult

PACKED = competitors.PACKED
# Of a cosine: what csrc/column_cosine/README.md states; three roundings to bfloat16, of two operands and of a
# product; float32 sums over the whole depth.
_TOLERANCE = {OURS: 2e-6, PACKED: 2e-6, "bfloat16": 3 * 2.0**-8, "float32": 1e-5}
_EXTRA_BYTES = 64e6
# A column of y that is half a column of x: about this is their cosine.
_NOISE = 0.5


class ColumnCosineFamily(Family):
    name = "column_cosine"
    rivals = (PACKED, "torch", "torch amax histc", "numpy")
    kinds = ("gaussian", "half copied")
    input = (
        "x and y, rows x columns each, bfloat16 unless said otherwise, y's columns against x's; packing, "
        "normalising and conversion count, but for packing in 'lmscope packed'; torch multiplies in the type "
        "of the input, numpy in float32, both in the blocks and ways that were fastest for the shape; "
        "'torch amax histc' counts with histc alone and does not say which column attains a maximum"
    )
    formula = "2 N M^2 operations, N rows and M columns on either side, the same for all"
    error = f"of a largest |cosine|, all columns of both sides; {BINS} bins, counts checked too"
    yardsticks: ClassVar = {"bfloat16_peak": "bf16 peak", "float32_peak": "float32 peak"}

    def operations(self, case: Case) -> float:
        return 2.0 * case.rows * case.columns**2

    def yardstick(self, case: Case) -> str:
        return f"{_dtype(case)}_peak"

    def competitor(self, name: str) -> Competitor:
        return competitors.COMPETITORS[name]()

    def make(self, case: Case, kind: str, seed: int) -> Arrays:
        """Gaussian entries; "half copied": every second column of y leans on a column of x."""
        generator = np.random.default_rng(seed)
        shape = (case.rows, case.columns)
        x = np.float32(0.02) * generator.standard_normal(shape, dtype=np.float32)
        y = np.float32(0.02) * generator.standard_normal(shape, dtype=np.float32)
        if kind == "half copied":
            copied = generator.permutation(case.columns)[: (case.columns + 1) // 2]
            y[:, ::2] = x[:, copied] + np.float32(_NOISE) * y[:, ::2]
        if _dtype(case) == "float32":
            return {"x": x, "y": y}
        import ml_dtypes

        return {"x": x.astype(ml_dtypes.bfloat16), "y": y.astype(ml_dtypes.bfloat16)}

    def reference(self, inputs: Arrays) -> Arrays:
        return brute_force.reference(inputs["x"], inputs["y"], _TOLERANCE[OURS])

    def check(self, competitor: str, found: Arrays, reference: Arrays) -> Verdict:
        ours = competitor in (OURS, PACKED)
        tolerance = _TOLERANCE[competitor if ours else found["product_dtype"].item()]
        problem = brute_force.wrong_counts(found["counts"], reference, tolerance, exact_edges=ours)
        error = 0.0
        for side in "xy":
            off, wrong = brute_force.wrong_maxima(found, reference, side, tolerance)
            error = max(error, off)
            problem = problem or wrong
        largest = max(float(reference[f"max_abs_{side}"].max()) for side in "xy")
        return Verdict(error, problem, {"largest_cosine": largest})

    def aims(self, result: CaseResult) -> list[Target]:
        found = []
        wanted = result.case.shares.get(result.isa)
        if wanted is not None and result.samples(PACKED):
            title = self.yardsticks[self.yardstick(result.case)]
            found.append(Target(f"of the {title} with packed operands", wanted, result.share(PACKED)))
        extra = result.extra_bytes(PACKED)
        if extra is not None:
            found.append(Target("MB beyond the packed operands", _EXTRA_BYTES / 1e6, extra / 1e6, most=True))
        return found

    def remarks(self, result: CaseResult) -> Iterator[str]:
        for name in result.competitors():
            chosen = {sample.words["way"] for sample in result.samples(name) if "way" in sample.words}
            if chosen:
                yield f"{name}: {'; '.join(sorted(chosen))}"


def _dtype(case: Case) -> str:
    return str(case.options.get("dtype", "bfloat16"))
