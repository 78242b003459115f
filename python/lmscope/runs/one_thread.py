"""Libraries at one thread each, while parallelism is ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread_each(*, torch_too: bool) -> Iterator[None]:
    """The BLAS of numpy and scipy, and torch where it is to be used, compute on the thread that calls them.

    For the whole process, and as it was before at the end. Libraries that are loaded later are not bound: so
    these are loaded here.
    """
    import numpy as np  # noqa: F401
    import scipy.linalg  # noqa: F401  it has an OpenBLAS of its own
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        if not torch_too:
            yield
            return
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
