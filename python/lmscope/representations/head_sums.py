"""Sums over positions of probabilities, logits and their squares, one block of logits at a time.

A block is cut into tiles of vocabulary that stay in the processor's cache from the product to the
exponentials. Each tile has its own maximum at each position; what the exponentials are divided by is known
only when the block's last tile is done, and enters as the vector that each tile is then multiplied with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope.representations.output_head import OutputHead, wide_dtype

if TYPE_CHECKING:
    import torch

__all__ = ["HeadSums"]

# A tile stays in the second-level cache of one core; a device would wait for the next one.
_TILE_BYTES = 512 << 10
_DEVICE_TILE_BYTES = 8 << 20
_NARROWEST = 256
# More positions at a time make the product no faster.
_MOST_POSITIONS = 256


class HeadSums:
    """Sums of a head's logits and probabilities over states; ``blocks`` is to be run to its end first."""

    def __init__(
        self,
        head: OutputHead,
        states: torch.Tensor,
        mean: torch.Tensor,
        targets: npt.NDArray[np.int64] | None,
        logits_bytes: int,
    ) -> None:
        import torch

        self._head = head
        self._states = states
        self._targets = targets
        self._dtype = wide_dtype(head.weight.dtype)
        # Products with centred states are centred logits, but for a cap and rounding to 16 bits.
        self._centred = head.softcap is None and head.weight.dtype == self._dtype
        self._mean = mean
        self._middle = self._logits_of(mean)
        self._probability = torch.zeros(head.vocabulary, dtype=torch.float64, device=states.device)
        self._squares = torch.zeros_like(self._probability)
        self._total = None if self._centred else torch.zeros_like(self._probability)
        self.log_normaliser = self._probability.new_empty(len(states))
        self.losses = None if targets is None else torch.empty_like(self.log_normaliser)
        row_bytes = self._dtype.itemsize * head.vocabulary
        most = min(_MOST_POSITIONS, max(1, logits_bytes // row_bytes))
        # Blocks of nearly equal size.
        self._rows = -(-len(states) // -(-len(states) // most))
        tile_bytes = _TILE_BYTES if states.device.type == "cpu" else _DEVICE_TILE_BYTES
        self._tile = max(_NARROWEST, tile_bytes // (self._dtype.itemsize * self._rows) // 64 * 64)
        self._room = torch.empty(
            self._rows * min(self._tile, head.vocabulary), dtype=self._dtype, device=states.device
        )
        self._edges = [*range(0, head.vocabulary, self._tile), head.vocabulary]

    def _logits_of(self, state: torch.Tensor) -> torch.Tensor:
        """The logits of one state, which those of others are taken relative to."""
        head = self._head
        made = (head.weight @ state.to(head.weight.dtype)).to(self._dtype)
        return head.bent(made, head.bias)

    def blocks(self) -> Iterator[int]:
        """Adds up a block of positions for each step, whose number it gives.

        ValueError where logits are not finite.
        """
        import torch

        room = torch.empty(self._rows * self._head.vocabulary, dtype=self._dtype, device=self._states.device)
        for start in range(0, len(self._states), self._rows):
            part = slice(start, min(start + self._rows, len(self._states)))
            self._add(part, room)
            yield part.stop - part.start

    def _add(self, part: slice, room: torch.Tensor) -> None:
        import torch

        head = self._head
        states = self._states[part]
        count = len(states)
        if self._centred:
            states = ((states.double() - self._mean) * head.scale).to(self._dtype)
        else:
            states = states.to(head.weight.dtype)
        tiles = [
            (slice(first, last), room[count * first : count * last].view(count, last - first))
            for first, last in pairwise(self._edges)
        ]
        maxima = self._probability.new_empty((len(tiles), count))
        sums = torch.empty_like(maxima)
        wanted = _Wanted(self._targets[part]) if self._targets is not None else None
        for number, (tokens, tile) in enumerate(tiles):
            self._fill(tile, states, tokens)
            if wanted is not None:
                wanted.take(tile, tokens)
            largest = tile.amax(1, keepdim=True)
            tile.sub_(largest).exp_()
            maxima[number] = largest[:, 0]
            sums[number] = tile.sum(1)
        normaliser = (maxima + sums.log_()).logsumexp(0)
        self._refuse_nonfinite(part, normaliser)
        self.log_normaliser[part] = normaliser
        if wanted is not None and self.losses is not None:
            self.losses[part] = normaliser - torch.as_tensor(wanted.logits, device=normaliser.device)
        factors = maxima.sub_(normaliser).exp_().to(self._dtype)
        for (tokens, tile), factor in zip(tiles, factors, strict=True):
            self._probability[tokens] += factor @ tile

    def _fill(self, tile: torch.Tensor, states: torch.Tensor, tokens: slice) -> None:
        """Logits of ``tokens`` into ``tile``; their sums are added to those that are kept."""
        import torch

        head = self._head
        weight = head.weight[tokens].T
        if head.weight.dtype == self._dtype:
            torch.mm(states, weight, out=tile)
        else:
            tile.copy_(states @ weight)
        middle = self._middle[tokens]
        if not self._centred:
            head.bent(tile, None if head.bias is None else head.bias[tokens])
            tile.sub_(middle)
            assert self._total is not None
            self._total[tokens] += tile.sum(0)
        squares = torch.mul(tile, tile, out=self._room[: tile.numel()].view(tile.shape))
        self._squares[tokens] += squares.sum(0)
        tile.add_(middle)

    def _refuse_nonfinite(self, part: slice, normaliser: torch.Tensor) -> None:
        # A logit of minus infinity shows in the squares alone, a bias of it in the middle alone.
        if all(one.isfinite().all() for one in (normaliser, self._squares, self._middle)):
            return
        for position in range(part.start, part.stop):
            row = self._head.logits(self._states[position : position + 1])[0]
            if not row.isfinite().all():
                token = int((~row.isfinite()).nonzero()[0, 0])
                raise ValueError(
                    f"states: logits are not finite at position {position}: token {token} has "
                    f"{float(row[token])}"
                )
        raise ValueError(
            f"states: logits overflow at positions {part.start} to {part.stop - 1}: their squares, summed "
            f"over positions, are beyond {self._dtype}"
        )

    def averages(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """log_probability, mean_log_probability and logit_sd of :class:`lmscope.TokenAverages`."""
        import torch

        positions = len(self._states)
        middle = self._middle.double()
        variance = self._squares / positions
        if self._total is not None:
            offset = self._total / positions
            middle += offset
            variance -= offset.square_()
        found = (self._probability / positions).log_()
        # Below, what a position adds may have been lost to underflow.
        limits = torch.finfo(self._dtype)
        lost = (self._probability < positions * limits.tiny / limits.eps).nonzero()[:, 0]
        if len(lost):
            found[lost] = self._by_logarithms(lost) - math.log(positions)
        return found, middle.sub_(self.log_normaliser.mean()), variance.clamp_min_(0).sqrt_()

    def _by_logarithms(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logarithms of the summed probabilities of some tokens, whatever their size."""
        import torch

        found = torch.full((len(tokens),), -math.inf, dtype=torch.float64, device=tokens.device)
        many = max(1, _TILE_BYTES // (8 * self._rows))
        for first in range(0, len(tokens), many):
            some = slice(first, first + many)
            for start in range(0, len(self._states), self._rows):
                part = slice(start, start + self._rows)
                made = self._head.logits(self._states[part], tokens[some]).double()
                own = (made - self.log_normaliser[part, None]).logsumexp(0)
                found[some] = torch.logaddexp(found[some], own)
        return found


class _Wanted:
    """The logits of a block's targets, picked from one tile after the other."""

    def __init__(self, targets: npt.NDArray[np.int64]) -> None:
        self._order = np.argsort(targets, kind="stable")
        self._targets = targets[self._order]
        self.logits = np.empty(len(targets))

    def take(self, tile: Any, tokens: slice) -> None:
        import torch

        first, last = np.searchsorted(self._targets, [tokens.start, tokens.stop])
        if first == last:
            return
        rows = self._order[first:last]
        at = [
            torch.from_numpy(one).to(tile.device) for one in (rows, self._targets[first:last] - tokens.start)
        ]
        self.logits[rows] = tile[at[0], at[1]].double().cpu().numpy()
