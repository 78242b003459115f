"""How much of a piece of work is done, told while it is under way."""

from __future__ import annotations

from collections.abc import Callable


class Meter:
    """Passes shares from what does the work to whom `tell` is, with `share` from 0 to 1."""

    def __init__(self) -> None:
        self.tell: Callable[[float], None] = lambda share: None

    def over(self, total: int) -> Callable[[int], None]:
        """To be called with amounts that sum up to `total`, or to less where there was less to do."""
        done = 0

        def advance(amount: int) -> None:
            nonlocal done
            done += amount
            self.tell(min(1.0, done / max(total, 1)))

        return advance
