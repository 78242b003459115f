"""Attention weights and the norms of value vectors, taken out of chosen blocks while a model runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from lmscope.representations.language_model import LanguageModel
from lmscope.representations.quiet import quiet_transformers

if TYPE_CHECKING:
    import torch

__all__ = ["AttentionRecorder", "NoAttentionWeights"]

# Under which transformers' attention interface finds `_attend`.
_NAME = "lmscope_weights"


class NoAttentionWeights(ValueError):
    """A block of the model computes no attention weights; the message names block and model type."""


class AttentionRecorder:
    """Runs a model and keeps what the blocks ``blocks`` attend to.

    After :meth:`forward`, ``weights[block]`` is batch x heads x queries x keys in the model's dtype, and
    ``value_norms[block]`` batch x heads x keys in float32. Models that call transformers' attention interface
    give both, and their other blocks compute no weights; the others (GPT-J, BLOOM, Falcon, ...) give the
    weights of all blocks as ``output_attentions``, and no value norms. NoAttentionWeights where a block gives
    none.
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
            self.forward([[0]])
            missing = [number for number in blocks if number not in self.weights]
            self.clear()
            if not missing:
                return
        kind = type(model.layers[missing[0]]).__name__
        raise NoAttentionWeights(
            f"attention: block {missing[0]}, a {kind} of model type {model.model_type!r}, gives no attention "
            "weights"
        )

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
        output = self._model.forward(rows, output_attentions=True, **options)
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
