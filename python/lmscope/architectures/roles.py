"""The role vocabulary: what a tensor does in the model."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Role: TypeAlias = Literal[
    "query",
    "key",
    "value",
    "attention_output",
    "gate",
    "up",
    "down",
    "router",
    "token_embedding",
    "position_embedding",
    "type_embedding",
    "unembedding",
    "pooler",
    "classifier",
    "norm",
    "bias",
    "buffer",
    "other",
]

ROLES: tuple[Role, ...] = get_args(Role)
