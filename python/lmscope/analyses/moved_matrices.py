"""How many differences of two checkpoints exceed their rounding, beside how many would by chance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Moved", "is_far", "moved_matrices", "unrelated_matrices"]

_FAR = 2.0
_UNRELATED_COSINE = 0.1
_UNRELATED_EXCESS = 0.1


@dataclass(frozen=True)
class Moved:
    """Differences with a singular value above the rounding.

    `far` have one above twice the edge, which the largest of several draws rules out as rounding. Of the
    other `tested` ones that are not identical, `showing` have a value above the edge; rounding alone gives
    `expected` of them in the mean, and as many or more with probability `p_value` (binomial); `level` is
    where that counts as more than chance.
    """

    far: int
    tested: int
    showing: int
    expected: float
    p_value: float
    level: float = 0.01

    @property
    def exceeded(self) -> bool:
        """More than rounding gives are `showing`."""
        return self.showing > 0 and self.p_value <= self.level

    @property
    def matrices(self) -> int:
        """Those that moved by more than rounding explains; showing ones only where they exceed chance."""
        return self.far + (self.showing if self.exceeded else 0)

    def sentence(self) -> str:
        """With neither capital nor full stop."""
        told = f"{self.matrices} moved by more than rounding explains"
        if not self.showing:
            return told
        about = f"{self.expected:.2g}" if self.expected < 9.5 else f"{self.expected:.0f}"
        p_value = f"p = {self.p_value:.2g}" if self.p_value >= 1e-6 else "p below 0.000001"
        if self.exceeded:
            return f"{told} (rounding alone: about {about}, {p_value})"
        verdict = "which may be chance" if self.expected < 1 else "as many as rounding gives"
        have = "has a value" if self.showing == 1 else "have values"
        others = f"of the other {self.tested}" if self.far else f"of {self.tested} that differ"
        return f"{told}; {self.showing} {others} {have} above it, {verdict} (about {about}, {p_value})"


def is_far(row: Mapping[str, Any]) -> bool:
    """Whether one record of a difference has a singular value above twice the edge of the rounding."""
    return bool(row["n_above_rounding"] > 0 and row["sv_max"] > _FAR * row["rounding_edge"])


def moved_matrices(rows: Iterable[Mapping[str, Any]], draws: int) -> Moved:
    """From records of differences, each against so many draws of rounding errors."""
    from scipy.special import bdtrc

    changed = [row for row in rows if not row["identical"]]
    near = [row for row in changed if not is_far(row)]
    showing = sum(row["n_above_rounding"] > 0 for row in near)
    rate = 1 / (draws + 1)
    p_value = float(bdtrc(showing - 1, len(near), rate)) if showing else 1.0
    return Moved(len(changed) - len(near), len(near), showing, len(near) * rate, p_value)


def unrelated_matrices(rows: Iterable[Mapping[str, Any]], excess: Mapping[str, float | None]) -> list[str]:
    """Names of the matrices that are other ones in the same place, not tuned ones.

    Their entries do not agree (cosine below 0.1), and neither do their neurons in any order: `excess` of the
    twins' DOCS score over chance, by name, below 0.1. One without an excess is not among them.
    """
    return [
        row["name"]
        for row in rows
        if row["cosine"] is not None
        and abs(row["cosine"]) < _UNRELATED_COSINE
        and (beyond := excess.get(row["name"])) is not None
        and math.isfinite(beyond)
        and beyond < _UNRELATED_EXCESS
    ]
