"""What the analyses take: numpy arrays and torch tensors, checked, with errors that name the argument."""

from __future__ import annotations

import math
import operator
import reprlib
import sys
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

__all__ = [
    "as_number",
    "finite_rows",
    "matrix",
    "not_negative",
    "of_shape",
    "positive",
    "real",
    "states",
    "vector",
    "whole",
]

Floats = npt.NDArray[np.float64]

_DTYPES = [np.dtype(kind) for kind in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)]


def matrix(name: str, given: Any) -> npt.NDArray[Any]:
    """As a numpy array, without a copy.

    Raises:
        ValueError: not 2-D, or empty.
        TypeError: not an array, another dtype, or a CUDA tensor.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.Tensor):
        if given.device.type != "cpu":
            raise TypeError(f"{name} must be a CPU tensor, got one on {given.device}")
        given = _of_torch(given)
    if not isinstance(given, np.ndarray):
        raise TypeError(f"{name} must be a numpy array or a torch tensor, got {type(given).__name__}")
    _check_dtype(name, given)
    if given.ndim != 2 or not given.size:
        raise ValueError(f"{name} must be a matrix with rows and columns, got shape {given.shape}")
    return given


def states(name: str, given: Any, *, dimensions: int | None = None, empty: bool = False) -> Floats:
    """Tokens x dimensions in float64; what is not float64 already is copied, from CUDA devices too.

    Raises:
        ValueError: not 2-D, no tokens (unless ``empty``), other than ``dimensions`` columns, or NaN/Inf
            (named with row and column).
        TypeError: not an array of float64, float32, float16 or bfloat16.
    """
    array = _array(name, given)
    if array.ndim != 2 or not array.shape[1] or not (empty or len(array)):
        raise ValueError(f"{name} must be tokens x dimensions, got shape {array.shape}")
    if dimensions is not None and array.shape[1] != dimensions:
        raise ValueError(f"{name} must have {dimensions} dimensions, got shape {array.shape}")
    return finite_rows(name, array, slice(0, len(array)))


def vector(name: str, given: Any, *, length: int | None = None) -> Floats:
    """One-dimensional, in float64, with the errors of :func:`states`."""
    array = _array(name, given)
    if array.ndim != 1 or not array.size or length not in (None, array.size):
        wanted = "one-dimensional" if length is None else f"of shape ({length},)"
        raise ValueError(f"{name} must be {wanted}, got shape {array.shape}")
    row: Floats = finite_rows(name, array[None], slice(0, 1))[0]
    return row


def of_shape(name: str, given: Any, shape: tuple[int | None, ...], axes: str) -> Floats:
    """In float64, with the errors of :func:`states`; None in ``shape`` stands for any size but 0, ``axes``
    names the axes in words."""
    array = _array(name, given)
    fits = array.ndim == len(shape) and all(
        found > 0 and wanted in (None, found) for found, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits:
        sizes = " x ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must be {axes}, here {sizes}, got shape {array.shape}")
    values: Floats = np.asarray(array, dtype=np.float64)
    if not np.isfinite(values).all():
        at = tuple(map(int, np.argwhere(~np.isfinite(values))[0]))
        raise ValueError(f"{name} has {values[at]} at index {list(at)}")
    return values


def finite_rows(name: str, array: npt.NDArray[Any], rows: slice) -> Floats:
    """These rows in float64; ValueError with row and column where they hold NaN or Inf."""
    block: Floats = np.asarray(array[rows], dtype=np.float64)
    if not np.isfinite(block).all():
        row, column = np.argwhere(~np.isfinite(block))[0]
        raise ValueError(f"{name} has {block[row, column]} at row {rows.start + row}, column {column}")
    return block


def real(given: Any) -> npt.NDArray[Any]:
    """Integers, as ranks and counts are, in float64; anything else as an array of what it holds."""
    array = np.asarray(given)
    return array.astype(np.float64) if array.dtype.kind in "iu" else array


def whole(name: str, number: Any, least: int) -> int:
    try:
        found = operator.index(number)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {_told(number)}") from None
    if not least <= found < 2**63:
        raise ValueError(f"{name} must be from {least} up, below 2**63, got {number}")
    return found


def positive(name: str, number: Any) -> float:
    found = as_number(name, number)
    if not (found > 0 and math.isfinite(found)):
        raise ValueError(f"{name} must be above 0 and finite, got {number}")
    return found


def not_negative(name: str, number: Any) -> float:
    found = as_number(name, number)
    if not (found >= 0 and math.isfinite(found)):
        raise ValueError(f"{name} must be at least 0 and finite, got {number}")
    return found


def as_number(name: str, number: Any) -> float:
    try:
        return float(number)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {_told(number)}") from None


def _told(given: Any) -> str:
    """In few words, however large it is."""
    if getattr(given, "shape", ()):
        return f"{type(given).__name__} of shape {tuple(given.shape)}"
    return reprlib.repr(given)


def _array(name: str, given: Any) -> npt.NDArray[Any]:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.Tensor):
        array = _of_torch(given.cpu())
    else:
        array = np.asarray(given)
    _check_dtype(name, array)
    return array


def _of_torch(tensor: Any) -> npt.NDArray[Any]:
    torch = sys.modules["torch"]
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        array: npt.NDArray[Any] = tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
        return array
    array = tensor.numpy()
    return array


def _check_dtype(name: str, array: npt.NDArray[Any]) -> None:
    if array.dtype not in _DTYPES:
        raise TypeError(f"{name} must be float64, float32, float16 or bfloat16, got {array.dtype}")
