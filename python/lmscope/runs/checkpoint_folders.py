"""Checkpoints that a verb is given: each by itself, or a folder of them, such as the steps of a training."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lmscope.runs.errors import UsageError
from lmscope.runs.opening import as_checkpoint

if TYPE_CHECKING:
    from lmscope.checkpoints import Checkpoint

_STEP = re.compile(r"(?:^|[^a-z])(?:global_?)?(?:step|checkpoint|ckpt)s?[-_ ]?(\d+)", re.IGNORECASE)


def open_all(
    given: Iterable[str | os.PathLike[str] | Checkpoint],
    *,
    revision: str | None = None,
    token: str | None = None,
) -> list[tuple[Checkpoint, int | None]]:
    """Every checkpoint with its training step, None without one; a folder of checkpoint folders gives those
    in it, in natural order. `revision` is the first one's.

    Raises `CheckpointError`, and `UsageError` where a checkpoint is given twice.
    """
    found: list[tuple[Checkpoint, int | None]] = []
    for number, one in enumerate(given):
        folders = _within(one)
        if folders:
            found += [(as_checkpoint(path, token=token), _last_number(path.name)) for path in folders]
        else:
            checkpoint = as_checkpoint(one, revision=None if number else revision, token=token)
            found.append((checkpoint, _step(Path(checkpoint.path).name)))
    check_different(checkpoint for checkpoint, _ in found)
    return found


def check_different(checkpoints: Iterable[Checkpoint]) -> None:
    """Raise `UsageError` where one is there twice."""
    seen: dict[str, str] = {}
    for one in checkpoints:
        if one.identity in seen:
            raise UsageError(f"others: {one.label} is given twice ({seen[one.identity]}, {one.path})")
        seen[one.identity] = str(one.path)


def _within(given: str | os.PathLike[str] | Checkpoint) -> list[Path]:
    """The checkpoint folders of a folder that is none itself."""
    if not isinstance(given, (str, os.PathLike)):
        return []
    folder = Path(given)
    if not folder.is_dir() or (folder / "config.json").exists():
        return []
    return sorted((one for one in folder.iterdir() if (one / "config.json").is_file()), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Steps by their number: 900 before 1000."""
    pieces = re.split(r"(\d+)", path.name)
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]


def _last_number(name: str) -> int | None:
    numbers = re.findall(r"\d+", name)
    return int(numbers[-1]) if numbers else None


def _step(name: str) -> int | None:
    found = _STEP.search(name)
    return int(found[1]) if found else None
