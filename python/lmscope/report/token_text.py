"""Tokens as a reader can see them: white space and invisible characters by signs."""

from __future__ import annotations

from lmscope.visible import visible

_SIGNS = str.maketrans({"\n": "↵", "\t": "⇥", "\r": "␍"})
_LONGEST = 16


def in_text(token: str) -> str:
    """As it stands in a strip of tokens, where a space beside letters is seen as one."""
    if not token:
        return "∅"
    signed = visible(token.translate(_SIGNS))
    return signed if signed.strip(" ") else "␣" * len(signed)


def alone(token: str) -> str:
    """As it stands by itself: spaces by signs, long ones cut."""
    shown = in_text(token).replace(" ", "␣")
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"
