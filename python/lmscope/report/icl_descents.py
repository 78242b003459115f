"""Where the descents of `landscape` end: on a plateau where regularization has not yet acted."""

from __future__ import annotations

from lmscope.report.records import Row

STOPPED = (
    "stopped on the floor of the valley, before λ₀ has moved the free directions; given endless time all end "
    "in the ground state"
)


def free_directions(row: Row) -> int:
    """Of the weights that enter the prediction, those that the tasks leave free."""
    return int(row["zero_modes"] - row["dimension"] - 1)


def stopped(row: Row) -> bool:
    """The flow was stopped on the valley's floor: the regularization has not moved its free directions."""
    return bool(row["regularization"] > 0 and free_directions(row) > 0)
