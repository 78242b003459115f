"""From what a caller gives to an open checkpoint and a result folder's path."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmscope.checkpoints import Checkpoint


def as_checkpoint(ckpt: str | os.PathLike[str] | Checkpoint, *, revision: str | None = None) -> Checkpoint:
    """Open `ckpt` unless it is open; raises `CheckpointError`."""
    from lmscope.checkpoints import Checkpoint, open_checkpoint

    return ckpt if isinstance(ckpt, Checkpoint) else open_checkpoint(os.fspath(ckpt), revision=revision)


def default_run_path(checkpoint: Checkpoint) -> Path:
    """``runs/<checkpoint's name>-<first 8 digits of its identity>`` under the working directory.

    A name that says nothing, such as ``model``, gets its parent folder's name in front.
    """
    name = checkpoint.name
    if name.lower() in {"model", "checkpoint", "weights", "hf", "final", "main"}:
        parent = Path(checkpoint.path).absolute().parent
        name = f"{parent.name}-{name}" if parent.name else name
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name.replace("/", "--")).strip("-.") or "checkpoint"
    return Path("runs") / f"{name}-{checkpoint.identity[:8]}"
