"""What each competitor computes from a bfloat16 matrix, and what it says about itself.

Only ours takes bfloat16; the others convert inside their time, as their users must.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lmscope.runs.benchmarks.family import OURS, Answer, Arrays, Competitor
from lmscope.runs.benchmarks.gemm_rate import gemm_order, gemm_rate
from lmscope.runs.benchmarks.openblas import openblas_beside, openblas_facts, our_library

# Ours in one call, beside a stream.
WHOLE = "lmscope whole"
# What ours must not be slower than on any instruction set: two calls of the OpenBLAS that it brings.
COMPOSITION = "openblas"

# Rows of 128256 x 4096 that a reader of a checkpoint hands on at a time, 64 MiB.
_STREAMED_ROWS = 8192


def _lmscope(name: str) -> Competitor:
    from lmscope import __version__
    from lmscope.kernels.runtime import get_num_threads, isa
    from lmscope.kernels.singular_values import StreamingSingularValues, singular_values
    from lmscope.kernels.singular_vectors import singular_vectors

    def compute(asked: Any) -> Any:
        matrix, part = asked
        if part == "vectors":
            triplets = singular_vectors(matrix)
            return _triplets(triplets.left, triplets.values, triplets.right, method=triplets.method)
        if part == "gram":
            stream = StreamingSingularValues(matrix.shape[1])
            stream.update(matrix)
            return stream
        if part == "streamed" and name != WHOLE:
            stream = StreamingSingularValues(matrix.shape[1])
            for start in range(0, len(matrix), _STREAMED_ROWS):
                stream.update(matrix[start : start + _STREAMED_ROWS])
            return stream.result()
        return singular_values(matrix)

    def answer(found: Any) -> Answer:
        if isinstance(found, Answer):
            return found
        if isinstance(found, StreamingSingularValues):
            return Answer({"gram": found.gram()}, {"method": found.method})
        words = {"method": found.method, "refined": int(found.refined)}
        return Answer({"values": found.values, "bounds": found.bounds}, words)

    def describe() -> dict[str, Any]:
        return {
            "lmscope": __version__,
            "isa": isa(),
            "threads": get_num_threads(),
            "openblas": openblas_facts(our_library()),
        }

    return Competitor(_asked, compute, describe, answer=answer)


def _numpy() -> Competitor:
    def compute(asked: Any) -> Answer:
        matrix, part = asked
        wide = matrix.astype(np.float64)
        if part == "vectors":
            left, values, right = np.linalg.svd(wide, full_matrices=False)
            return _triplets(left, values, right.T)
        if part == "gram":
            return Answer({"gram": wide.T @ wide}, {})
        return Answer({"values": np.linalg.svd(wide, compute_uv=False)}, {})

    def rates(quick: bool) -> dict[str, float]:
        left = np.random.default_rng(0).standard_normal((gemm_order(quick),) * 2)
        right = left.T.copy()
        return gemm_rate(lambda: left @ right, quick)

    def describe() -> dict[str, Any]:
        return {"numpy": np.__version__, "openblas": openblas_beside(np.__file__)}

    return Competitor(_asked, compute, describe, rates)


def _scipy() -> Competitor:
    import scipy
    import scipy.linalg

    def compute(asked: Any) -> Any:
        matrix, part = asked
        wide = matrix.astype(np.float64)
        if part == "vectors":
            left, values, right = scipy.linalg.svd(wide, full_matrices=False)
            return _triplets(left, values, right.T)
        if part == "gram":
            # Column-major as it stands, so that nothing is copied.
            return scipy.linalg.blas.dsyrk(1.0, wide.T, lower=1)
        return Answer({"values": scipy.linalg.svdvals(wide)}, {})

    def answer(found: Any) -> Answer:
        if isinstance(found, Answer):
            return found
        return Answer({"gram": np.tril(found) + np.tril(found, -1).T}, {})

    def describe() -> dict[str, Any]:
        return {"scipy": scipy.__version__, "openblas": openblas_beside(scipy.__file__)}

    return Competitor(_asked, compute, describe, answer=answer)


def _torch(dtype_name: str) -> Competitor:
    import torch

    dtype = getattr(torch, dtype_name)

    def take(inputs: Arrays) -> Any:
        matrix = torch.from_numpy(inputs["matrix"].view(np.uint16)).view(torch.bfloat16)
        return matrix, str(inputs["part"])

    def compute(asked: Any) -> Answer:
        matrix, part = asked
        wide = matrix.to(dtype)
        if part == "vectors":
            left, values, right = torch.linalg.svd(wide, full_matrices=False)
            return _triplets(left.numpy(), values.numpy(), right.T.numpy())
        if part == "gram":
            return Answer({"gram": (wide.T @ wide).numpy()}, {})
        return Answer({"values": torch.linalg.svdvals(wide).double().numpy()}, {})

    def rates(quick: bool) -> dict[str, float]:
        if dtype_name != "float64":
            return {}
        left = torch.randn(gemm_order(quick), gemm_order(quick), dtype=torch.float64)
        right = left.T.contiguous()
        return gemm_rate(lambda: left @ right, quick)

    def describe() -> dict[str, Any]:
        config = torch.__config__.show()
        blas = "MKL" if "BLAS_INFO=mkl" in config else "other"
        return {"torch": torch.__version__, "threads": torch.get_num_threads(), "blas": blas}

    return Competitor(take, compute, describe, rates)


def _composition() -> Competitor:
    from lmscope.runs.benchmarks.lapack import OpenBlas

    library = OpenBlas()

    def compute(asked: Any) -> Answer:
        matrix, _ = asked
        wide = matrix.astype(np.float64)
        squares = library.eigenvalues("dsyevd_2stage", library.gram(wide))
        return Answer({"values": np.sqrt(np.maximum(squares[::-1], 0.0))}, {})

    return Competitor(_asked, compute, lambda: library.facts, library.rates)


COMPETITORS: dict[str, Callable[[], Competitor]] = {
    OURS: lambda: _lmscope(OURS),
    WHOLE: lambda: _lmscope(WHOLE),
    "torch float64": lambda: _torch("float64"),
    "torch float32": lambda: _torch("float32"),
    "numpy": _numpy,
    "scipy": _scipy,
    COMPOSITION: _composition,
}


def _asked(inputs: Arrays) -> Any:
    return inputs["matrix"], str(inputs["part"])


def _triplets(left: Any, values: Any, right: Any, **words: Any) -> Answer:
    return Answer({"values": values, "left": left, "right": right}, words)
