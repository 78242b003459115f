"""Tasks on threads, side by side as far as cores and memory allow."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType


class SideBySide:
    """At most `workers` tasks at a time, whose needs together stay within `budget` bytes.

    A task that needs more runs alone. Usable in ``with``, which ends when all tasks have; the first exception
    of a task is raised by the next call, or at the end.
    """

    def __init__(self, workers: int, budget: int) -> None:
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="lmscope-run")
        self._workers = workers
        self._budget = budget
        self._needs: dict[Future[None], int] = {}

    def make_room(self, need: int) -> None:
        """Wait until a task that needs so many bytes may start."""
        self._collect()
        while self._needs and (
            len(self._needs) >= self._workers or sum(self._needs.values()) + need > self._budget
        ):
            wait(self._needs, return_when=FIRST_COMPLETED)
            self._collect()

    def start(self, task: Callable[[], None], need: int) -> None:
        """Run `task` beside the others, once there is room for it."""
        self.make_room(need)
        self._needs[self._threads.submit(task)] = need

    def __enter__(self) -> SideBySide:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An interrupted join would leave threads behind that still compute and write.
        interrupt: KeyboardInterrupt | None = None
        while any(not task.done() for task in self._needs):
            try:
                wait(self._needs)
            except KeyboardInterrupt as again:
                interrupt = again
        self._threads.shutdown(wait=True)
        if error is None and interrupt is not None:
            raise interrupt
        if error is None:
            self._collect()

    def _collect(self) -> None:
        for task in [task for task in self._needs if task.done()]:
            del self._needs[task]
            task.result()
