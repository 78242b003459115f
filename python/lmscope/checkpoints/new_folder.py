"""A folder that is there whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmscope.checkpoints.errors import CheckpointError


@contextmanager
def new_folder(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a hidden folder beside ``out``, which becomes ``out`` when the block ends without an exception.

    After an exception nothing is left of it; a killed process leaves it. CheckpointError where ``out`` is
    there already, its parent is not, or the disk does not take what the block writes.
    """
    wanted = Path(os.path.abspath(os.path.expanduser(out)))
    if os.path.lexists(wanted):
        raise CheckpointError(
            "it is there already: give a folder that is not", file=wanted, expected="a new folder"
        )
    hidden = wanted.with_name(f".{wanted.name}-{secrets.token_hex(4)}")
    try:
        hidden.mkdir()
        yield hidden
        # A folder without files that came up in between would be taken over silently.
        if os.path.lexists(wanted):
            raise CheckpointError("it came up meanwhile", file=wanted, expected="a new folder")
        hidden.rename(wanted)
    except OSError as error:
        shutil.rmtree(hidden, ignore_errors=True)
        reason = error.strerror or str(error)
        why = f"{error.filename}: {reason}" if error.filename else reason
        raise CheckpointError(f"cannot be written, and nothing of it is kept: {why}", file=wanted) from error
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
