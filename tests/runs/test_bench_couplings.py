"""The bench of couplings: all are right, from tasks and from the seed on, and a wrong one is found."""

from __future__ import annotations

import numpy as np
import pytest

from lmscope.runs.benchmarks import FAMILIES, OURS, Case, run_bench

FAMILY = FAMILIES["couplings"]
CASES = [Case(300, 25), Case(300, 25, options={"from": "seed"})]


@pytest.mark.parametrize("case", CASES, ids=["tasks", "seed"])
def test_every_competitor_is_right_and_a_wrong_coupling_is_found(case: Case) -> None:
    inputs = FAMILY.make(case, "isotropic", 1)
    assert ("sizes" in inputs) == ("from" in case.options)
    reference = FAMILY.reference(inputs)
    for name in (OURS, *FAMILY.rivals):
        competitor = FAMILY.competitor(name)
        answer = competitor.compute(competitor.take(inputs))
        assert FAMILY.check(name, answer.arrays, reference).problem is None, name
        wrong = {part: np.array(values) for part, values in answer.arrays.items()}
        wrong["gram"][3, 4] += 1e-3 * wrong["gram"].max()
        problem = FAMILY.check(name, wrong, reference).problem
        assert problem == "off by 0.001, more than 1e-12"


def test_the_bench_runs() -> None:
    bench = run_bench(FAMILY, CASES[:1], seeds=1, rivals=["numpy"], tries=1, quick=True)
    (result,) = bench.results
    assert result.competitors() == [OURS, "numpy"]
    # At this size a rival may get by in memory that the process has, and then there is no share of it.
    first, *memory = result.targets()
    assert first.what == "times as fast as numpy, the fastest"
    assert [one.what for one in memory] in ([], ["of the extra memory of numpy"])
