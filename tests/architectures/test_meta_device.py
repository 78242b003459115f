"""Every registered architecture, built by transformers without memory: its data file knows every matrix."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from transformers import AutoConfig
from transformers.models.auto import modeling_auto

from lmscope.architectures import ROLES, StoredTensor, load_architecture, registered, resolve
from lmscope.architectures.resolve import GUESSED

MAPPINGS = [name for name in dir(modeling_auto) if name.startswith("MODEL_") and name.endswith("_MAPPING")]
TINY = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def models_of(model_type: str) -> list[Any]:
    """Every class that transformers has for the model type, base model and heads."""
    config_class = type(AutoConfig.for_model(model_type))
    found = set()
    for name in MAPPINGS:
        classes = getattr(modeling_auto, name).get(config_class, ())
        found.update(classes if isinstance(classes, tuple) else (classes,))
    return sorted(found, key=lambda model_class: model_class.__name__)


def headers(model: torch.nn.Module) -> dict[str, StoredTensor]:
    return {
        name: StoredTensor(str(value.dtype).removeprefix("torch."), tuple(value.shape), value.nbytes)
        for name, value in model.state_dict().items()
    }


CASES = [(kind, model_class) for kind in registered() for model_class in models_of(kind)]


def test_bert_and_llama_are_registered_with_their_heads() -> None:
    names = {model_class.__name__ for _, model_class in CASES}
    assert {"BertModel", "BertForMaskedLM", "LlamaModel", "LlamaForCausalLM"} <= names


@pytest.mark.parametrize("model_type", registered())
def test_default_tie_is_that_of_transformers(model_type: str) -> None:
    """Older checkpoints leave tie_word_embeddings out of config.json where it has its default."""
    default = AutoConfig.for_model(model_type).tie_word_embeddings
    tied = load_architecture(model_type).tied
    assert tied is not None
    assert tied.default == default
    source = f"{load_architecture(model_type).prefixes[0]}{tied.source}"
    config = {"model_type": model_type, "architectures": ["SomeForCausalLM"]}
    rows = [part.info for part in resolve(config, {source: StoredTensor("float32", (4, 4), 64)}).parts]
    assert [row.tied_to for row in rows] == ([None, source] if default else [None])


@pytest.mark.parametrize(
    ("model_type", "model_class"), CASES, ids=lambda case: getattr(case, "__name__", case)
)
def test_every_matrix_is_known(model_type: str, model_class: Any) -> None:
    config = AutoConfig.for_model(model_type, **TINY)
    with torch.device("meta"):
        model = model_class(config)
    stored = headers(model)
    resolution = resolve({**config.to_dict(), "architectures": [model_class.__name__]}, stored)
    rows = [part.info for part in resolution.parts]

    assert [row.name for row in rows if GUESSED in row.reason] == []
    assert resolution.warnings == ()
    assert {row.stored_name for row in rows} == set(stored)
    assert all(row.role in ROLES for row in rows)
    assert [row.name for row in rows if len(row.shape) == 2 and row.status == "refused"] == []
    biases = {"cls.predictions.decoder.bias"} if config.tie_word_embeddings else set()
    untied = sum(math.prod(tensor.shape) for name, tensor in stored.items() if name in biases)
    assert sum(row.elements for row in rows) - untied == model.num_parameters()
    layers = [row.layer for row in rows if row.role in ("query", "up", "attention_output")]
    assert sorted(set(layers)) == [0, 1]
