"""The bench of the Lasso: every competitor reaches the limit, and a solution that does not is found."""

from __future__ import annotations

import numpy as np
import pytest

from lmscope.runs.benchmarks import FAMILIES, OURS, Case, run_bench

FAMILY = FAMILIES["lasso"]
PREFIXES = Case(14, 30, options={"problem": "prefixes", "alpha_ratio": 0.1})
SINGLE = Case(60, 40, options={"problem": "single", "alpha_ratio": 0.1})


@pytest.mark.parametrize("name", [OURS, "scikit-learn", "celer"])
@pytest.mark.parametrize("kind", FAMILY.kinds)
@pytest.mark.parametrize("case", [PREFIXES, SINGLE], ids=["prefixes", "single"])
def test_every_competitor_is_right(name: str, kind: str, case: Case) -> None:
    inputs = FAMILY.make(case, kind, 1)
    competitor = FAMILY.competitor(name)
    answer = competitor.compute(competitor.take(inputs))
    verdict = FAMILY.check(name, answer.arrays, FAMILY.reference(inputs))
    assert verdict.problem is None
    assert verdict.error <= 1e-6
    assert verdict.details["problems"] == (13 if case is PREFIXES else 1)
    assert verdict.details["mean_nonzeros"] > 1


def test_a_solution_short_of_the_optimum_is_found() -> None:
    inputs = FAMILY.make(SINGLE, "independent", 0)
    answer = FAMILY.competitor(OURS).compute(inputs)
    wrong = {**answer.arrays, "coef": 0.9 * answer.arrays["coef"]}
    verdict = FAMILY.check("celer", wrong, FAMILY.reference(inputs))
    assert verdict.problem is not None
    assert "of ||y||^2 / samples, more than 1e-06" in verdict.problem
    bound = {**answer.arrays, "gap": np.array([-1.0])}
    assert FAMILY.check(OURS, bound, FAMILY.reference(inputs)).problem == "a gap above its bound"


def test_the_bench_runs() -> None:
    bench = run_bench(FAMILY, [PREFIXES], seeds=1, rivals=["scikit-learn"], tries=1, quick=True)
    (result,) = bench.results
    assert result.competitors() == [OURS, "scikit-learn"]
    assert any("13 problems, " in line for line in FAMILY.remarks(result))
