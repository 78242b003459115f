"""Sizes out of config.json, which may hold anything."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_NAME = re.compile(r"[a-z_]\w*")
_LARGEST = 2**40


@dataclass(frozen=True)
class ConfigSizes:
    """Evaluates products and quotients of config entries: ``"num_attention_heads * head_dim"``.

    ``defaults`` holds what transformers takes for entries that are absent or null: a number or an expression.
    """

    config: Mapping[str, Any]
    defaults: Mapping[str, int | str]
    _known: dict[str, int | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def value(self, expression: str) -> int | None:
        """A positive integer; None where an entry is missing, no such integer, or a quotient is not whole."""
        if expression not in self._known:
            self._known[expression] = self._evaluate(expression)
        return self._known[expression]

    def first(self, *expressions: str) -> int | None:
        """The value of the first expression that has one."""
        return next(filter(None, map(self.value, expressions)), None)

    def _evaluate(self, expression: str) -> int | None:
        factors = re.split(r"\s*([*/])\s*", expression)
        result = self._factor(factors[0])
        for operator, name in zip(factors[1::2], factors[2::2], strict=True):
            factor = self._factor(name)
            if result is None or factor is None or (operator == "/" and result % factor):
                return None
            result = result * factor if operator == "*" else result // factor
        return result

    def describe(self, expressions: list[str]) -> str:
        """The entries that these expressions rest on and what they hold: "num_attention_heads = 'many'"."""
        names = dict.fromkeys(name for text in expressions for name in self._entries(text))
        return ", ".join(
            f"{name} = {reprlib.repr(self.config[name])}" if self._given(name) else f"no {name}"
            for name in names
        )

    def _factor(self, name: str) -> int | None:
        if not _NAME.fullmatch(name):
            return int(name)
        if self._given(name):
            found = self.config[name]
            usable = isinstance(found, int) and not isinstance(found, bool) and 0 < found < _LARGEST
            return found if usable else None
        default = self.defaults.get(name)
        return self.value(default) if isinstance(default, str) else default

    def _entries(self, expression: str) -> list[str]:
        names: list[str] = []
        for name in _NAME.findall(expression):
            default = None if self._given(name) else self.defaults.get(name)
            names += self._entries(default) if isinstance(default, str) else [name]
        return names

    def _given(self, name: str) -> bool:
        return self.config.get(name) is not None
