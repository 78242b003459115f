"""What a causal model says next when only some tokens of its context are kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope.representations.head import log_probabilities
from lmscope.representations.kept_attention import Prober, Recorder, attention
from lmscope.representations.next_token import last_states, token_ids
from lmscope.representations.windows import special_ids

if TYPE_CHECKING:
    import torch

    from lmscope.representations.language_model import LanguageModel

__all__ = ["WAYS", "KeptTokens"]

WAYS = ("last_layer", "all_layers", "deleted")
_PROBES = 256
_PROMPT_TOKENS = 4096
# Largest divergence between the model's own forward pass and one probe that keeps everything: rounding.
_ROUNDING = {"float64": 1e-9, "float32": 1e-4}
_COARSE_ROUNDING = 0.05

Floats = npt.NDArray[np.float64]
Sets = Sequence[npt.ArrayLike]


class KeptTokens:
    """One passage, and the next-token distributions of a causal model when parts of it are left out.

    For a position t and a set S of earlier tokens, the divergence is KL(full || kept) in nats: of the model's
    next-token distribution at t given all tokens 0..t, from the one in which only S is kept. The token at t
    itself always stays. Three ways to keep only S:

    - ``"last_layer"``: in the last block, the query at t attends to S and t alone. Nothing before that block
      changes, so other tokens may still have spoken through the states of those kept.
    - ``"all_layers"``: in every block, the query at t attends to S and t alone. The states of the tokens in S
      are those of the whole passage.
    - ``"deleted"``: the prompt consists of the tokens in S and the one at t, in their order, at positions 0,
      1, ...: what was left out has never been read by any token.

    The passage goes through the model once; a set costs one token more in the first two ways, and a prompt of
    its own length in the third. Equal sets at one position are computed once.

    In float32 and float64, keeping everything gives 0 up to rounding. In bfloat16 rounding alone gives about
    a thousandth of a nat, as much as some sets do: use float32.

    Args:
        model: a causal model.
        ids: token ids of one window, integers of shape (tokens,).
        special: bool of shape (tokens,), which tokens are special; taken from the tokenizer where not given.

    Raises:
        ValueError: the model is an encoder; ``ids`` or ``special`` has the wrong shape.
    """

    def __init__(self, model: LanguageModel, ids: Any, *, special: npt.ArrayLike | None = None) -> None:
        self._model = model
        self._ids = token_ids(model, ids)
        tokens = len(self._ids)
        if special is None:
            special = np.isin(self._ids.cpu().numpy(), list(special_ids(model.tokenizer)))
        self._special = np.asarray(special, dtype=bool)
        if self._special.shape != (tokens,):
            raise ValueError(f"special must have shape ({tokens},), as ids; found {self._special.shape}")
        self._recorded: Recorder | None = None
        self._states: torch.Tensor | None = None
        self._checked = False

    def __repr__(self) -> str:
        return f"KeptTokens({len(self._ids)} tokens, {self._model.label})"

    def divergence(self, position: int, sets: Sets, way: str, keep_special: bool = True) -> Floats:
        """KL(full || kept) in nats of the next-token distribution at ``position``, one for each set.

        Args:
            position: the last token that the model reads.
            sets: index arrays; what they hold at or after ``position`` is refused.
            way: ``"last_layer"``, ``"all_layers"`` or ``"deleted"``.
            keep_special: keep the special tokens before ``position`` too. Without the token that models use
                as a sink of attention their distribution is another, whatever the set.

        Returns:
            float64, shape (sets,).

        Raises:
            ValueError: as :meth:`divergences`.
        """
        return self.divergences([position], [sets], way, keep_special)[0]

    def divergences(
        self, positions: Iterable[int], sets: Sequence[Sets], way: str, keep_special: bool = True
    ) -> list[Floats]:
        """:meth:`divergence` at many positions, whose sets share the model's batches.

        Args:
            positions: as many as ``sets`` has entries.
            sets: the index arrays of each position.

        Raises:
            ValueError: an unknown way; a position outside of the passage; an index that is not before its
                position; a model whose attention cannot be restricted, as its blocks do not go through
                transformers' attention interface or read other tokens by another road (``"deleted"`` works);
                logits that are not finite.
        """
        import torch

        if way not in WAYS:
            raise ValueError(f"way must be one of {', '.join(WAYS)}; found {way!r}")
        chosen = [int(position) for position in positions]
        if len(chosen) != len(sets):
            raise ValueError(f"{len(chosen)} positions need as many lists of sets; found {len(sets)}")
        # Each pair of a position and a set once.
        probes: dict[tuple[int, bytes], int] = {}
        masks: list[npt.NDArray[np.bool_]] = []
        places: list[list[int]] = []
        for position, own_sets in zip(chosen, sets, strict=True):
            places.append([])
            for kept_tokens in own_sets:
                kept = self._kept(position, kept_tokens, keep_special)
                place = probes.setdefault((position, kept.tobytes()), len(probes))
                if place == len(masks):
                    masks.append(kept)
                places[-1].append(place)
        at = [position for position, _ in probes]
        with torch.inference_mode():
            if not probes:
                return [np.empty(0) for _ in chosen]
            found = self._divergences(at, np.array(masks), way)
        return [found[place] for place in places]

    def _kept(self, position: int, kept_tokens: npt.ArrayLike, keep_special: bool) -> npt.NDArray[np.bool_]:
        tokens = len(self._ids)
        if not 0 <= position < tokens:
            raise ValueError(f"position must be within the passage's {tokens} tokens; found {position}")
        indices = np.asarray(kept_tokens, dtype=np.int64)
        if indices.size and not (indices.min() >= 0 and indices.max() < position):
            wrong = indices[(indices < 0) | (indices >= position)].flat[0]
            raise ValueError(f"tokens kept for position {position} must lie before it; found {wrong}")
        kept = np.zeros(tokens, dtype=bool)
        kept[indices] = True
        if keep_special:
            kept[:position] |= self._special[:position]
        return kept

    def _divergences(self, at: list[int], kept: npt.NDArray[np.bool_], way: str) -> Floats:
        import torch

        full = self._full_states()
        if way == "deleted":
            states = self._deleted(at, kept)
        else:
            recorded = self._restrictable()
            first_block = len(recorded.keys) - 1 if way == "last_layer" else 0
            positions = torch.tensor(at, device=full.device)
            masks = torch.from_numpy(kept).to(full.device)
            states = torch.cat(
                [
                    self._probe(
                        recorded,
                        positions[start : start + _PROBES],
                        masks[start : start + _PROBES],
                        first_block,
                    )
                    for start in range(0, len(at), _PROBES)
                ]
            )
        return self._against_full(at, full, states)

    def _full_states(self) -> torch.Tensor:
        """The whole passage, once; keys and values of its blocks are recorded beside."""
        if self._states is None:
            recorder = Recorder(self._model.model.config._attn_implementation)
            with attention(self._model.model, recorder):
                self._states = last_states(self._model, self._ids[None])[0]
            self._recorded = recorder
        return self._states

    def _restrictable(self) -> Recorder:
        """The recorded passage, once probes that keep everything gave the model's own distributions."""
        import torch

        full, recorded = self._full_states(), self._recorded
        assert recorded is not None
        if self._checked:
            return recorded
        kind = self._model.model_type
        if not recorded.keys:
            raise ValueError(
                f"models of type {kind!r} cannot be told which tokens to attend to: their blocks do not go "
                'through transformers\' attention interface; way="deleted" works'
            )
        at = sorted({(len(full) - 1) // 2, len(full) - 1})
        positions = torch.tensor(at, device=full.device)
        everything = torch.ones((len(at), len(full)), dtype=torch.bool, device=full.device)
        found = self._against_full(at, full, self._probe(recorded, positions, everything, 0)).max()
        limit = _ROUNDING.get(str(full.dtype).removeprefix("torch."), _COARSE_ROUNDING)
        if not found <= limit:
            raise ValueError(
                f"models of type {kind!r} read other tokens by more than attention: one token that attends "
                f"to all others should have the model's own distribution up to {limit:g} nats; found a "
                f'divergence of {found:.3g}; way="deleted" works'
            )
        self._checked = True
        return recorded

    def _probe(
        self, recorded: Recorder, positions: torch.Tensor, kept: torch.Tensor, first_block: int
    ) -> torch.Tensor:
        with attention(self._model.model, Prober(recorded, positions, kept, first_block)):
            return last_states(self._model, self._ids[positions][None], positions[None])[0]

    def _deleted(self, at: list[int], kept: npt.NDArray[np.bool_]) -> torch.Tensor:
        """States at the end of the shortened prompts, those of equal length side by side."""
        import torch

        prompts = [np.append(np.flatnonzero(mask), position) for mask, position in zip(kept, at, strict=True)]
        states: list[torch.Tensor | None] = [None] * len(prompts)
        lengths = np.array([len(prompt) for prompt in prompts])
        for length in np.unique(lengths):
            same = np.flatnonzero(lengths == length)
            for start in range(0, len(same), max(1, _PROMPT_TOKENS // int(length))):
                some = same[start : start + max(1, _PROMPT_TOKENS // int(length))]
                indices = torch.from_numpy(np.array([prompts[prompt] for prompt in some]))
                last = last_states(self._model, self._ids[indices.to(self._ids.device)])[:, -1]
                for prompt, state in zip(some, last, strict=True):
                    states[prompt] = state
        return torch.stack([state for state in states if state is not None])

    def _against_full(self, at: list[int], full: torch.Tensor, states: torch.Tensor) -> Floats:
        """KL of every row of ``states`` from the whole passage's row at its position."""
        import torch

        order = np.argsort(at, kind="stable")
        rows, sources = [], []
        previous = -1
        for probe in order:
            if at[probe] != previous:
                previous = at[probe]
                rows.append(full[previous])
                sources.append(-1)
            rows.append(states[probe])
            sources.append(int(probe))
        found = np.empty(len(at))
        for start, block in log_probabilities(self._model, torch.stack(rows)):
            for row, source in zip(block, sources[start : start + len(block)], strict=True):
                if source < 0:
                    probability = row.exp()
                    of_full = _expected(probability, row)
                else:
                    found[source] = max(0.0, of_full - _expected(probability, row))
        return found


def _expected(probability: torch.Tensor, log_probability: torch.Tensor) -> float:
    """Mean of ``log_probability``; tokens of probability 0 count nothing, whatever their logarithm."""
    mean = float(probability @ log_probability)
    # 0 * -inf, where a model rules tokens out.
    if mean != mean:
        mean = float((probability * log_probability).where(probability > 0, 0.0).sum())
    return mean
