"""Draws on disk: what killed writers left behind goes, what is being written stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from lmscope.analyses import calibration_cache


def test_leftovers_of_killed_writers_are_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("LMSCOPE_CACHE", raising=False)
    folder = tmp_path / "lmscope"
    folder.mkdir()
    old, fresh, foreign = (folder / name for name in ("draws-a.tmp", "draws-b.tmp", "others-c.tmp"))
    for file in (old, fresh, foreign):
        file.touch()
    two_hours_ago = time.time() - 7200
    for file in (old, foreign):
        os.utime(file, (two_hours_ago, two_hours_ago))
    values = np.arange(5.0)
    calibration_cache.write("draws", {"top": values})
    assert {file.name for file in folder.iterdir()} == {"draws.npz", "draws-b.tmp", "others-c.tmp"}
    stored = calibration_cache.read("draws", ("top",), 5)
    assert stored is not None
    assert np.array_equal(stored["top"], values)
