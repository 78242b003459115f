"""What a caller of a verb can do wrong."""

from __future__ import annotations


class UsageError(ValueError):
    """An argument of a verb is wrong; the text names it, its value and the way out. Exit code 2."""
