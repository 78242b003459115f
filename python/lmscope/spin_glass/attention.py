"""Attention that reads a prompt and tells the label of its query, as torch modules.

The prompt is a matrix X of prompt length + 1 columns (token; label), the last one (query; 0); what a model
tells is the last entry of its last column. Modules take what that entry depends on, one row a task.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

__all__ = ["Attention", "Bilinear", "Factored", "FullLinear", "Merged", "Softmax", "Transformer"]


_ACTIVATION_BYTES = 1 << 24
"""Of tasks that are read together: more gains no speed."""


class _Drawn(nn.Module):
    """Parameters are drawn in float64 from ``random``: the same ones for every dtype and device."""

    def __init__(self, random: np.random.Generator, dtype: torch.dtype) -> None:
        super().__init__()
        self._random = random
        self._dtype = dtype

    def normal(self, *shape: int) -> nn.Parameter:
        """Normal with variance 1 / (last size)."""
        values = self._random.standard_normal(shape) / math.sqrt(shape[-1])
        return nn.Parameter(torch.from_numpy(values).to(self._dtype))

    def constant(self, value: float, size: int) -> nn.Parameter:
        return nn.Parameter(torch.full((size,), value, dtype=self._dtype))


class Attention(_Drawn, ABC):
    """A model that is trained on some tasks at a time."""

    @abstractmethod
    def activations(self, columns: int) -> int:
        """About how many numbers are kept of a task for the gradient."""

    def tasks_at_once(self, columns: int) -> int:
        """So many that their activations stay small, whatever the batch."""
        return max(1, _ACTIVATION_BYTES // (self.activations(columns) * self._dtype.itemsize))


class Bilinear(Attention):
    """Linear attention X X' W X / N: context' W query, whatever W is made of."""

    @abstractmethod
    def weights(self) -> Tensor:
        """W, (dimension + 1) x (dimension + 1)."""

    def forward(self, context: Tensor, query: Tensor) -> Tensor:
        """Of contexts (tasks x (dimension + 1)) and queries (tasks x dimension)."""
        return ((context @ self.weights()[:, :-1]) * query).sum(dim=1)

    def activations(self, columns: int) -> int:
        return 2 * len(self.weights())


class Merged(Bilinear):
    """W itself is trained."""

    def __init__(self, size: int, random: np.random.Generator, dtype: torch.dtype) -> None:
        super().__init__(random, dtype)
        self.matrix = self.normal(size, size)

    def weights(self) -> Tensor:
        return self.matrix


class Factored(Bilinear):
    """W = Wq' Wk, both ``width`` x (dimension + 1): one head of that width, or the sum of narrower ones."""

    def __init__(self, size: int, width: int, random: np.random.Generator, dtype: torch.dtype) -> None:
        super().__init__(random, dtype)
        self.query = self.normal(width, size)
        self.key = self.normal(width, size)

    def weights(self) -> Tensor:
        return self.query.T @ self.key


class FullLinear(Attention):
    """Linear attention with values: V X X' Wq' Wk X / N, of V the last row, which alone is seen."""

    def __init__(self, size: int, random: np.random.Generator, dtype: torch.dtype) -> None:
        super().__init__(random, dtype)
        self.query = self.normal(size, size)
        self.key = self.normal(size, size)
        self.value = self.normal(size)

    def forward(self, moments: Tensor, query: Tensor) -> Tensor:
        """Of second moments X X' / N (tasks x (dimension + 1) x (dimension + 1)) and queries."""
        return ((moments @ self.value) @ self.query.T * (query @ self.key[:, :-1].T)).sum(dim=1)

    def activations(self, columns: int) -> int:
        return 4 * len(self.value)


class Softmax(Attention):
    """Values of all columns, weighted by the softmax of (Wk x) . (Wq query) / sqrt(dimension + 1)."""

    def __init__(self, size: int, random: np.random.Generator, dtype: torch.dtype) -> None:
        super().__init__(random, dtype)
        self.query = self.normal(size, size)
        self.key = self.normal(size, size)
        self.value = self.normal(size)

    def forward(self, columns: Tensor) -> Tensor:
        """Of prompts, tasks x (prompt length + 1) x (dimension + 1)."""
        asked = columns[:, -1] @ self.query.T @ self.key / math.sqrt(len(self.value))
        shares = torch.softmax((columns @ asked[:, :, None])[:, :, 0], dim=1)
        return (shares * (columns @ self.value)).sum(dim=1)

    def activations(self, columns: int) -> int:
        return 4 * columns


class Transformer(Attention):
    """Columns embedded, ``layers`` of attention and MLP on the residual stream, read out at the query.

    Layer norms stand in front of attention, MLP and read-out. Every column sees all others; positions are not
    told, as their order means nothing.
    """

    def __init__(
        self,
        size: int,
        width: int,
        heads: int,
        layers: int,
        random: np.random.Generator,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(random, dtype)
        self.embedding = self.normal(width, size)
        self.blocks = nn.ModuleList(_Block(width, heads, random, dtype) for _ in range(layers))
        self.gain = self.constant(1.0, width)
        self.readout = self.normal(width)

    def forward(self, columns: Tensor) -> Tensor:
        """Of prompts, tasks x (prompt length + 1) x (dimension + 1)."""
        stream = linear(columns, self.embedding)
        for number, block in enumerate(self.blocks, start=1):
            stream = block(stream, last=number == len(self.blocks))
        return layer_norm(stream[:, -1], self.gain.shape, self.gain) @ self.readout

    def activations(self, columns: int) -> int:
        # Two norms, three projections, what attention gives, and the MLP's four widths twice.
        return columns * len(self.gain) * (2 + 16 * len(self.blocks))


class _Block(_Drawn):
    def __init__(self, width: int, heads: int, random: np.random.Generator, dtype: torch.dtype) -> None:
        super().__init__(random, dtype)
        self._heads = heads
        self.gain = self.constant(1.0, width)
        self.mlp_gain = self.constant(1.0, width)
        self.query = self.normal(width, width)
        self.key = self.normal(width, width)
        self.value = self.normal(width, width)
        self.output = self.normal(width, width)
        self.up = self.normal(4 * width, width)
        self.up_bias = self.constant(0.0, 4 * width)
        self.down = self.normal(width, 4 * width)
        self.down_bias = self.constant(0.0, width)

    def forward(self, stream: Tensor, last: bool) -> Tensor:
        """The new stream, of the query's column alone in the ``last`` layer."""
        normed = layer_norm(stream, self.gain.shape, self.gain)
        asking = normed[:, -1:] if last else normed
        stream = stream[:, -1:] if last else stream
        query, key, value = (
            linear(states, matrix).reshape(*states.shape[:2], self._heads, -1).transpose(1, 2)
            for states, matrix in ((asking, self.query), (normed, self.key), (normed, self.value))
        )
        heads = scaled_dot_product_attention(query, key, value)
        stream = stream + linear(heads.transpose(1, 2).flatten(2), self.output)
        hidden = gelu(linear(layer_norm(stream, self.mlp_gain.shape, self.mlp_gain), self.up, self.up_bias))
        return stream + linear(hidden, self.down, self.down_bias)
