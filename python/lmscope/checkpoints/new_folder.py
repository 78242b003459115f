"""A folder that is there whole or not at all."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lmscope.checkpoints.errors import CheckpointError


@contextmanager
def new_folder(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a hidden folder beside ``out``, which becomes ``out`` when the block ends without an exception.

    After an exception nothing is left of it. A killed process leaves it; the next one that makes the same
    ``out`` removes it, unless the file system has no locks to tell it from one that is being written.
    CheckpointError where ``out`` is there already, its parent is not, or the disk does not take what the
    block writes.
    """
    wanted = Path(os.path.abspath(os.path.expanduser(out)))
    if os.path.lexists(wanted):
        raise CheckpointError(
            "it is there already: give a folder that is not", file=wanted, expected="a new folder"
        )
    hidden = wanted.with_name(f".{wanted.name}-{secrets.token_hex(4)}.unfinished")
    try:
        _remove_unfinished(wanted)
        hidden.mkdir()
        with _locked(hidden):
            yield hidden
            # A folder without files that came up in between would be taken over silently.
            if os.path.lexists(wanted):
                raise CheckpointError("it came up meanwhile", file=wanted, expected="a new folder")
            hidden.rename(wanted)
    except OSError as error:
        shutil.rmtree(hidden, ignore_errors=True)
        reason = error.strerror or str(error)
        # Of a copy, filename is what was read and filename2 what was written.
        about = error.filename2 or error.filename
        why = f"{_within(about, hidden)}: {reason}" if about else reason
        raise CheckpointError(f"cannot be written, and nothing of it is kept: {why}", file=wanted) from error
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise


def _within(path: str | os.PathLike[str], folder: Path) -> str:
    try:
        return str(Path(path).relative_to(folder))
    except ValueError:
        return str(path)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether this process alone has the folder's flock; the kernel frees it when the process dies."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        held = False
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = True
        yield held
    finally:
        os.close(descriptor)


def _remove_unfinished(wanted: Path) -> None:
    """What killed processes left of the same folder."""
    hidden = re.compile(rf"\.{re.escape(wanted.name)}-[0-9a-f]{{8}}\.unfinished")
    for left in wanted.parent.iterdir():
        if hidden.fullmatch(left.name) and left.is_dir() and not left.is_symlink():
            with suppress(FileNotFoundError), _locked(left) as held:
                if held:
                    shutil.rmtree(left)
