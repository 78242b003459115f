"""Next-token distributions of a head that reads its states without some of their dimensions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

    from lmscope.representations.output_head import OutputHead

__all__ = ["RemovalEffects", "removal_effects"]

Floats = npt.NDArray[np.float64]
Dimensions = npt.NDArray[np.int64]

_SCORES_BYTES = 64 << 20
# More positions make no product faster, and leave tiles of a few tokens.
_MOST_POSITIONS = 1024
_WEIGHTS_BYTES = 8 << 20
# Entries of the five float64 arrays that are worked on: those of a core's second-level cache.
_TILE_ON_CPU = 1 << 15
_TILE_ON_DEVICE = 1 << 21


@dataclass(frozen=True)
class RemovalEffects:
    """What removals do at each position; arrays of removals x positions, float64, in nats.

    Attributes:
        js, kl: Jensen-Shannon divergence, and Kullback-Leibler divergence with the untouched distribution in
            front.
        loss: minus the log-probability of the target.
        same_top: bool: no token is more probable than the one that was the most probable.
        baseline_loss: shape (positions,): of the untouched head.
    """

    js: Floats
    kl: Floats
    loss: Floats
    same_top: npt.NDArray[np.bool_]
    baseline_loss: Floats


def removal_effects(
    head: OutputHead,
    states: torch.Tensor,
    targets: npt.NDArray[np.int64],
    chains: Sequence[Sequence[Dimensions]],
    values: Floats,
    *,
    advance: Callable[[int], None] | None = None,
) -> RemovalEffects:
    """Effects of removing dimensions, which then have one value at all positions.

    The untouched head's scores of a block of positions are made once, at most 64 MiB of them, and the change
    of the scores, as large, grows along each chain by the dimensions that are added: nothing cancels in it,
    so that divergences keep their relative precision however small they are.

    Args:
        head: as the model has it.
        states: shape (positions, dimensions), on the head's device.
        targets: token ids, shape (positions,).
        chains: each a sequence of removals; each removal the dimensions that it adds to the one before it.
            Removals are numbered chain by chain.
        values: shape (dimensions,): what a removed dimension is set to.
        advance: called with the number of positions done, once for each removal.

    Raises:
        ValueError: scores that are not finite.
    """
    import torch

    removals, positions = sum(map(len, chains)), len(states)
    found = [np.empty((removals, positions)) for _ in range(3)]
    same_top = np.empty((removals, positions), dtype=bool)
    baseline_loss = np.empty(positions)
    with torch.inference_mode():
        for rows in _blocks(positions, head.vocabulary, head.weight.dtype == torch.float64):
            block = _Block(head, states[rows], torch.as_tensor(targets[rows], device=head.weight.device))
            baseline_loss[rows] = block.baseline_loss()
            for removal, changed in enumerate(block.along(chains, values)):
                for array, column in zip(found, changed[:3], strict=True):
                    array[removal, rows] = column
                same_top[removal, rows] = changed[3]
                if advance is not None:
                    advance(rows.stop - rows.start)
            # Before the next one is made: two would be held.
            del block
    return RemovalEffects(found[0], found[1], found[2], same_top, baseline_loss)


def _blocks(positions: int, vocabulary: int, double: bool) -> Iterator[slice]:
    step = max(1, min(_MOST_POSITIONS, _SCORES_BYTES // (vocabulary * (8 if double else 4))))
    for start in range(0, positions, step):
        yield slice(start, min(start + step, positions))


class _Block:
    """Scores of some positions, tokens in rows: so a few tokens are one piece of memory.

    What is as large as a tile or a piece of the weights is made once: anew each time, it scatters over the
    heap, which grows.
    """

    def __init__(self, head: OutputHead, states: torch.Tensor, targets: torch.Tensor) -> None:
        import torch

        weight = head.weight
        self._head = head
        self._work = torch.float64 if weight.dtype == torch.float64 else torch.float32
        self._states = states.to(self._work).T.contiguous()
        self._positions = len(states)
        self._targets = targets
        self._device = weight.device
        self._places = torch.arange(self._positions, device=self._device)
        shape = (head.vocabulary, self._positions)
        self._scores = torch.empty(shape, dtype=self._work, device=self._device)
        self._change = torch.empty_like(self._scores)
        self._weights = torch.empty(
            max(_WEIGHTS_BYTES // self._work.itemsize, weight.shape[1]), dtype=self._work, device=self._device
        )
        for tokens in self._pieces(weight.shape[1]):
            torch.mm(self._of_work(weight[tokens]), self._states, out=self._scores[tokens])
            if head.bias is not None:
                self._scores[tokens] += head.bias[tokens].to(self._work)[:, None]
        self._scores *= head.scale
        on_cpu = self._device.type == "cpu"
        self._tile = max(1, (_TILE_ON_CPU if on_cpu else _TILE_ON_DEVICE) // self._positions)
        tile = (min(self._tile, head.vocabulary), self._positions)
        self._scratch = [torch.empty(tile, dtype=torch.float64, device=self._device) for _ in range(5)]
        self._top = self._scores.argmax(0)
        self._normaliser, _ = self._normalised(changed=False)

    def baseline_loss(self) -> Floats:
        return self._loss(self._normaliser, changed=False)

    def along(
        self, chains: Sequence[Sequence[Dimensions]], values: Floats
    ) -> Iterator[tuple[Floats, Floats, Floats, npt.NDArray[np.bool_]]]:
        """Divergences, loss and whether the top stays, of each removal of each chain."""
        import torch

        filled = torch.as_tensor(values, device=self._device).to(self._work)[:, None]
        for chain in chains:
            self._change.zero_()
            for added in chain:
                self._remove(torch.as_tensor(added, device=self._device), filled)
                normaliser, largest = self._normalised(changed=True)
                js, kl = self._divergences(normaliser)
                loss = self._loss(normaliser, changed=True)
                same = self._scores_of(self._top, changed=True) >= largest
                yield js.cpu().numpy(), kl.cpu().numpy(), loss, same.cpu().numpy()

    def _pieces(self, dimensions: int) -> Iterator[slice]:
        """Tokens whose weights, in the dtype of the products, take a few megabytes."""
        step = max(1, _WEIGHTS_BYTES // (self._work.itemsize * max(1, dimensions)))
        for start in range(0, self._head.vocabulary, step):
            yield slice(start, min(start + step, self._head.vocabulary))

    def _remove(self, dimensions: torch.Tensor, values: torch.Tensor) -> None:
        less = self._states[dimensions] - values[dimensions]
        for tokens in self._pieces(len(dimensions)):
            columns = self._head.weight[tokens].index_select(1, dimensions)
            self._change[tokens].addmm_(self._of_work(columns), less, alpha=-self._head.scale)

    def _of_work(self, weights: torch.Tensor) -> torch.Tensor:
        """A piece of the weights in the dtype of the products; the next call overwrites it."""
        if weights.dtype == self._work:
            return weights
        return self._weights[: weights.numel()].view(weights.shape).copy_(weights)

    def _tiles(self) -> Iterator[tuple[slice, list[torch.Tensor]]]:
        for start in range(0, self._head.vocabulary, self._tile):
            stop = min(start + self._tile, self._head.vocabulary)
            yield slice(start, stop), [array[: stop - start] for array in self._scratch]

    def _cap(self, scores: torch.Tensor) -> torch.Tensor:
        cap = self._head.softcap
        return scores if cap is None else scores.div_(cap).tanh_().mul_(cap)

    def _scores_of(self, tokens: torch.Tensor, *, changed: bool) -> torch.Tensor:
        """Float64 scores of one token at each position, before the cap."""
        scores = self._scores[tokens, self._places].double()
        return scores + self._change[tokens, self._places] if changed else scores

    def _loss(self, normaliser: torch.Tensor, *, changed: bool) -> Floats:
        logits = self._cap(self._scores_of(self._targets, changed=changed))
        loss: Floats = (normaliser - logits).cpu().numpy()
        return loss

    def _normalised(self, *, changed: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Log of the sum of the logits' exponentials, and the largest score, at each position."""
        import torch

        of_tiles = []
        largest = torch.full((self._positions,), -torch.inf, dtype=torch.float64, device=self._device)
        for tokens, (logits, change, *_) in self._tiles():
            logits.copy_(self._scores[tokens])
            if changed:
                # Added as it is, torch would make a float64 copy of it.
                logits += change.copy_(self._change[tokens])
            highest = logits.amax(0)
            largest = torch.maximum(largest, highest)
            self._cap(logits)
            highest = self._cap(highest)
            of_tiles.append(logits.sub_(highest).exp_().sum(0).log_().add_(highest))
        normaliser = torch.stack(of_tiles).logsumexp(0)
        if not normaliser.isfinite().all():
            raise ValueError(
                "states or weights: the head's scores are not finite"
                + (" once dimensions are removed" if changed else "")
            )
        return normaliser, largest

    def _divergences(self, normaliser: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Jensen-Shannon and Kullback-Leibler divergences from the untouched distribution.

        With d the difference of a token's log-probabilities and u = exp(-|d|) - 1, its term of twice the
        first is max(p, q) * (-(1 + u) |d| - (2 + u) log(1 + u / 2)), which is never negative, whatever the
        sums of p and q: what is left of their rounding does not count.
        """
        import torch

        js = torch.zeros(self._positions, dtype=torch.float64, device=self._device)
        kl = torch.zeros_like(js)
        shift = self._normaliser - normaliser
        for tokens, (before, after, gap, power, half) in self._tiles():
            before.copy_(self._scores[tokens])
            after.copy_(self._change[tokens])
            if self._head.softcap is not None:
                after.add_(before)
                self._cap(before)
                self._cap(after).sub_(before)
            before.sub_(self._normaliser)
            after.add_(shift)
            torch.exp(before, out=gap)
            kl -= gap.mul_(after).sum(0)
            # The larger of the two log-probabilities, and the gap's magnitude below it.
            before.add_(torch.clamp(after, min=0, out=gap))
            torch.abs(after, out=gap).neg_()
            torch.expm1(gap, out=power)
            torch.mul(power, 0.5, out=half).log1p_()
            gap.addcmul_(gap, power).sub_(half.mul_(power.add_(2)))
            js += gap.mul_(before.exp_()).sum(0)
        return js.mul_(0.5).clamp_(min=0), kl.clamp_(min=0)
