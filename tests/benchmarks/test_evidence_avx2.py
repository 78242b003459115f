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


@pytest.mark.parametrize(
    ("family", "names", "rival", "other_aims"),
    [
        ("singular_values", ["300x200", "200x300"], "openblas", []),
        ("symmetric_eigenvalues", ["256x256"], "openblas 2stage", ["of the largest value off"]),
    ],
    ids=["singular_values", "symmetric_eigenvalues"],
)
def test_both_sides_run_under_avx2(
    family: str, names: list[str], rival: str, other_aims: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with benchmark_module("evidence_avx2") as evidence:
        for name, value in evidence.SETTINGS.items():
            monkeypatch.setenv(name, value)
        (bench,) = evidence.measure([family], quick=True)
    assert bench.machine["environment"].items() >= evidence.SETTINGS.items()
    assert bench.rates["gemm"] > 0
    assert [result.case.name for result in bench.results] == names
    for result in bench.results:
        assert result.competitors() == ["lmscope", rival]
        assert [aim.what for aim in result.targets()] == [f"times as fast as {rival}", *other_aims]
        assert result.error(rival) < 1e-7
