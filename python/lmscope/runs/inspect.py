"""`inspect`: what a checkpoint holds and what analysing it will need, from its headers alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmscope import html_repr
from lmscope.runs.ledger import ledger_row
from lmscope.runs.projection import Projection, project
from lmscope.runs.settings import SimilaritySettings, SpectraSettings

if TYPE_CHECKING:
    import pandas
    import pyarrow

    from lmscope.checkpoints import Checkpoint, TensorInfo


@dataclass(frozen=True, repr=False)
class Inspection:
    """The tensors of a checkpoint and the projection of an analysis; no weight is read, nothing written.

    ``identity`` is None for a hub id of which only headers were fetched.
    """

    name: str
    path: str
    identity: str | None
    model_type: str | None
    tensors: tuple[TensorInfo, ...]
    warnings: tuple[str, ...]
    projection: Projection

    @property
    def ledger(self) -> pyarrow.Table:
        """One row per tensor with the columns of a run's ledger; status planned, skipped or refused."""
        from lmscope.results.schemas import LEDGER, table_of

        return table_of((ledger_row(tensor) for tensor in self.tensors), LEDGER)

    def to_pandas(self) -> pandas.DataFrame:
        """The ledger as a data frame; layer and expert are nullable integers."""
        from lmscope.results.data_frames import data_frame

        return data_frame(self.ledger)

    def as_dict(self) -> dict[str, Any]:
        """What ``lmscope inspect --json`` prints."""
        return {
            "checkpoint": {
                "name": self.name,
                "path": self.path,
                "identity": self.identity,
                "model_type": self.model_type,
            },
            "tensors": [ledger_row(tensor) for tensor in self.tensors],
            "projection": self.projection.as_dict(),
        }

    def __repr__(self) -> str:
        planned = self.projection.matrices
        return f"<Inspection of {self.name!r}: {len(self.tensors)} tensors, {planned} matrices to analyse>"

    def _repr_html_(self) -> str:
        from lmscope.checkpoints.roles_html import tensors_by_role

        return html_repr.block(
            self.name,
            html_repr.facts([("model type", self.model_type or "unknown"), ("path", self.path)]),
            tensors_by_role(self.tensors),
            *(html_repr.line(f"{text}.") for text in self.projection.sentences()),
            *(html_repr.line(f"Warning: {text}") for text in self.warnings),
        )


def inspect(
    ckpt: str | os.PathLike[str] | Checkpoint, *, revision: str | None = None, token: str | None = None
) -> Inspection:
    """List the tensors of a checkpoint and project what `analyze` will need.

    Args:
        ckpt: folder, single weight file, hub id, or an open `Checkpoint`.
        revision: branch, tag or commit of a hub id. Only headers are fetched of one whose weights are
            safetensors.
        token: the hub's, for a private or gated hub id; the one that huggingface_hub finds when None.

    Raises `CheckpointError` where the checkpoint cannot be read.
    """
    from lmscope.checkpoints import Checkpoint, list_remote_checkpoint
    from lmscope.runs.opening import as_checkpoint

    listed = None
    if not isinstance(ckpt, Checkpoint):
        listed = list_remote_checkpoint(os.fspath(ckpt), revision=revision, token=token)
    checkpoint = listed or as_checkpoint(ckpt, revision=revision, token=token)
    tensors = tuple(checkpoint)
    return Inspection(
        name=checkpoint.label,
        path=str(checkpoint.path),
        identity=None if listed else checkpoint.identity,
        model_type=checkpoint.model_type,
        tensors=tensors,
        warnings=tuple(checkpoint.warnings),
        projection=project(
            tensors, SpectraSettings(), SimilaritySettings(), loaded_bytes=checkpoint.loaded_bytes
        ),
    )
