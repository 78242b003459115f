"""Names out of files that strangers wrote, made safe to look at."""

from __future__ import annotations

import unicodedata


def visible(text: str) -> str:
    """Control, bidirectional and other invisible characters as escapes.

    They could reorder, hide or forge what stands around them.
    """
    if text.isprintable():
        return text
    return "".join(letter if _harmless(letter) else repr(letter)[1:-1] for letter in text)


def _harmless(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) == "Zs"
