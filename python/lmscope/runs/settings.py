"""Settings of an analysis: checked before any weight is read, reduced to those that change its records."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from lmscope.analyses.nulls import NULLS, ROUNDINGS
from lmscope.runs.errors import UsageError
from lmscope.runs.vectors import VECTORS

SMALLEST_RATE = 1.3e-4
"""The draws that calibrate the iid null, at least 8192 for a shape, resolve no smaller rate."""

DEVICES = ("auto", "cpu")


@dataclass(frozen=True)
class SpectraSettings:
    """Arguments of `lmscope.analyses.spectra.spectrum_verdict`, the same for every matrix of a run."""

    nulls: tuple[str, ...] = NULLS
    draws: int = 19
    seed: int = 0
    false_positive_rate: float = 0.01

    def key(self) -> dict[str, Any]:
        """The settings that change a record: `draws` matters only where a null is drawn."""
        drawn = "permutation" in self.nulls or "sign_flip" in self.nulls
        return {
            "nulls": list(self.nulls),
            "draws": self.draws if drawn else None,
            "seed": self.seed,
            "false_positive_rate": self.false_positive_rate,
        }

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `spectrum_verdict`."""
        return {
            "nulls": self.nulls,
            "draws": self.draws,
            "seed": self.seed,
            "false_positive_rate": self.false_positive_rate,
        }


def spectra_settings(
    *, nulls: str | Iterable[str], draws: int, seed: int, false_positive_rate: float
) -> SpectraSettings:
    """Check the settings of the spectra analysis; raises `UsageError` naming the first wrong one."""
    given = [nulls] if isinstance(nulls, str) else list(nulls)
    names = [name.strip() for entry in given for name in entry.split(",") if name.strip()]
    for name in names:
        if name not in NULLS:
            raise UsageError(f"nulls: {name!r} is no null; choose from {', '.join(NULLS)}")
    if not names:
        raise UsageError(f"nulls: none given; choose from {', '.join(NULLS)}")
    draws, seed = at_least("draws", draws, 1), checked_seed(seed)
    rate = real_number("false_positive_rate", false_positive_rate)
    if not SMALLEST_RATE <= rate < 1.0:
        raise UsageError(
            f"false_positive_rate: {false_positive_rate!r} must be at least {SMALLEST_RATE} and below 1"
        )
    return SpectraSettings(
        nulls=tuple(name for name in NULLS if name in names),
        draws=draws,
        seed=seed,
        false_positive_rate=rate,
    )


@dataclass(frozen=True)
class SimilaritySettings:
    """What changes a record of a pair of matrices."""

    vectors: str = "neurons"
    null_draws: int | None = None
    seed: int = 0
    false_positive_rate: float = 0.01

    def key(self) -> dict[str, Any]:
        return asdict(self)


def similarity_settings(
    *, vectors: str, null_draws: int | None, seed: int, false_positive_rate: float
) -> SimilaritySettings:
    """Check the settings of the similarity analysis; raises `UsageError` naming the first wrong one."""
    if vectors not in VECTORS:
        raise UsageError(f"vectors: {vectors!r} is not known; choose from {', '.join(VECTORS)}")
    draws = None if null_draws is None else whole_number("null_draws", null_draws)
    if draws is not None and draws < 0:
        raise UsageError(f"null_draws: {draws!r} must not be negative")
    seed = checked_seed(seed)
    rate = real_number("false_positive_rate", false_positive_rate)
    if not 0 < rate < 1:
        raise UsageError(f"false_positive_rate: {false_positive_rate!r} must lie between 0 and 1")
    return SimilaritySettings(vectors, draws, seed, rate)


@dataclass(frozen=True)
class DifferenceSettings:
    """What changes a record of a difference."""

    rounding: str = "both"
    draws: int = 19
    seed: int = 0

    def key(self) -> dict[str, Any]:
        return asdict(self)


def difference_settings(*, rounding: str, draws: int, seed: int) -> DifferenceSettings:
    """Check the settings of the difference; raises `UsageError` naming the first wrong one."""
    if rounding not in ROUNDINGS:
        raise UsageError(f"rounding: {rounding!r} is not known; choose from {', '.join(ROUNDINGS)}")
    return DifferenceSettings(rounding, at_least("draws", draws, 1), checked_seed(seed))


def checked_seed(seed: Any) -> int:
    found = whole_number("seed", seed)
    if not 0 <= found < 2**63:
        raise UsageError(f"seed: {seed!r} must be from 0 up, below 2**63")
    return found


def real_number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UsageError(f"{name}: {value!r} is no number") from None


def whole_number(name: str, number: Any) -> int:
    # numpy's integers count, True does not.
    if isinstance(number, bool) or not isinstance(number, numbers.Integral):
        raise UsageError(f"{name}: {number!r} is no whole number")
    return int(number)


def one_of(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise UsageError(f"{name}: {value!r} is not known; choose from {', '.join(choices)}")
    return value


def at_least(name: str, value: Any, least: int) -> int:
    found = whole_number(name, value)
    if found < least:
        raise UsageError(f"{name}: {found} must be at least {least}")
    return found


def check_device(device: str) -> str:
    """Give the device that the run uses; raises `UsageError` for one that this version cannot use."""
    if device not in DEVICES:
        raise UsageError(f"device: {device!r} cannot run this analysis; choose from {', '.join(DEVICES)}")
    return "cpu"
