"""Memory that was freed goes back to the system."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

__all__ = ["give_back", "map_large_blocks"]

# Of glibc's malloc.h; the threshold is where its rule starts out from.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGE = 1 << 20


def map_large_blocks() -> None:
    """From now on a block of a megabyte or more goes back to the system when it is freed.

    The GNU C library raises that bound, up to 32 MB, to the largest block that was freed so far, and keeps
    smaller ones: with covariances of 20 MB, 20 MB more at the peak. Other C libraries are left as they are.
    """
    option = _of_glibc("mallopt", ctypes.c_int, ctypes.c_int)
    option(_MMAP_THRESHOLD, _LARGE)
    option(_TRIM_THRESHOLD, _LARGE)


def give_back() -> None:
    """Hand back what smaller blocks left free between those in use; takes about a millisecond."""
    _of_glibc("malloc_trim", ctypes.c_size_t)(0)


@functools.cache
def _of_glibc(name: str, *arguments: type) -> Callable[..., int]:
    try:
        # None: what this process has loaded already.
        library = ctypes.CDLL(None)
        # musl and others have some of these names, with another meaning or none.
        library.gnu_get_libc_version  # noqa: B018
        function = getattr(library, name)
    except (AttributeError, OSError, TypeError):
        return lambda *_: 0
    function.argtypes, function.restype = arguments, ctypes.c_int
    found: Callable[..., int] = function
    return found
