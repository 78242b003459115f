"""What is wrong with an answer: values, vectors or a Gram matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.runs.benchmarks.family import OURS, Arrays, Verdict
from lmscope.runs.benchmarks.precise_product import precise_product
from lmscope.runs.benchmarks.rayleigh import sample_indices
from lmscope.runs.benchmarks.singular_values.competitors import COMPOSITION, WHOLE

# What a right answer may differ by, as a share of the largest value; a wrong one is off by far more. Square
# roots of eigenvalues halve the digits at the small end.
_TOLERANCE = {"torch float32": 1e-4, COMPOSITION: 1e-7}
_FLOAT64_TOLERANCE = 1e-11
_GRAM_TOLERANCE = 1e-13
_BLOCK_ROWS = 4096


def check_values(competitor: str, found: Arrays, reference: Arrays) -> Verdict:
    """Sampled values: ours within their bounds, the others within a share of the largest."""
    indices, uncertainty = reference["indices"], reference["uncertainties"]
    off = np.abs(found["values"][indices] - reference["values"])
    largest = reference["values"][0]
    problem = None
    if competitor in (OURS, WHOLE):
        bounds = found["bounds"][indices]
        worst = int(np.argmax(off - bounds - uncertainty))
        if not off[worst] <= bounds[worst] + uncertainty[worst]:
            index, bound = indices[worst], bounds[worst]
            problem = f"value {index} is off by {off[worst]:.3g}, more than its bound {bound:.3g}"
    else:
        tolerance = _TOLERANCE.get(competitor, _FLOAT64_TOLERANCE) * largest
        if not off.max() <= tolerance:
            problem = f"off by {off.max():.3g}, more than {tolerance:.3g}"
    details = {
        "smallest_over_largest": float(found["values"][-1] / largest),
        "reference_uncertainty": float(uncertainty.max() / largest),
    }
    return Verdict(float(off.max() / largest), problem, details)


def check_vectors(competitor: str, found: Arrays, reference: Arrays) -> Verdict:
    """The error is the largest of values off, residuals (both over the largest value) and inner products, as
    float64 products measure them, which round at some 1e-15 themselves.
    """
    largest = reference["values"][0]
    matrix = reference["matrix"].astype(np.float64)
    values, left, right = (found[name].astype(np.float64) for name in ("values", "left", "right"))
    off = np.abs(values[reference["indices"]] - reference["values"]).max()
    missed = matrix @ right - left * values, matrix.T @ left - right * values
    residual = max(float(np.linalg.norm(part, axis=0).max()) for part in missed) / float(largest)
    unit = np.eye(len(values))
    orthogonality = max(float(np.abs(side.T @ side - unit).max()) for side in (left, right))
    error = max(float(off / largest), residual, orthogonality)
    tolerance = _TOLERANCE.get(competitor, _FLOAT64_TOLERANCE)
    problem = None if error <= tolerance else f"vectors are off by {error:.3g}, more than {tolerance:.3g}"
    details = {
        "smallest_over_largest": float(found["values"][-1] / largest),
        "reference_uncertainty": float(reference["uncertainties"].max() / largest),
        "residual": residual,
        "orthogonality": orthogonality,
    }
    return Verdict(error, problem, details)


def gram_columns(matrix: npt.NDArray[Any]) -> Arrays:
    """Sampled columns of the Gram matrix, right to the last bit or two, and norms that errors are held to."""
    indices = sample_indices(matrix.shape[1])
    columns = np.zeros((matrix.shape[1], len(indices)), np.longdouble)
    squares = np.zeros(matrix.shape[1])
    for start in range(0, len(matrix), _BLOCK_ROWS):
        block = matrix[start : start + _BLOCK_ROWS].astype(np.float64)
        columns += precise_product(np.ascontiguousarray(block.T), block[:, indices])
        squares += (block * block).sum(axis=0)
    return {"indices": indices, "columns": columns.astype(np.float64), "norms": np.sqrt(squares)}


def check_gram(found: Arrays, reference: Arrays) -> Verdict:
    """The error of an entry is over the norms of its two columns."""
    indices, norms = reference["indices"], reference["norms"]
    off = np.abs(found["gram"][:, indices] - reference["columns"])
    error = float((off / (norms[:, None] * norms[indices])).max())
    problem = None if error <= _GRAM_TOLERANCE else f"off by {error:.3g}, more than {_GRAM_TOLERANCE:g}"
    return Verdict(error, problem, {})
