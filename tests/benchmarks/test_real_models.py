"""Text of two kinds that every Python has."""

from __future__ import annotations

import ast
import sys

from .conftest import benchmark_module


def test_source_code_is_of_another_kind_than_prose() -> None:
    with benchmark_module("real_models") as real_models:
        code = real_models.source_code(4_000)
        prose = real_models.prose(1000, 1_000, whole=True)
        names = real_models._MODULES
    assert len(code) == len(set(code)) == len(names)
    assert set(names) <= set(sys.stdlib_module_names)
    assert {len(text) for text in code} == {4_000}

    def lines_of_code(text: str) -> float:
        """Share of the lines that are a whole statement."""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return sum(map(is_statement, lines)) / len(lines)

    def is_statement(line: str) -> bool:
        try:
            return not isinstance(ast.parse(line).body[0], ast.Expr)
        except (SyntaxError, IndexError):
            return False

    shares = [sum(map(lines_of_code, texts)) / len(texts) for texts in (code, prose)]
    assert shares[0] > 0.15 > 10 * shares[1], shares
