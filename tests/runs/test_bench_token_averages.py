"""The bench of averages over positions: every chunk size is right, and a wrong average is found."""

from __future__ import annotations

import numpy as np
import pytest

from lmscope.runs.benchmarks import FAMILIES, OURS, Case, run_bench

FAMILY = FAMILIES["token_averages"]
CASES = [Case(307, 20, options={"positions": 90, "dtype": dtype}) for dtype in ("float32", "bfloat16")]


@pytest.mark.parametrize("case", CASES, ids=["float32", "bfloat16"])
def test_every_competitor_is_right_and_a_wrong_average_is_found(case: Case) -> None:
    inputs = FAMILY.make(case, "gaussian", 1)
    reference = FAMILY.reference(inputs)
    for name in (OURS, *FAMILY.rivals):
        competitor = FAMILY.competitor(name)
        answer = competitor.compute(competitor.take(inputs))
        assert FAMILY.check(name, answer.arrays, reference).problem is None, name
        wrong = np.array(answer.arrays["log_probability"])
        wrong[300] += 0.1
        problem = FAMILY.check(name, {"log_probability": wrong}, reference).problem
        assert problem is not None
        assert "an average off by 0.1" in problem


def test_the_bench_runs() -> None:
    rival = "torch chunks of 16"
    bench = run_bench(FAMILY, CASES[:1], seeds=1, rivals=[rival], tries=1, quick=True)
    (result,) = bench.results
    assert result.competitors() == [OURS, rival]
    # At this size a rival may get by in memory that the process has, and then there is no share of it.
    first, *memory = result.targets()
    assert first.what == f"times as fast as {rival}, the fastest"
    assert [one.what for one in memory] in ([], [f"of the extra memory of {rival}"])
