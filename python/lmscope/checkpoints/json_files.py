"""The small JSON files of a checkpoint: config and index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lmscope.checkpoints.errors import CheckpointError
from lmscope.checkpoints.not_weights import LOOK_AT_BYTES, refuse_if_not_downloaded


def read_json_object(file: Path) -> dict[str, Any]:
    """The object that a file holds; CheckpointError for anything else."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise CheckpointError(error.strerror or str(error), file=file) from error
    refuse_if_not_downloaded(file, raw[:LOOK_AT_BYTES], "a JSON object")
    try:
        content = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"not JSON: {error}", file=file, expected="a JSON object") from error
    if not isinstance(content, dict):
        raise CheckpointError("not a JSON object", file=file, expected="{...}", found=type(content).__name__)
    return content


def read_index(file: Path) -> dict[str, str]:
    """Tensor name -> shard's file name, all of them beside the index."""
    index = read_json_object(file).get("weight_map")
    expected = '"weight_map" of tensor names to file names'
    if not isinstance(index, dict):
        found = "none" if index is None else type(index).__name__
        raise CheckpointError("unreadable index", file=file, expected=expected, found=found)
    for tensor, shard in index.items():
        if not isinstance(shard, str):
            raise CheckpointError(
                "unreadable index", file=file, tensor=tensor, expected=expected, found=repr(shard)
            )
        if Path(shard).name != shard:
            raise CheckpointError(
                "shard outside the folder", file=file, tensor=tensor, expected="a file name", found=shard
            )
    return index
