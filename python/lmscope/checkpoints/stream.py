"""One tensor at a time, with the next ones read meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from types import TracebackType
from typing import Any, NamedTuple

from numpy.typing import NDArray

from lmscope.architectures import Part, TensorInfo
from lmscope.checkpoints.errors import CheckpointError

READ_AHEAD_BYTES = 2**25
_READERS = 4


class _Reading(NamedTuple):
    parts: list[Part]
    nbytes: int
    values: Future[NDArray[Any]]


class TensorStream(Iterator[tuple[TensorInfo, NDArray[Any]]]):
    """Yields (info, array), parts of one stored tensor from a single read.

    Background threads read the next stored tensors, as many as fit into ``read_ahead_bytes`` together; a
    larger one is read when its turn comes. In memory are the tensor in hand, as long as the caller lets go of
    it before asking for the next, and the budget. A read that fails raises CheckpointError,
    with its ``tensor`` set, when that tensor's turn comes; the next call of ``next`` goes on behind it.
    Usable in ``with``; ``close()`` ends the threads.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        read: Callable[[str], NDArray[Any]],
        nbytes: Callable[[str], int],
        *,
        read_ahead_bytes: int = READ_AHEAD_BYTES,
    ) -> None:
        self._groups = deque(list(group) for _, group in groupby(parts, lambda part: part.info.stored_name))
        self._read = read
        self._nbytes = nbytes
        self._budget = read_ahead_bytes
        self._threads = ThreadPoolExecutor(max_workers=_READERS, thread_name_prefix="lmscope-read")
        self._ahead: deque[_Reading] = deque()
        self._rest: deque[Part] = deque()
        self._stored: NDArray[Any] | None = None
        self._failure: dict[str, Any] | None = None
        self._read_ahead()

    def __iter__(self) -> TensorStream:
        return self

    def __next__(self) -> tuple[TensorInfo, NDArray[Any]]:
        if not self._rest:
            self._advance()
        part = self._rest.popleft()
        if self._failure is not None:
            raise CheckpointError(**self._failure, tensor=part.info.name)
        assert self._stored is not None
        array = part.cut.apply(self._stored)
        if not self._rest:
            self._stored = None
        return part.info, array

    def close(self) -> None:
        """Stops reading; the stream is at its end."""
        self._groups.clear()
        self._rest.clear()
        self._ahead.clear()
        self._stored = None
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> TensorStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _advance(self) -> None:
        self._stored = self._failure = None
        if not self._ahead and self._groups:
            self._start_reading()
        if not self._ahead:
            self.close()
            raise StopIteration
        reading = self._ahead.popleft()
        try:
            error = reading.values.exception()
            if error is None:
                self._stored = reading.values.result()
            elif not isinstance(error, CheckpointError):
                raise error
        except BaseException:
            self.close()
            raise
        if isinstance(error, CheckpointError):
            # The error itself would keep what was read so far, through its traceback.
            self._failure = {name: getattr(error, name) for name in ("problem", "file", "expected", "found")}
        self._rest.extend(reading.parts)
        self._read_ahead()

    def _read_ahead(self) -> None:
        ahead = sum(reading.nbytes for reading in self._ahead)
        while self._groups:
            ahead += self._nbytes(self._groups[0][0].info.stored_name)
            if ahead > self._budget:
                return
            self._start_reading()

    def _start_reading(self) -> None:
        parts = self._groups.popleft()
        name = parts[0].info.stored_name
        self._ahead.append(_Reading(parts, self._nbytes(name), self._threads.submit(self._read, name)))
