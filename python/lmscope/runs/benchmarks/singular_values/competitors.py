"""What each competitor computes from a bfloat16 matrix, and what it says about itself.

Only ours takes bfloat16; the others convert inside their time, as their users must.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lmscope.runs.benchmarks.family import Answer, Arrays, Competitor
from lmscope.runs.benchmarks.gemm_rate import gemm_order, gemm_rate


def _lmscope() -> Competitor:
    from lmscope import __version__
    from lmscope.kernels.runtime import get_num_threads, isa
    from lmscope.kernels.singular_values import singular_values
    from lmscope.kernels.singular_vectors import singular_vectors

    def compute(asked: Any) -> Answer:
        matrix, vectors = asked
        if vectors:
            triplets = singular_vectors(matrix)
            return _triplets(triplets.left, triplets.values, triplets.right, method=triplets.method)
        found = singular_values(matrix)
        words = {"method": found.method, "refined": int(found.refined)}
        return Answer({"values": found.values, "bounds": found.bounds}, words)

    def describe() -> dict[str, Any]:
        # Found, not imported: see lmscope.kernels.
        spec = importlib.util.find_spec("scipy_openblas64")
        assert spec is not None
        assert spec.origin is not None
        library = Path(spec.origin).parent / "lib" / "libscipy_openblas64_.so"
        return {
            "lmscope": __version__,
            "isa": isa(),
            "threads": get_num_threads(),
            "openblas": _openblas(library),
        }

    return Competitor(_matrix, compute, describe)


def _numpy() -> Competitor:
    def compute(asked: Any) -> Answer:
        matrix, vectors = asked
        wide = matrix.astype(np.float64)
        if vectors:
            left, values, right = np.linalg.svd(wide, full_matrices=False)
            return _triplets(left, values, right.T)
        return Answer({"values": np.linalg.svd(wide, compute_uv=False)}, {})

    def rates(quick: bool) -> dict[str, float]:
        left = np.random.default_rng(0).standard_normal((gemm_order(quick),) * 2)
        right = left.T.copy()
        return gemm_rate(lambda: left @ right, quick)

    def describe() -> dict[str, Any]:
        return {"numpy": np.__version__, "openblas": _openblas_beside(np.__file__)}

    return Competitor(_matrix, compute, describe, rates)


def _scipy() -> Competitor:
    import scipy
    import scipy.linalg

    def compute(asked: Any) -> Answer:
        matrix, vectors = asked
        wide = matrix.astype(np.float64)
        if vectors:
            left, values, right = scipy.linalg.svd(wide, full_matrices=False)
            return _triplets(left, values, right.T)
        return Answer({"values": scipy.linalg.svdvals(wide)}, {})

    def describe() -> dict[str, Any]:
        return {"scipy": scipy.__version__, "openblas": _openblas_beside(scipy.__file__)}

    return Competitor(_matrix, compute, describe)


def _torch(dtype_name: str) -> Competitor:
    import torch

    dtype = getattr(torch, dtype_name)

    def take(inputs: Arrays) -> Any:
        matrix = torch.from_numpy(inputs["matrix"].view(np.uint16)).view(torch.bfloat16)
        return matrix, "vectors" in inputs

    def compute(asked: Any) -> Answer:
        matrix, vectors = asked
        if vectors:
            left, values, right = torch.linalg.svd(matrix.to(dtype), full_matrices=False)
            return _triplets(left.numpy(), values.numpy(), right.T.numpy())
        return Answer({"values": torch.linalg.svdvals(matrix.to(dtype)).double().numpy()}, {})

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


COMPETITORS: dict[str, Callable[[], Competitor]] = {
    "lmscope": _lmscope,
    "torch float64": lambda: _torch("float64"),
    "torch float32": lambda: _torch("float32"),
    "numpy": _numpy,
    "scipy": _scipy,
}


def _matrix(inputs: Arrays) -> Any:
    return inputs["matrix"], "vectors" in inputs


def _triplets(left: Any, values: Any, right: Any, **words: Any) -> Answer:
    return Answer({"values": values, "left": left, "right": right}, words)


def _openblas_beside(module_file: str) -> str:
    """The OpenBLAS that a wheel ships in `NAME.libs` beside the package."""
    package = Path(module_file).parent
    for library in sorted((package.parent / f"{package.name}.libs").glob("*openblas*")):
        return _openblas(library)
    return "unknown"


def _openblas(library: Path) -> str:
    """Version, build options and the kernels chosen for this CPU (the core type), as the library says."""
    words = []
    loaded = ctypes.CDLL(str(library))
    for function in ("get_config", "get_corename"):
        for name in (f"scipy_openblas_{function}64_", f"scipy_openblas_{function}", f"openblas_{function}"):
            if hasattr(loaded, name):
                call = getattr(loaded, name)
                call.restype = ctypes.c_char_p
                words.append(call().decode())
                break
    return ", core type ".join(words) if words else "unknown"
