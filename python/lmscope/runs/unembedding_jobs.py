"""Records of `unembedding`, each a job of its own: what it needs first, how long it takes, its rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lmscope.runs.examined import Examined
from lmscope.runs.heap import give_back
from lmscope.runs.progress import Reporter
from lmscope.runs.record_store import RecordStore
from lmscope.runs.streaming import reason_of

Rows = list[dict[str, Any]]

_SECONDS_A_RECORD = 0.015


@dataclass(frozen=True)
class Need:
    """Something that several jobs are made from, such as states: made once, by the first."""

    told: str
    seconds: float
    make: Callable[[], object]


@dataclass(frozen=True)
class Job:
    """One record of a table. `rows` raises ValueError where there can be none."""

    table: str
    record: str
    told: str
    seconds: float
    needs: tuple[Need, ...]
    rows: Callable[[], Rows]

    @property
    def estimate(self) -> float:
        """Seconds, with what every record takes."""
        return self.seconds + _SECONDS_A_RECORD


def missing(store: RecordStore, jobs: Iterable[Job]) -> list[Job]:
    return [job for job in jobs if not store.has(job.table, job.record)]


def seconds_of(jobs: Sequence[Job]) -> float:
    """Estimate of all of them with what they need, each once."""
    needs = {need.told: need.seconds for job in jobs for need in job.needs}
    return sum(job.estimate for job in jobs) + sum(needs.values())


def write_jobs(store: RecordStore, examined: Examined, jobs: Sequence[Job], tell: Reporter) -> None:
    """Write the records one after another; what fails is kept with its reason, and the rest goes on.

    What cannot be made fails once, not with every record that needs it.
    """
    failed: dict[str, dict[str, str]] = {job.table: {} for job in jobs}
    made: dict[str, str] = {}
    for job in jobs:
        lacks = False
        for need in job.needs:
            if lacks:
                break
            if need.told not in made:
                made[need.told] = _made(examined, need, tell)
                if made[need.told]:
                    failed[job.table][examined.told(need.told)] = made[need.told]
            lacks = bool(made[need.told])
        text = examined.told(job.told)
        tell.begin(text, seconds=job.estimate)
        examined.meter.tell = partial(tell.advance, text)
        if not lacks:
            began = time.perf_counter()
            try:
                rows = job.rows()
            except ValueError as error:
                failed[job.table][text] = reason_of(error)
            else:
                for row in rows:
                    if "seconds" in row:
                        row["seconds"] = time.perf_counter() - began
                store.write(job.table, job.record, rows)
                give_back()
        tell.finish(text, read_bytes=0)
    for table, reasons in failed.items():
        own = [job for job in jobs if job.table == table]
        tried = {job.told for job in own} | {need.told for job in own for need in job.needs}
        store.settle(table, map(examined.told, tried), reasons)


def _made(examined: Examined, need: Need, tell: Reporter) -> str:
    """Why it could not be made, or nothing."""
    text = examined.told(need.told)
    tell.begin(text, seconds=need.seconds)
    examined.meter.tell = partial(tell.advance, text)
    try:
        need.make()
    except ValueError as error:
        return reason_of(error)
    finally:
        tell.finish(text, read_bytes=0, matrices=0)
    return ""
