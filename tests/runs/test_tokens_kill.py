"""Kills of `tokens`: what stands is kept, and the finished records are those of an undisturbed run."""

from __future__ import annotations

from pathlib import Path

import lmscope
from lmscope.results import TOKEN_ANALYSES

from ..read_models import prose, save_causal
from .killed_runs import kill_behind, run_whole, states


def test_kills(tmp_path: Path) -> None:
    source = save_causal(tmp_path / "tiny-causal")
    text = tmp_path / "notes.txt"
    text.write_text(prose(500), encoding="utf-8")
    options = ("--text", text, "--positions", 12, "--min-context", 8, "-k", "1,2", "--no-untrained", "-q")
    undisturbed, run = tmp_path / "undisturbed", tmp_path / "run"
    run_whole(("tokens", source, "-o", undisturbed, *options))
    command = ("tokens", source, "-o", run, *options)
    kill_behind(2, command, run)  # behind the second layer
    kill_behind(5, command, run)  # behind the first passage and one table of the second
    standing = states(run)
    assert 0 < lmscope.open_run(run).table("positions").num_rows < 12
    run_whole(command)
    assert standing.items() <= states(run).items()
    assert states(run).keys() == states(undisturbed).keys()
    for name in TOKEN_ANALYSES:
        assert lmscope.open_run(run).table(name).equals(lmscope.open_run(undisturbed).table(name)), name
    assert not list(run.rglob("*.tmp"))
