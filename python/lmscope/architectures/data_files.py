"""Reads ``data/<model_type>.toml``: the names of an architecture's tensors and what they are.

Format::

    like = "llama"                      # optional: a copy of that file; what follows adds or replaces
    prefixes = ["model."]               # may stand before any name below (the base model's attribute)
    tied_by_default = false             # where config.json says nothing of tie_word_embeddings
    layers = "num_hidden_layers"        # the config entry that counts layers
    more_layers = "num_nextn_predict_layers"        # optional: that of layers stored behind them

    [tied]                              # alias = source, which share their values where the config says so
    "lm_head.weight" = "embed_tokens.weight"

    [pinned]                            # the config entry that gives a matrix's inputs: the first matrix of
    "embed_tokens.weight" = "hidden_size"               # each line shows whether the config is this model's

    [defaults]                          # what transformers takes where config.json lacks an entry
    num_key_value_heads = "num_attention_heads"
    qk_rope_head_dim = 64

    [tensors]                           # first match wins; {layer}, {expert}: a number; *: one dotted piece
    "layers.{layer}.self_attn.q_proj.weight" = "query"
    "h.{layer}.attn.c_attn.weight" = { parts = ["query", "key", "value"], transposed = true }
    "layers.{layer}.attention.query_key_value.weight" = { parts = [...], groups = "num_attention_heads" }
    "layers.{layer}.kv.weight" = { parts = {latent = "other", rotary = "key"}, sizes = ["rank", "64"] }
    "layers.{layer}.experts.down" = { parts = ["down"], packed = { outputs = "hidden_size" } }

``parts``: the fused blocks in their order, by role, or by label and role. ``transposed``: stored in x out;
``inputs`` is then the config entry that its inputs must equal where config.json has it.
``sizes``: rows of each part in each group, equal where not given. ``groups``: how many groups the blocks are
interleaved in. ``packed``: experts x matrix; the entry that gives the matrices' inputs or outputs tells which
way they are stored, ``transposed`` where it cannot. Sizes are products and quotients of config entries and
numbers. A matrix that is known and deliberately has no role of its own is "other".
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
_TABLES = ("tied", "pinned", "defaults", "tensors")


@dataclass(frozen=True)
class TensorRule:
    """One line of a data file; ``parts`` are (label, role), several where the tensor is fused."""

    pattern: re.Pattern[str]
    parts: tuple[tuple[str, Role], ...]
    transposed: bool
    sizes: tuple[str, ...] | None
    groups: str
    packed: tuple[str, str] | None
    inputs: str | None

    @property
    def is_plain(self) -> bool:
        """Whether the part is the tensor as it is stored."""
        return len(self.parts) == 1 and not self.transposed and self.packed is None


@dataclass(frozen=True)
class Architecture:
    """The names of one model type's tensors; see the module's format.

    ``inner`` matches the text model's attribute inside a model of several parts, which any name may have.
    """

    model_type: str
    prefixes: tuple[str, ...]
    rules: tuple[TensorRule, ...]
    tied: Mapping[str, str]
    tied_by_default: bool
    pinned: tuple[tuple[re.Pattern[str], str], ...]
    defaults: Mapping[str, int | str]
    layers: str | None = None
    more_layers: str | None = None
    inner: re.Pattern[str] | None = None

    def bare(self, name: str) -> str:
        """``name`` without the base model's prefix."""
        if self.inner:
            name = self.inner.sub("", name, count=1)
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

    def example_names(self) -> list[str]:
        """Names of one of its matrices, with and without the base model's prefix."""
        name = next(iter(self.tied.values()))
        return [f"{self.prefixes[0]}{name}", name]


def registered() -> list[str]:
    """Model types that have a data file."""
    return sorted(f.name.removesuffix(".toml") for f in _DATA.iterdir() if f.name.endswith(".toml"))


@cache
def load_architecture(model_type: str) -> Architecture:
    """The architecture of a registered model type; KeyError for any other."""
    if model_type not in registered():
        raise KeyError(model_type)
    return parse_architecture(model_type, _text(model_type))


def parse_architecture(model_type: str, text: str) -> Architecture:
    """Parses a data file; ValueError names the entry that is not understood."""
    data = _read(model_type, text)
    return Architecture(
        model_type=model_type,
        prefixes=tuple(data.get("prefixes", ())),
        rules=tuple(_rule(model_type, name, value) for name, value in data["tensors"].items()),
        tied=data["tied"],
        tied_by_default=bool(data.get("tied_by_default", False)),
        pinned=tuple((_pattern(name), entry) for name, entry in data["pinned"].items()),
        defaults=data["defaults"],
        layers=data.get("layers"),
        more_layers=data.get("more_layers"),
    )


def _text(model_type: str) -> str:
    return (_DATA / f"{model_type}.toml").read_text(encoding="utf-8")


def _read(model_type: str, text: str) -> dict[str, Any]:
    """The file's entries over those of the file that it is like; its own lines of a table come first."""
    own = tomllib.loads(text)
    unknown = set(own) - {"like", "prefixes", "tied_by_default", "layers", "more_layers", *_TABLES}
    if unknown:
        raise ValueError(f"{model_type}.toml: unknown entries {sorted(unknown)}")
    base = _read(own["like"], _text(own["like"])) if "like" in own else {}
    tables = {table: own.get(table, {}) for table in _TABLES}
    for table, lines in tables.items():
        tables[table] = lines | {key: value for key, value in base.get(table, {}).items() if key not in lines}
    return {**base, **own, **tables}


def _rule(model_type: str, name: str, value: str | Mapping[str, Any]) -> TensorRule:
    entry: dict[str, Any] = {"parts": [value]} if isinstance(value, str) else dict(value)
    unknown = set(entry) - {"parts", "transposed", "sizes", "groups", "packed", "inputs"}
    parts = entry.get("parts", ())
    labelled = tuple(parts.items() if isinstance(parts, Mapping) else ((role, role) for role in parts))
    sizes = entry.get("sizes")
    packed = tuple(entry.get("packed", {}).items())
    if (
        unknown
        or not labelled
        or not {role for _, role in labelled} <= set(get_args(Role))
        or (sizes is not None and len(sizes) != len(labelled))
        or len(packed) > 1
        or any(side not in ("inputs", "outputs") for side, _ in packed)
        or ("inputs" in entry and not entry.get("transposed"))
    ):
        raise ValueError(f"{model_type}.toml: {name!r} = {value!r} is not understood")
    return TensorRule(
        pattern=_pattern(name),
        parts=cast("tuple[tuple[str, Role], ...]", labelled),
        transposed=bool(entry.get("transposed", False)),
        sizes=None if sizes is None else tuple(sizes),
        groups=entry.get("groups", "1"),
        packed=packed[0] if packed else None,
        inputs=entry.get("inputs"),
    )


def _pattern(name: str) -> re.Pattern[str]:
    text = re.escape(name).replace(r"\*", r"[^.]+")
    return re.compile(re.sub(r"\\\{(layer|expert)\\\}", r"(?P<\1>[0-9]{1,6})", text))
