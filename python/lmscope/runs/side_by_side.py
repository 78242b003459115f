"""Tasks on threads, side by side as far as cores and memory allow."""

from __future__ import annotations

import _thread
import atexit
import logging
import time
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.01


class SideBySide:
    """At most `workers` tasks at a time, whose needs together stay within `budget` bytes.

    A task that needs more runs alone. Usable in ``with``, which ends when all tasks have; the first exception
    of a task is raised by the next call, or at the end. An interrupt (KeyboardInterrupt) waits for the tasks
    under way, which may look at `interrupted` and end early; another one leaves them behind. `one` and `many`
    are what the message calls them.

    An interrupt may come between any two lines: the locks of `threading` and `concurrent.futures`, taken in
    Python, may then stay locked for ever. Here threads meet in SimpleQueue only, whose calls are whole.
    """

    left_behind = False
    """Whether an interrupt has left tasks behind in this process."""

    interrupted = False
    """Whether an interrupt has come that waits for the tasks under way."""

    def __init__(self, workers: int, budget: int, *, one: str = "matrix", many: str = "matrices") -> None:
        self._workers = workers
        self._budget = budget
        self._one, self._many = one, many
        self._tasks: SimpleQueue[tuple[int, Callable[[], None]] | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[int, BaseException | None]] = SimpleQueue()
        self._ended: SimpleQueue[None] = SimpleQueue()
        self._needs: dict[int, int] = {}
        self._started = 0

    def make_room(self, need: int) -> None:
        """Wait until a task that needs so many bytes may start."""
        while not self._done.empty():
            self._collect()
        while self._needs and (
            len(self._needs) >= self._workers or sum(self._needs.values()) + need > self._budget
        ):
            self._collect()

    def start(self, task: Callable[[], None], need: int) -> None:
        """Run `task` beside the others, once there is room for it."""
        self.make_room(need)
        self._started += 1
        self._needs[self._started] = need
        self._tasks.put((self._started, task))

    def __enter__(self) -> SideBySide:
        try:
            for _ in range(self._workers):
                _thread.start_new_thread(self._work, ())
        except BaseException:
            self._dismiss()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupt = error if isinstance(error, KeyboardInterrupt) else None
        while True:
            try:
                self.interrupted = interrupt is not None
                if interrupt is not None and (left := self._tasks_under_way()):
                    _LOG.warning(
                        "interrupted: waiting for %s under way; interrupt again to leave now",
                        f"1 {self._one}" if left == 1 else f"{left} {self._many}",
                    )
                self._dismiss()
                self._wait_for_all()
                break
            except KeyboardInterrupt as again:
                if interrupt is not None:
                    # Python must not end while they are in the kernels.
                    SideBySide.left_behind = True
                    atexit.register(self._wait_for_all)
                    raise
                interrupt = again
        if error is None and interrupt is not None:
            raise interrupt
        if error is None:
            while not self._done.empty():
                self._collect()

    def _work(self) -> None:
        while (item := self._tasks.get()) is not None:
            number, task = item
            error: BaseException | None = None
            try:
                task()
            except BaseException as raised:
                error = raised
            # What the task holds is freed before its room is given to another.
            del item, task
            self._done.put((number, error))
        self._ended.put(None)

    def _collect(self) -> None:
        number, error = self._done.get()
        del self._needs[number]
        if error is not None:
            raise error

    def _tasks_under_way(self) -> int:
        return max(0, len(self._needs) - self._done.qsize())

    def _dismiss(self) -> None:
        for _ in range(self._workers):
            self._tasks.put(None)

    def _wait_for_all(self) -> None:
        # A blocking get would lose what an interrupt takes out of the queue, and wait for ever.
        while self._ended.qsize() < self._workers:
            time.sleep(_POLL_SECONDS)
