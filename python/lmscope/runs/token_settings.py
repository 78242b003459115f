"""Settings of `tokens`: checked before the model is loaded, and which of them each table depends on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lmscope.runs.errors import UsageError
from lmscope.runs.selection import parse_layers
from lmscope.runs.settings import at_least, checked_seed, one_of, real_number

DTYPES = ("auto", "float32", "bfloat16", "float16")
DEVICES = ("auto", "cpu", "cuda")
SPECIAL = ("keep", "drop")
MOST_DISTANCE_TEXTS = 12
"""Texts that are compared with each other, the first ones: the states of all of them are held, ..."""

MOST_DISTANCE_TOKENS = 2048
"""... of the first so many tokens of each."""


@dataclass(frozen=True)
class TokenSettings:
    """What changes a record; `texts` is the digest of what is read, `layers` None for all."""

    texts: str
    layers: frozenset[int] | None
    window: int | None
    special: str
    epsilon2: float
    center: bool
    normalize_rows: bool
    untrained: bool
    positions: int
    min_context: int
    ks: tuple[int, ...]
    ridge: float
    divergence: bool
    dtype: str
    seed: int

    def keys(self, identities: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Analysis -> the settings that its records depend on; `identities` are those of the checkpoints.

        Layers are in none: each has a record of its own, and so has each checkpoint.
        """
        read = {"texts": self.texts, "window": self.window, "dtype": self.dtype}
        sampled = {**read, "positions": self.positions, "min_context": self.min_context, "seed": self.seed}
        entropy = {
            **read,
            "special": self.special,
            "epsilon2": self.epsilon2,
            "center": self.center,
            "normalize_rows": self.normalize_rows,
            "untrained": self.untrained,
            "seed": self.seed,
        }
        return {
            "entropy": entropy,
            "entropy_law": {**entropy, "checkpoints": list(identities)},
            "passages": sampled,
            "positions": {**sampled, "steps": self.steps},
            "selection": {
                **sampled,
                "ks": list(self.ks),
                "ridge": self.ridge,
                "divergence": self.divergence,
            },
            "distances": {
                **read,
                "special": self.special,
                "epsilon2": self.epsilon2,
                "normalize_rows": self.normalize_rows,
                "most_texts": MOST_DISTANCE_TEXTS,
                "most_tokens": MOST_DISTANCE_TOKENS,
            },
        }

    @property
    def steps(self) -> int:
        """How far the Lasso's path is followed."""
        return max(self.ks)


def token_settings(
    *,
    texts: str,
    layers: str | int | Iterable[int] | None,
    window: int | None,
    special: str,
    epsilon2: float,
    center: bool,
    normalize_rows: bool,
    untrained: bool,
    positions: int,
    min_context: int,
    k: str | int | Iterable[int],
    ridge: float,
    divergence: bool,
    dtype: str,
    seed: int,
) -> TokenSettings:
    """Check them; raises `UsageError` naming the first wrong one."""
    return TokenSettings(
        texts=texts,
        layers=None if layers in (None, "all") else parse_layers(layers),
        window=None if window is None else at_least("window", window, 2),
        special=one_of("special", special, SPECIAL),
        epsilon2=_positive("epsilon2", epsilon2),
        center=bool(center),
        normalize_rows=bool(normalize_rows),
        untrained=bool(untrained),
        positions=at_least("positions", positions, 0),
        min_context=at_least("min_context", min_context, 1),
        ks=_budgets(k),
        ridge=_positive("ridge", ridge),
        divergence=bool(divergence),
        dtype=one_of("dtype", dtype, DTYPES),
        seed=checked_seed(seed),
    )


def check_token_device(device: str) -> str:
    """Raise `UsageError` for a name that is no device."""
    return one_of("device", device, DEVICES)


def _positive(name: str, value: Any) -> float:
    found = real_number(name, value)
    if not 0 < found < float("inf"):
        raise UsageError(f"{name}: {value!r} must be above 0 and finite")
    return found


def _budgets(k: str | int | Iterable[int]) -> tuple[int, ...]:
    given: list[Any] = [k] if isinstance(k, int) else list(k.split(",") if isinstance(k, str) else k)
    found = set()
    for entry in given:
        piece = entry.strip() if isinstance(entry, str) else entry
        if piece == "":
            continue
        number = int(piece) if isinstance(piece, str) and piece.isdecimal() else piece
        found.add(at_least("k", number, 1))
    if not found:
        raise UsageError(f"k: {k!r} names no number of tokens; write for example 1,2,4,8,16")
    return tuple(sorted(found))
