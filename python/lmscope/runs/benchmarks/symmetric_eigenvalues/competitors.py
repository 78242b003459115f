"""What each competitor computes from symmetric matrices, and what it says about itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.runs.benchmarks.family import OURS, Answer, Arrays, Competitor
from lmscope.runs.benchmarks.gemm_rate import gemm_order, gemm_rate
from lmscope.runs.benchmarks.openblas import openblas_beside
from lmscope.runs.cost import cores

# torch brings a library of MKL too.
MKL = ("torch", "mkl dsyevd", "mkl 2stage")
# What ours must not be slower than on any instruction set: a call of the OpenBLAS that it brings.
COMPOSITION = "openblas 2stage"


def _lmscope() -> Competitor:
    from lmscope import __version__
    from lmscope.kernels.runtime import get_num_threads, isa
    from lmscope.kernels.symmetric_eigenvalues import symmetric_eigenvalues

    def compute(matrix: Any) -> Answer:
        found = symmetric_eigenvalues(matrix)
        return Answer({"values": found.values, "bounds": found.bounds}, {})

    def describe() -> dict[str, Any]:
        return {"lmscope": __version__, "isa": isa(), "threads": get_num_threads()}

    return Competitor(_matrix, compute, describe)


def _numpy() -> Competitor:
    def describe() -> dict[str, Any]:
        return {"numpy": np.__version__, "openblas": openblas_beside(np.__file__)}

    def rates(quick: bool) -> dict[str, float]:
        left = np.random.default_rng(0).standard_normal((gemm_order(quick),) * 2)
        right = left.T.copy()
        return gemm_rate(lambda: left @ right, quick)

    return Competitor(_matrix, np.linalg.eigvalsh, describe, rates, answer=_descending)


def _scipy() -> Competitor:
    import scipy
    import scipy.linalg

    def describe() -> dict[str, Any]:
        return {"scipy": scipy.__version__, "openblas": openblas_beside(scipy.__file__)}

    return Competitor(_matrix, scipy.linalg.eigvalsh, describe, answer=_descending)


def _torch() -> Competitor:
    import torch

    # It counts cores, where the others count what the process may use.
    torch.set_num_threads(cores())

    def take(inputs: Arrays) -> Any:
        return torch.from_numpy(inputs["matrix"])

    def compute(matrix: Any) -> Any:
        return torch.linalg.eigvalsh(matrix).numpy()

    def rates(quick: bool) -> dict[str, float]:
        left = torch.randn(gemm_order(quick), gemm_order(quick), dtype=torch.float64)
        right = left.T.contiguous()
        return gemm_rate(lambda: left @ right, quick)

    def describe() -> dict[str, Any]:
        config = torch.__config__.show()
        blas = "MKL" if "BLAS_INFO=mkl" in config else "other"
        return {"torch": torch.__version__, "threads": torch.get_num_threads(), "blas": blas}

    return Competitor(take, compute, describe, rates, answer=_descending)


def _mkl(routine: str) -> Competitor:
    from lmscope.runs.benchmarks.lapack import Mkl

    library = Mkl()

    def compute(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return library.eigenvalues(routine, matrix.copy())

    return Competitor(_matrix, compute, lambda: library.facts, answer=_descending)


def _composition() -> Competitor:
    from lmscope.runs.benchmarks.lapack import OpenBlas

    library = OpenBlas()

    def compute(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return library.eigenvalues("dsyevd_2stage", matrix.copy())

    return Competitor(_matrix, compute, lambda: library.facts, library.rates, _descending)


COMPETITORS: dict[str, Callable[[], Competitor]] = {
    OURS: _lmscope,
    "torch": _torch,
    "mkl dsyevd": lambda: _mkl("dsyevd"),
    "mkl 2stage": lambda: _mkl("dsyevd_2stage"),
    "numpy": _numpy,
    "scipy": _scipy,
    COMPOSITION: _composition,
}


def _matrix(inputs: Arrays) -> Any:
    return inputs["matrix"]


def _descending(values: Any) -> Answer:
    return Answer({"values": values[..., ::-1]}, {})
