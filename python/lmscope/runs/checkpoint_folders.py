"""Checkpoints that a verb is given: each by itself, or a folder of them, such as the steps of a training."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lmscope.runs.errors import UsageError
from lmscope.runs.opening import as_checkpoint

if TYPE_CHECKING:
    from lmscope.checkpoints import Checkpoint

_STEP = re.compile(r"(?:^|[^a-z])(?:global_?)?(?:step|checkpoint|ckpt)s?[-_ ]?(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Series:
    """What one argument gave: the checkpoints of a folder in natural order, or a single one, with steps.

    `given` is the argument, or the path of a checkpoint that was open already.
    """

    name: str
    given: str
    checkpoints: tuple[tuple[Checkpoint, int | None], ...]


def open_all(
    given: Iterable[str | os.PathLike[str] | Checkpoint],
    *,
    revision: str | None = None,
    token: str | None = None,
) -> list[tuple[Checkpoint, int | None]]:
    """Every checkpoint of `open_series`, in its order."""
    return [
        one for series in open_series(given, revision=revision, token=token) for one in series.checkpoints
    ]


def open_series(
    given: Iterable[str | os.PathLike[str] | Checkpoint],
    *,
    revision: str | None = None,
    token: str | None = None,
) -> list[Series]:
    """Every checkpoint with its training step, None without one; a folder of checkpoint folders gives those
    in it, in natural order. `revision` is the first one's.

    A series goes by the name of its folder, with that of the folder around it where two are called alike.
    Raises `CheckpointError`, and `UsageError` where a checkpoint is given twice.
    """
    found: list[tuple[list[str], str, list[tuple[Checkpoint, int | None]]]] = []
    for number, one in enumerate(given):
        folders = _within(one)
        argument = os.fspath(one) if isinstance(one, (str, os.PathLike)) else str(one.path)
        if folders:
            parts = list(folders[0].resolve().parent.parts)
            found.append(
                (
                    parts,
                    argument,
                    [(as_checkpoint(path, token=token), _last_number(path.name)) for path in folders],
                )
            )
        else:
            checkpoint = as_checkpoint(one, revision=None if number else revision, token=token)
            found.append(([checkpoint.label], argument, [(checkpoint, _step(Path(checkpoint.path).name))]))
    check_different(checkpoint for *_, checkpoints in found for checkpoint, _ in checkpoints)
    names = _different([parts for parts, *_ in found])
    return [
        Series(name, argument, tuple(checkpoints))
        for name, (_, argument, checkpoints) in zip(names, found, strict=True)
    ]


def lone_steps(given: Iterable[str | os.PathLike[str]]) -> Path | None:
    """The folder of which several steps are given one by one, as a shell's ``steps/*`` does; None without."""
    seen: set[Path] = set()
    for one in given:
        path = Path(one).resolve()
        if (path / "config.json").is_file() and _step(path.name) is not None:
            if path.parent in seen:
                return path.parent
            seen.add(path.parent)
    return None


def _different(parts: list[list[str]]) -> list[str]:
    """The last part of each path, with as many before it as tell all of them apart."""
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(one[-depth:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({number})" for number, name in enumerate(names, 1)]


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
