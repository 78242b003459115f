"""What a file is that holds no weights: the usual remains of a download that went wrong."""

from __future__ import annotations

import re
from pathlib import Path

from lmscope.checkpoints.errors import CheckpointError

LOOK_AT_BYTES = 512

# Without a NUL among them, eight bytes are no header length that a safetensors file could have.
_TEXT = re.compile(rb"[^\0]{1,7}\Z|[^\0]{8}")
_HTML = re.compile(rb"<[!?/a-zA-Z]")


def refuse_if_not_downloaded(path: Path, start: bytes, expected: str) -> None:
    """CheckpointError if ``start``, the file's first bytes, shows that its content never arrived."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        raise CheckpointError("empty file", file=path, expected=expected, found="0 bytes")
    if text.startswith(b"version https://git-lfs"):
        problem = "not downloaded: run `git lfs pull`, or download it again"
        raise CheckpointError(problem, file=path, expected=expected, found="a git-LFS pointer")
    if _TEXT.match(start) and _HTML.match(text):
        problem = "a web page was saved in its place: download it again"
        raise CheckpointError(problem, file=path, expected=expected, found="an HTML page")
