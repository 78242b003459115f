"""Finds a checkpoint's files: a folder, one file, or a hub id."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from lmscope.checkpoints.errors import CheckpointError
from lmscope.checkpoints.hub import download, is_hub_id
from lmscope.checkpoints.json_files import read_index, read_json_object
from lmscope.checkpoints.layout import (
    CONFIG,
    EXPECTED,
    GGUF,
    INDEX_SUFFIX,
    choose_weights,
    has_weights,
    is_one,
)

_EXPECTED_PLACE = "a file, a folder, or a hub id written org/name"
# What makes a path lead nowhere; anything else (no permission, a failing disk) is an error of its own.
_NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


@dataclass(frozen=True)
class Source:
    """Where weights and their description lie; ``index`` maps tensor names to files where there is one."""

    name: str
    path: Path
    config_file: Path | None
    index_file: Path | None
    weight_files: tuple[Path, ...]
    config: dict[str, Any] | None
    index: dict[str, str] | None
    warnings: tuple[str, ...] = ()


def is_remote(path_or_id: str | Path) -> bool:
    """Whether this is a hub id; local paths come before those."""
    return not _mode(Path(path_or_id).expanduser()) and is_hub_id(str(path_or_id))


def find_source(path_or_id: str | Path, revision: str | None, token: str | None) -> Source:
    """A local path or a hub id; CheckpointError says what was looked for."""
    if path_or_id == "":  # as a path it would be the working directory
        raise CheckpointError("no path given", expected=_EXPECTED_PLACE)
    path = Path(path_or_id).expanduser()
    mode = _mode(path)
    if stat.S_ISREG(mode):
        if path.suffix == ".json":
            _refuse_description(path)
        return _described(path.name, path, path.parent, (path,))
    if stat.S_ISDIR(mode):
        # Of a link its own name, of . and .. that of the folder.
        return folder_source(Path(os.path.abspath(path)).name, path)
    if mode:
        raise CheckpointError("neither a file nor a folder", file=path)
    if is_remote(path_or_id):
        folder, warnings = download(str(path_or_id), revision, token)
        return replace(folder_source(str(path_or_id), folder), warnings=warnings)
    if os.path.islink(path):
        raise CheckpointError("a symbolic link that leads nowhere", file=path)
    raise CheckpointError("no such file or folder", file=str(path_or_id), expected=_EXPECTED_PLACE)


def folder_source(name: str, path: Path) -> Source:
    """The weights and the config of a folder; CheckpointError says what is missing."""
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        raise CheckpointError(error.strerror or str(error), file=path) from error
    modes = {entry: _mode(entry) for entry in entries}
    names = [entry.name for entry in entries if stat.S_ISREG(modes[entry])]
    chosen = choose_weights(path, names)
    if not chosen and not has_weights(names):
        found = [entry for entry in entries if entry.name in names and entry.suffix == GGUF]
        if found:
            return _described(name, path, path, _gguf_files(path, found))
    if not chosen:
        marks = {
            entry: "/" if stat.S_ISDIR(mode) else "" if mode else " (leads nowhere)"
            for entry, mode in modes.items()
        }
        raise CheckpointError(
            "several weight files but no index" if has_weights(names) else "no weights",
            file=path,
            expected=EXPECTED,
            found=", ".join(f"{entry.name}{marks[entry]}" for entry in entries[:8]) or "an empty folder",
        )
    weight_files = tuple(path / file for file in chosen)
    index_file = weight_files[0]
    if not index_file.name.endswith(INDEX_SUFFIX):
        return _described(name, path, path, weight_files)
    index = read_index(index_file)
    shards = tuple(path / shard for shard in sorted(set(index.values())))
    for shard in shards:
        if not stat.S_ISREG(_mode(shard)):
            raise CheckpointError("missing shard", file=index_file, expected=shard.name, found="no such file")
    return replace(_described(name, path, path, shards), index_file=index_file, index=index)


def _refuse_description(path: Path) -> NoReturn:
    """A config or an index given in place of the weights that it describes."""
    raise CheckpointError(
        f"{path.name} is no weight file: give its folder, {path.parent}",
        file=path,
        expected=_EXPECTED_PLACE,
        found="a JSON file",
    )


def _gguf_files(folder: Path, found: list[Path]) -> tuple[Path, ...]:
    """One file, or all of one split; several are most often one model in several precisions."""
    names = [file.name for file in found]
    if not is_one(folder, names):
        listing = ", ".join(names[:8])
        raise CheckpointError(
            "several GGUF files", file=folder, expected="one, or give one by name", found=listing
        )
    return tuple(found)


def _described(name: str, path: Path, folder: Path, weight_files: tuple[Path, ...]) -> Source:
    config_file = folder / CONFIG
    if not stat.S_ISREG(_mode(config_file)):
        return Source(name, path, None, None, weight_files, None, None)
    return Source(name, path, config_file, None, weight_files, read_json_object(config_file), None)


def _mode(path: Path) -> int:
    """The kind of file that a path leads to; 0 where it leads nowhere."""
    try:
        return path.stat().st_mode
    except ValueError:  # a NUL in the name
        return 0
    except OSError as error:
        if error.errno in _NOWHERE:
            return 0
        raise CheckpointError(error.strerror or str(error), file=path) from error
