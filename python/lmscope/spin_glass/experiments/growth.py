"""One pass over tasks that tells their fields at several numbers of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lmscope.spin_glass.couplings import Fields, StreamingFields
from lmscope.spin_glass.task_law import Statistics, Tasks

__all__ = ["growing_fields"]


def growing_fields(tasks: Tasks, counts: Sequence[int]) -> Iterator[Fields]:
    """Fields of the first ``counts`` tasks, ascending; each task is drawn once."""
    stream = StreamingFields(tasks.dimension, tasks.prompt_length)
    left = iter(sorted(set(counts)))
    count = next(left)
    for part in tasks.first(max(counts)).statistics():
        start = 0
        while count - stream.tasks <= len(part) - start:
            stop = start + count - stream.tasks
            stream.update(_slice(part, start, stop))
            yield stream.result()
            start = stop
            following = next(left, None)
            if following is None:
                return
            count = following
        stream.update(_slice(part, start, len(part)))


def _slice(part: Statistics, start: int, stop: int) -> Statistics:
    kept = slice(start, stop)
    return Statistics(part.context[kept], part.query[kept], part.target[kept])
