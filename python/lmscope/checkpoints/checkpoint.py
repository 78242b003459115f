"""A checkpoint as rows of analysable parts, and the door to their values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lmscope.architectures import ConfigMismatch, Part, StoredTensor, TensorInfo, resolve
from lmscope.checkpoints.errors import CheckpointError
from lmscope.checkpoints.gguf_file import GgufFile, open_gguf
from lmscope.checkpoints.identity import checkpoint_identity
from lmscope.checkpoints.safetensors_file import SafetensorsFile, open_safetensors
from lmscope.checkpoints.sources import GGUF, Source, find_source
from lmscope.checkpoints.stream import TensorStream

WeightFile: TypeAlias = SafetensorsFile | GgufFile


def open_checkpoint(path_or_id: str | Path, *, revision: str | None = None) -> Checkpoint:
    """Opens a folder, one ``.safetensors`` or ``.gguf`` file, or a hub id (``org/name``, at ``revision``).

    Reads headers, config.json and the shard index, no weights. Raises CheckpointError, naming the file, what
    was expected and what was found.
    """
    return Checkpoint(find_source(path_or_id, revision))


class Checkpoint:
    """Iterates :class:`TensorInfo` in natural order of names; made by :func:`open_checkpoint`.

    Attributes: ``tensors`` (all rows), ``path``, ``name``, ``config`` (of config.json, else empty),
    ``model_type``, ``identity`` (hex SHA-256 over each file's name, size, modification time and header),
    ``warnings`` (plain sentences for the user).
    """

    def __init__(self, source: Source) -> None:
        self.path = source.path
        self.name = source.name
        self.config: dict[str, Any] = source.config or {}
        model_type = self.config.get("model_type")
        self.model_type: str | None = model_type if isinstance(model_type, str) else None
        weights = [_open(path) for path in source.weight_files]
        self._file_of = _files_by_tensor(weights, source)
        stored: dict[str, StoredTensor] = {name: file.tensors[name] for name, file in self._file_of.items()}
        try:
            resolution = resolve(source.config, stored)
        except ConfigMismatch as error:
            raise CheckpointError(
                "the config is of another model; put the right config.json beside the weights, or remove it "
                "to have roles guessed",
                file=source.config_file,
                tensor=error.tensor,
                expected=error.expected,
                found=error.found,
            ) from error
        self._parts = {part.info.name: part for part in map(self._confirm_tie, resolution.parts)}
        self.tensors: tuple[TensorInfo, ...] = tuple(part.info for part in self._parts.values())
        self.warnings = resolution.warnings
        descriptions = [file for file in (source.config_file, source.index_file) if file]
        self.identity = checkpoint_identity(weights, descriptions)

    def __iter__(self) -> Iterator[TensorInfo]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __repr__(self) -> str:
        return f"Checkpoint({self.name!r}, model_type={self.model_type!r}, {len(self)} tensors)"

    def load(self, name: str) -> NDArray[Any]:
        """One part by its row's name: out x in, in the stored dtype (bfloat16 through ml_dtypes).

        CheckpointError where the name is unknown, the dtype is refused or the read fails.
        """
        part = self._part(name)
        return part.cut.apply(self._read(part.info.stored_name))

    def stream(self, names: Iterable[str] | None = None) -> TensorStream:
        """Iterates (TensorInfo, array) over ``names``, by default all planned rows, reading one ahead."""
        if names is None:
            names = [info.name for info in self.tensors if info.status == "planned"]
        return TensorStream([self._part(name) for name in names], self._read)

    def _part(self, name: str) -> Part:
        if name not in self._parts:
            raise CheckpointError("no such tensor", file=self.path, tensor=name)
        return self._parts[name]

    def _read(self, stored_name: str) -> NDArray[Any]:
        return self._file_of[stored_name].read(stored_name)

    def _confirm_tie(self, part: Part) -> Part:
        """A head that is stored beside the embedding it is tied to counts as alias only if the values agree.

        transformers unties the two where they differ anywhere. Both are read up to the first difference.
        """
        info = part.info
        if info.tied_to is None or part.untied is None:
            return part
        own, source = self._file_of[info.stored_name], self._file_of[info.tied_to]
        if own.tensors[info.stored_name].nbytes == source.tensors[info.tied_to].nbytes and all(
            np.array_equal(mine, theirs)
            for mine, theirs in zip(own.blocks(info.stored_name), source.blocks(info.tied_to), strict=True)
        ):
            return part
        differ = f"the config ties it to {info.tied_to}, but its values differ"
        reason = "; ".join(filter(None, (differ, part.untied.reason)))
        untied = replace(part.untied, reason=reason)
        return replace(part, info=untied)


def _open(path: Path) -> WeightFile:
    return open_gguf(path) if path.suffix == GGUF else open_safetensors(path)


def _files_by_tensor(weights: list[WeightFile], source: Source) -> dict[str, WeightFile]:
    file_of: dict[str, WeightFile] = {}
    for file in weights:
        for name in file.tensors:
            if name in file_of:
                found = f"{file_of[name].path.name} and {file.path.name}"
                raise CheckpointError(
                    "stored twice", file=source.path, tensor=name, expected="one file", found=found
                )
            file_of[name] = file
    for name, expected in (source.index or {}).items():
        if name not in file_of or file_of[name].path.name != expected:
            found = file_of[name].path.name if name in file_of else "no file that holds it"
            raise CheckpointError(
                "not where the index says",
                file=source.index_file,
                tensor=name,
                expected=expected,
                found=found,
            )
    if not file_of:
        raise CheckpointError("the file holds no tensors", file=source.path)
    return file_of
