"""Tasks as functions take them: a law, or arrays of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lmscope.analyses.intake import of_shape
from lmscope.spin_glass.task_law import Normalization, Prompts, Statistics, Tasks, make_prompts

__all__ = ["checked", "checked_arrays", "prompts_of", "require_law", "statistics_of"]


def checked(name: str, tasks: Any) -> Tasks | Prompts | Statistics:
    """A law as it is, arrays in float64.

    Raises:
        ValueError: shapes that do not go together, or NaN or Inf.
        TypeError: none of the three, or another dtype.
    """
    if isinstance(tasks, (Tasks, Prompts, Statistics)):
        return tasks if isinstance(tasks, Tasks) else checked_arrays(name, tasks)
    raise TypeError(
        f"{name} must be Tasks (make_tasks), Prompts (make_prompts) or Statistics, got {_kind(tasks)}"
    )


def checked_arrays(name: str, tasks: Any) -> Prompts | Statistics:
    """Of :func:`checked`, where a law will not do."""
    if isinstance(tasks, Prompts):
        return make_prompts(**vars(tasks))
    if not isinstance(tasks, Statistics):
        raise TypeError(f"{name} must be Prompts (make_prompts) or Statistics, got {_kind(tasks)}")
    query = of_shape("query", tasks.query, (None, None), "tasks x dimension")
    number, dimension = query.shape
    return Statistics(
        of_shape("context", tasks.context, (number, dimension + 1), "tasks x (dimension + 1)"),
        query,
        of_shape("target", tasks.target, (number,), "one number a task"),
    )


def statistics_of(
    tasks: Tasks | Prompts | Statistics, normalization: Normalization = "prompt"
) -> Iterator[Statistics]:
    """What linear attention sees of tasks, some at a time; ``normalization`` is that of prompts, which have
    none of their own."""
    if isinstance(tasks, Tasks):
        yield from tasks.statistics()
    else:
        yield tasks.statistics(normalization) if isinstance(tasks, Prompts) else tasks


def prompts_of(name: str, tasks: Tasks | Prompts | Statistics, reader: str) -> Iterator[Prompts]:
    """The tasks, some at a time.

    Raises:
        ValueError: Tasks drawn as statistics.
        TypeError: Statistics.
    """
    if isinstance(tasks, Statistics):
        raise TypeError(
            f"{name}: {reader} reads prompts, which Statistics do not hold; give it Prompts (make_prompts)"
        )
    return iter([tasks]) if isinstance(tasks, Prompts) else tasks.prompts()


def require_law(tasks: Any) -> None:
    """TypeError where ``tasks`` have none."""
    if not isinstance(tasks, Tasks):
        raise TypeError(
            f"population needs the law of the tasks, as make_tasks gives it, got {_kind(tasks)}; for arrays "
            "of your own, test_loss on tasks that were held back estimates the loss"
        )


def _kind(given: Any) -> str:
    return type(given).__name__
