"""The dtypes of a safetensors header in numpy's words."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

_NUMPY: dict[str, type[Any]] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
_OTHERS = {
    "C64": ("complex64", 64),
    "F8_E4M3": ("float8_e4m3fn", 8),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", 8),
    "F8_E5M2": ("float8_e5m2", 8),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", 8),
    "F8_E8M0": ("float8_e8m0fnu", 8),
    "F6_E2M3": ("float6_e2m3fn", 6),
    "F6_E3M2": ("float6_e3m2fn", 6),
    "F4": ("float4_e2m1fn", 4),
}
NAMES = {code: np.dtype(kind).name for code, kind in _NUMPY.items()} | {
    code: name for code, (name, _) in _OTHERS.items()
}
"""Header code -> numpy-style name."""

BITS = {code: 8 * np.dtype(kind).itemsize for code, kind in _NUMPY.items()} | {
    code: bits for code, (_, bits) in _OTHERS.items()
}
"""Header code -> bits of one element."""

_BY_NAME: dict[str, np.dtype[Any]] = {NAMES[code]: np.dtype(kind) for code, kind in _NUMPY.items()}


def readable(name: str) -> np.dtype[Any] | None:
    """The numpy dtype of values stored under this name; None where they mean nothing by themselves."""
    return _BY_NAME.get(name)
