"""Arrays of numpy and torch as torch tensors, without a copy."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["as_tensor"]


def as_tensor(name: str, values: Any, axes: int) -> torch.Tensor:
    """``values`` as a tensor of as many ``axes`` in its own dtype, sharing memory.

    TypeError for what is not of floating point, ValueError for other many axes or an empty one; ``name`` is
    the argument's.
    """
    import torch

    if isinstance(values, torch.Tensor):
        found = values.detach()
    else:
        array = np.asarray(values)
        if array.dtype.name == "bfloat16":
            # torch knows numpy's own dtypes only.
            found = _of_numpy(array.view(np.int16)).view(torch.bfloat16)
        else:
            found = _of_numpy(array)
    if not found.is_floating_point() or found.itemsize < 2:
        raise TypeError(f"{name}: dtype {found.dtype} is not float64, float32, float16 or bfloat16")
    if found.ndim != axes or 0 in found.shape:
        raise ValueError(f"{name}: shape {tuple(found.shape)}; expected {axes} axes, none of them empty")
    return found


def _of_numpy(array: Any) -> torch.Tensor:
    import torch

    if any(stride < 0 for stride in array.strides):
        array = array.copy()
    with warnings.catch_warnings():
        # Of arrays that may not be written to, such as a checkpoint's; nothing here writes.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)
