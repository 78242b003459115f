"""Byte ranges: chunks side by side, short reads, files that change or fail."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from lmscope.checkpoints import CheckpointError
from lmscope.checkpoints.file_bytes import CHUNK_BYTES, FileBytes


def written(path: Path, content: bytes) -> FileBytes:
    path.write_bytes(content)
    return FileBytes.of(path, path.stat())


def test_any_range(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(1000)
    file = written(tmp_path / "weights", content)
    for start, nbytes in [(0, 1000), (0, 0), (1000, 0), (17, 300), (999, 1)]:
        assert file.read("w", start, nbytes).tobytes() == content[start : start + nbytes]


def test_large_ranges_are_read_in_chunks_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 3 * CHUNK_BYTES + 1
    content = np.arange(size // 4 + 1, dtype=np.uint32).view(np.uint8)[:size]  # no chunk like another
    file = written(tmp_path / "weights", content.tobytes())
    together = threading.Barrier(4, timeout=10)
    read = os.preadv

    def slow(*arguments: object) -> int:
        together.wait()  # ends only when all four chunks are under way
        return read(*arguments)

    monkeypatch.setattr(os, "preadv", slow)
    np.testing.assert_array_equal(file.read("w", 0, size), content)


def test_short_reads_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = np.random.default_rng(0).bytes(10_000)
    file = written(tmp_path / "weights", content)
    read = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, at: read(fd, [buffers[0][:999]], at))
    assert file.read("w", 5, 9_000).tobytes() == content[5:9_005]


def test_an_input_output_error_names_file_and_tensor() -> None:
    """Address 0 of a process is never mapped: its memory file answers with EIO."""
    path = Path("/proc/self/mem")
    file = FileBytes.of(path, path.stat())
    with pytest.raises(
        CheckpointError, match=r"mem: tensor w: cannot be read: .*expected 16 bytes at 0"
    ) as caught:
        file.read("w", 0, 16)
    assert isinstance(caught.value.__cause__, OSError)


def test_beyond_the_end(tmp_path: Path) -> None:
    file = written(tmp_path / "weights", bytes(100))
    with pytest.raises(
        CheckpointError, match=r"tensor w: the file ends too early .expected 50 bytes at 80, found 20"
    ):
        file.read("w", 80, 50)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights"
    file = written(path, bytes(100))
    read = os.preadv

    def overtaken(*arguments: object) -> int:
        path.write_bytes(b"x" * 100)
        os.utime(path, ns=(1, 1))
        return read(*arguments)

    monkeypatch.setattr(os, "preadv", overtaken)
    with pytest.raises(CheckpointError, match="tensor w: the file changed after it was opened"):
        file.read("w", 0, 100)


def test_a_replaced_file(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    file = written(path, bytes(100))
    written(tmp_path / "other", b"x" * 100)
    os.utime(tmp_path / "other", ns=(1, 1))
    (tmp_path / "other").replace(path)
    with pytest.raises(CheckpointError, match="the file changed after it was opened"):
        file.read("w", 0, 100)
