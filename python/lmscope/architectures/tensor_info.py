"""One row of a checkpoint: an analysable part of a stored tensor, and where it lies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from lmscope import html_repr
from lmscope.architectures.cut import Cut
from lmscope.architectures.roles import Role

FLOATS = frozenset({"float64", "float32", "float16", "bfloat16"})
"""Dtypes whose values are plain numbers, and can be analysed."""


class StoredTensor(NamedTuple):
    """What a file's header says of one tensor; dtype is numpy's name ("float32", "bfloat16", ...)."""

    dtype: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, slots=True, repr=False)
class TensorInfo:
    """One analysable part of a checkpoint.

    ``shape`` is out x in for matrices, whatever the file's orientation (embeddings: entries x hidden);
    ``stored_name`` and ``stored_shape`` say where the part lies in the file. ``tied_to`` names the row whose
    values this one shares; such an alias owns no elements and no bytes. ``status`` is "planned", "skipped"
    (no matrix: vectors, buffers, aliases) or "refused" (not understood); ``reason`` says why, and also
    marks a role that was guessed.
    """

    name: str
    role: Role
    layer: int | None
    expert: int | None
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    tied_to: str | None
    stored_name: str
    stored_shape: tuple[int, ...]
    status: Literal["planned", "skipped", "refused"]
    reason: str

    @property
    def elements(self) -> int:
        """How many elements are its own, 0 for a tied alias, so that sums count each value once."""
        return 0 if self.tied_to is not None else math.prod(self.shape)

    def __repr__(self) -> str:
        place = [f"layer {self.layer}"] if self.layer is not None else []
        place += [f"expert {self.expert}"] if self.expert is not None else []
        why = f": {self.reason}" if self.reason else ""
        told = ", ".join([self.role, *place, f"{_sizes(self.shape)} {self.dtype}", f"{self.status}{why}"])
        return f"TensorInfo({self.name!r}, {told})"

    def _repr_html_(self) -> str:
        stored = f"{self.stored_name}, {html_repr.shape(self.stored_shape) or 'a scalar'}"
        known = [
            ("role", self.role),
            ("layer", self.layer),
            ("expert", self.expert),
            ("shape", html_repr.shape(self.shape) or "a scalar"),
            ("dtype", self.dtype),
            ("bytes", f"{self.nbytes:,}"),
            ("tied to", self.tied_to),
            ("stored as", stored),
            ("status", self.status),
            ("reason", self.reason or None),
        ]
        return html_repr.block(
            self.name, html_repr.facts((name, value) for name, value in known if value is not None)
        )


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "scalar"


@dataclass(frozen=True, slots=True)
class Part:
    """A row and how to cut it out of its stored tensor.

    ``untied`` is the row of an alias that the file holds values for, should they differ.
    """

    info: TensorInfo
    cut: Cut
    untied: TensorInfo | None = None
