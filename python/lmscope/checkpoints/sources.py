"""Finds a checkpoint's files: a folder, one file, or a hub id."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmscope.checkpoints.errors import CheckpointError

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
GGUF = ".gguf"
_GGUF_SPLIT = re.compile(r"(.*)-[0-9]{5}-of-([0-9]{5})\.gguf")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_FILES = [CONFIG, SINGLE, INDEX, "model-*-of-*.safetensors"]


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


def find_source(path_or_id: str | Path, revision: str | None) -> Source:
    """Local paths come before hub ids; CheckpointError says what was looked for."""
    path = Path(path_or_id).expanduser()
    if path.is_file():
        config_file = path.parent / CONFIG
        return _source(path.name, path, config_file if config_file.is_file() else None, None, (path,))
    if path.is_dir():
        return _folder(path.resolve().name, path)
    if _HUB_ID.fullmatch(str(path_or_id)) and not str(path_or_id).startswith("."):
        return _folder(str(path_or_id), _download(str(path_or_id), revision))
    raise CheckpointError("no such file or folder", file=path)


def _folder(name: str, path: Path) -> Source:
    config_file = path / CONFIG if (path / CONFIG).is_file() else None
    found = sorted(path.glob("*.safetensors"))
    if (path / SINGLE).is_file():
        return _source(name, path, config_file, None, (path / SINGLE,))
    if (path / INDEX).is_file():
        return _source(name, path, config_file, path / INDEX, ())
    if len(found) == 1:
        return _source(name, path, config_file, None, (found[0],))
    gguf = sorted(path.glob(f"*{GGUF}"))
    if gguf and not found:
        return _source(name, path, config_file, None, _gguf_files(path, gguf))
    listing = ", ".join(sorted(entry.name for entry in path.iterdir())[:8])
    raise CheckpointError(
        "several safetensors files but no index" if found else "no safetensors weights",
        file=path,
        expected=f"{SINGLE} or {INDEX}",
        found=listing or "an empty folder",
    )


def _gguf_files(folder: Path, found: list[Path]) -> tuple[Path, ...]:
    """One file, or all of one split; several are most often one model in several precisions."""
    names = (_GGUF_SPLIT.fullmatch(file.name) for file in found)
    splits = {(name[1], name[2]) if name else None for name in names}
    (split, *others) = splits
    if others or (split is None and len(found) > 1):
        listing = ", ".join(file.name for file in found[:8])
        raise CheckpointError(
            "several GGUF files", file=folder, expected="one, or give one by name", found=listing
        )
    if split is not None and len(found) != int(split[1]):
        expected = f"{int(split[1])} files {split[0]}-*{GGUF}"
        raise CheckpointError(
            "missing part of a split", file=folder, expected=expected, found=str(len(found))
        )
    return tuple(found)


def _source(
    name: str, path: Path, config_file: Path | None, index_file: Path | None, weight_files: tuple[Path, ...]
) -> Source:
    config = _read_json(config_file) if config_file else None
    index = None
    if index_file:
        index = _read_json(index_file).get("weight_map")
        if not isinstance(index, dict) or not all(isinstance(file, str) for file in index.values()):
            raise CheckpointError(
                "unreadable index", file=index_file, expected='"weight_map" of names to files'
            )
        weight_files = tuple(_shard(index_file, file) for file in sorted(set(index.values())))
    return Source(name, path, config_file, index_file, weight_files, config, index)


def _shard(index_file: Path, name: str) -> Path:
    shard = index_file.parent / name
    if Path(name).name != name:
        raise CheckpointError("shard outside the folder", file=index_file, expected="a file name", found=name)
    if not shard.is_file():
        raise CheckpointError("missing shard", file=index_file, expected=name, found="no such file")
    return shard


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(error.strerror or str(error), file=file) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"not JSON: {error}", file=file) from error
    if not isinstance(content, dict):
        raise CheckpointError("not a JSON object", file=file, expected="{...}", found=type(content).__name__)
    return content


def _download(repo_id: str, revision: str | None) -> Path:
    """The hub's snapshot with only the files needed; its cache, token and offline switches are obeyed."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo_id, revision=revision, allow_patterns=_HUB_FILES))
    except Exception as error:  # the client's errors share no base below Exception
        reason = str(error).strip().splitlines()
        raise CheckpointError(
            "neither a local path nor to be had from the hub: " + (reason or [type(error).__name__])[0],
            file=repo_id,
        ) from error
