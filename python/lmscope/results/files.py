"""Writing a file whole or not at all, and the lock of the one writer."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lmscope.results.errors import ResultsError, RunLocked

TEMPORARY = ".tmp"
_PARQUET = b"PAR1"


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """``write`` fills a temporary file beside ``path``, which takes its place once it is on the disk.

    Whatever happens, ``path`` holds the old content or the new, and a failed write leaves no temporary file.
    ResultsError where it fails; other errors of ``write`` pass through.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        _write(path, temporary, write)
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror or error}; what was written before is kept") from error


def _write(path: Path, temporary: Path, write: Callable[[BinaryIO], object]) -> None:
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def is_whole_parquet(path: Path) -> bool:
    """Whether the file is there and ends as a Parquet file does."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - len(_PARQUET)))
            return size > 2 * len(_PARQUET) and file.read() == _PARQUET
    except OSError:
        return False


def remove_temporaries(folder: Path, names: re.Pattern[str]) -> None:
    """Clears what killed writers of files called ``names`` left behind; only for the holder of the lock.

    A page may be under way without the lock: what living processes write stays. So does everything else.
    """
    for leftover in folder.glob(f".*{TEMPORARY}"):
        name, _, writer = leftover.name[1:].removesuffix(TEMPORARY).rpartition(".")
        if not (names.fullmatch(name) and writer.isdecimal()):
            continue
        if int(writer) == os.getpid() or not _lives(int(writer)):
            leftover.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Holds an flock on ``path``, RunLocked at once where another has it; the kernel frees it when we die."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ResultsError(f"{path.parent}: cannot be written to: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            who = f"process {holder}" if holder else "another process"
            raise RunLocked(
                f"{path.parent}: {who} writes to this folder; wait for it, or choose another one"
            ) from error
        except OSError as error:
            raise ResultsError(f"{path}: cannot be locked: {error.strerror}") from error
        # Whose number it is only helps a message: on a full disk the lock holds without it.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
