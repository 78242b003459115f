"""What a checkpoint that was edited says of its edits, and keeps of what it was before them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
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
    """

    edits: dict[str, list[int]]
    tie: str
    embedding: str | None
    head_file: str | None
    names: dict[str, str]
    times: dict[str, int]
    replaced: tuple[str, ...]
    added: tuple[str, ...]

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
    try:
        found = EditRecord(**content)
    except TypeError as error:
        raise CheckpointError(f"not a record of edits: {error}", file=file) from error
    names = [*found.names, *found.names.values(), *found.times, *found.replaced, *found.added]
    for name in names:
        if Path(name).name != name:
            raise CheckpointError(
                "names a file outside the folder", file=file, expected="a file name", found=str(name)
            )
    return replace(found, replaced=tuple(found.replaced), added=tuple(found.added))
