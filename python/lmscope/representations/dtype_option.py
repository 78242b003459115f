"""What transformers calls the dtype of a model that it makes."""

from __future__ import annotations

from typing import Any


def dtype_option(dtype: Any) -> dict[str, Any]:
    """``dtype`` since 4.56, ``torch_dtype`` before."""
    import transformers

    major, minor = map(int, transformers.__version__.split(".")[:2])
    return {"dtype" if (major, minor) >= (4, 56) else "torch_dtype": dtype}
