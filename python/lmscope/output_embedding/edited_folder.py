"""The files of an edited checkpoint: copied, those of a head that was tied added, and taken away again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscope.checkpoints import Checkpoint, CheckpointError
from lmscope.checkpoints.dtypes import NAMES
from lmscope.checkpoints.json_files import read_json_object
from lmscope.checkpoints.layout import CONFIG, INDEX_SUFFIX
from lmscope.checkpoints.sources import folder_source
from lmscope.checkpoints.stored_head import StoredHead, StoredMatrix, stored_matrix
from lmscope.checkpoints.weight_file import WeightFile
from lmscope.output_embedding.edit_record import FOLDER, EditRecord

__all__ = [
    "check_record",
    "check_unchanged",
    "copy_checkpoint",
    "copy_record",
    "put_rows",
    "restore",
    "start_record",
    "untie",
]

_INDEX = "model.safetensors.index.json"
_ONE_BECOMES = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
_HEAD = "model-head.safetensors"
_CHUNK_BYTES = 1 << 24
# Weights in other formats and states of training, which an edit would leave as they were.
_OTHER_WEIGHTS = {
    ".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".npz", ".onnx", ".ot", ".pt", ".pth", ".safetensors",
}  # fmt: skip


def copy_checkpoint(checkpoint: Checkpoint, to: Path, *, without: Collection[str] = ()) -> None:
    """Copies its weights and the small files beside them, with their times; no folders, no other weights."""
    source = folder_source(checkpoint.name, Path(checkpoint.path))
    weights = {file.path.name: file for file in checkpoint.weight_files}
    for entry in sorted(Path(checkpoint.path).iterdir()):
        other = entry.suffix in _OTHER_WEIGHTS and entry.name not in weights
        stale = entry.name.endswith(INDEX_SUFFIX) and entry != source.index_file
        if entry.name.startswith(".") or entry.name in without or other or stale or not entry.is_file():
            continue
        _copy(entry, to / entry.name)
        if entry.name in weights:
            file = weights[entry.name]
            file.raw.check_unchanged(next(iter(file.tensors)))


def check_record(checkpoint: Checkpoint, record: EditRecord) -> None:
    """CheckpointError where a file that the record tells of or keeps is missing."""
    weights = {file.path.name for file in checkpoint.weight_files}
    for name in (*record.names, *record.times, *([record.head_file] if record.head_file else [])):
        if name not in weights:
            raise CheckpointError(
                "no weight file of the checkpoint, although the record of its edits names it: take the "
                "folder that apply_steering wrote",
                file=Path(checkpoint.path) / name,
            )
    for name in record.replaced:
        kept = Path(checkpoint.path) / FOLDER / name
        if not kept.is_file():
            raise CheckpointError(
                "missing: the file from before the first edit, without which the edits do not come out; put "
                "it back from a copy of the folder, or from the checkpoint that was edited",
                file=kept,
            )


def check_unchanged(checkpoint: Checkpoint, record: EditRecord) -> None:
    """CheckpointError where removing the last edit would discard what others changed in JSON files since."""
    for name, digest in record.written.items():
        file = Path(checkpoint.path) / name
        if _digest(read_json_object(file)) == digest:
            continue
        kept = f"; {FOLDER}/{name} is the file from before it" if name in record.replaced else ""
        raise CheckpointError(
            "it was changed after the first edit, and removing the last one would discard the change: undo "
            f"the change, remove the edit, and make the change again in the copy{kept}",
            file=file,
            expected="the content that apply_steering wrote",
        )


def copy_record(checkpoint: Checkpoint, to: Path, record: EditRecord) -> None:
    """Copies the files that the record keeps."""
    (to / FOLDER).mkdir()
    for name in record.replaced:
        _copy(Path(checkpoint.path) / FOLDER / name, to / FOLDER / name)


def start_record(checkpoint: Checkpoint, head: StoredHead) -> EditRecord:
    """Of a checkpoint without edits, as it will be when it has its first."""
    if head.tie != "absent":
        changed = head.matrix.file
        times = {changed.path.name: changed.raw.mtime_ns}
        replaced = () if head.tie == "own" else (CONFIG,)
        return EditRecord({}, head.tie, head.embedding, None, {}, times, replaced, ())
    source = folder_source(checkpoint.name, Path(checkpoint.path))
    files = [file.path.name for file in checkpoint.weight_files]
    body, head_file = _ONE_BECOMES if len(files) == 1 else (files[0], _HEAD)
    if head_file in files:
        raise CheckpointError("a name that the head needs is taken", file=Path(checkpoint.path) / head_file)
    names = {body: files[0]} if len(files) == 1 else {}
    index = (source.index_file.name,) if source.index_file else ()
    added = (head_file,) if index else (head_file, _INDEX)
    return EditRecord({}, head.tie, head.embedding, head_file, names, {}, (CONFIG, *index), added)


def untie(checkpoint: Checkpoint, head: StoredHead, folder: Path, record: EditRecord) -> EditRecord:
    """Makes of a copied checkpoint whose head is tied one whose head has a tensor of its own.

    The record is returned with what was written.
    """
    if head.tie == "own":
        return record
    (folder / FOLDER).mkdir()
    for name in record.replaced:
        _copy(folder / name, folder / FOLDER / name)
    _say_untied(folder / CONFIG)
    if record.head_file is None:
        return _with_written(folder, record, CONFIG)
    for now, before in record.names.items():
        (folder / before).rename(folder / now)
    aliases = {name: stored_matrix(checkpoint, row) for name, row in head.aliases.items()}
    _write_tensors(folder / record.head_file, aliases)
    was = {before: now for now, before in record.names.items()}
    index_file = next((name for name in record.replaced if name.endswith(INDEX_SUFFIX)), _INDEX)
    index = read_json_object(folder / index_file) if index_file in record.replaced else _index(checkpoint)
    held = index["weight_map"].items()
    index["weight_map"] = {name: was.get(file, file) for name, file in held}
    index["weight_map"] |= dict.fromkeys(aliases, record.head_file)
    said = index.get("metadata")
    if isinstance(said, dict) and isinstance(said.get("total_size"), int):
        said["total_size"] += sum(_stored(matrix).nbytes for matrix in aliases.values())
    _write_json(folder / index_file, index)
    return _with_written(folder, record, CONFIG, index_file)


def put_rows(file: WeightFile, path: Path, name: str, tokens: NDArray[np.int64], rows: NDArray[Any]) -> None:
    """Writes rows of a tensor at their place in ``path``, a file with the header of ``file``."""
    first, size = file.places[name].offset, rows[0].nbytes
    with path.open("r+b") as opened:
        for token, row in zip(tokens.tolist(), rows, strict=True):
            opened.seek(first + token * size)
            opened.write(row.tobytes())


def restore(checkpoint: Checkpoint, folder: Path, record: EditRecord) -> None:
    """Gives a copied checkpoint without edits the files and times from before the first."""
    for name in record.added:
        (folder / name).unlink(missing_ok=True)
    for now, before in record.names.items():
        (folder / now).rename(folder / before)
    for name in record.replaced:
        _copy(Path(checkpoint.path) / FOLDER / name, folder / name)
    for name, mtime_ns in record.times.items():
        os.utime(folder / name, ns=(mtime_ns, mtime_ns))


def _copy(file: Path, to: Path) -> None:
    """With its times, but with the permissions of a new file: those of a cache may forbid to write."""
    shutil.copyfile(file, to)
    found = file.stat()
    os.utime(to, ns=(found.st_atime_ns, found.st_mtime_ns))


def _say_untied(file: Path) -> None:
    config = read_json_object(file)
    config["tie_word_embeddings"] = False
    inner = config.get("text_config")
    if isinstance(inner, dict):
        inner["tie_word_embeddings"] = False
    _write_json(file, config)


def _with_written(folder: Path, record: EditRecord, *names: str) -> EditRecord:
    return replace(record, written={name: _digest(read_json_object(folder / name)) for name in names})


def _digest(content: Mapping[str, Any]) -> str:
    """Of what a JSON object says, however it is laid out."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _index(checkpoint: Checkpoint) -> dict[str, Any]:
    files = checkpoint.weight_files
    size = sum(stored.nbytes for file in files for stored in file.tensors.values())
    names = {name: file.path.name for file in files for name in file.tensors}
    return {"metadata": {"total_size": size}, "weight_map": names}


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _stored(matrix: StoredMatrix) -> Any:
    return matrix.file.tensors[matrix.stored_name]


def _write_tensors(path: Path, tensors: Mapping[str, StoredMatrix]) -> None:
    """A safetensors file of copies of stored tensors, never a whole one in memory."""
    codes = {name: code for code, name in NAMES.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, matrix in tensors.items():
        stored = _stored(matrix)
        header[name] = {
            "dtype": codes[stored.dtype],
            "shape": list(stored.shape),
            "data_offsets": [end, end := end + stored.nbytes],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for matrix in tensors.values():
            nbytes = _stored(matrix).nbytes
            for start in range(0, nbytes, _CHUNK_BYTES):
                size = min(_CHUNK_BYTES, nbytes - start)
                file.write(matrix.file.piece(matrix.stored_name, start, size).data)
