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
from safetensors.numpy import load_file, save_file
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
)
from transformers.activations import ACT2FN
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from lmscope.checkpoints import Checkpoint, TensorInfo, open_checkpoint

from ..tiny_models import TINY, random_model

TOLERANCE = 1e-5
LAYERS = 3
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Facts:
    """What a model type computes where: module names inside one layer, and formulas beside the matrices."""

    layers: str = "layers"
    attention: str = "self_attn"
    attention_output: str = "self_attn.o_proj"
    mlp_input: str = "mlp"
    mlp_output: str = "mlp"
    activation: str = "silu"
    gated: bool = True
    query_scale: float = 1.0
    embedding_scale: float = 1.0
    embedding_norm: str = ""
    position_offset: int = 0
    classifier: str = "score"


BERT = Facts(
    layers="encoder.layer",
    attention="attention.self",
    attention_output="attention.output.dense",
    mlp_input="intermediate",
    mlp_output="output.dense",
    activation="gelu",
    gated=False,
    embedding_norm="embeddings.LayerNorm",
    classifier="classifier",
)
GEMMA = Facts(activation="gelu_pytorch_tanh", embedding_scale=32**0.5)
FACTS = {
    "bert": BERT,
    "roberta": Facts(**vars(BERT) | {"position_offset": 2, "classifier": "classifier.out_proj"}),
    "distilbert": Facts(
        layers="transformer.layer",
        attention="attention",
        attention_output="attention.out_lin",
        mlp_input="ffn",
        mlp_output="ffn",
        activation="gelu",
        gated=False,
        embedding_norm="embeddings.LayerNorm",
        classifier="classifier",
    ),
    "gpt2": Facts(
        layers="h", attention="attn", attention_output="attn.c_proj", activation="gelu_new", gated=False
    ),
    "gpt_neox": Facts(
        attention="attention", attention_output="attention.dense", activation="gelu", gated=False
    ),
    "opt": Facts(
        layers="decoder.layers",
        attention_output="self_attn.out_proj",
        mlp_input="fc1",
        mlp_output="fc2",
        activation="relu",
        gated=False,
        query_scale=8**-0.5,
        position_offset=2,
    ),
    "gemma": GEMMA,
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
}


@dataclass
class Seen:
    """What went through one layer; arrays are (batch, tokens, ...)."""

    module: Any = None
    attention_input: Array = field(default_factory=lambda: np.empty(0))
    query: Array = field(default_factory=lambda: np.empty(0))
    key: Array = field(default_factory=lambda: np.empty(0))
    value: Array = field(default_factory=lambda: np.empty(0))
    context: Array = field(default_factory=lambda: np.empty(0))
    attention_output: Array = field(default_factory=lambda: np.empty(0))
    mlp_input: Array = field(default_factory=lambda: np.empty(0))
    mlp_output: Array = field(default_factory=lambda: np.empty(0))


@dataclass
class Run:
    """A model that has run, its checkpoint and what was seen; ``heads`` maps roles to (input, output)."""

    checkpoint: Checkpoint
    model: Any
    ids: NDArray[np.int64]
    layers: dict[int, Seen]
    heads: dict[str, tuple[Array, Array]]
    embedded: Array

    @property
    def facts(self) -> Facts:
        return FACTS.get(self.checkpoint.model_type or "", Facts())


def numpy(tensor: torch.Tensor) -> Array:
    return tensor.detach().double().numpy().copy()


def flat(heads: torch.Tensor) -> Array:
    """(batch, heads, tokens, head size) -> (batch, tokens, heads * head size)."""
    return numpy(heads.transpose(1, 2).flatten(2))


@contextmanager
def watched(model: Any, facts: Facts) -> Iterator[tuple[dict[int, Seen], dict[str, tuple[Array, Array]]]]:
    """Fills one :class:`Seen` per layer, and the inputs and outputs of the heads, while the model runs."""
    seen: dict[int, Seen] = defaultdict(Seen)
    heads: dict[str, tuple[Array, Array]] = {}
    layers = model.base_model.get_submodule(facts.layers)
    number = {layer.get_submodule(facts.attention): index for index, layer in enumerate(layers)}

    def attention(module: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("softcap", None)  # Gemma 2's; only what goes in and what comes out is looked at
        context, weights = sdpa_attention_forward(module, query, key, value, *args, **kwargs)
        here = seen[number[module]]
        here.module = module
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

    def keep_head(role: str) -> Any:
        def hook(_: Any, args: Any, output: Any) -> None:
            heads[role] = numpy(args[0]), numpy(output)

        return hook

    for index, layer in enumerate(layers):
        for name, module in (("attention_input", facts.attention), ("mlp_input", facts.mlp_input)):
            target = layer.get_submodule(module)
            hooks.append(target.register_forward_pre_hook(keep_input(index, name), with_kwargs=True))
        for name in ("attention_output", "mlp_output"):
            target = layer.get_submodule(getattr(facts, name))
            hooks.append(target.register_forward_hook(keep_output(index, name)))
    modules = dict(model.named_modules())
    found = {
        "unembedding": model.get_output_embeddings(),
        "classifier": modules.get(facts.classifier),
        "pooler": next((module for name, module in modules.items() if name.endswith("pooler.dense")), None),
    }
    hooks += [module.register_forward_hook(keep_head(role)) for role, module in found.items() if module]
    yield seen, heads
    for hook in hooks:
        hook.remove()


def rows(checkpoint: Checkpoint, role: str, layer: int | None, expert: int | None = None) -> list[TensorInfo]:
    """The rows of this role, layer and expert."""
    return [info for info in checkpoint if (info.role, info.layer, info.expert) == (role, layer, expert)]


def times(checkpoint: Checkpoint, info: TensorInfo, x: Array) -> Array:
    """``x`` times the row's part, plus its share of the bias that belongs to the stored tensor."""
    weight = checkpoint.load(info.name).astype(np.float64)
    assert weight.shape == info.shape
    result = x @ weight.T
    bias = info.stored_name.removesuffix("weight") + "bias"
    if bias not in {other.name for other in checkpoint if other.name != info.stored_name}:
        return result
    siblings = [other.role for other in checkpoint if other.stored_name == info.stored_name]
    values = checkpoint.load(bias)
    if len(siblings) > 1 and checkpoint.model_type == "gpt_neox":
        heads = values.reshape(checkpoint.config["num_attention_heads"], len(siblings), -1)
        return result + heads[:, siblings.index(info.role)].ravel()
    if len(siblings) > 1:
        return result + np.split(values, len(siblings))[siblings.index(info.role)]
    return result + values


def apply(checkpoint: Checkpoint, role: str, layer: int | None, x: Array, expert: int | None = None) -> Array:
    """``x`` times the one part of this role, layer and expert."""
    (info,) = rows(checkpoint, role, layer, expert)
    return times(checkpoint, info, x)


def by_module(module: Any, x: Array) -> Array:
    """``x`` through one of the model's own norms."""
    with torch.no_grad():
        return numpy(module(torch.from_numpy(x)))


def close(actual: Array, expected: Array) -> None:
    assert actual.shape == expected.shape
    assert np.abs(expected).max() > 0.1  # not satisfied by zeros
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


HEADS = {
    "base": AutoModel,
    "causal": AutoModelForCausalLM,
    "masked": AutoModelForMaskedLM,
    "classification": AutoModelForSequenceClassification,
}
PACKED = ("mixtral", "qwen3_moe", "deepseek_v3")
MASKED = ("bert", "roberta", "distilbert")
CASES: list[tuple[str, str, str, dict[str, Any]]] = []
for kind in TINY:
    CASES += [(kind, "masked" if kind in MASKED else "causal", "", {}), (kind, "base", "", {})]
for kind in PACKED:
    CASES += [(kind, "causal", layout, {}) for layout in ("packed", "packed transposed")]
for kind in ("bert", "roberta", "distilbert", "gpt2", "gpt_neox", "opt", "llama", "gemma3_text"):
    padding = {} if kind in MASKED else {"pad_token_id": 0}
    CASES.append((kind, "classification", "", {"num_labels": 3} | padding))
CASES += [
    ("bert", "masked", "", {"tie_word_embeddings": False}),
    ("llama", "causal", "", {"tie_word_embeddings": True}),
    ("gpt2", "causal", "", {"tie_word_embeddings": False}),
    ("phi3", "causal", "", {"num_key_value_heads": None}),
    ("deepseek_v3", "causal", "", {"q_lora_rank": None}),
]


def save(model: Any, path: Path, layout: str) -> None:
    """Writes the checkpoint; experts one by one, packed as transformers 5 holds them, or those turned."""
    model.save_pretrained(path, save_original_format=not layout)
    if layout == "packed transposed":
        tensors = load_file(path / "model.safetensors")
        for name, value in tensors.items():
            tensors[name] = np.ascontiguousarray(value.swapaxes(1, 2)) if value.ndim == 3 else value
        save_file(tensors, path / "model.safetensors")


@pytest.fixture(
    scope="module", params=CASES, ids=lambda case: "-".join([*case[:2], *case[2].split(), *case[3]])
)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A random model that has run."""
    model_type, head, layout, more = request.param
    config = AutoConfig.for_model(model_type, **TINY[model_type] | more)
    model = random_model(HEADS[head].from_config, config)
    path: Path = tmp_path_factory.mktemp("model")
    save(model, path, layout)
    ids = torch.randint(2, 50, (2, 7), generator=torch.Generator().manual_seed(1))
    model = model.double()
    if model_type in PACKED:
        model.set_experts_implementation("eager")
    facts = FACTS.get(model_type, Facts())
    with watched(model, facts) as (seen, heads), torch.no_grad():
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
    return Run(open_checkpoint(path), model, ids.numpy(), dict(seen), heads, numpy(output.hidden_states[0]))


def test_every_layer_was_seen(run: Run) -> None:
    assert sorted(run.layers) == list(range(LAYERS))
    assert run.checkpoint.warnings == ()
    stored = {id(value): value.numel() for value in run.model.state_dict(keep_vars=True).values()}
    assert sum(info.elements for info in run.checkpoint) == sum(stored.values())
    assert {info.status for info in run.checkpoint} <= {"planned", "skipped"}


def latent(run: Run, layer: int, x: Array) -> Array:
    """DeepSeek's compressed keys and values."""
    (info,) = [info for info in run.checkpoint if info.layer == layer and info.name.endswith("#latent")]
    assert info.role == "other"
    return by_module(run.layers[layer].module.kv_a_layernorm, times(run.checkpoint, info, x))


def test_values_reach_attention_at_all_positions(run: Run) -> None:
    for layer, here in run.layers.items():
        x = here.attention_input
        if run.checkpoint.model_type == "deepseek_v3":
            x = latent(run, layer, x)
        close(apply(run.checkpoint, "value", layer, x), here.value)


@pytest.mark.parametrize("role", ["query", "key"])
def test_queries_and_keys_reach_attention_at_position_zero(run: Run, role: str) -> None:
    for layer, here in run.layers.items():
        x = here.attention_input[:, 0]
        if run.checkpoint.model_type == "deepseek_v3":
            mine = deepseek_queries(run, layer, x) if role == "query" else deepseek_keys(run, layer, x)
        else:
            mine = apply(run.checkpoint, role, layer, x)
            norm = getattr(here.module, f"{role[0]}_norm", None)
            if norm is not None:
                mine = by_module(norm, mine.reshape(len(mine), -1, norm.weight.numel())).reshape(mine.shape)
        scale = run.facts.query_scale if role == "query" else 1.0
        close(mine * scale, getattr(here, role)[:, 0])


def deepseek_queries(run: Run, layer: int, x: Array) -> Array:
    module = run.layers[layer].module
    for info in rows(run.checkpoint, "query", layer):
        if "q_b_proj" in info.name:
            x = by_module(module.q_a_layernorm, x)
        x = times(run.checkpoint, info, x)
    heads = x.reshape(len(x), module.num_heads, -1)
    rotary = heads[..., module.qk_nope_head_dim :]
    return np.concatenate([heads[..., : module.qk_nope_head_dim], paired(rotary)], -1).reshape(len(x), -1)


def deepseek_keys(run: Run, layer: int, x: Array) -> Array:
    module = run.layers[layer].module
    by_label = {info.name.partition("#")[2]: info for info in rows(run.checkpoint, "key", layer)}
    assert set(by_label) == {"key", "rotary"}
    keys = times(run.checkpoint, by_label["key"], latent(run, layer, x)).reshape(len(x), module.num_heads, -1)
    rotary = paired(times(run.checkpoint, by_label["rotary"], x))[:, None]
    rotary = np.broadcast_to(rotary, (*keys.shape[:2], rotary.shape[-1]))
    return np.concatenate([keys, rotary], -1).reshape(len(x), -1)


def paired(rotary: Array) -> Array:
    """DeepSeek rotates neighbours; its attention puts the first of all pairs before the second."""
    return np.concatenate([rotary[..., 0::2], rotary[..., 1::2]], -1)


def test_attention_output(run: Run) -> None:
    for layer, here in run.layers.items():
        close(apply(run.checkpoint, "attention_output", layer, here.context), here.attention_output)


def mlp(run: Run, layer: int, x: Array, expert: int | None = None) -> Array:
    def part(role: str, x: Array) -> Array:
        return apply(run.checkpoint, role, layer, x, expert)

    activation: Callable[[torch.Tensor], torch.Tensor] = ACT2FN[run.facts.activation]
    hidden = numpy(activation(torch.from_numpy(part("gate" if run.facts.gated else "up", x))))
    return part("down", hidden * part("up", x) if run.facts.gated else hidden)


def routed(run: Run, layer: int, x: Array) -> Array:
    """The weight of every expert for every token, zero for those not chosen; tokens x experts."""
    config = run.checkpoint.config
    logits = apply(run.checkpoint, "router", layer, x)
    if run.checkpoint.model_type == "deepseek_v3":
        scores = 1 / (1 + np.exp(-logits))
        scale = config["routed_scaling_factor"]
    else:
        scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        scale = 1.0
    dropped = np.argsort(scores, -1)[..., : -config["num_experts_per_tok"]]
    np.put_along_axis(scores, dropped, 0.0, -1)
    result: Array = scale * scores / scores.sum(-1, keepdims=True)
    return result


def test_mlp_output(run: Run) -> None:
    for layer, here in run.layers.items():
        x = here.mlp_input
        if not rows(run.checkpoint, "router", layer):
            close(mlp(run, layer, x), here.mlp_output)
            continue
        weights = routed(run, layer, x)
        assert (weights.reshape(-1, 4) > 0).any(0).all()  # each expert is seen
        total = sum(weights[..., [expert]] * mlp(run, layer, x, expert) for expert in range(4))
        if rows(run.checkpoint, "gate", layer):
            total = total + mlp(run, layer, x)
        close(total, here.mlp_output)


def test_experts_are_rows_of_their_own(run: Run) -> None:
    if run.checkpoint.model_type not in PACKED:
        assert all(info.expert is None and info.role != "router" for info in run.checkpoint)
        return
    dense = () if run.checkpoint.model_type == "mixtral" else (0,)
    shapes = {"gate": (20, 32), "up": (20, 32), "down": (32, 20)}
    for layer in set(range(LAYERS)) - set(dense):
        for role, shape in shapes.items():
            parts = [rows(run.checkpoint, role, layer, expert) for expert in range(4)]
            assert [[info.shape for info in part] for part in parts] == [[shape]] * 4


def test_embeddings(run: Run) -> None:
    checkpoint, facts = run.checkpoint, run.facts
    (tokens,) = rows(checkpoint, "token_embedding", None)
    embedded = facts.embedding_scale * checkpoint.load(tokens.name)[run.ids].astype(np.float64)
    if checkpoint.model_type == "opt":
        (project,) = [info for info in checkpoint if info.name.endswith("project_in.weight")]
        embedded = times(checkpoint, project, embedded)
    for positions in rows(checkpoint, "position_embedding", None):
        first = facts.position_offset
        embedded += checkpoint.load(positions.name)[first : first + run.ids.shape[1]]
    for types in rows(checkpoint, "type_embedding", None):
        embedded += checkpoint.load(types.name)[0]
    if facts.embedding_norm:
        embedded = by_module(run.model.base_model.get_submodule(facts.embedding_norm), embedded)
    close(embedded, run.embedded)
    has_positions = checkpoint.model_type in (*MASKED, "gpt2", "opt")
    assert bool(rows(checkpoint, "position_embedding", None)) == has_positions
    assert bool(rows(checkpoint, "type_embedding", None)) == (checkpoint.model_type in ("bert", "roberta"))


def test_heads(run: Run) -> None:
    present = {info.role for info in run.checkpoint} & {"unembedding", "classifier", "pooler"}
    assert present == set(run.heads)
    for role, (x, expected) in run.heads.items():
        (info,) = rows(run.checkpoint, role, None)
        if role != "unembedding":
            close(times(run.checkpoint, info, x), expected)
            continue
        bias = run.model.get_output_embeddings().bias  # where tied, the checkpoint keeps it elsewhere
        without = expected if bias is None else expected - bias.detach().numpy()
        close(x @ run.checkpoint.load(info.name).astype(np.float64).T, without)
