"""One pass over the work of a cell: fields at several numbers of tasks, progress of its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from lmscope.spin_glass.couplings import Fields, StreamingFields
from lmscope.spin_glass.task_law import Statistics, Tasks

__all__ = ["growing_fields", "second_part"]


def growing_fields(tasks: Tasks, counts: Sequence[int]) -> Iterator[Fields]:
    """Fields of the first ``counts`` tasks, ascending; each task is drawn once."""
    stream = StreamingFields(tasks.dimension)
    left = iter(sorted(set(counts)))
    count = next(left)
    for part in tasks.first(max(counts)).statistics():
        start = 0
        while count - stream.tasks <= len(part) - start:
            stop = start + count - stream.tasks
            if start < stop:
                stream.update(_slice(part, start, stop))
            yield stream.result()
            start = stop
            following = next(left, None)
            if following is None:
                return
            count = following
        if start < len(part):
            stream.update(_slice(part, start, len(part)))


def second_part(advance: Callable[[float], None], begins: float) -> Callable[[float], None]:
    """Takes what has been done of the rest since the last call, and tells the share of the whole."""
    done = 0.0

    def tell(share: float) -> None:
        nonlocal done
        done += share
        advance(begins + (1 - begins) * min(done, 1.0))

    return tell


def _slice(part: Statistics, start: int, stop: int) -> Statistics:
    kept = slice(start, stop)
    return Statistics(part.context[kept], part.query[kept], part.target[kept])
