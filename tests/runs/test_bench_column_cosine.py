"""The bench of column_cosine: every way of every competitor is right, and a wrong answer is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lmscope.kernels.column_cosine import column_cosine
from lmscope.reference.column_cosine import column_cosine as defined
from lmscope.runs.benchmarks import FAMILIES, OURS, Case, run_bench
from lmscope.runs.benchmarks.column_cosine import PACKED, torch_blocks
from lmscope.runs.benchmarks.column_cosine.brute_force import BINS
from lmscope.runs.benchmarks.column_cosine.torch_blocks import Way
from lmscope.runs.benchmarks.column_cosine.tuning import fastest

FAMILY = FAMILIES["column_cosine"]
CASE = Case(70, 90)
ARRAYS = ("counts", "max_abs_x", "max_abs_y", "argmax_x", "argmax_y")
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module", params=["gaussian", "half copied"])
def inputs(request: pytest.FixtureRequest) -> Arrays:
    return FAMILY.make(CASE, request.param, 3)


@pytest.fixture(scope="module")
def reference(inputs: Arrays) -> Arrays:
    return FAMILY.reference(inputs)


@pytest.fixture(scope="module")
def ours(inputs: Arrays) -> Arrays:
    found = column_cosine(inputs["x"], inputs["y"], bins=BINS)
    return {name: getattr(found, name) for name in ARRAYS}


def test_reference_is_the_definition(inputs: Arrays, reference: Arrays) -> None:
    wide = (inputs["x"].astype(np.float64), inputs["y"].astype(np.float64))
    counts, max_abs_x, max_abs_y, *_ = defined(*wide, bins=BINS)
    # A cosine in a hundred million lies where rounding in float64 chooses its bin.
    np.testing.assert_array_equal(reference["counts"], counts)
    np.testing.assert_allclose(reference["max_abs_x"], max_abs_x, atol=1e-14)
    np.testing.assert_allclose(reference["max_abs_y"], max_abs_y, atol=1e-14)
    assert 0 < reference["near"].sum() < counts.sum() / 50


def test_half_of_the_columns_are_copied() -> None:
    largest = FAMILY.reference(FAMILY.make(Case(500, 60), "half copied", 0))["max_abs_y"]
    assert np.all(largest[::2] > 0.8)
    assert np.all(largest[1::2] < 0.3)


@pytest.mark.parametrize("name", [OURS, PACKED, "torch", "torch amax histc", "numpy"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_every_competitor_is_right(name: str, dtype: str) -> None:
    given = FAMILY.make(Case(70, 90, options={"dtype": dtype}), "half copied", 1)
    competitor = FAMILY.competitor(name)
    answer = competitor.compute(competitor.take(given))
    verdict = FAMILY.check(name, answer.arrays, FAMILY.reference(given))
    assert verdict.problem is None
    limit = 3 * 2.0**-8 if dtype == "bfloat16" and name.startswith("torch") else 1e-5
    assert verdict.error < (4e-6 if name in (OURS, PACKED) else limit)
    assert verdict.details["largest_cosine"] > 0.8
    assert ("argmax_x" in answer.arrays) == (name != "torch amax histc")


@pytest.mark.parametrize("counting", ["histc", "bincount", "patterns"])
@pytest.mark.parametrize("norms", ["sum of squares", "vector_norm"])
@pytest.mark.parametrize("maxima", ["bfloat16", "float32"])
def test_every_way_of_torch_is_right(
    inputs: Arrays, reference: Arrays, counting: str, norms: str, maxima: str
) -> None:
    """Blocks that do not divide the sides."""
    x, y = (torch.from_numpy(inputs[name].view(np.uint16)).view(torch.bfloat16) for name in "xy")
    found = torch_blocks.compare(x, y, Way(32, 40, counting, norms, maxima), places=True)
    answer = {name: value.double().numpy() for name, value in found.items() if "max_abs" in name}
    answer |= {name: value.numpy() for name, value in found.items() if name not in answer}
    answer["product_dtype"] = np.array("bfloat16")
    assert FAMILY.check("torch", answer, reference).problem is None


def changed(answer: Arrays, name: str, index: int, value: Any) -> Arrays:
    copy = answer[name].copy()
    copy[index] = value
    return {**answer, name: copy}


def test_a_wrong_answer_of_ours_is_found(ours: Arrays, reference: Arrays) -> None:
    def problem(answer: Arrays) -> str:
        return FAMILY.check(OURS, answer, reference).problem or ""

    assert problem(ours) == ""
    full = int(np.argmax(ours["counts"]))
    one_more = changed(ours, "counts", full, ours["counts"][full] + 1)
    assert problem(one_more) == f"{90 * 90 + 1} pairs in {BINS} bins, there are {90 * 90} in {BINS}"
    # As many as lie near the edge may be on its other side, and no more.
    moved = changed(ours, "counts", full, 0)
    moved["counts"][full + 1] += ours["counts"][full]
    assert ours["counts"][full] > reference["near"][full]
    assert f"cosines below {(full + 1) * 2 / BINS - 1:.6f}, there are" in problem(moved)
    largest = changed(ours, "max_abs_y", 7, ours["max_abs_y"][7] + 1e-5)
    assert "largest cosine of column 7 of y is off by 1e-05" in problem(largest)
    partner = changed(ours, "argmax_x", 5, (ours["argmax_x"][5] + 1) % 90)
    assert "column 5 of x has a partner" in problem(partner)


def test_a_wrong_answer_of_another_is_found(ours: Arrays, reference: Arrays) -> None:
    """Within the rounding of bfloat16 everything may move, beyond it nothing."""

    def problem(answer: Arrays, dtype: str) -> str:
        answer = {**answer, "product_dtype": np.array(dtype)}
        return FAMILY.check("torch", answer, reference).problem or ""

    shifted = {**ours, "counts": np.roll(ours["counts"], 10)}
    assert problem(shifted, "bfloat16") == ""
    assert "cosines below" in problem(shifted, "float32")
    assert "cosines below" in problem({**ours, "counts": np.roll(ours["counts"], 100)}, "bfloat16")
    largest = changed(ours, "max_abs_x", 0, ours["max_abs_x"][0] - 0.01)
    assert problem(largest, "bfloat16") == ""
    assert "largest cosine of column 0 of x" in problem(largest, "float32")


def test_fastest_way() -> None:
    done: list[int] = []
    assert fastest([30, 1, 20], lambda way: done.extend(range(way * 20000))) == 1


def test_bench_measures_everybody() -> None:
    cases = [Case(64, 80, {"numpy": 0.0}, dict.fromkeys(("scalar", "avx512_bf16", "avx512", "avx2"), 1e-09))]
    bench = run_bench(FAMILY, cases, seeds=1, tries=1, quick=True)
    assert bench.absent == {}
    assert sorted(bench.rates) == ["bfloat16_peak", "float32_peak"]
    (result,) = bench.results
    assert result.competitors() == [OURS, PACKED, "torch", "torch amax histc", "numpy"]
    assert [one.kind for one in result.rounds] == ["gaussian", "half copied"]
    assert result.error(OURS) <= 4e-6 < 1e-4 < result.error("torch") < 0.024
    assert 0 < result.share(PACKED) < 1.2
    aims = {aim.what: aim for aim in result.targets()}
    assert aims["times as fast as numpy"].met
    assert aims["of the bf16 peak with packed operands"].met or result.isa == "amx"
    assert aims["MB beyond the packed operands"].most
    assert aims["MB beyond the packed operands"].met


def test_default_cases_are_those_that_were_asked_for() -> None:
    full = {case.name: case for case in FAMILY.cases("full")}
    assert list(full) == ["4096x4096", "4096x11008", "384x4096", "768x4096", "4096x4096 float32"]
    least = [case.targets.get("torch") for case in full.values()]
    assert least == [2.0, 2.0, 4.0, 4.0, None]
    assert all(case.targets["numpy"] == 12.0 for case in full.values() if case.targets)
    assert full["4096x4096"].shares == {"amx": 0.55}
    assert full["4096x4096 float32"].shares == {"avx512": 0.6, "avx512_bf16": 0.6}
    assert max(case.columns for case in FAMILY.cases("quick")) <= 512
