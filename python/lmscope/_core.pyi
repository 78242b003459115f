from typing import Any

import numpy as np
import numpy.typing as npt

class CudaError(RuntimeError): ...

def isa() -> str: ...
def use_isa(level: str) -> None: ...
def get_num_threads() -> int: ...
def set_num_threads(threads: int) -> None: ...
def multiply_add_peak(dtype: str, seconds: float) -> float: ...
def cuda_available() -> bool: ...
def cuda_devices() -> list[dict[str, Any]]: ...
def bidiagonal_count_below(
    diagonal: npt.NDArray[np.float64],
    off_diagonal: npt.NDArray[np.float64],
    thresholds: npt.NDArray[np.float64],
) -> npt.NDArray[np.int64]: ...
def bidiagonal_order_statistics(
    diagonal: npt.NDArray[np.float64],
    off_diagonal: npt.NDArray[np.float64],
    ranks: npt.NDArray[np.int64],
    rtol: float,
) -> npt.NDArray[np.float64]: ...
def singular_values(
    w: Any, method: str, rtol: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], str, int]: ...
def singular_vectors(
    w: Any, which: int | list[int] | None, method: str, tolerance: float | None
) -> tuple[
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    float,
    npt.NDArray[np.int64],
    str,
]: ...
def symmetric_eigenvalues(a: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]: ...

class StreamingSingularValues:
    columns: int
    rows: int
    method: str
    def __init__(self, columns: int, method: str) -> None: ...
    def update(self, rows: Any) -> None: ...
    def merge(self, other: StreamingSingularValues) -> None: ...
    def result(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], str, int]: ...
    def state(self) -> dict[str, Any]: ...
    @staticmethod
    def from_state(state: dict[str, Any]) -> StreamingSingularValues: ...

TopValues = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]

def sign_flip_top_values(w: Any, draws: int, seed: int, rtol: float) -> TopValues: ...
def permutation_top_values(w: Any, draws: int, seed: int, rtol: float) -> TopValues: ...
def permute_entries(w: Any, seed: int, draw: int) -> npt.NDArray[Any]: ...
def entry_statistics(w: Any) -> dict[str, Any]: ...

# coef, offsets, alpha, alpha_max, gap, sweeps, converged
LassoBatch = tuple[
    npt.NDArray[np.float64],
    npt.NDArray[np.int64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.int64],
    npt.NDArray[np.bool_],
]

def lasso_prefixes(
    tokens: Any,
    positions: npt.NDArray[np.int64],
    alphas: npt.NDArray[np.float64],
    ratio: bool,
    tol: float,
    max_iter: int,
    plain: bool = False,
) -> LassoBatch: ...
def lasso_targets(
    x: Any,
    y: Any,
    alphas: npt.NDArray[np.float64],
    ratio: bool,
    tol: float,
    max_iter: int,
    plain: bool = False,
) -> LassoBatch: ...
def lasso_path(
    x: Any, y: Any, alphas: list[float], relative: bool, fit_intercept: bool, tol: float, max_iter: int
) -> dict[str, Any]: ...

# alpha, columns in the order of their entries, signs of their coefficients
SignedSupport = tuple[float, npt.NDArray[np.int64], npt.NDArray[np.float64]]

def lasso_on_support(x: Any, y: Any, support: SignedSupport, tol: float, max_iter: int) -> LassoBatch: ...
def lasso_prefixes_on_supports(
    tokens: Any, positions: npt.NDArray[np.int64], supports: list[SignedSupport], tol: float, max_iter: int
) -> LassoBatch: ...

# alphas, events, coefs knot after knot, dependent columns, why it ends, signs of what enters
LassoKnots = tuple[
    npt.NDArray[np.float64],
    npt.NDArray[np.int64],
    npt.NDArray[np.float64],
    npt.NDArray[np.int64],
    str,
    npt.NDArray[np.float64],
]

def lasso_homotopy(
    x: Any, y: Any, most_events: int, most_nonzeros: int | None, keep_coefs: bool
) -> LassoKnots: ...
def lasso_prefix_homotopy(
    tokens: Any, positions: list[int], most_events: int, most_nonzeros: int | None
) -> list[LassoKnots]: ...

class PackedColumns:
    depth: int
    columns: int
    nbytes: int
    zero_columns: npt.NDArray[np.int64]
    def __init__(self, matrix: Any, argument: str) -> None: ...
    def with_signs(self, negative: npt.NDArray[np.bool_]) -> PackedColumns: ...

def column_cosine(
    x: PackedColumns, y: PackedColumns | None, bins: int
) -> tuple[
    npt.NDArray[np.int64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.int64],
    npt.NDArray[np.int64],
]: ...
