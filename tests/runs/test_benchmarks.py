"""The harness of `lmscope bench`: turns, disturbance, reference values, right and wrong answers."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmscope.runs.benchmarks import (
    FAMILIES,
    Bench,
    Case,
    arrays,
    as_dict,
    cases_of,
    document,
    families_of,
    harness,
    run_bench,
    turns,
)
from lmscope.runs.benchmarks.cpu_time import TICK, busy_seconds, foreign_share
from lmscope.runs.benchmarks.fingerprint import commit
from lmscope.runs.benchmarks.peak_memory import PeakMemory
from lmscope.runs.benchmarks.precise_product import precise_product
from lmscope.runs.benchmarks.rayleigh import sample_indices
from lmscope.runs.benchmarks.singular_values import matrices
from lmscope.runs.benchmarks.singular_values.oracle import accurate_values
from lmscope.runs.benchmarks.turns import BenchmarkError, MissingCompetitor, WorkerProcess, take_sample
from lmscope.runs.errors import UsageError

FAMILY = FAMILIES["singular_values"]


def hadamard_times_diagonal(order: int, exponents: np.ndarray) -> np.ndarray:
    """Sylvester-Hadamard, columns scaled: the singular values are sqrt(order) * 2**exponents."""
    hadamard = np.ones((1, 1))
    while len(hadamard) < order:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    return hadamard * 2.0**exponents


def test_oracle_knows_exact_values() -> None:
    exponents = -np.linspace(0, 12, 128)
    matrix = hadamard_times_diagonal(128, exponents)
    indices, values, uncertainties = accurate_values(matrix)
    exact = np.sqrt(128.0) * 2.0**exponents
    assert np.all(np.abs(values - exact[indices]) <= uncertainties + 2 * np.spacing(exact[indices]))
    assert np.all(uncertainties <= 1e-15 * exact[0])


def test_oracle_is_better_than_float64_svd() -> None:
    matrix = matrices.gaussian(300, 120, seed=3)
    indices, values, uncertainties = accurate_values(matrix)
    two = [
        np.linalg.svd(matrix.astype(np.float64)[order], compute_uv=False)[indices]
        for order in (slice(None), slice(None, None, -1))
    ]
    spread = np.abs(two[0] - two[1]).max()
    assert uncertainties.max() < 4 * np.spacing(values[0])
    assert np.all(np.abs(values - two[0]) <= 4 * spread + 100 * np.spacing(values[0]))
    # Wide matrices are turned round.
    np.testing.assert_allclose(accurate_values(matrix.T)[1], values, rtol=1e-14)


def test_sampled_indices_hold_both_ends() -> None:
    assert {0, 1, 2, 997, 998, 999} <= set(sample_indices(1000).tolist())
    assert sample_indices(2).tolist() == [0, 1]
    assert len(sample_indices(1000)) <= 31


def test_precise_product_is_right_far_beyond_float64() -> None:
    rng = np.random.default_rng(0)
    left = rng.standard_normal((4, 90)) * 10.0 ** rng.uniform(-12, 3, (4, 90))
    right = rng.standard_normal((90, 3))
    found = precise_product(left, right)
    for row, column in np.ndindex(4, 3):
        exact = sum(Fraction(x) * Fraction(y) for x, y in zip(left[row], right[:, column], strict=True))
        off = abs(Fraction(*found[row, column].as_integer_ratio()) - exact)
        assert off <= 2.0**-60 * np.abs(left[row]).max() * np.abs(right[:, column]).max()


@pytest.mark.parametrize("rows", [256, 1100])
def test_trained_like_spectrum_is_as_asked(rows: int) -> None:
    matrix = matrices.trained_like(rows, 256, seed=0)
    assert matrix.shape == (rows, 256)
    assert matrix.dtype.name == "bfloat16"
    found = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    asked = matrices.trained_spectrum(256)
    assert asked[0] == 1.0
    assert asked[-1] == pytest.approx(1e-5)
    # bfloat16 rounds each entry by at most 2**-9 of itself; noise of that size has this norm.
    noise = 2.0**-9 * np.linalg.norm(asked)
    assert np.abs(found - asked).max() < noise
    assert np.sum(asked > 0.25) == round(0.1 * 256)


@pytest.mark.parametrize("part", ["streamed", "gram"])
def test_wrong_answers_of_a_part_are_seen(part: str) -> None:
    case = Case(300, 70, options={"part": part})
    inputs = FAMILY.make(case, "trained-like", 0)
    reference = FAMILY.reference(inputs)
    array = "gram" if part == "gram" else "values"
    for name in ("lmscope", *FAMILY.usual_rivals(case)):
        competitor = FAMILY.competitor(name)
        answer = competitor.answer(competitor.compute(competitor.take(inputs)))
        found = answer.arrays
        assert FAMILY.check(name, found, reference).problem is None, name
        spoilt = {key: value.copy() for key, value in found.items()}
        spoilt[array][2] *= 1.001
        assert "off by" in str(FAMILY.check(name, spoilt, reference).problem), name


@pytest.mark.parametrize("name", ["lmscope", *FAMILY.usual_rivals(Case(9, 9))])
def test_wrong_vectors_are_seen(name: str) -> None:
    case = next(case for case in FAMILY.cases("quick") if case.options.get("part") == "vectors")
    assert case.name == "200x300 vectors"
    inputs = FAMILY.make(case, "trained-like", 0)
    reference = FAMILY.reference(inputs)
    competitor = FAMILY.competitor(name)
    found = competitor.compute(competitor.take(inputs)).arrays
    assert FAMILY.check(name, found, reference).problem is None
    for array, wrong in [("left", -1.0), ("right", 1.001), ("values", 1.001)]:
        spoilt = {key: value.copy() for key, value in found.items()}
        spoilt[array][..., 3] *= wrong
        assert "vectors are off by" in str(FAMILY.check(name, spoilt, reference).problem)


def test_matrices_keep_their_bits_on_disk(tmp_path: Path) -> None:
    matrix = matrices.gaussian(5, 3, seed=1)
    path = str(tmp_path / "inputs")
    arrays.save(path, {"x": matrix, "y": np.arange(3)})
    loaded = arrays.load(path)
    assert list(loaded) == ["x", "y"]
    assert loaded["x"].dtype == matrix.dtype
    assert loaded["x"].tobytes() == matrix.tobytes()
    assert loaded["y"].tolist() == [0, 1, 2]


def test_busy_seconds_counts_own_cpus_only() -> None:
    stat = "cpu 1 1 1 1 1 1 1 1 0 0\ncpu0 100 10 20 9999 500 1 2 3 7 0\ncpu1 5 0 0 1 0 0 0 0 0 0\nintr 0\n"
    assert busy_seconds(stat, {0}) == pytest.approx(136 * TICK)
    assert busy_seconds(stat, {0, 1}) == pytest.approx(141 * TICK)


def test_busy_seconds_sees_another_process() -> None:
    """A child that burns half a second of CPU shows in /proc/stat."""
    before = busy_seconds()
    subprocess.run(
        [sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"], check=True, timeout=60
    )
    assert busy_seconds() - before >= 0.5 - 4 * TICK


def test_foreign_share() -> None:
    assert foreign_share(seconds=10, own=20, busy=20, cpus=2) == 0
    assert foreign_share(seconds=10, own=18, busy=20, cpus=2) == pytest.approx(0.1, abs=2 * TICK)
    # Within the resolution of the counters nothing is foreign.
    assert foreign_share(seconds=0.01, own=0.0, busy=TICK, cpus=2) == 0


class ScriptedWorker(WorkerProcess):
    """Answers of a worker on a machine that is disturbed at known tries; no process."""

    def __init__(self, foreign_seconds: list[float]) -> None:
        self.name = "scripted"
        self._foreign = list(foreign_seconds)

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        cpus = len(os.sched_getaffinity(0))
        busy = cpus * (1.0 + TICK) + self._foreign.pop(0)
        return {
            "seconds": 1.0,
            "own_cpu_seconds": float(cpus),
            "busy_cpu_seconds": busy,
            "extra_bytes": len(self._foreign),
            "words": {},
        }


def test_disturbed_sample_is_thrown_away_and_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_REST_SECONDS", 0.0)
    sample = take_sample(ScriptedWorker([1.0, 0.5, 0.0]), "", tries=4)
    assert not sample.disturbed
    assert sample.foreign_share == pytest.approx(0.0, abs=1e-9)
    assert [seconds for seconds, _ in sample.thrown_away] == [1.0, 1.0]
    assert sample.extra_bytes == 2


def test_sample_that_stays_disturbed_is_kept_and_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_REST_SECONDS", 0.0)
    sample = take_sample(ScriptedWorker([1.0, 1.0]), "", tries=2)
    assert sample.disturbed
    assert sample.foreign_share > 0.03
    assert len(sample.thrown_away) == 1


def test_worker_reports_errors_and_goes_on(tmp_path: Path) -> None:
    path, answer_path = str(tmp_path / "inputs"), str(tmp_path / "answer")
    arrays.save(path, FAMILY.make(Case(20, 10), "gaussian", 0))
    with WorkerProcess("singular_values", "numpy") as worker:
        with pytest.raises(BenchmarkError, match=r"numpy: FileNotFoundError: .*nowhere"):
            worker.ask("load", path=str(tmp_path / "nowhere.npy"))
        worker.ask("load", path=path)
        answer = worker.ask("time", save=answer_path)
        assert answer["seconds"] > 0
        assert arrays.load(answer_path)["values"].shape == (10,)


def test_worker_of_a_missing_package_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('no torch here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        WorkerProcess("singular_values", "torch float64") as worker,
        pytest.raises(MissingCompetitor, match="no torch here"),
    ):
        worker.ask("describe")


def test_worker_that_dies_is_an_error() -> None:
    with WorkerProcess("singular_values", "numpy") as worker:
        worker._process.kill()
        with pytest.raises(BenchmarkError, match="numpy: its process ended with status -9"):
            worker.ask("describe")


@pytest.fixture(scope="module")
def small_bench() -> Bench:
    cases = [Case(96, 64, {"numpy": 0.001, "torch float32": 1e9}), Case(40, 30, rivals=["numpy"])]
    return run_bench(FAMILY, cases, seeds=1, tries=1, quick=True)


def test_bench_measures_everybody(small_bench: Bench) -> None:
    assert small_bench.absent == {}
    assert list(small_bench.rates) == ["gemm"]
    assert small_bench.rates["gemm"] > 0
    result = small_bench.results[0]
    assert result.competitors() == ["lmscope", "torch float64", "torch float32", "numpy", "scipy"]
    assert [one.kind for one in result.rounds] == ["gaussian", "trained-like"]
    for name in result.competitors():
        assert len(result.samples(name)) == 2
        assert result.seconds(name) > 0
    # float32 is worse than every float64 route by the digits that it lacks.
    assert result.error("torch float32") > 100 * result.error("lmscope")
    assert result.error("torch float64") < 1e-13
    assert all(sample.words["method"] in ("gram", "qr") for sample in result.samples("lmscope"))
    assert FAMILY.ours(result) in ("lmscope, gram", "lmscope, gram/qr", "lmscope, qr")
    assert {aim.what.split()[-1]: aim.met for aim in result.targets()[:1]} == {"numpy": True}
    assert [aim.met for aim in result.targets()] == [True, False, True]


def test_record_says_where_it_was_measured(small_bench: Bench) -> None:
    record = document([small_bench])
    assert record == as_dict(small_bench)
    assert document([small_bench] * 2) == {"benchmarks": [record] * 2}
    libraries = record["machine"]["libraries"]
    assert "core type" in libraries["lmscope"]["openblas"]
    assert "core type" in libraries["numpy"]["openblas"]
    assert libraries["torch float64"]["torch"]
    assert record["machine"]["processor"]
    case = record["cases"][0]
    assert case["competitors"]["numpy"]["times_slower_than_ours"]["median"] > 0
    assert case["inputs"] == {"gaussian": 1, "trained-like": 1}
    assert case["not_timed_here"] == []
    rounds = case["rounds"]
    assert {"seconds", "foreign_share", "disturbed", "thrown_away", "error", "extra_bytes"} <= set(
        rounds[0]["samples"]["numpy"]
    )
    assert {"smallest_over_largest", "reference_uncertainty"} <= set(rounds[0])
    assert record["gemm_gflops"] > 0
    assert case["competitors"]["numpy"]["share_of_gemm"] > 0


def test_a_case_may_have_few_rivals_and_inputs(small_bench: Bench) -> None:
    case = as_dict(small_bench)["cases"][1]
    assert list(case["competitors"]) == ["lmscope", "numpy"]
    assert case["not_timed_here"] == ["torch float64", "torch float32", "scipy"]
    assert case["inputs"] == {"gaussian": 1, "trained-like": 1}
    planned = harness._Planned(FAMILY, Case(40, 30, seeds=2), None, None)
    assert planned.inputs == [("gaussian", 0), ("gaussian", 1), ("trained-like", 0)]
    assert planned.names == ("lmscope", *FAMILY.usual_rivals(planned.case))
    assert len(harness._Planned(FAMILY, Case(40, 30), None, ["numpy"]).inputs) == 6


def test_time_is_projected_by_what_was_taken() -> None:
    """Two cases, one of far more work: before, and after the first took ten times its projection."""
    planned = [harness._Planned(FAMILY, Case(1000 * side, 1000), 1, []) for side in (1, 100)]
    turns = harness._Turns("", None, {}, 1, lambda text, done, total: None, planned)
    rates = {"gemm": 1e8}
    turns.project(rates)
    first, second = (one.seconds(rates) for one in planned)
    before = turns._left()
    assert before == f"; about {2 * (first + second) / 60:.0f} min left"
    turns._projected_done, turns._seconds_done = 2 * first, 20 * first
    assert turns._left() == f"; about {10 * 2 * second / 60:.0f} min left"


def test_commit_of_a_checkout(tmp_path: Path) -> None:
    assert commit(tmp_path) is None
    header = tmp_path / "csrc" / "include" / "lmscope" / "isa.h"
    header.parent.mkdir(parents=True)
    header.write_text("one")
    assert commit(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    clean = commit(tmp_path)
    assert clean is not None
    assert len(clean) == 40
    (tmp_path / "notes.txt").write_text("not a source")
    assert commit(tmp_path) == clean
    header.write_text("two")
    assert commit(tmp_path) == f"{clean}-dirty"


def test_wrong_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference of another matrix: every answer is then wrong."""

    class Liar(WorkerProcess):
        def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
            answer = super().ask(do, **arguments)
            if do == "make":
                super().ask("make", **{**arguments, "seed": 99, "path": arguments["path"] + ".other"})
            return answer

    monkeypatch.setattr(harness, "WorkerProcess", Liar)
    with pytest.raises(BenchmarkError, match=r"lmscope on 40x30 gaussian 0: value \d+ is off by .*its bound"):
        run_bench(FAMILY, [Case(40, 30)], seeds=1, rivals=["numpy"], tries=1, quick=True)


def test_default_cases_are_those_of_the_readme() -> None:
    full = {case.name: case.targets for case in FAMILY.cases("full")}
    fast = {
        name: (targets["torch float32"], targets.get("numpy"))
        for name, targets in full.items()
        if "torch float32" in targets
    }
    assert fast == {
        "1024x1024": (2.0, 2.0),
        "4096x4096": (1.6, 6.0),
        "11008x4096": (2.5, 8.0),
        "4096x11008": (2.5, 8.0),
        "32000x2048": (4.0, 8.0),
        "128256x4096 streamed": (4.0, None),
    }
    assert full["11008x4096 gram"] == {"scipy": 3.0}
    assert max(case.rows * case.columns for case in FAMILY.cases("quick")) <= 512 * 512


def test_cases_of_words() -> None:
    (case,) = cases_of(["300x20"])
    assert (case.rows, case.columns) == (300, 20)
    assert FAMILY.operations(case) == pytest.approx(300 * 20**2 + 4 / 3 * 20**3)
    for wrong in ("300", "300x", "0x4", "3x4x5", "axb"):
        with pytest.raises(UsageError, match="ROWSxCOLUMNS"):
            cases_of([wrong])


def test_families_by_name() -> None:
    assert [family.name for family in families_of([])] == list(FAMILIES)
    assert list(FAMILIES) == [
        "singular_values",
        "symmetric_eigenvalues",
        "column_cosine",
        "lasso",
        "token_averages",
        "couplings",
    ]
    assert [family.name for family in families_of(["column_cosine"] * 2)] == ["column_cosine"]
    with pytest.raises(UsageError, match=r"'ising' is none of singular_values, .* couplings"):
        families_of(["ising"])


def test_peak_memory_is_that_of_the_moment() -> None:
    """What was freed before does not count, what is freed again does."""
    before = bytearray(96 << 20)
    del before
    memory = PeakMemory()
    if (quiet := memory.extra_bytes()) is None:
        pytest.skip("this kernel lets no process forget its peak: /proc/self/clear_refs")
    during = bytearray(64 << 20)
    del during
    extra = memory.extra_bytes()
    assert quiet < 1 << 20
    assert extra is not None
    # The kernel counts pages in batches.
    assert extra == pytest.approx(64 << 20, abs=2 << 20)
