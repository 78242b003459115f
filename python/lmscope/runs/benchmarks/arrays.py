"""Arrays between the processes of a bench, bfloat16 among them."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmscope.runs.benchmarks.family import Arrays

_BFLOAT16 = " as uint16"


def save(path: str, arrays: Arrays) -> None:
    """An .npz file; bfloat16 as uint16."""
    stored: dict[str, Any] = {
        name + _BFLOAT16 * (array.dtype.name == "bfloat16"): (
            array.view(np.uint16) if array.dtype.name == "bfloat16" else array
        )
        for name, array in arrays.items()
    }
    # An open file, as np.savez changes names that do not end in .npz.
    with open(path, "wb") as file:
        np.savez(file, **stored)


def load(path: str) -> Arrays:
    import ml_dtypes

    arrays: Arrays = {}
    with np.load(path) as stored:
        for name in stored.files:
            array = stored[name]
            if name.endswith(_BFLOAT16):
                array = array.view(ml_dtypes.bfloat16)
            arrays[name.removesuffix(_BFLOAT16)] = array
    return arrays
