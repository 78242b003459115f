"""What each competitor computes from a bfloat16 matrix, and what it says about itself.

Only ours takes bfloat16; the others convert inside their time, as their users must.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


class Answer(NamedTuple):
    """Singular values in descending order, and words and arrays beside them that go into the record."""

    values: Any
    extra: dict[str, Any]


class Competitor(NamedTuple):
    """What a worker calls.

    Attributes:
        take: turns the loaded matrix into what its users hold; not timed.
        compute: timed.
        gemm: multiplies two square float64 matrices of the given order.
        describe: versions.
    """

    take: Callable[[npt.NDArray[Any]], Any]
    compute: Callable[[Any], Answer]
    gemm: Callable[[int], Callable[[], Any]] | None
    describe: Callable[[], dict[str, Any]]


def _lmscope() -> Competitor:
    from lmscope import __version__
    from lmscope.kernels.runtime import get_num_threads, isa
    from lmscope.kernels.singular_values import singular_values

    def compute(matrix: Any) -> Answer:
        found = singular_values(matrix)
        extra = {"method": found.method, "refined": int(found.refined), "bounds": found.bounds}
        return Answer(found.values, extra)

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

    return Competitor(lambda matrix: matrix, compute, None, describe)


def _numpy() -> Competitor:
    def compute(matrix: Any) -> Answer:
        return Answer(np.linalg.svd(matrix.astype(np.float64), compute_uv=False), {})

    def gemm(order: int) -> Callable[[], Any]:
        left = np.random.default_rng(0).standard_normal((order, order))
        right = left.T.copy()
        return lambda: left @ right

    def describe() -> dict[str, Any]:
        return {"numpy": np.__version__, "openblas": _openblas_beside(np.__file__)}

    return Competitor(lambda matrix: matrix, compute, gemm, describe)


def _scipy() -> Competitor:
    import scipy
    import scipy.linalg

    def compute(matrix: Any) -> Answer:
        return Answer(scipy.linalg.svdvals(matrix.astype(np.float64)), {})

    def describe() -> dict[str, Any]:
        return {"scipy": scipy.__version__, "openblas": _openblas_beside(scipy.__file__)}

    return Competitor(lambda matrix: matrix, compute, None, describe)


def _torch(dtype_name: str) -> Competitor:
    import torch

    dtype = getattr(torch, dtype_name)

    def take(matrix: npt.NDArray[Any]) -> Any:
        return torch.from_numpy(matrix.view(np.uint16)).view(torch.bfloat16)

    def compute(matrix: Any) -> Answer:
        return Answer(torch.linalg.svdvals(matrix.to(dtype)).double().numpy(), {})

    def gemm(order: int) -> Callable[[], Any]:
        left = torch.randn(order, order, dtype=torch.float64)
        right = left.T.contiguous()
        return lambda: left @ right

    def describe() -> dict[str, Any]:
        config = torch.__config__.show()
        blas = "MKL" if "BLAS_INFO=mkl" in config else "other"
        return {"torch": torch.__version__, "threads": torch.get_num_threads(), "blas": blas}

    return Competitor(take, compute, gemm if dtype_name == "float64" else None, describe)


COMPETITORS: dict[str, Callable[[], Competitor]] = {
    "lmscope": _lmscope,
    "torch float64": lambda: _torch("float64"),
    "torch float32": lambda: _torch("float32"),
    "numpy": _numpy,
    "scipy": _scipy,
}


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
