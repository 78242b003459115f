"""What every experiment module has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

__all__ = ["SINGULAR", "Experiment"]

SINGULAR: Mapping[str, str] = {
    "correlations": "correlation",
    "dimensions": "dimension",
    "distinct_teachers": "distinct_teachers",
    "kinds": "kind",
    "models": "model",
    "prompt_lengths": "prompt_length",
    "tasks": "tasks",
    "teachers": "teacher",
}
"""Setting that lists values -> name of one of them in a cell."""


class Experiment(Protocol):
    """One named experiment, a module: its settings, and the rows that they give."""

    @property
    def TITLE(self) -> str:
        """One line."""

    @property
    def PRESETS(self) -> Mapping[str, Mapping[str, Any]]:
        """``"seconds"``, ``"minutes"`` and ``"paper"`` -> settings, plain JSON values. ``seeds`` counts the
        repeats; the other plurals are lists."""

    @property
    def CELLS(self) -> tuple[str, ...]:
        """Settings that are lists, of which one value each, and a seed, make a cell: what is computed and
        recorded by itself."""

    @property
    def TRAINS(self) -> bool:
        """Whether its cells train models with torch."""

    def check(self, settings: Mapping[str, Any]) -> None:
        """ValueError for a setting that cannot be, or sizes that do not fit into memory."""

    def seconds(self, settings: Mapping[str, Any], cell: Mapping[str, Any]) -> float:
        """Estimated time of a cell on two cores."""

    def need(self, settings: Mapping[str, Any], cell: Mapping[str, Any]) -> int:
        """Estimated bytes that a cell holds at its peak."""

    def rows(
        self,
        settings: Mapping[str, Any],
        cell: Mapping[str, Any],
        *,
        device: str,
        advance: Callable[[float], None],
    ) -> list[dict[str, Any]]:
        """The records of a cell, without ``seed`` and ``seconds``.

        ``cell`` holds one value for each of :data:`CELLS`, by its singular, and ``seed``; ``advance`` is told
        the share that is done, from 0 to 1.
        """
