"""What a file is that holds no weights: the usual remains of a download that went wrong."""

from __future__ import annotations

import re
from pathlib import Path

from lmscope.checkpoints.errors import CheckpointError

LOOK_AT_BYTES = 512

# Without a NUL among them, eight bytes are no header length that a safetensors file could have.
_TEXT = re.compile(rb"[^\0]{1,7}\Z|[^\0]{8}")
_STARTS = (
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstandard file"),
    (b"PK\x03\x04", "a zip file"),
    (b"\x89HDF\r\n", "an HDF5 file"),
    (b"GGUF", "a GGUF file"),
    (b"\x93NUMPY", "a NumPy array"),
)
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


def kind_of(start: bytes) -> str | None:
    """What a file is by its first bytes, where they tell."""
    for magic, kind in _STARTS:
        if start.startswith(magic):
            return kind
    if start[257:262] == b"ustar":
        return "a tar archive"
    if start[8:9] == b"{" and b"\0" in start[:8]:
        return "a safetensors file"
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a pickle of another program"
    if re.fullmatch(rb"[\t\r\n -~]+", start):
        return "JSON" if start.lstrip()[:1] in (b"{", b"[") else "text"
    return None
