"""Attention of single tokens to a chosen part of a passage, through transformers' attention interface."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from lmscope.representations.quiet import quiet_transformers

if TYPE_CHECKING:
    import torch

_NAME = "lmscope_kept"
_active: ContextVar[_Attention | None] = ContextVar("lmscope_kept_attention", default=None)


class _Attention(Protocol):
    implementation: str

    def __call__(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        **options: Any,
    ) -> tuple[torch.Tensor, Any]: ...


@dataclass
class Recorder:
    """Keeps the keys, the values and the mask of every block while a passage goes through the model once.

    Attributes:
        keys, values: per block, shape (1, key heads, tokens, head dimensions), positions already applied.
        masks: per block, bool, tokens x tokens, true where a query sees a key; None for the plain causal one.
    """

    implementation: str
    keys: list[torch.Tensor] = field(default_factory=list)
    values: list[torch.Tensor] = field(default_factory=list)
    masks: list[torch.Tensor | None] = field(default_factory=list)

    def __call__(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        **options: Any,
    ) -> tuple[torch.Tensor, Any]:
        self.keys.append(key)
        self.values.append(value)
        self.masks.append(None if mask is None else mask[0, 0, :, : key.shape[2]])
        return _attend(self.implementation, module, query, key, value, mask, options)

    def visible(self, block: int, positions: torch.Tensor) -> torch.Tensor:
        """Which tokens the queries at ``positions`` see in ``block``: bool, positions x tokens."""
        import torch

        mask = self.masks[block]
        if mask is not None:
            return mask[positions]
        return torch.arange(self.keys[block].shape[2], device=positions.device) <= positions[:, None]


@dataclass
class Prober:
    """Gives each token of a batch the recorded passage before it, or the kept part of it.

    The batch is one row of N tokens that do not see each other: query n sees the recorded keys that
    ``kept[n]`` names, as far as the block's own mask lets it, and itself. Before ``first_block`` it sees all.
    """

    recorded: Recorder
    positions: torch.Tensor
    kept: torch.Tensor
    first_block: int
    implementation: str = field(init=False)
    _block: int = 0

    def __post_init__(self) -> None:
        self.implementation = self.recorded.implementation

    def __call__(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        **options: Any,
    ) -> tuple[torch.Tensor, Any]:
        import torch

        block, self._block = self._block, self._block + 1
        seen = self.recorded.visible(block, self.positions)
        if block >= self.first_block:
            seen = seen & self.kept
        # Its own key is the one of this batch, not the recorded one.
        seen = seen.scatter(1, self.positions[:, None], False)
        own = torch.eye(len(self.positions), dtype=torch.bool, device=seen.device)
        return _attend(
            self.implementation,
            module,
            query,
            torch.cat([self.recorded.keys[block], key], dim=2),
            torch.cat([self.recorded.values[block], value], dim=2),
            torch.cat([seen, own], dim=1)[None, None],
            options,
        )


@contextmanager
def attention(model: Any, through: Recorder | Prober) -> Iterator[None]:
    """Inside, every attention block of the transformers ``model`` goes through ``through``."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(_NAME, _dispatch)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    previous = model.config._attn_implementation
    token = _active.set(through)
    with quiet_transformers():
        model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        with quiet_transformers():
            model.set_attn_implementation(previous)
        _active.reset(token)


def _dispatch(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, Any]:
    through = _active.get()
    assert through is not None, "the model was left with lmscope's attention"
    return through(module, query, key, value, attention_mask, **options)


def _attend(
    implementation: str,
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    options: dict[str, Any],
) -> tuple[torch.Tensor, Any]:
    """The model's own attention: its module's where it was loaded as "eager", else PyTorch's."""
    import torch
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if implementation != "eager":
        result: tuple[torch.Tensor, Any] = ALL_ATTENTION_FUNCTIONS["sdpa"](
            module, query, key, value, mask, **options
        )
        return result
    if mask is None:
        mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device).tril()[
            None, None
        ]
    added = torch.zeros(mask.shape, dtype=query.dtype, device=query.device)
    added = added.masked_fill(~mask, torch.finfo(query.dtype).min)
    eager = sys.modules[type(module).__module__].eager_attention_forward
    own: tuple[torch.Tensor, Any] = eager(module, query, key, value, added, **options)
    return own
