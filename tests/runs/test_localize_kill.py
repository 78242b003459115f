"""Kills of `localize`: what stands is kept, and the finished records are those of an undisturbed run."""

from __future__ import annotations

from pathlib import Path

import lmscope
from lmscope.results import LOCATION_ANALYSES

from ..read_models import prose, save_causal
from .killed_runs import kill_behind, run_whole, states


def test_kills(tmp_path: Path) -> None:
    source = save_causal(tmp_path / "tiny-causal")
    text = tmp_path / "notes.txt"
    text.write_text(prose(500), encoding="utf-8")
    options = ("--text", text, "--role", "key", "--slices", 2, "--eval-tokens", 128, "-q")
    undisturbed, run = tmp_path / "undisturbed", tmp_path / "run"
    run_whole(("localize", source, "-o", undisturbed, *options))
    command = ("localize", source, "-o", run, *options)
    kill_behind(3, command, run)  # between the two tables of the second matrix
    kill_behind(4, command, run)  # behind the third of six lesions
    assert (run / "lesions" / "scratch").is_dir()
    standing = states(run)
    assert lmscope.open_run(run).table("lesions").num_rows == 3
    run_whole(command)
    assert standing.items() <= states(run).items()
    assert states(run).keys() == states(undisturbed).keys()
    for name in LOCATION_ANALYSES:
        tables = [lmscope.open_run(one).table(name) for one in (run, undisturbed)]
        if "seconds" in tables[0].column_names:
            tables = [table.drop_columns(["seconds"]) for table in tables]
        assert tables[0].equals(tables[1]), name
    for leftover in ("*.tmp", "scratch", "*.stage.json"):
        assert not list(run.rglob(leftover))
