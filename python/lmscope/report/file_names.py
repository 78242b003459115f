"""File names that any tensor name can become, without two ever becoming one."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

_LONGEST = 140
_MARKED = re.compile(r"-[0-9a-f]{16}$")


def file_stem(name: str) -> str:
    """The name with underscores for what is not a letter, digit, dot, dash or underscore.

    A name that changes, is too long, or could be taken for a changed one, gets sixteen digits of its SHA-256.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    if safe == name and 0 < len(name) <= _LONGEST and not _MARKED.search(name):
        return name
    return _marked(name, safe)


def file_stems(names: Iterable[str]) -> list[str]:
    """`file_stem` of each, distinct where file systems do not tell capitals from small letters too."""
    names = list(names)
    stems = [file_stem(name) for name in names]
    taken = Counter(stem.casefold() for stem in stems)
    return [
        _marked(name, stem) if taken[stem.casefold()] > 1 and stem == name else stem
        for name, stem in zip(names, stems, strict=True)
    ]


def _marked(name: str, safe: str) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{safe[:_LONGEST]}-{digest}"
