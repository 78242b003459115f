"""A kill of `unembedding`: what stands is kept, and the finished records are those of an undisturbed run."""

from __future__ import annotations

from pathlib import Path

import pytest

import lmscope
from lmscope.results import UNEMBEDDING_ANALYSES

from ..read_models import prose, save_causal
from .killed_runs import kill_behind, run_whole, states


def test_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    source = save_causal(tmp_path / "tiny-causal")
    text = tmp_path / "notes.txt"
    text.write_text(prose(1500), encoding="utf-8")
    given = {
        "text": text,
        "window": 32,
        "positions": 300,
        "eval-positions": 100,
        "steer": "n",
        "js": 0.05,
        "allocation": "even",
        "factors": "0.5,2",
        "shares": "0.1,0.5",
        "prompts": 2,
        "new-tokens": 4,
    }
    options = [word for name, value in given.items() for word in (f"--{name}", value)]
    options += ["--no-vocabulary-sizes", "--shuffles", 1, "-q"]
    undisturbed, run = tmp_path / "undisturbed", tmp_path / "run"
    run_whole(("unembedding", source, "-o", undisturbed, *options))
    command = ("unembedding", source, "-o", run, *options)
    kill_behind(11, command, run)  # between two ways to steer
    assert not list((run / "mask").glob("*"))
    standing = states(run)
    run_whole(command)
    assert standing.items() <= states(run).items()
    assert states(run).keys() == states(undisturbed).keys()
    for name in UNEMBEDDING_ANALYSES:
        tables = [lmscope.open_run(one).table(name) for one in (run, undisturbed)]
        if "seconds" in tables[0].column_names:
            tables = [table.drop_columns(["seconds"]) for table in tables]
        assert tables[0].equals(tables[1]), name
    masks = [{path.name for path in (one / "mask").iterdir()} for one in (run, undisturbed)]
    assert masks[0] == masks[1]
    for leftover in ("*.tmp", "*.stage.json"):
        assert not list(run.rglob(leftover))
