"""The evidence under AVX2 holds both sides to it, and the library calls give right values."""

from __future__ import annotations

import pytest

from lmscope.kernels.runtime import isa, use_isa

from .conftest import benchmark_module


@pytest.fixture(autouse=True)
def _avx2() -> None:
    best = isa()
    try:
        use_isa("avx2")
    except ValueError as error:
        pytest.skip(str(error))
    use_isa(best)


def test_both_sides_run_under_avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    with benchmark_module("evidence_avx2") as evidence:
        for name, value in evidence.SETTINGS.items():
            monkeypatch.setenv(name, value)
        (bench,) = evidence.measure(["singular_values"], quick=True)
    assert bench.machine["environment"].items() >= evidence.SETTINGS.items()
    assert bench.rates["gemm"] > 0
    assert [result.case.name for result in bench.results] == ["300x200", "200x300"]
    for result in bench.results:
        assert result.competitors() == ["lmscope", "openblas"]
        assert [aim.what for aim in result.targets()] == ["times as fast as openblas"]
        assert result.error("openblas") < 1e-7
