"""Memory that was freed goes back to the system."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

__all__ = ["give_back"]


def give_back() -> None:
    """To be called after large arrays or a model were let go of; takes about a millisecond.

    The GNU C library keeps freed blocks of up to 32 MB, as a layer's covariance is, for itself, and what is
    asked for next rarely fits between what is still in use. Other C libraries hand them back; there this does
    nothing.
    """
    _trim()(0)


@functools.cache
def _trim() -> Callable[[int], int]:
    try:
        # None: what this process has loaded already.
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return lambda _: 0
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    found: Callable[[int], int] = trim
    return found
