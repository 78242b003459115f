"""Reads ``data/<model_type>.toml``: the names of an architecture's tensors and what they are.

Format::

    prefixes = ["model."]               # may stand before any name below (the base model's attribute)

    [tied]                              # optional: the head that may share the embedding's values
    alias = "lm_head.weight"
    source = "embed_tokens.weight"
    default = false                     # where config.json says nothing of tie_word_embeddings

    [tensors]                           # first match wins; {layer}, {expert}: a number; *: one dotted piece
    "layers.{layer}.self_attn.q_proj.weight" = "query"
    "h.{layer}.attn.c_attn.weight" = { parts = ["query", "key", "value"], transposed = true }
    "layers.{layer}.attention.query_key_value.weight" = { parts = [...], groups = "num_attention_heads" }

``transposed``: stored in x out. ``groups``: the config entry that says into how many groups the blocks are
interleaved (see :class:`lmscope.architectures.cut.Cut`). A matrix that is known and deliberately has no role
of its own is "other".
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, cast, get_args

from lmscope.architectures.roles import Role

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_DATA = files("lmscope.architectures") / "data"


@dataclass(frozen=True)
class TensorRule:
    """One line of a data file; a fused tensor has several roles."""

    pattern: re.Pattern[str]
    roles: tuple[Role, ...]
    transposed: bool
    groups: str | None


@dataclass(frozen=True)
class TiedHead:
    """The head that shares the embedding's values where the config says so."""

    alias: str
    source: str
    default: bool


@dataclass(frozen=True)
class Architecture:
    """The names of one model type's tensors."""

    model_type: str
    prefixes: tuple[str, ...]
    rules: tuple[TensorRule, ...]
    tied: TiedHead | None

    def bare(self, name: str) -> str:
        """``name`` without the base model's prefix."""
        for prefix in self.prefixes:
            if name.startswith(prefix):
                return name[len(prefix) :]
        return name

    def match(self, name: str) -> tuple[TensorRule, re.Match[str]] | None:
        """The first rule that knows ``name``, with the numbers found in it."""
        bare = self.bare(name)
        for rule in self.rules:
            found = rule.pattern.fullmatch(bare)
            if found:
                return rule, found
        return None


def registered() -> list[str]:
    """Model types that have a data file."""
    return sorted(f.name.removesuffix(".toml") for f in _DATA.iterdir() if f.name.endswith(".toml"))


@cache
def load_architecture(model_type: str) -> Architecture:
    """The architecture of a registered model type; KeyError for any other."""
    if model_type not in registered():
        raise KeyError(model_type)
    return parse_architecture(model_type, (_DATA / f"{model_type}.toml").read_text(encoding="utf-8"))


def parse_architecture(model_type: str, text: str) -> Architecture:
    """Parses a data file; ValueError names the entry that is not understood."""
    data = tomllib.loads(text)
    unknown = set(data) - {"prefixes", "tied", "tensors"}
    if unknown:
        raise ValueError(f"{model_type}.toml: unknown entries {sorted(unknown)}")
    tied = TiedHead(**data["tied"]) if "tied" in data else None
    rules = tuple(_rule(model_type, name, value) for name, value in data["tensors"].items())
    return Architecture(model_type, tuple(data.get("prefixes", ())), rules, tied)


def _rule(model_type: str, name: str, value: str | Mapping[str, Any]) -> TensorRule:
    entry: dict[str, Any] = {"parts": [value]} if isinstance(value, str) else dict(value)
    unknown = set(entry) - {"parts", "transposed", "groups"}
    roles = tuple(entry.get("parts", ()))
    if unknown or not roles or not set(roles) <= set(get_args(Role)):
        raise ValueError(f"{model_type}.toml: {name!r} = {value!r} is not understood")
    return TensorRule(
        pattern=_pattern(name),
        roles=cast("tuple[Role, ...]", roles),
        transposed=bool(entry.get("transposed", False)),
        groups=entry.get("groups"),
    )


def _pattern(name: str) -> re.Pattern[str]:
    text = re.escape(name).replace(r"\*", r"[^.]+")
    return re.compile(re.sub(r"\\\{(layer|expert)\\\}", r"(?P<\1>[0-9]{1,6})", text))
