"""Data files are read strictly, build on each other, and turn config entries into sizes."""

from __future__ import annotations

from typing import Any

import pytest

from lmscope.architectures import ROLES, load_architecture, registered
from lmscope.architectures.config_sizes import ConfigSizes
from lmscope.architectures.data_files import parse_architecture


@pytest.mark.parametrize(
    "text",
    [
        '[tensors]\n"w" = "quary"',
        '[tensors]\n"w" = { parts = ["query"], transpose = true }',
        '[tensors]\n"w" = { parts = [] }',
        '[tensors]\n"w" = { parts = ["query", "key"], sizes = ["1"] }',
        '[tensors]\n"w" = { parts = ["down"], packed = { output = "hidden_size" } }',
        '[tensors]\n"w" = { parts = ["query"], inputs = "hidden_size" }',
        'prefix = "model."\n[tensors]\n"w" = "query"',
    ],
)
def test_data_files_are_read_strictly(text: str) -> None:
    with pytest.raises(ValueError, match=r"odd.toml"):
        parse_architecture("odd", text)


def test_a_file_adds_to_the_one_it_is_like_and_replaces_its_lines() -> None:
    text = 'like = "llama"\nprefixes = ["base."]\n[tensors]\n"norm.weight" = "other"\n"extra" = "gate"'
    child, parent = parse_architecture("child", text), load_architecture("llama")
    roles = {name: rule[0].parts for name in ("extra", "norm.weight", "embed_tokens.weight")
             if (rule := child.match(f"base.{name}"))}  # fmt: skip
    assert roles == {
        "extra": (("gate", "gate"),),
        "norm.weight": (("other", "other"),),
        "embed_tokens.weight": (("token_embedding", "token_embedding"),),
    }
    assert child.match("model.extra") is None
    assert (child.tied, child.tied_by_default) == (parent.tied, False)
    assert load_architecture("gemma").tied_by_default


def test_registered_data_files_parse() -> None:
    for model_type in registered():
        assert {role for rule in load_architecture(model_type).rules for _, role in rule.parts} <= set(ROLES)
    with pytest.raises(KeyError):
        load_architecture("no such type")


DEFAULTS: dict[str, int | str] = {"head_dim": "hidden_size / heads", "kv_heads": "heads", "rank": 512}


@pytest.mark.parametrize(
    ("expression", "config", "value"),
    [
        ("heads * head_dim", {"heads": 4, "hidden_size": 32}, 32),
        ("heads * head_dim", {"heads": 4, "hidden_size": 32, "head_dim": 12}, 48),
        ("kv_heads * 3", {"heads": 4, "kv_heads": None}, 12),
        ("rank", {}, 512),
        ("7", {}, 7),
        ("head_dim", {"heads": 5, "hidden_size": 32}, None),
        ("heads", {}, None),
        ("heads", {"heads": "many"}, None),
        ("heads", {"heads": True}, None),
        ("heads", {"heads": 0}, None),
        ("heads", {"heads": -1}, None),
        ("heads", {"heads": 4.0}, None),
        ("heads", {"heads": [4]}, None),
        ("heads", {"heads": 10**300}, None),
        ("head_dim", {"heads": 4, "hidden_size": 32, "head_dim": "hidden_size"}, None),
    ],
)
def test_sizes_out_of_any_config(expression: str, config: dict[str, Any], value: int | None) -> None:
    assert ConfigSizes(config, DEFAULTS).value(expression) == value


def test_sizes_are_described_by_the_entries_they_rest_on() -> None:
    sizes = ConfigSizes({"heads": "many", "hidden_size": 32}, DEFAULTS)
    assert sizes.describe(["kv_heads * head_dim", "2"]) == "heads = 'many', hidden_size = 32"
    assert sizes.describe(["depth"]) == "no depth"
