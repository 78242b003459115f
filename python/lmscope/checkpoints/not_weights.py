"""What a file is that holds no weights: the usual remains of a download that went wrong."""

from __future__ import annotations

from pathlib import Path

from lmscope.checkpoints.errors import CheckpointError

LOOK_AT_BYTES = 512


def refuse_if_not_downloaded(path: Path, start: bytes, expected: str) -> None:
    """CheckpointError if ``start``, the file's first bytes, shows that its content never arrived."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        raise CheckpointError("empty file", file=path, expected=expected, found="0 bytes")
    if text.startswith(b"version https://git-lfs"):
        problem = "not downloaded: run `git lfs pull`, or download it again"
        raise CheckpointError(problem, file=path, expected=expected, found="a git-LFS pointer")
    if text[:1] == b"<":
        problem = "a web page was saved in its place: download it again"
        raise CheckpointError(problem, file=path, expected=expected, found="an HTML page")
