"""How a part lies in its stored tensor: expert, orientation and fused blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

MOST_EXPERTS = 2**14  # of one tensor; a header that claims more would cost more memory than its file


@dataclass(frozen=True, slots=True)
class Cut:
    """Rows ``start`` to ``start + rows`` of each of ``groups`` equal groups of the output dimension.

    ``Cut()`` is the whole tensor, whatever its dimensions. ``expert`` indexes the first of three dimensions;
    the rest is a matrix, stored in x out where ``transposed``. One group: contiguous blocks (GPT-2, Phi-3);
    one group per head: blocks interleaved by head (GPT-NeoX, DeepSeek). ``rows`` None: all outputs.
    """

    transposed: bool = False
    expert: int | None = None
    start: int = 0
    rows: int | None = None
    groups: int = 1

    def shape(self, stored_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the part: out x in (``Cut()``: as stored)."""
        if self == WHOLE:
            return stored_shape
        outputs, inputs = _matrix(stored_shape, self.transposed)
        return (outputs if self.rows is None else self.groups * self.rows, inputs)

    def apply(self, stored: NDArray[Any]) -> NDArray[Any]:
        """The part as out x in: a view wherever strides can express it (all but interleaved blocks)."""
        if self == WHOLE:
            return stored
        matrix = stored if self.expert is None else stored[self.expert]
        if self.transposed:
            matrix = matrix.T
        if self.rows is None:
            return matrix
        outputs, inputs = matrix.shape
        blocks = matrix.reshape(self.groups, outputs // self.groups, inputs)
        return blocks[:, self.start : self.start + self.rows].reshape(self.groups * self.rows, inputs)


WHOLE = Cut()


def cut_apart(
    stored_shape: tuple[int, ...],
    parts: int,
    *,
    sizes: Sequence[int] | None = None,
    groups: int = 1,
    transposed: bool = False,
    packed: bool = False,
) -> list[Cut] | None:
    """Cuts of ``parts`` blocks in each group, equal or of ``sizes`` rows, expert by expert if ``packed``.

    Together they hold every stored element once; None where no such cuts exist.
    """
    if len(stored_shape) != (3 if packed else 2) or (packed and stored_shape[0] > MOST_EXPERTS):
        return None
    outputs, _ = _matrix(stored_shape, transposed)
    blocks = list(sizes) if sizes is not None else [outputs // (groups * parts)] * parts
    if sum(blocks) * groups != outputs:
        return None
    experts = range(stored_shape[0]) if packed else (None,)
    if parts == 1:
        return [Cut(transposed, expert) for expert in experts]
    starts = [sum(blocks[:index]) for index in range(parts)]
    return [
        Cut(transposed, expert, start, rows, groups)
        for expert in experts
        for start, rows in zip(starts, blocks, strict=True)
    ]


def _matrix(stored_shape: tuple[int, ...], transposed: bool) -> tuple[int, int]:
    """Outputs and inputs of the stored matrix, or of each of the packed ones."""
    rows, columns = stored_shape[-2:]
    return (columns, rows) if transposed else (rows, columns)
