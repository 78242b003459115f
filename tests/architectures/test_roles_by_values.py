"""Roles are right, not only present: the parts, taken by role and layer, reproduce what the model computes.

The model runs on tokens in float64. Its attention function is wrapped, so that query, key and value are seen
as they reach attention; the inputs and outputs of the other blocks come from module hooks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaModel,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from lmscope.checkpoints import Checkpoint, TensorInfo, open_checkpoint

from ..tiny_models import TINY_BERT, TINY_LLAMA, random_model

TOLERANCE = 1e-5
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Blocks:
    """Where a model type computes what: module names inside one layer, and the MLP as a formula."""

    layers: str
    attention: str
    attention_output: str
    mlp_input: str
    mlp_output: str
    mlp: Callable[[Callable[[str, Array], Array], Array], Array]


def bert_mlp(apply: Callable[[str, Array], Array], x: Array) -> Array:
    hidden = torch.nn.functional.gelu(torch.from_numpy(apply("up", x))).numpy()
    return apply("down", hidden)


def llama_mlp(apply: Callable[[str, Array], Array], x: Array) -> Array:
    gate = torch.nn.functional.silu(torch.from_numpy(apply("gate", x))).numpy()
    return apply("down", gate * apply("up", x))


BLOCKS = {
    "bert": Blocks(
        layers="encoder.layer",
        attention="attention.self",
        attention_output="attention.output.dense",
        mlp_input="intermediate",
        mlp_output="output.dense",
        mlp=bert_mlp,
    ),
    "llama": Blocks(
        layers="layers",
        attention="self_attn",
        attention_output="self_attn.o_proj",
        mlp_input="mlp",
        mlp_output="mlp",
        mlp=llama_mlp,
    ),
}


@dataclass
class Seen:
    """What went through one layer; arrays are (batch, tokens, ...)."""

    attention_input: Array = field(default_factory=lambda: np.empty(0))
    query: Array = field(default_factory=lambda: np.empty(0))
    key: Array = field(default_factory=lambda: np.empty(0))
    value: Array = field(default_factory=lambda: np.empty(0))
    context: Array = field(default_factory=lambda: np.empty(0))
    attention_output: Array = field(default_factory=lambda: np.empty(0))
    mlp_input: Array = field(default_factory=lambda: np.empty(0))
    mlp_output: Array = field(default_factory=lambda: np.empty(0))


def numpy(tensor: torch.Tensor) -> Array:
    return tensor.detach().double().numpy().copy()


def flat(heads: torch.Tensor) -> Array:
    """(batch, heads, tokens, head size) -> (batch, tokens, heads * head size)."""
    return numpy(heads.transpose(1, 2).flatten(2))


@contextmanager
def watched(model: Any, blocks: Blocks) -> Iterator[dict[int, Seen]]:
    """Fills one :class:`Seen` per layer while the model runs."""
    seen: dict[int, Seen] = defaultdict(Seen)
    layers = model.base_model.get_submodule(blocks.layers)
    number = {layer.get_submodule(blocks.attention): index for index, layer in enumerate(layers)}

    def attention(module: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        context, weights = sdpa_attention_forward(module, query, key, value, *args, **kwargs)
        here = seen[number[module]]
        here.query, here.key, here.value = flat(query), flat(key), flat(value)
        here.context = numpy(context.flatten(2))
        return context, weights

    AttentionInterface.register("watched", attention)
    AttentionMaskInterface.register("watched", sdpa_mask)
    model.set_attn_implementation("watched")
    hooks = []

    def keep_input(index: int, name: str) -> Any:
        def hook(_: Any, args: Any, kwargs: Any) -> None:
            setattr(seen[index], name, numpy(args[0] if args else kwargs["hidden_states"]))

        return hook

    def keep_output(index: int, name: str) -> Any:
        def hook(_: Any, __: Any, output: Any) -> None:
            setattr(seen[index], name, numpy(output))

        return hook

    for index, layer in enumerate(layers):
        for name, module in (("attention_input", blocks.attention), ("mlp_input", blocks.mlp_input)):
            target = layer.get_submodule(module)
            hooks.append(target.register_forward_pre_hook(keep_input(index, name), with_kwargs=True))
        for name in ("attention_output", "mlp_output"):
            target = layer.get_submodule(getattr(blocks, name))
            hooks.append(target.register_forward_hook(keep_output(index, name)))
    yield seen
    for hook in hooks:
        hook.remove()


def row(checkpoint: Checkpoint, role: str, layer: int | None) -> TensorInfo:
    """The one row of this role and layer."""
    (info,) = [info for info in checkpoint if info.role == role and info.layer == layer]
    return info


def apply(checkpoint: Checkpoint, role: str, layer: int | None, x: Array) -> Array:
    """``x`` times the part of this role and layer, plus the bias that belongs to it."""
    info = row(checkpoint, role, layer)
    weight = checkpoint.load(info.name).astype(np.float64)
    assert weight.shape == info.shape
    biases = [bias for bias in checkpoint if bias.role == "bias" and bias.layer == layer]
    mine = [bias for bias in biases if bias.name.removesuffix("bias") == info.name.removesuffix("weight")]
    result = x @ weight.T
    return result + checkpoint.load(mine[0].name) if mine else result


def config_of(model_type: str, **more: Any) -> Any:
    return BertConfig(**TINY_BERT, **more) if model_type == "bert" else LlamaConfig(**TINY_LLAMA, **more)


CASES = [
    ("bert", BertModel, {}),
    ("bert", BertForMaskedLM, {}),
    ("bert", BertForMaskedLM, {"tie_word_embeddings": False}),
    ("bert", BertForSequenceClassification, {"num_labels": 3}),
    ("llama", LlamaModel, {}),
    ("llama", LlamaForCausalLM, {}),
    ("llama", LlamaForCausalLM, {"tie_word_embeddings": True}),
    ("llama", LlamaForSequenceClassification, {"num_labels": 3, "pad_token_id": 0}),
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[1].__name__}-{'-'.join(case[2])}")
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A random model that has run, as (checkpoint, model, token ids, what was seen, its output)."""
    model_type, model_class, more = request.param
    model = random_model(model_class, config_of(model_type, **more))
    path: Path = tmp_path_factory.mktemp("model")
    model.save_pretrained(path)
    ids = torch.randint(1, 50, (2, 7), generator=torch.Generator().manual_seed(1))
    model = model.double()
    with watched(model, BLOCKS[model_type]) as seen, torch.no_grad():
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
    return open_checkpoint(path), model, ids.numpy(), dict(seen), output


def close(actual: Array, expected: Array) -> None:
    assert actual.shape == expected.shape
    assert np.abs(expected).max() > 0.1  # not satisfied by zeros
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def test_every_layer_was_seen(run: Any) -> None:
    checkpoint, model, _, seen, _ = run
    assert sorted(seen) == [0, 1, 2]
    assert checkpoint.warnings == ()
    assert sum(info.elements for info in checkpoint) == model.num_parameters()


def test_values_reach_attention_at_all_positions(run: Any) -> None:
    checkpoint, _, _, seen, _ = run
    for layer, here in seen.items():
        close(apply(checkpoint, "value", layer, here.attention_input), here.value)


@pytest.mark.parametrize("role", ["query", "key"])
def test_queries_and_keys_reach_attention_at_position_zero(run: Any, role: str) -> None:
    checkpoint, _, _, seen, _ = run
    for layer, here in seen.items():
        close(apply(checkpoint, role, layer, here.attention_input[:, 0]), getattr(here, role)[:, 0])


def test_attention_output(run: Any) -> None:
    checkpoint, _, _, seen, _ = run
    for layer, here in seen.items():
        close(apply(checkpoint, "attention_output", layer, here.context), here.attention_output)


def test_mlp_output(run: Any) -> None:
    checkpoint, _, _, seen, _ = run
    blocks = BLOCKS[checkpoint.model_type]
    for layer, here in seen.items():
        result = blocks.mlp(lambda role, x, layer=layer: apply(checkpoint, role, layer, x), here.mlp_input)
        close(result, here.mlp_output)


def test_embeddings(run: Any) -> None:
    checkpoint, model, ids, _, output = run
    embedded = checkpoint.load(row(checkpoint, "token_embedding", None).name)[ids].astype(np.float64)
    if checkpoint.model_type == "bert":
        embedded += checkpoint.load(row(checkpoint, "position_embedding", None).name)[: ids.shape[1]]
        embedded += checkpoint.load(row(checkpoint, "type_embedding", None).name)[0]
        norm = model.base_model.embeddings.LayerNorm
        with torch.no_grad():
            embedded = norm(torch.from_numpy(embedded)).numpy()
    close(embedded, numpy(output.hidden_states[0]))


def test_heads(run: Any) -> None:
    checkpoint, model, _, _, output = run
    roles = {info.role for info in checkpoint}
    last = numpy(output.hidden_states[-1])
    purpose = type(model).__name__.partition("For")[2]
    head = "unembedding" if purpose.endswith("LM") else "classifier" if purpose else None
    assert roles & {"unembedding", "classifier"} == ({head} if head else set())
    if head == "unembedding" and checkpoint.model_type == "llama":
        close(apply(checkpoint, head, None, last), numpy(output.logits))
    if head == "unembedding" and checkpoint.model_type == "bert":
        with torch.no_grad():
            transformed = numpy(model.cls.predictions.transform(output.hidden_states[-1]))
        weight = checkpoint.load(row(checkpoint, head, None).name)
        close(transformed @ weight.T, numpy(output.logits - model.cls.predictions.decoder.bias))
    if head == "classifier" and checkpoint.model_type == "llama":
        close(apply(checkpoint, head, None, last[:, -1]), numpy(output.logits))
    if "pooler" in roles:
        pooled = np.tanh(apply(checkpoint, "pooler", None, last[:, 0]))
        if head is None:
            close(pooled, numpy(output.pooler_output))
        else:
            close(apply(checkpoint, head, None, pooled), numpy(output.logits))
