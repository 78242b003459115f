"""Time left, and what is written where."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from lmscope.runs.progress import (
    BarReporter,
    LineReporter,
    Pace,
    SilentReporter,
    figures_told,
    format_bytes,
    format_seconds,
    reporter_for,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_pace_learns_how_wrong_the_estimates_are():
    clock = Clock()
    pace = Pace(100.0, clock)
    assert pace.left == pytest.approx(100.0)
    for _ in range(5):
        pace.begin("a", 10.0)
        clock.now += 20.0
        pace.finish("a")
    # Half is done and took twice the estimate.
    assert pace.fraction == pytest.approx(0.5)
    assert pace.left == pytest.approx(100.0, rel=0.03)


def test_a_small_first_matrix_does_not_set_the_pace():
    clock = Clock()
    pace = Pace(100.0, clock)
    pace.begin("a", 0.001)
    clock.now += 0.1
    pace.finish("a")
    assert pace.left == pytest.approx(100.0, rel=0.06)


def test_time_moves_on_within_a_matrix_but_not_beyond_it():
    clock = Clock()
    pace = Pace(100.0, clock)
    pace.begin("a", 50.0)
    clock.now += 10.0
    assert pace.fraction == pytest.approx(0.1)
    assert pace.left == pytest.approx(90.0)
    clock.now += 1000.0
    assert pace.fraction == pytest.approx(0.475)
    pace.finish("a")
    assert pace.fraction == pytest.approx(0.5)


def test_pieces_side_by_side_share_the_machine():
    clock = Clock()
    pace = Pace(100.0, clock)
    for name in "abcdefgh":
        pace.begin(name, 10.0)
        if name > "a":
            clock.now += 10.0
            pace.finish(chr(ord(name) - 1))
    # Seven are done and the eighth has had its ten seconds.
    assert pace.newest == "h"
    assert pace.fraction == pytest.approx(0.8, abs=0.01)
    assert pace.left == pytest.approx(20.0, abs=1.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_only_on_a_terminal(monkeypatch):
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)
    assert isinstance(reporter_for(True, Terminal()), BarReporter)
    assert isinstance(reporter_for(True, io.StringIO()), LineReporter)
    assert isinstance(reporter_for(False, Terminal()), SilentReporter)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    assert isinstance(reporter_for(True, Terminal()), LineReporter)


def test_lines_are_rare_and_plain():
    clock, stream = Clock(), io.StringIO()
    with LineReporter(stream, clock) as reporter:
        reporter.start(matrices=40, total_bytes=40_000_000, seconds=40.0)
        for _ in range(20):
            reporter.begin("layer", seconds=1.0)
            clock.now += 1.0
            reporter.finish("layer", read_bytes=1_000_000)
    lines = stream.getvalue().splitlines()
    assert lines == [
        "lmscope: 0 of 40 matrices, 0 B of 40.0 MB read, about 40 s left",
        "lmscope: 10 of 40 matrices, 10.0 MB of 40.0 MB read, about 30 s left",
        "lmscope: 20 of 40 matrices, 20.0 MB of 40.0 MB read, about 20 s left",
    ]


def test_what_takes_a_moment_has_no_line():
    stream = io.StringIO()
    LineReporter(stream, Clock()).start(matrices=40, total_bytes=0, seconds=9.0)
    assert not stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_what_stands_is_told_in_one_line(stream):
    told = stream()
    with reporter_for(True, told) as reporter:
        reporter.stands(3, of=3, settings="seed 1")
        reporter.stands(2, of=3, settings="seed 1")
    assert told.getvalue().splitlines() == [
        "lmscope: nothing to compute: all 3 records stand (seed 1)",
        "lmscope: continuing: 2 of 3 records stand (seed 1)",
    ]


def test_bar_shows_bytes_matrix_and_time_left(monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    stream = Terminal()
    with BarReporter(stream) as reporter:
        reporter.start(matrices=4, total_bytes=4_000_000, seconds=400.0)
        reporter.begin("layers.0.mlp[x].weight 4x4", seconds=100.0)
        reporter.finish("layers.0.mlp[x].weight 4x4", read_bytes=1_000_000)
        reporter.begin("layers.1.mlp.weight 4x4", seconds=100.0)
        reporter._progress.refresh()
    text = stream.getvalue()
    for piece in ("1/4 matrices", "1.0 MB of 4.0 MB", "left", "layers.1.mlp.weight 4x4"):
        assert piece in text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (86_200_000, "86.2 MB"),
        (999_600, "1.0 MB"),
        (141e9, "141 GB"),
    ],
)
def test_bytes(count, text):
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (12.4, "12 s"), (89, "89 s"), (90, "2 min"), (5000, "83 min"), (7500, "2 h 05 min")],
)
def test_seconds(seconds, text):
    assert format_seconds(seconds) == text


def test_figures_are_counted_every_ten_seconds():
    stream, clock = io.StringIO(), Clock()
    with figures_told(True, stream, clock) as tell:
        for done in range(1, 25):
            clock.now += 1.0
            tell(done, 24, Path("figures/depth-ks.png"))
    assert stream.getvalue().splitlines() == [
        "lmscope: 10 of 24 figures written",
        "lmscope: 20 of 24 figures written",
        "lmscope: 24 of 24 figures written",
    ]


def test_few_figures_need_no_line():
    stream, clock = io.StringIO(), Clock()
    with figures_told(True, stream, clock) as tell:
        for done in range(1, 9):
            clock.now += 1.0
            tell(done, 8, Path("figures/depth-ks.png"))
    assert stream.getvalue() == ""


def test_figures_have_a_bar_on_a_terminal_and_nothing_where_not_wanted():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with figures_told(True, stream) as tell:
        tell(12, 24, Path("figures/depth-ks.png"))
    assert "50%" in stream.getvalue()
    silent = Terminal()
    with figures_told(False, silent) as tell:
        tell(12, 24, Path("figures/depth-ks.png"))
    assert silent.getvalue() == ""


@pytest.mark.parametrize("columns", [80, 120])
def test_the_piece_in_hand_is_seen_on_every_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    name = "a-long-name-of-a-model/model, encoder.layer.11.attention.self.query.weight"
    with BarReporter(stream) as reporter:
        reporter.start(matrices=140, total_bytes=0, seconds=4e4, noun="matrices and lesions of a-long-name")
        reporter.begin(name, seconds=100.0)
        reporter._progress.refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue()).replace("\r", "\n")
    last = [line for line in shown.splitlines() if line.strip()][-1]
    assert len(last) <= columns
    assert last.rstrip().endswith(".self.query.weight")
    assert ("0/140 matrices and lesions " in last) == (columns == 120)
    assert "11 h 07 min left" in last


def test_a_piece_that_tells_how_far_it_is_moves_evenly_and_shows_its_pace():
    clock = Clock()
    pace = Pace(100.0, clock)
    pace.begin("averages", 100.0)
    # Ten times as slow as was estimated.
    for tenth in range(1, 10):
        clock.now += 100.0
        pace.advance("averages", tenth / 10)
        assert pace.fraction == pytest.approx(tenth / 10)
    assert pace.left == pytest.approx(100.0, rel=0.05)
    pace.finish("averages", learn=False)
    assert pace.fraction == 1.0
    assert pace.correction == pytest.approx(10, rel=0.2)


def test_lines_are_written_while_a_long_piece_is_under_way():
    stream, clock = io.StringIO(), Clock()
    reporter = LineReporter(stream, clock)
    reporter.start(matrices=2, total_bytes=0, seconds=200.0, noun="records")
    reporter.begin("removal", seconds=100.0)
    for tenth in range(1, 10):
        clock.now += 5.0
        reporter.advance("removal", tenth / 10)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 5
    assert lines[0] == "lmscope: 0 of 2 records, about 3 min left"
    assert all(line.startswith("lmscope: 0 of 2 records, about") for line in lines)
