"""Attention weights and the norms of value vectors, taken out of chosen blocks while a model runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from lmscope.representations.language_model import LanguageModel, relative_difference
from lmscope.representations.quiet import quiet_transformers

if TYPE_CHECKING:
    import torch

__all__ = ["AttentionRecorder", "NoAttentionWeights"]

# Under which transformers' attention interface finds `_attend`.
_NAME = "lmscope_weights"
# Eager attention takes its softmax in float32 where others keep the model's dtype.
# In bfloat16 a model of 18 blocks moves by 0.04 between two ways that are both right.
_ROUNDING = {"torch.float64": 1e-4, "torch.float32": 1e-4}
_COARSE_ROUNDING = 0.25


class NoAttentionWeights(ValueError):
    """A block of the model computes no attention weights; the message names block and model type."""


class AttentionRecorder:
    """Runs a model and keeps what the blocks ``blocks`` attend to.

    After :meth:`forward`, ``weights[block]`` is batch x heads x queries x keys in the model's dtype, and
    ``value_norms[block]`` batch x heads x keys in float32. Models that call transformers' attention interface
    give both, and their other blocks compute no weights; the others (GPT-J, BLOOM, Falcon, ...) give the
    weights of all blocks as ``output_attentions``, and no value norms. NoAttentionWeights where a block gives
    none, and where a few tokens show that the weights are not those of the model's forward pass.
    """

    def __init__(self, model: LanguageModel, blocks: Sequence[int]) -> None:
        if not model.layers:
            raise NoAttentionWeights(
                f"attention: model type {model.model_type!r} does not keep its {model.depth} blocks in a list"
            )
        self._model = model
        self._blocks = tuple(blocks)
        self._block_of = {module: number for number in blocks for module in model.layers[number].modules()}
        self.weights: dict[int, torch.Tensor] = {}
        self.value_norms: dict[int, torch.Tensor] = {}
        self._others: Callable[..., Any] | None = None
        self._run: Callable[..., Any] = self._through_interface
        for way in (self._through_interface, self._through_outputs):
            self._run = way
            problem = self._problem()
            self.clear()
            if problem is None:
                return
        raise NoAttentionWeights(f"attention: {problem}")

    def _problem(self) -> str | None:
        """Why the weights are not to be had this way, or are not those of the model's forward pass."""
        model = self._model
        whole = model.some_ids(min(8, model.context or 8))
        rows = [whole, whole[: max(1, len(whole) - 3)]]
        output = self.forward(rows)
        missing = [number for number in self._blocks if number not in self.weights]
        if missing:
            return f"{self._place(missing[0])}, gives no attention weights"
        plain = model.forward(rows).last_hidden_state
        difference = max(
            relative_difference(output.last_hidden_state[row, : len(ids)], plain[row, : len(ids)])
            for row, ids in enumerate(rows)
        )
        if difference > _ROUNDING.get(str(model.dtype), _COARSE_ROUNDING):
            return (
                f"model type {model.model_type!r} has other hidden states while it gives attention weights: "
                f"they differ by {difference:.2g} of their norm"
            )
        for number in self._blocks:
            if model.kind == "causal" and self.weights[number].triu(1).any():
                return f"{self._place(number)}, gives weights of tokens behind the one that attends"
        return None

    def _place(self, number: int) -> str:
        kind = type(self._model.layers[number]).__name__
        return f"block {number}, a {kind} of model type {self._model.model_type!r}"

    def forward(self, rows: list[list[int]], **options: Any) -> Any:
        """The output of :meth:`LanguageModel.forward`; weights and norms are left here."""
        self.clear()
        return self._run(rows, **options)

    def clear(self) -> None:
        """Lets go of the last forward pass's weights and norms."""
        self.weights.clear()
        self.value_norms.clear()

    def _through_interface(self, rows: list[list[int]], **options: Any) -> Any:
        try:
            from transformers.masking_utils import AttentionMaskInterface, eager_mask
            from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
        except ImportError:  # transformers before 4.53
            return None
        ALL_ATTENTION_FUNCTIONS.register(_NAME, _attend)
        AttentionMaskInterface.register(_NAME, eager_mask)
        before = self._model.model.config._attn_implementation
        self._others = ALL_ATTENTION_FUNCTIONS["sdpa"] if before == "sdpa" else None
        with _implementation(self._model.model, _NAME, before):
            token = _recorder.set(self)
            try:
                return self._model.forward(rows, **options)
            finally:
                _recorder.reset(token)

    def _through_outputs(self, rows: list[list[int]], **options: Any) -> Any:
        # With sdpa, Falcon's blocks leave the mask out. set_attn_implementation refuses such models.
        config = self._model.base.config
        before = config._attn_implementation
        config._attn_implementation = "eager"
        try:
            output = self._model.forward(rows, output_attentions=True, **options)
        finally:
            config._attn_implementation = before
        weights = getattr(output, "attentions", None) or ()
        tokens = max(map(len, rows))
        if len(weights) == self._model.depth:
            for block in self._blocks:
                if weights[block] is not None and tuple(weights[block].shape[2:]) == (tokens, tokens):
                    self.weights[block] = weights[block]
        return output

    def attend(self, module: Any, *arguments: Any, **options: Any) -> Any:
        """What a module's own attention gives, recorded where its block is wanted."""
        block = self._block_of.get(module)
        if block is None and self._others is not None:
            return self._others(module, *arguments, **options)
        # Each model file has its own, with what is peculiar to the model, such as capped or sink logits.
        output, weights = sys.modules[type(module).__module__].eager_attention_forward(
            module, *arguments, **options
        )
        if block is not None:
            value = arguments[2]
            norms = value.float().norm(dim=-1)
            self.weights[block] = weights
            self.value_norms[block] = norms.repeat_interleave(weights.shape[1] // norms.shape[1], dim=1)
        return output, weights


_recorder: ContextVar[AttentionRecorder] = ContextVar("lmscope_attention_recorder")


def _attend(module: Any, *arguments: Any, **options: Any) -> Any:
    return _recorder.get().attend(module, *arguments, **options)


@contextmanager
def _implementation(model: Any, name: str, before: str) -> Iterator[None]:
    with quiet_transformers():
        model.set_attn_implementation(name)
    try:
        yield
    finally:
        with quiet_transformers():
            model.set_attn_implementation(before)
