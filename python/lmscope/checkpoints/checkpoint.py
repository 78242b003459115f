"""A checkpoint as rows of analysable parts, and the door to their values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lmscope import html_repr
from lmscope.architectures import ConfigMismatch, Part, StoredTensor, TensorInfo, resolve
from lmscope.architectures.cut import Cut
from lmscope.checkpoints.errors import CheckpointError
from lmscope.checkpoints.identity import checkpoint_identity
from lmscope.checkpoints.roles_html import tensors_by_role
from lmscope.checkpoints.sources import Source, find_source
from lmscope.checkpoints.stream import READ_AHEAD_BYTES, TensorStream
from lmscope.checkpoints.ties import equal_samples, equal_values
from lmscope.checkpoints.weight_file import WeightFile
from lmscope.checkpoints.weight_formats import open_weight_files


def open_checkpoint(
    path_or_id: str | Path, *, revision: str | None = None, token: str | None = None
) -> Checkpoint:
    """Opens a folder, a single weight file or a hub id (``org/name``, at ``revision``).

    Weight files are ``.safetensors``, ``.gguf`` (listed, but refused) or ``.bin``, ``.pt`` and ``.pth`` of
    torch.save, read by torch's weights-only loader. Reads headers, config.json and the shard index, no
    weights but a sample of a head that is stored beside its embedding. ``token`` is the hub's; None takes the
    one that huggingface_hub finds. Raises CheckpointError, naming the file, what was expected and what was
    found.
    """
    return Checkpoint(find_source(path_or_id, revision, token))


# Folder names that tell nothing of what is in them.
_NO_NAMES = {"model", "model.safetensors", "checkpoint", "weights", "final"}


class Checkpoint:
    """Iterates :class:`TensorInfo` in natural order of names; made by :func:`open_checkpoint`.

    Attributes: ``tensors`` (all rows), ``path``, ``name``, ``config`` (of config.json, else empty),
    ``model_type``, ``identity`` (hex SHA-256 over each file's name, size, modification time and header),
    ``warnings`` (plain sentences for the user), ``loaded_bytes`` (that stay in memory while it is read: the
    largest file that can only be loaded whole).
    """

    def __init__(self, source: Source) -> None:
        self.path = source.path
        self.name = source.name
        self.config: dict[str, Any] = source.config or {}
        model_type = self.config.get("model_type")
        self.model_type: str | None = model_type if isinstance(model_type, str) else None
        weights = open_weight_files(source.weight_files)
        self._file_of = _files_by_tensor(weights, source)
        self._shared = {name: first for file in weights for name, first in file.shared.items()}
        stored: dict[str, StoredTensor] = {name: file.tensors[name] for name, file in self._file_of.items()}
        try:
            resolution = resolve(source.config, stored, self._shared)
        except ConfigMismatch as error:
            raise CheckpointError(
                "the config is of another model; put the right config.json beside the weights, or remove it "
                "to have roles guessed",
                file=source.config_file,
                tensor=error.tensor,
                expected=error.expected,
                found=error.found,
            ) from error
        self._parts = {part.info.name: self._refused_if_unreadable(part) for part in resolution.parts}
        self.tensors: tuple[TensorInfo, ...] = ()
        self._keep_ties(equal_samples)
        warnings = [warning for file in weights for warning in file.warnings]
        self.warnings = (*source.warnings, *resolution.warnings, *warnings, *_outside_index(stored, source))
        # One file at a time stays loaded of those that cannot be read piecewise.
        self.loaded_bytes = max((file.loaded_bytes for file in weights), default=0)
        descriptions = [file for file in (source.config_file, source.index_file) if file]
        self.identity = checkpoint_identity(weights, descriptions)

    def __iter__(self) -> Iterator[TensorInfo]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __repr__(self) -> str:
        return f"Checkpoint({self.name!r}, model_type={self.model_type!r}, {len(self)} tensors)"

    def _repr_html_(self) -> str:
        return html_repr.block(
            self.name,
            html_repr.facts([("model type", self.model_type or "unknown"), ("path", self.path)]),
            tensors_by_role(self.tensors),
            *(html_repr.line(f"Warning: {text}") for text in self.warnings),
        )

    @property
    def label(self) -> str:
        """The name, behind its parent folder's where it alone says nothing, like ``model``."""
        parent = Path(os.path.abspath(self.path)).parent.name
        return f"{parent}/{self.name}" if self.name.lower() in _NO_NAMES and parent else self.name

    def load(self, name: str) -> NDArray[Any]:
        """One part by its row's name: out x in, in the stored dtype (bfloat16 through ml_dtypes).

        CheckpointError where the name is unknown, the dtype is refused or the read fails.
        """
        part = self._part(name)
        return part.cut.apply(self._read(part.info.stored_name))

    def cut(self, name: str) -> Cut:
        """How the part of a row lies in its stored tensor; CheckpointError where the name is unknown."""
        return self._part(name).cut

    def stored_file(self, name: str) -> WeightFile:
        """The file that holds the stored tensor of a row; CheckpointError where the name is unknown.

        :meta private:
        """
        return self._file_of[self._part(name).info.stored_name]

    @property
    def weight_files(self) -> tuple[WeightFile, ...]:
        """In natural order of their first tensors.

        :meta private:
        """
        return tuple({id(file): file for file in self._file_of.values()}.values())

    def stream(
        self, names: Iterable[str] | None = None, *, read_ahead_bytes: int = READ_AHEAD_BYTES
    ) -> TensorStream:
        """Iterates (TensorInfo, array) over ``names``, by default all planned rows.

        Arrays are as of :meth:`load`. Stored tensors are read ahead while their sum is within
        ``read_ahead_bytes``. A tensor that cannot be read raises CheckpointError when its turn comes.
        """
        if names is None:
            names = [info.name for info in self.tensors if info.status == "planned"]
        parts = [self._part(name) for name in names]
        return TensorStream(parts, self._read, self._nbytes, read_ahead_bytes=read_ahead_bytes)

    def confirm_ties(self) -> None:
        """Compares in full what opening compared in samples: heads stored beside their embedding.

        ``tensors`` changes where the values differ after all: such a head is a row of its own. An analysis
        calls this before it starts; it reads both tensors, in blocks.
        """
        self._keep_ties(equal_values)

    def _part(self, name: str) -> Part:
        if name not in self._parts:
            raise CheckpointError("no such tensor", file=self.path, tensor=name)
        return self._parts[name]

    def _read(self, stored_name: str) -> NDArray[Any]:
        return self._file_of[stored_name].read(stored_name)

    def _nbytes(self, stored_name: str) -> int:
        return self._file_of[stored_name].tensors[stored_name].nbytes

    def _keep_ties(self, equal: Callable[[WeightFile, str, WeightFile, str], bool]) -> None:
        for name, part in self._parts.items():
            if part.info.tied_to is not None:
                self._parts[name] = self._tied_or_not(part, equal)
        self.tensors = tuple(part.info for part in self._parts.values())

    def _refused_if_unreadable(self, part: Part) -> Part:
        name = part.info.stored_name
        reason = self._file_of[name].unreadable.get(name)
        if reason is None:
            return part

        def refused(info: TensorInfo) -> TensorInfo:
            return replace(info, status="refused", reason=reason) if info.status == "planned" else info

        untied = refused(part.untied) if part.untied is not None else None
        return replace(part, info=refused(part.info), untied=untied)

    def _tied_or_not(self, part: Part, equal: Callable[[WeightFile, str, WeightFile, str], bool]) -> Part:
        """A head that the config ties is an alias only if the values agree: else transformers unties it."""
        if part.untied is None or part.info.tied_to is None:
            return part
        own, tied_to = part.info.stored_name, self._parts[part.info.tied_to].info.stored_name
        if self._shared.get(own, own) == self._shared.get(tied_to, tied_to):
            return part
        try:
            if equal(self._file_of[own], own, self._file_of[tied_to], tied_to):
                return part
            why = "its values differ"
        except CheckpointError as error:
            why = f"they cannot be compared: {error}"
        reason = f"the config ties it to {part.info.tied_to}, but {why}"
        reason = "; ".join(filter(None, (reason, part.untied.reason)))
        return replace(part, info=replace(part.untied, reason=reason), untied=None)


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


def _outside_index(stored: Iterable[str], source: Source) -> Iterator[str]:
    if source.index_file is None or source.index is None:
        return
    outside = [name for name in stored if name not in source.index]
    if outside:
        some = ", ".join(outside[:3]) + (", ..." if len(outside) > 3 else "")
        yield f"{len(outside)} tensors are in the shards but not in {source.index_file.name}: {some}"
