"""Headers as the files give them, for tests that need no weights."""

from __future__ import annotations

import math

from lmscope.architectures import StoredTensor


def stored(*shape: int, dtype: str = "float32") -> StoredTensor:
    return StoredTensor(dtype, shape, math.prod(shape) * 4)
