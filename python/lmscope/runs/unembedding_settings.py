"""Settings of `unembedding`: checked before any model is loaded, and which of them each table depends on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmscope.runs.errors import UsageError
from lmscope.runs.localize_settings import DTYPES
from lmscope.runs.settings import at_least, checked_seed, one_of, real_number

FACTORS = (0.05, 0.1, 0.5, 2.0, 5.0, 20.0)
ALLOCATION = ("even", "minimum_norm")
"""The most accurate one, and the paper's beside it."""

SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
FILLS = ("zero", "mean")
WINDOW = 128
"""Tokens read at a time where nothing is said: intervals are over windows, of which many are needed."""

LEAST_POSITIONS = 100
"""Of the fitting text: an average over fewer positions is mostly that of a few contexts."""

LEAST_EVALUATED = 20
"""Of held-out and other text."""


@dataclass(frozen=True)
class UnembeddingSettings:
    """`fit`, `held_out`, `other` and `frequency` are digests of texts; `steer` is None for `steer_count`
    middle tokens."""

    fit: str
    held_out: str
    other: str | None
    frequency: str
    window: int | None
    positions: int
    eval_positions: int
    steering: bool
    steer: tuple[int | str, ...] | None
    steer_count: int
    factors: tuple[float, ...]
    allocations: tuple[str, ...]
    calibrate: bool
    removal: bool
    shares: tuple[float, ...]
    removal_positions: int
    js: float
    fill: str
    generations: bool
    prompts: int
    new_tokens: int
    vocabulary_sizes: bool
    controls: bool
    shuffles: int
    untrained: bool
    dtype: str
    seed: int

    @property
    def steered(self) -> int:
        """Tokens that are steered, or fewer where no more fit."""
        return self.steer_count if self.steer is None else len(self.steer)

    def window_of(self, context: int | None) -> int:
        """For a model that takes `context` tokens, None where nothing bounds them."""
        if self.window is not None:
            return self.window
        return WINDOW if context is None else min(WINDOW, context)

    def keys(self, identities: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Analysis -> the settings that its records depend on; `identities` are those of the checkpoints.

        What only some records of an analysis depend on stands under "parts", by a word in their names.
        Controls, shuffles, allocations, calibration and orders are in none: each has records of its own.
        """
        seed = {"seed": self.seed}
        read = {
            "texts": self.fit,
            "window": self.window,
            "positions": self.positions,
            "dtype": self.dtype,
        }
        frequency = {"frequency": self.frequency}
        # Tokens that are not named are drawn.
        tokens = (
            {"steer": None, "steer_count": self.steer_count, **seed}
            if self.steer is None
            else {"steer": list(self.steer)}
        )
        removal = {
            **read,
            "held_out": self.held_out,
            "removal_positions": self.removal_positions,
            "shares": list(self.shares),
            "fill": self.fill,
        }
        return {
            "heads": read,
            "encoding": {**read, "parts": {"frequency": frequency, "shuffled": seed, "untrained": seed}},
            "token_values": read,
            "slope": read,
            "vocabulary_size": {**read, **seed},
            "steering": {
                **read,
                **tokens,
                "held_out": self.held_out,
                "other": self.other,
                "eval_positions": self.eval_positions,
                "factors": list(self.factors),
                "parts": {"random_direction": seed},
            },
            "removal": {**removal, "parts": {"random": seed}},
            "mask": {**removal, "other": self.other, "js": self.js},
            "generations": {
                **read,
                "held_out": self.held_out,
                "prompts": self.prompts,
                "new_tokens": self.new_tokens,
                "parts": self._changed(tokens),
            },
            "dynamics": {**read, **frequency, "checkpoints": list(identities)},
        }

    def _changed(self, tokens: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Settings of continuations of a changed head, by how it is changed."""
        from lmscope.output_embedding.mauve import FEWEST

        seed = {"seed": self.seed}
        # MAUVE clusters at random where there are enough continuations for it.
        scored = seed if self.prompts >= FEWEST else {}
        removed = {"fill": self.fill, **scored}
        return {
            "steered": {**tokens, "factors": [min(self.factors), max(self.factors)], **scored},
            "least": removed,
            "most": removed,
            "random": {**removed, **seed},
        }


def unembedding_settings(
    *,
    fit: str,
    held_out: str,
    other: str | None,
    frequency: str,
    window: int | None,
    positions: int,
    eval_positions: int,
    steering: bool,
    steer: str | int | Iterable[int | str] | None,
    steer_count: int,
    factors: str | float | Iterable[float],
    allocation: str | Iterable[str],
    calibrate: bool,
    removal: bool,
    shares: str | float | Iterable[float] | None,
    removal_positions: int,
    js: float,
    fill: str,
    generations: bool,
    prompts: int,
    new_tokens: int,
    vocabulary_sizes: bool,
    controls: bool,
    shuffles: int,
    untrained: bool,
    dtype: str,
    seed: int,
) -> UnembeddingSettings:
    """Check them; raises `UsageError` naming the first wrong one."""
    tokens = _tokens(steer)
    wanted = bool(steering) and tokens != ()
    limit = real_number("js", js)
    if not 0 < limit <= math.log(2):
        raise UsageError(f"js: {js!r} must be above 0 and at most {math.log(2):.3f}, the logarithm of 2")
    return UnembeddingSettings(
        fit=fit,
        held_out=held_out,
        other=other,
        frequency=frequency,
        window=None if window is None else at_least("window", window, 2),
        positions=at_least("positions", positions, LEAST_POSITIONS),
        eval_positions=at_least("eval_positions", eval_positions, LEAST_EVALUATED),
        steering=wanted,
        steer=tokens,
        steer_count=at_least("steer_count", steer_count, 1),
        factors=checked_factors("factors", numbers("factors", factors)),
        allocations=_allocations(allocation),
        calibrate=bool(calibrate),
        removal=bool(removal),
        shares=SHARES if shares is None else _shares(numbers("shares", shares)),
        removal_positions=at_least("removal_positions", removal_positions, LEAST_EVALUATED),
        js=limit,
        fill=one_of("fill", fill, FILLS),
        generations=bool(generations),
        prompts=at_least("prompts", prompts, 1),
        new_tokens=at_least("new_tokens", new_tokens, 1),
        vocabulary_sizes=bool(vocabulary_sizes),
        controls=bool(controls),
        shuffles=at_least("shuffles", shuffles, 0),
        untrained=bool(untrained),
        dtype=one_of("dtype", dtype, DTYPES),
        seed=checked_seed(seed),
    )


def checked_factors(name: str, factors: Iterable[float]) -> tuple[float, ...]:
    """Ascending; raises `UsageError` for one that no probability can be multiplied by."""
    found = sorted(set(factors))
    if not found:
        raise UsageError(f"{name}: none given; write for example 0.5,2")
    for factor in found:
        if not 0 < factor < math.inf:
            raise UsageError(
                f"{name}: {factor:g} must be above 0 and finite: a mean probability is multiplied by it"
            )
    if 1.0 in found:
        raise UsageError(f"{name}: 1 changes nothing; leave it out")
    return tuple(found)


def numbers(name: str, given: str | float | Iterable[float]) -> list[float]:
    if isinstance(given, str):
        return [real_number(name, piece) for piece in given.split(",") if piece.strip()]
    return [real_number(name, one) for one in (given if isinstance(given, Iterable) else [given])]


def _shares(shares: Iterable[float]) -> tuple[float, ...]:
    found = sorted(set(shares))
    if not found:
        raise UsageError("shares: none given; write for example 0.1,0.3")
    for share in found:
        if not 0 < share < 1:
            raise UsageError(
                f"shares: {share:g} must lie between 0 and 1: that much of the coordinates is removed"
            )
    return tuple(found)


def _tokens(given: str | int | Iterable[int | str] | None) -> tuple[int | str, ...] | None:
    if given is None:
        return None
    found = [given] if isinstance(given, (str, int)) else list(given)
    for one in found:
        if isinstance(one, bool) or not isinstance(one, (str, int)):
            raise UsageError(f"steer: {one!r} is no token; give ids or strings")
    return tuple(dict.fromkeys(found))


def _allocations(given: str | Iterable[str]) -> tuple[str, ...]:
    from lmscope.output_embedding.allocation import ALLOCATIONS

    entries = [given] if isinstance(given, str) else list(given)
    names = [name.strip() for entry in entries for name in entry.split(",") if name.strip()]
    for name in names:
        one_of("allocation", name, ALLOCATIONS)
    if not names:
        raise UsageError(f"allocation: none given; choose from {', '.join(ALLOCATIONS)}")
    return tuple(dict.fromkeys(names))
