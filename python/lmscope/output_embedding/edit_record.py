"""What a checkpoint that was edited says of its edits, and keeps of what it was before them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscope.checkpoints import CheckpointError
from lmscope.checkpoints.json_files import read_json_object

__all__ = ["FOLDER", "EditRecord", "Swap", "read_record"]

FOLDER = "lmscope_steering"
"""Within the checkpoint's folder; its files are the record, and the checkpoint's files that were changed."""

_FILE = "edits.json"
_FORMAT = "lmscope steered checkpoint 1"


@dataclass(frozen=True, eq=False)
class Swap:
    """An edit's rows in a checkpoint's stored dtype: ``before`` and ``after``, tokens x dimensions."""

    tokens: NDArray[np.int64]
    before: NDArray[Any]
    after: NDArray[Any]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of tokens and rows."""
        parts = (self.tokens, self.before, self.after)
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


@dataclass(frozen=True)
class EditRecord:
    """The edits that are in a checkpoint.

    Attributes:
        edits: by digest, the tokens of each.
        tie: as of :class:`lmscope.checkpoints.stored_head.StoredHead`, before the first edit.
        embedding: the row that the head was tied to.
        head_file: that the head's rows were given, where they had none of their own.
        names: of weight files that were renamed: the name now, and the one before.
        times: of weight files that are changed: modification time before, in nanoseconds.
        replaced: names of the other files that were changed, which are kept beside the record.
        added: names of files that were not there.
        written: of the JSON files among replaced and added: SHA-256 (hex) of their content as the first edit
            left it.
    """

    edits: dict[str, list[int]]
    tie: str
    embedding: str | None
    head_file: str | None
    names: dict[str, str]
    times: dict[str, int]
    replaced: tuple[str, ...]
    added: tuple[str, ...]
    written: dict[str, str] = field(default_factory=dict)

    def with_edit(self, swap: Swap) -> EditRecord:
        return replace(self, edits={**self.edits, swap.digest: swap.tokens.tolist()})

    def without_edit(self, swap: Swap) -> EditRecord:
        return replace(self, edits={key: value for key, value in self.edits.items() if key != swap.digest})

    def write(self, checkpoint: Path) -> None:
        folder = checkpoint / FOLDER
        folder.mkdir(exist_ok=True)
        content = {"format": _FORMAT, **asdict(self)}
        (folder / _FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_record(checkpoint: Path) -> EditRecord | None:
    """None for a checkpoint that was not edited; CheckpointError for a record that is not understood."""
    file = checkpoint / FOLDER / _FILE
    if not file.exists():
        return None
    content = read_json_object(file)
    if content.pop("format", None) != _FORMAT:
        raise CheckpointError("written by another version of lmscope", file=file, expected=_FORMAT)
    names = {one.name for one in fields(EditRecord)}
    if content.keys() != names:
        raise _damaged(file, ", ".join(sorted(names)), ", ".join(sorted(content)))
    for name, (holds, expected) in _FIELDS.items():
        if not holds(content[name]):
            raise _damaged(file, f"{name}: {expected}", repr(content[name]))
    if (content["embedding"] is None, content["head_file"] is None) != _ABSENT[content["tie"]]:
        expected = f"embedding and head_file of a head that was tied as {content['tie']!r}"
        raise _damaged(file, expected, f"{content['embedding']!r}, {content['head_file']!r}")
    if unsaid := set(content["replaced"]) - content["written"].keys():
        raise _damaged(file, "written: a digest of every file in replaced", f"none of {sorted(unsaid)}")
    content |= {name: tuple(content[name]) for name in ("replaced", "added")}
    return EditRecord(**content)


def _damaged(file: Path, expected: str, found: str) -> CheckpointError:
    return CheckpointError("not a record of edits", file=file, expected=expected, found=found)


def _is_name(value: object) -> bool:
    """Of a file beside the config: nothing that leads out of the folder."""
    return isinstance(value, str) and Path(value).name == value not in ("", "..") and "\0" not in value


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _list_of(holds: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, list) and all(map(holds, value))


def _map_of(key: Callable[[object], bool], holds: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and all(map(key, value)) and all(map(holds, value.values()))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


# By the tie before the first edit: whether there is no embedding and no head_file.
_ABSENT = {"own": (True, True), "stored": (False, True), "absent": (False, False)}
_FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "edits": (_map_of(_is_text, _list_of(_is_number)), "lists of tokens by digest"),
    "tie": (lambda value: isinstance(value, str) and value in _ABSENT, "one of " + ", ".join(_ABSENT)),
    "embedding": (lambda value: value is None or _is_text(value), "a name or null"),
    "head_file": (lambda value: value is None or _is_name(value), "a file name or null"),
    "names": (_map_of(_is_name, _is_name), "file names by file name"),
    "times": (_map_of(_is_name, _is_number), "nanoseconds by file name"),
    "replaced": (_list_of(_is_name), "a list of file names"),
    "added": (_list_of(_is_name), "a list of file names"),
    "written": (_map_of(_is_name, _is_text), "digests by file name"),
}
