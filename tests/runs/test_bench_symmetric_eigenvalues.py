"""The bench of eigenvalues: all are right, alone and in stacks, wrong ones are found, MKL may be missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmscope.runs.benchmarks import FAMILIES, OURS, Case, CaseResult
from lmscope.runs.benchmarks.results import Measured, Round
from lmscope.runs.benchmarks.symmetric_eigenvalues.matrices import symmetric
from lmscope.runs.benchmarks.symmetric_eigenvalues.oracle import accurate_eigenvalues
from lmscope.runs.benchmarks.turns import MissingCompetitor, Sample, WorkerProcess

FAMILY = FAMILIES["symmetric_eigenvalues"]
CASES = [Case(60, 60), Case(9, 9, options={"stack": 11})]
MKL_WHEEL = ("mkl dsyevd", "mkl 2stage")


@pytest.mark.parametrize("case", CASES, ids=["alone", "stack"])
@pytest.mark.parametrize("kind", FAMILY.kinds)
def test_every_competitor_is_right_and_a_wrong_value_is_found(case: Case, kind: str) -> None:
    inputs = FAMILY.make(case, kind, 1)
    np.testing.assert_array_equal(inputs["matrix"], np.swapaxes(inputs["matrix"], -1, -2))
    reference = FAMILY.reference(inputs)
    for name in (OURS, *FAMILY.usual_rivals(case)):
        try:
            competitor = FAMILY.competitor(name)
        except ImportError:
            assert name in MKL_WHEEL
            continue
        answer = competitor.answer(competitor.compute(competitor.take(inputs)))
        assert FAMILY.check(name, answer.arrays, reference).problem is None, name
        wrong = {part: np.array(values) for part, values in answer.arrays.items()}
        wrong["values"][..., 2] += 1e-9 * np.abs(wrong["values"]).max()
        assert "off by" in str(FAMILY.check(name, wrong, reference).problem), name


def test_oracle_knows_exact_values() -> None:
    """Q D Q^T with Q = I - 2 v v^T of integers over 16 is exact in float64."""
    v = np.array([1.0, 1.0, 1.0, 1.0]) / 2
    q = np.eye(4) - 2 * np.outer(v, v)
    values = np.array([3.0, 2.0, 2.0**-20, -5.0])
    found = accurate_eigenvalues((q * values) @ q.T)
    np.testing.assert_array_equal(found["values"][0], np.sort(values)[::-1])
    assert found["largest"] == pytest.approx(5.0)
    assert found["uncertainties"].max() < 1e-15


def test_oracle_is_more_accurate_than_float64() -> None:
    matrix = symmetric(120, "gaussian", np.random.default_rng(0))
    found = accurate_eigenvalues(matrix)
    off = np.abs(np.linalg.eigvalsh(matrix)[::-1][found["indices"]] - found["values"][0])
    assert found["uncertainties"].max() < 0.2 * off.max()


def result_of(case: Case, seconds: dict[str, float]) -> CaseResult:
    """Each competitor took so long for its only sample."""
    measured = {name: Measured(Sample(taken, taken, 0.0, False), 2e-15) for name, taken in seconds.items()}
    return CaseResult(FAMILY, case, (Round("gram", 0, measured, {}),), 1e9, "avx512")


def test_aims_name_the_fastest_of_those_that_were_there() -> None:
    large = Case(300, 300, {"fastest of MKL": 1.2}, {"avx512": 0.5, "avx2": 0.4})
    seconds = {OURS: 0.06, "torch": 0.09, "mkl dsyevd": 0.10, "mkl 2stage": 0.066, "numpy": 0.01}
    error, fastest, share = result_of(large, seconds).targets()
    assert (error.what, error.wanted) == ("of the largest value off", 1e-13)
    assert error.most
    assert error.met
    assert fastest.what == "times as fast as mkl 2stage, the fastest of torch, mkl dsyevd, mkl 2stage"
    assert fastest.found == pytest.approx(1.1)
    assert not fastest.met
    assert (share.what, share.wanted) == ("of the dgemm rate", 0.5)
    assert share.found == pytest.approx(4 / 3 * 300**3 / 0.06 / 1e9)
    without = result_of(large, {name: seconds[name] for name in (OURS, "torch")})
    assert without.targets()[1].what == "times as fast as torch, the fastest of torch"
    stack = result_of(Case(9, 9, options={"stack": 11}), seconds)
    assert [aim.what for aim in stack.targets()] == ["of the largest value off"]
    assert stack.case.name == "9x9 stack 11"
    assert FAMILY.operations(stack.case) == pytest.approx(11 * 4 / 3 * 9**3)


def test_a_missing_mkl_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A package of that name without the library.
    (tmp_path / "mkl-1.0.dist-info").mkdir()
    (tmp_path / "mkl-1.0.dist-info" / "METADATA").write_text("Name: mkl\nVersion: 1.0\n")
    (tmp_path / "mkl-1.0.dist-info" / "RECORD").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        WorkerProcess(FAMILY.name, "mkl 2stage") as worker,
        pytest.raises(MissingCompetitor, match="mkl brings no libmkl_rt"),
    ):
        worker.ask("describe")


def test_default_cases_are_those_that_were_asked_for() -> None:
    full = {case.name: case for case in FAMILY.cases("full")}
    orders = [f"{order}x{order}" for order in (512, 1024, 2048, 4096)]
    assert list(full) == [*orders, "64x64 stack 1000", "256x256 stack 200"]
    assert full["4096x4096"].targets == {"fastest of MKL": 1.2}
    assert set(full["4096x4096"].shares.values()) == {0.5}
    assert FAMILY.usual_rivals(full["4096x4096"]) == ("torch", "mkl dsyevd", "mkl 2stage", "numpy", "scipy")
    assert FAMILY.usual_rivals(full["64x64 stack 1000"]) == ("torch", "numpy")
