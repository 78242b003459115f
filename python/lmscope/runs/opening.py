"""From what a caller gives to an open checkpoint and a result folder's path."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from lmscope.runs.errors import UsageError

if TYPE_CHECKING:
    from lmscope.checkpoints import Checkpoint


def as_checkpoint(
    ckpt: str | os.PathLike[str] | Checkpoint, *, revision: str | None = None, token: str | None = None
) -> Checkpoint:
    """Open `ckpt` unless it is open; raises `CheckpointError`."""
    from lmscope.checkpoints import Checkpoint, open_checkpoint

    if isinstance(ckpt, Checkpoint):
        return ckpt
    return open_checkpoint(os.fspath(ckpt), revision=revision, token=token)


def default_run_path(checkpoint: Checkpoint, other: Checkpoint | None = None) -> Path:
    """``runs/<label>-<first 8 digits of the identity>`` in the working directory, ``/`` written as ``--``;
    with ``-<those of the other's>`` for a comparison with another checkpoint."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", checkpoint.label.replace("/", "--")).strip("-.") or "checkpoint"
    identities = [one.identity[:8] for one in (checkpoint, other) if one is not None]
    return Path("runs") / "-".join((name, *identities))


def check_run_path(path: Path, checkpoint: Checkpoint) -> None:
    """Raise `UsageError` where results would lie among the checkpoint's own files."""
    source = Path(checkpoint.path)
    if path.resolve() == (source if source.is_dir() else source.parent).resolve():
        raise UsageError(f"out: {os.fspath(path)!r} is the checkpoint's own folder; choose another one")


def ties_are_recorded(path: Path, checkpoint: Checkpoint) -> bool:
    """Whether an earlier run of the folder compared the tied tensors, which then need no second look."""
    from lmscope.results import ResultsError, RunFolder

    aliases = {tensor.name for tensor in checkpoint if tensor.tied_to is not None}
    try:
        folder = RunFolder.open(path)
        if folder.manifest["checkpoint"]["identity"] != checkpoint.identity:
            return False
        ledger = folder.ledger
    except ResultsError:
        return False
    rows = zip(ledger.column("name").to_pylist(), ledger.column("tied_to").to_pylist(), strict=True)
    return aliases == {name for name, tied_to in rows if tied_to is not None}
