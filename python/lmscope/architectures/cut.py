"""How a part lies in its stored tensor: orientation and fused blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Cut:
    """The ``index``-th of ``count`` equal blocks of the output dimension, out of a matrix stored either way.

    With ``groups`` > 1 the blocks are interleaved: the output dimension is groups x count x rest (GPT-NeoX
    keeps query, key and value of one head together), otherwise count x rest (GPT-2).
    """

    transposed: bool = False
    index: int = 0
    count: int = 1
    groups: int = 1

    def fits(self, stored_shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape can be cut so."""
        if self == Cut():
            return True
        return len(stored_shape) == 2 and self._outputs(stored_shape) % (self.count * self.groups) == 0

    def shape(self, stored_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the part: out x in."""
        if self == Cut():
            return stored_shape
        inputs = stored_shape[0] if self.transposed else stored_shape[1]
        return (self._outputs(stored_shape) // self.count, inputs)

    def apply(self, stored: NDArray[Any]) -> NDArray[Any]:
        """The part as out x in: a view wherever strides can express it (all but interleaved blocks)."""
        if self == Cut():
            return stored
        matrix = stored.T if self.transposed else stored
        outputs, inputs = matrix.shape
        blocks = matrix.reshape(self.groups, self.count, outputs // (self.groups * self.count), inputs)
        return blocks[:, self.index].reshape(outputs // self.count, inputs)

    def _outputs(self, stored_shape: tuple[int, ...]) -> int:
        return stored_shape[1] if self.transposed else stored_shape[0]
