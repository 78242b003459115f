"""Progress of a run on stderr: bytes read, the current tensor, and the time left.

The bar and the time left follow estimated seconds of work, not bytes: a square matrix costs far more per
byte than an embedding. The estimate's scale is corrected by the pace that this run has shown so far.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PRIOR_SECONDS = 2.0
_SECONDS_BETWEEN_LINES = 10.0
_NARROW = 120
_LEFT_WIDTH = len("99 h 59 min left")
_READ_WIDTH = len("999 MB of 999 MB") + 1


class Pace:
    """Fraction done and time left from estimated and measured seconds.

    `estimated` is the sum of the estimates of all pieces; several may be under way at a time, and share the
    machine. The correction is the ratio of measured to estimated seconds of the finished pieces, both with
    two seconds added, so that the first small matrix does not set the pace.
    """

    def __init__(self, estimated: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._estimated = max(estimated, 1e-9)
        self._clock = clock
        self._done = 0.0
        self._learnt = 0.0
        self._measured = 0.0
        self._under_way: dict[str, tuple[float, float]] = {}
        self._shares: dict[str, float] = {}
        self._since = clock()

    def begin(self, name: str, estimate: float) -> None:
        if not self._under_way:
            self._since = self._clock()
        self._under_way[name] = self._clock(), estimate

    def advance(self, name: str, share: float) -> None:
        """So much of a piece under way is done; of one that does not tell, the clock is taken."""
        self._shares[name] = share

    def finish(self, name: str, *, learn: bool = True) -> None:
        """The piece is done; `learn` takes its time into the correction, as does a piece that told shares: it
        was found in no cache."""
        _, estimate = self._under_way.pop(name)
        learn = self._shares.pop(name, None) is not None or learn
        now = self._clock()
        if learn:
            self._learnt += estimate
            self._measured += now - self._since
        self._done += estimate
        self._since = now

    @property
    def newest(self) -> str:
        """The piece under way that began last; nothing where none is."""
        return next(reversed(self._under_way), "")

    @property
    def correction(self) -> float:
        measured, learnt = self._measured, self._learnt
        under_way, shares = self._now()
        if len(under_way) == 1 and shares:
            # A long piece shows its pace before it is done.
            ((name, (began, estimate)),) = under_way.items()
            measured += self._clock() - began
            learnt += shares.get(name, 0.0) * estimate
        return (measured + _PRIOR_SECONDS) / (learnt + _PRIOR_SECONDS)

    def _now(self) -> tuple[dict[str, tuple[float, float]], dict[str, float]]:
        """Copies: pieces begin and end on other threads while the bar is drawn."""
        return self._under_way.copy(), self._shares.copy()

    def _in_pieces(self) -> float:
        under_way, shares = self._now()
        pace = self.correction * max(len(under_way), 1)
        return sum(
            estimate * shares[name]
            if name in shares
            else min(0.95 * estimate, (self._clock() - began) / pace)
            for name, (began, estimate) in under_way.items()
        )

    @property
    def fraction(self) -> float:
        return min(1.0, (self._done + self._in_pieces()) / self._estimated)

    @property
    def left(self) -> float:
        """Seconds."""
        return max(0.0, self._estimated - self._done - self._in_pieces()) * self.correction


class Reporter(Protocol):
    """Told by a run what it does; used as a context manager around it."""

    def __enter__(self) -> Reporter: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def start(self, *, matrices: int, total_bytes: int, seconds: float, noun: str = "matrices") -> None:
        """Before the first matrix: how much there is; `seconds` is the sum of the estimates, `noun` what is
        counted, such as pairs. Without `total_bytes` nothing is told of bytes."""

    def stands(self, records: int, *, of: int, settings: str) -> None:
        """Before `start`: so many of the wanted records were there already, under these settings."""

    def begin(self, text: str, *, seconds: float) -> None:
        """A piece of work starts, perhaps beside others: what it is and its estimate."""

    def advance(self, text: str, share: float) -> None:
        """So much of that piece, from 0 to 1, is done."""

    def finish(self, text: str, *, read_bytes: int, matrices: int = 1) -> None:
        """That piece is done; without `matrices` it was a preparation, perhaps found in a cache."""


class SilentReporter:
    """Says nothing."""

    def __enter__(self) -> SilentReporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def start(self, *, matrices: int, total_bytes: int, seconds: float, noun: str = "matrices") -> None:
        pass

    def begin(self, text: str, *, seconds: float) -> None:
        pass

    def advance(self, text: str, share: float) -> None:
        pass

    def finish(self, text: str, *, read_bytes: int, matrices: int = 1) -> None:
        pass

    def stands(self, records: int, *, of: int, settings: str) -> None:
        pass


class LineReporter(SilentReporter):
    """A plain line at most every ten seconds, for logs."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._last = clock()
        self._pace = Pace(0.0, clock)
        self._matrices = self._of_matrices = self._bytes = self._of_bytes = 0
        self._noun = ""

    def start(self, *, matrices: int, total_bytes: int, seconds: float, noun: str = "matrices") -> None:
        self._pace = Pace(seconds, self._clock)
        self._of_matrices, self._of_bytes, self._noun = matrices, total_bytes, noun

    def stands(self, records: int, *, of: int, settings: str) -> None:
        print(_standing(records, of, settings), file=self._stream, flush=True)

    def begin(self, text: str, *, seconds: float) -> None:
        self._pace.begin(text, seconds)

    def finish(self, text: str, *, read_bytes: int, matrices: int = 1) -> None:
        self._pace.finish(text, learn=matrices > 0)
        self._matrices += matrices
        self._bytes += read_bytes
        self._tell()

    def advance(self, text: str, share: float) -> None:
        self._pace.advance(text, share)
        self._tell()

    def _tell(self) -> None:
        if self._clock() - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = self._clock()
            print(
                f"lmscope: {self._matrices} of {self._of_matrices} {self._noun}, {self._read()}"
                f"about {format_seconds(self._pace.left)} left",
                file=self._stream,
                flush=True,
            )

    def _read(self) -> str:
        if not self._of_bytes:
            return ""
        return f"{format_bytes(self._bytes)} of {format_bytes(self._of_bytes)} read, "


class BarReporter(SilentReporter):
    """A live bar on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._pace = Pace(0.0)
        self._bytes = self._of_bytes = 0
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def start(self, *, matrices: int, total_bytes: int, seconds: float, noun: str = "matrices") -> None:
        from rich.console import Console
        from rich.progress import Progress, ProgressColumn, Task, TextColumn
        from rich.progress_bar import ProgressBar
        from rich.table import Column
        from rich.text import Text

        self._pace = pace = Pace(seconds)
        self._of_bytes = total_bytes
        reporter = self
        console = Console(file=self._stream)
        narrow = console.width < _NARROW
        # So that the piece in hand is seen beside it.
        noun = "" if narrow else f" {noun.partition(' of ')[0]}"
        length = 10 if narrow else 24

        class Bar(ProgressColumn):
            max_refresh = 0.2

            def render(self, task: Task) -> ProgressBar:
                return ProgressBar(total=1.0, completed=1.0 if task.finished else pace.fraction, width=length)

        class Read(ProgressColumn):
            def render(self, task: Task) -> Text:
                text = f"{format_bytes(reporter._bytes)} of {format_bytes(reporter._of_bytes)}"
                return Text(text, style="progress.download")

        class Left(ProgressColumn):
            max_refresh = 0.5

            def render(self, task: Task) -> Text:
                text = "done" if task.finished else f"{format_seconds(pace.left)} left"
                return Text(text, style="progress.remaining")

        class Piece(ProgressColumn):
            """Its end where it is too long: what tells matrices and lesions apart."""

            def __init__(self) -> None:
                super().__init__(Column(ratio=1))

            def render(self, task: Task) -> Text:
                told = f"{task.total or 0:.0f}"
                fixed = length + 2 * len(told) + 1 + len(noun) + _LEFT_WIDTH + 4
                room = max(console.width - fixed - (_READ_WIDTH if total_bytes else 0), 8)
                return Text(
                    pace.newest if len(pace.newest) <= room else f"…{pace.newest[1 - room :]}", no_wrap=True
                )

        self._progress = Progress(
            Bar(),
            TextColumn(f"{{task.completed:.0f}}/{{task.total:.0f}}{noun}"),
            *([Read()] if total_bytes else []),
            Left(),
            Piece(),
            console=console,
            transient=True,
            expand=True,
        )
        self._task = self._progress.add_task("", total=matrices)
        self._progress.start()

    def stands(self, records: int, *, of: int, settings: str) -> None:
        print(_standing(records, of, settings), file=self._stream, flush=True)

    def begin(self, text: str, *, seconds: float) -> None:
        self._pace.begin(text, seconds)
        self._advance(0)

    def advance(self, text: str, share: float) -> None:
        # The live bar looks at it several times a second.
        self._pace.advance(text, share)

    def finish(self, text: str, *, read_bytes: int, matrices: int = 1) -> None:
        self._pace.finish(text, learn=matrices > 0)
        self._bytes += read_bytes
        self._advance(matrices)

    def _advance(self, matrices: int) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=matrices)


def _standing(records: int, of: int, settings: str) -> str:
    if records < of:
        return f"lmscope: continuing: {records} of {of} records stand ({settings})"
    all_of_them = f"all {of} records stand" if of > 1 else "the record stands"
    return f"lmscope: nothing to compute: {all_of_them} ({settings})"


def reporter_for(progress: bool, stream: TextIO | None = None) -> Reporter:
    """A bar when `stream` (stderr by default) is a terminal, plain lines when not, nothing when not wanted.

    ``HF_HUB_DISABLE_PROGRESS_BARS`` turns the bar into lines.
    """
    stream = sys.stderr if stream is None else stream
    if not progress:
        return SilentReporter()
    disabled = os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS", "").upper() in {"1", "ON", "YES", "TRUE"}
    if stream.isatty() and not disabled:
        return BarReporter(stream)
    return LineReporter(stream)


@contextmanager
def figures_told(
    progress: bool, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int, Path], None]]:
    """Told of files written, files in all, the newest: a bar on a terminal, else a line every ten seconds.

    Where there was a line, the last one gives the final count.
    """
    stream = sys.stderr if stream is None else stream
    if not progress:
        yield lambda done, total, path: None
    elif stream.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(file=stream), transient=True) as bar:
            task = bar.add_task("figures", total=None)
            yield lambda done, total, path: bar.update(task, completed=done, total=total)
    else:
        began = last = clock()

        def line(done: int, total: int, path: Path) -> None:
            nonlocal last
            final = done == total and last > began
            if final or clock() - last >= _SECONDS_BETWEEN_LINES:
                last = clock()
                print(f"lmscope: {done} of {total} figures written", file=stream, flush=True)

        yield line


def format_bytes(count: float) -> str:
    """Decimal units, as safetensors files and disks are measured: ``86.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def format_seconds(seconds: float) -> str:
    """``12 s``, ``3 min``, ``2 h 05 min``: no more digits than an estimate has."""
    if seconds < 89.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
