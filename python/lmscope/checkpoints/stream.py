"""One tensor at a time, with the next one read meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from lmscope.architectures import Part, TensorInfo
from lmscope.checkpoints.errors import CheckpointError


class TensorStream(Iterator[tuple[TensorInfo, NDArray[Any]]]):
    """Yields (info, array), parts of one stored tensor from a single read.

    One background thread reads at most one stored tensor ahead, so two are in memory at a time as long as the
    caller lets go of the last one before asking for the next. A read that fails raises CheckpointError, with
    its ``tensor`` set, when that tensor's turn comes; the next call of ``next`` goes on behind it. Usable in
    ``with``; ``close()`` ends the thread.
    """

    def __init__(self, parts: Sequence[Part], read: Callable[[str], NDArray[Any]]) -> None:
        self._groups = [list(group) for _, group in groupby(parts, lambda part: part.info.stored_name)]
        self._groups.reverse()
        self._read = read
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lmscope-read")
        self._ahead: tuple[list[Part], Future[NDArray[Any]]] | None = None
        self._rest: list[Part] = []
        self._stored: NDArray[Any] | None = None
        self._error: CheckpointError | None = None
        self._read_ahead()

    def __iter__(self) -> TensorStream:
        return self

    def __next__(self) -> tuple[TensorInfo, NDArray[Any]]:
        if not self._rest:
            self._advance()
        part = self._rest.pop(0)
        if self._error is not None:
            raise CheckpointError(
                self._error.problem,
                file=self._error.file,
                tensor=part.info.name,
                expected=self._error.expected,
                found=self._error.found,
            ) from self._error
        assert self._stored is not None
        array = part.cut.apply(self._stored)
        if not self._rest:
            self._stored = None
        return part.info, array

    def close(self) -> None:
        """Stops reading; the stream is at its end."""
        self._groups.clear()
        self._rest.clear()
        self._ahead = self._stored = None
        self._thread.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> TensorStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _advance(self) -> None:
        self._stored = self._error = None
        if self._ahead is None:
            self.close()
            raise StopIteration
        group, reading = self._ahead
        try:
            self._stored = reading.result()
        except CheckpointError as error:
            self._error = error
        except BaseException:
            self.close()
            raise
        self._rest = group
        self._read_ahead()

    def _read_ahead(self) -> None:
        self._ahead = None
        if self._groups:
            group = self._groups.pop()
            self._ahead = group, self._thread.submit(self._read, group[0].info.stored_name)
