"""Tokens as a reader sees them."""

from __future__ import annotations

from lmscope.representations.token_strings import TokenStrings

from ..tiny_tokenizers import character_tokenizer


def test_a_row_without_a_token_is_empty() -> None:
    """Heads are often padded to a round number of rows."""
    tokenizer = character_tokenizer(30)
    first = next(iter(tokenizer.get_vocab().items()))
    strings = TokenStrings(tokenizer)
    assert strings([first[1], len(tokenizer) + 5])[1] == ""
    assert strings([first[1]]) != [""]
