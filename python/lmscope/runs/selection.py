"""Which matrices of a checkpoint a run looks at: name globs, layers and roles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from lmscope.architectures import ROLES
from lmscope.runs.errors import UsageError

if TYPE_CHECKING:
    from lmscope.architectures import TensorInfo


@dataclass(frozen=True)
class Selection:
    """All conditions must hold; an empty one holds for every tensor.

    ``include`` and ``exclude`` are shell-style globs (case matters) on a tensor's own name or, for a part
    of a fused tensor, on the name stored in the file.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    layers: frozenset[int] = frozenset()
    roles: frozenset[str] = frozenset()

    def __contains__(self, tensor: TensorInfo) -> bool:
        return self.holds({tensor.name, tensor.stored_name}, tensor.role, tensor.layer)

    def excludes(self, tensor: TensorInfo) -> bool:
        """Whether one of its names is excluded, whatever the other conditions say."""
        return _matches({tensor.name, tensor.stored_name}, self.exclude)

    def holds(self, names: Iterable[str], role: str, layer: int | None) -> bool:
        """The same of a tensor known by these names."""
        if self.layers and layer not in self.layers:
            return False
        if self.roles and role not in self.roles:
            return False
        if self.include and not _matches(names, self.include):
            return False
        return not _matches(names, self.exclude)

    def __str__(self) -> str:
        parts = [f"include {', '.join(self.include)}"] if self.include else []
        parts += [f"exclude {', '.join(self.exclude)}"] if self.exclude else []
        parts += [f"layers {ranges(self.layers)}"] if self.layers else []
        parts += [f"roles {', '.join(role for role in ROLES if role in self.roles)}"] if self.roles else []
        return "; ".join(parts)


def select(
    *,
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
    layers: str | int | Iterable[int] | None = None,
    roles: str | Iterable[str] | None = None,
) -> Selection:
    """Read the four selection arguments of a verb.

    ``layers`` is ``"0-3,7"``, a number or numbers; ``roles`` a name, names, or ``"query,key"``. Raises
    `UsageError` for a layer that is no number and for a role outside the vocabulary.
    """
    names = _strings("include", include), _strings("exclude", exclude)
    return Selection(*names, parse_layers(layers), _parse_roles(roles))


def parse_layers(layers: str | int | Iterable[int] | None) -> frozenset[int]:
    """Read ``"0-3,7"`` (ends included), one number, or numbers."""
    if layers is None:
        return frozenset()
    if isinstance(layers, int):
        layers = (layers,)
    if not isinstance(layers, str):
        numbers = list(layers)
        if not numbers:
            raise UsageError("layers: none given; leave it out to take all")
        for number in numbers:
            if not isinstance(number, int) or number < 0:
                raise UsageError(f"layers: {number!r} is no layer; give numbers from 0 up")
        return frozenset(numbers)
    found: set[int] = set()
    for piece in filter(None, (piece.strip() for piece in layers.split(","))):
        first, dash, last = (part.strip() for part in piece.partition("-"))
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal()) or int(first) > int(last):
            raise UsageError(f"layers: {piece!r} is no layer or range; write for example 0-3,7")
        if int(last) - int(first) > 100_000:
            raise UsageError(f"layers: the range {piece!r} is longer than any model")
        found.update(range(int(first), int(last) + 1))
    if not found:
        raise UsageError(f"layers: {layers!r} names no layer; write for example 0-3,7")
    return frozenset(found)


def _parse_roles(roles: str | Iterable[str] | None) -> frozenset[str]:
    names = [name.strip() for given in _strings("roles", roles) for name in given.split(",") if name.strip()]
    for name in names:
        if name not in ROLES:
            raise UsageError(f"roles: {name!r} is no role; choose from {', '.join(ROLES)}")
    return frozenset(names)


def _strings(name: str, given: str | Iterable[str] | None) -> tuple[str, ...]:
    if given is None:
        return ()
    texts = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Iterable) else (given,)
    for text in texts:
        if not isinstance(text, str):
            raise UsageError(f"{name}: {text!r} is no text")
    if not texts and name != "exclude":
        raise UsageError(f"{name}: none given; leave it out to take all")
    return texts


def _matches(names: Iterable[str], patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def ranges(numbers: Iterable[int]) -> str:
    """``0-3,7``: what `parse_layers` reads."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
