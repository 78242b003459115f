"""Every registered architecture, built by transformers without memory: its data file knows every matrix."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig
from transformers.models.auto import modeling_auto

from lmscope.architectures import ROLES, StoredTensor, load_architecture, registered, resolve
from lmscope.architectures.resolve import GUESSED

from ..tiny_models import TINY

MAPPINGS = [name for name in dir(modeling_auto) if name.startswith("MODEL_") and name.endswith("_MAPPING")]
LISTED = {
    *("bert", "roberta", "distilbert", "gpt2", "gpt_neox", "opt", "llama", "mistral", "mixtral", "qwen2"),
    *("qwen3", "qwen3_moe", "gemma", "gemma2", "gemma3_text", "phi3", "olmo2", "deepseek_v3"),
}
CROSS_ATTENTION = {"bert", "roberta", "gpt2"}


def models_of(model_type: str) -> list[Any]:
    """Every class that transformers has for the model type, base model and heads."""
    config_class = type(AutoConfig.for_model(model_type))
    found = set()
    for name in MAPPINGS:
        classes = getattr(modeling_auto, name).get(config_class, ())
        found.update(classes if isinstance(classes, tuple) else (classes,))
    own = [model_class for model_class in found if model_class.config_class is config_class]
    return sorted(own, key=lambda model_class: model_class.__name__)


def headers(model: torch.nn.Module) -> dict[str, StoredTensor]:
    return {
        name: StoredTensor(str(value.dtype).removeprefix("torch."), tuple(value.shape), value.nbytes)
        for name, value in model.state_dict().items()
    }


CASES = [(kind, model_class, False) for kind in registered() for model_class in models_of(kind)]
CASES += [(kind, model_class, True) for kind, model_class, _ in CASES if kind in CROSS_ATTENTION]


def test_listed_types_are_registered_with_their_heads() -> None:
    assert set(registered()) >= LISTED
    names = {model_class.__name__ for _, model_class, _ in CASES}
    assert {"BertModel", "BertForMaskedLM", "GPT2ForSequenceClassification", "DeepseekV3ForCausalLM"} <= names


@pytest.mark.parametrize("model_type", registered())
def test_defaults_are_those_of_transformers(model_type: str) -> None:
    """Older checkpoints leave entries out of config.json that have their default."""
    config = AutoConfig.for_model(model_type)
    architecture = load_architecture(model_type)
    assert architecture.tied_by_default == config.tie_word_embeddings
    for entry, default in architecture.defaults.items():
        if isinstance(default, int):
            assert getattr(config, entry) == default
    for _, entry in architecture.pinned:
        assert isinstance(config.to_dict()[entry], int)


@pytest.mark.parametrize("model_type", registered())
def test_a_head_left_out_of_the_file_is_a_row_where_it_is_tied_by_default(model_type: str) -> None:
    architecture = load_architecture(model_type)
    source = f"{architecture.prefixes[0]}{next(iter(architecture.tied.values()))}"
    config = {"model_type": model_type, "architectures": ["SomeForCausalLM"]}
    rows = [part.info for part in resolve(config, {source: StoredTensor("float32", (4, 4), 64)}).parts]
    assert [row.tied_to for row in rows] == ([None, source] if architecture.tied_by_default else [None])
    assert [row.role for row in rows][:2] == ["token_embedding", "unembedding"][: len(rows)]


@pytest.mark.parametrize(
    ("model_type", "model_class", "cross_attention"), CASES, ids=lambda case: getattr(case, "__name__", case)
)
def test_every_matrix_is_known(model_type: str, model_class: Any, cross_attention: bool) -> None:
    more = {"add_cross_attention": True, "is_decoder": True} if cross_attention else {}
    config = AutoConfig.for_model(model_type, **TINY[model_type], **more)
    with torch.device("meta"):
        model = model_class(config)
    stored = headers(model)
    resolution = resolve({**config.to_dict(), "architectures": [model_class.__name__]}, stored)
    rows = [part.info for part in resolution.parts]

    assert [row.name for row in rows if GUESSED in row.reason] == []
    assert resolution.warnings == ()
    assert {row.stored_name for row in rows} == set(stored)
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.role in ROLES for row in rows)
    assert [row.name for row in rows if row.status == "refused"] == []
    assert [row.name for row in rows if len(row.shape) >= 2 and row.role in ("bias", "norm")] == []
    own = {id(value): value.numel() for value in model.state_dict(keep_vars=True).values()}
    assert sum(row.elements for row in rows) == sum(own.values())
    layers = {row.layer for row in rows if row.role in ("query", "key", "value", "attention_output", "down")}
    assert layers == {0, 1, 2}
    if cross_attention:
        assert sum(row.role == "query" and row.layer == 1 for row in rows) == 2
    experts = {row.expert for row in rows if row.role == "down" and row.layer == 2}
    assert experts - {None} == (set(range(4)) if any(row.role == "router" for row in rows) else set())
