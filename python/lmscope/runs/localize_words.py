"""What `localize` found, as cells of tables and sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from lmscope.report.claim_words import TITLES, sentence
from lmscope.report.words import p_value, percent, plain

if TYPE_CHECKING:
    from lmscope.runs.localize_summary import (
        Claim,
        LesionImpact,
        LocalizeSummary,
        Parts,
        RoleLocation,
        Share,
    )
    from lmscope.runs.tokens_summary import Interval

VECTORS_TITLE = "Singular vectors with a Porter-Thomas p-value below 0.01, by role"
VECTORS_COLUMNS = (
    *("role", "matrices", "right: below", "inside", "above", "untrained"),
    *("left: below", "inside", "above", "untrained"),
)
OVERLAPS_TITLE = "Right singular vectors above the band of overlaps"
OVERLAPS_COLUMNS = ("role", "below", "inside", "above", "untrained", "random")
LESIONS_COLUMNS = ("role", "slice", "energy removed", "impact", "equal size", "equal energy")
CLAIMS_TITLE = "Claims"
CLAIMS_COLUMNS = ("claim", "score", "held against", "value", "95 %", "shared", "beyond, 95 %", "p", "points")

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


def tables(summary: LocalizeSummary) -> Iterator[Table]:
    """Title, columns and rows, of the first and the last checkpoint where there are several."""
    names = list(dict.fromkeys(role.checkpoint for role in summary.roles))
    for name in dict.fromkeys((names[0], names[-1]) if names else ()):
        of = f" ({name})" if len(names) > 1 else ""
        roles = [role for role in summary.roles if role.checkpoint == name]
        yield f"{VECTORS_TITLE}{of}", VECTORS_COLUMNS, [vector_cells(role) for role in roles]
        located = [overlap_cells(role, role.overlaps) for role in roles if role.overlaps is not None]
        if located:
            yield f"{OVERLAPS_TITLE}{of}", OVERLAPS_COLUMNS, located
        lesions = [one for one in summary.lesions if one.checkpoint == name]
        for measure in dict.fromkeys(one.measure for one in lesions):
            told = [one for one in lesions if one.measure == measure]
            yield lesion_title(told[0], of), LESIONS_COLUMNS, [lesion_cells(one) for one in told]
        claims = [claim for claim in summary.claims if claim.checkpoint == name]
        if claims:
            yield f"{CLAIMS_TITLE}{of}", CLAIMS_COLUMNS, [claim_cells(claim) for claim in claims]


def vector_cells(role: RoleLocation) -> tuple[str, ...]:
    """A row under `VECTORS_COLUMNS`."""
    return plain(role.role), str(role.matrices), *_cells(role.right), *_cells(role.left)


def overlap_cells(role: RoleLocation, overlaps: Parts) -> tuple[str, ...]:
    """A row under `OVERLAPS_COLUMNS`."""
    return plain(role.role), *_cells(overlaps), percent(role.expected)


def _cells(parts: Parts) -> tuple[str, ...]:
    return tuple(map(_share, (parts.below, parts.inside, parts.above, parts.untrained)))


def _share(share: Share | None) -> str:
    return "" if share is None or not share.of else f"{percent(share.value)} of {share.of}"


def lesion_title(one: LesionImpact, of: str) -> str:
    return (
        f"What a removed slice costs: {plain(one.measure)}, {one.unit}, {_value(one.baseline)} of the "
        f"untouched model{of}"
    )


def lesion_cells(one: LesionImpact) -> tuple[str, ...]:
    """A row under `LESIONS_COLUMNS`."""
    target = plain(one.target) if one.target_kind == "role" else one.target
    return (
        target,
        f"{one.slice} of {one.slices}",
        percent(one.removed_energy),
        _interval(one.impact),
        "" if one.random_size is None else _interval(one.random_size),
        "" if one.random_energy is None else _interval(one.random_energy),
    )


def claim_cells(claim: Claim) -> tuple[str, ...]:
    """A row under `CLAIMS_COLUMNS`."""
    return (
        TITLES[claim.claim],
        plain(claim.score),
        plain(claim.against),
        "" if claim.value is None else f"{claim.value:.2f}",
        _range(claim.low, claim.high),
        "" if claim.shared is None else f"{claim.shared:.2f}",
        _range(claim.beyond_low, claim.beyond_high),
        "" if claim.p_value is None else p_value(claim.p_value),
        f"{claim.points} ({claim.point})",
    )


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def sentences(summary: LocalizeSummary) -> list[str]:
    """What the tables say, what limits it, and what became of the claims."""
    first = summary.roles[0].checkpoint if summary.roles else ""
    told = [sentence(asdict(claim)) for claim in summary.claims if claim.checkpoint == first]
    return [*summary.sentences, *summary.remarks, *told]


def legend(summary: LocalizeSummary) -> list[tuple[str, str]]:
    """Columns and what they say."""
    told = []
    if summary.roles:
        told += [
            (
                "below, above",
                "vectors of values outside the Marchenko-Pastur edges; inside: between them",
            ),
            ("right, left", "in the space of the matrix' inputs and of its outputs"),
            ("untrained", "all vectors of the same configuration with random weights"),
        ]
    if any(role.overlaps is not None for role in summary.roles):
        told += [
            ("overlap", "largest |cosine| with an eigenvector of the covariance of the matrix' inputs"),
            ("random", "share of random directions above the band"),
        ]
    if any(claim.shared is not None for claim in summary.claims):
        told.append(
            ("shared", "part of the value from a profile that all roles have; beyond: the rest of it")
        )
    if summary.lesions:
        told += [
            ("slice", "1: the smallest singular values; of each role the smallest and that of most impact"),
            ("impact", "harm done, with its 95 % interval over windows or texts; negative: an improvement"),
            ("equal size", "a random subspace of as many directions removed instead"),
            ("equal energy", "a random subspace of as much squared norm removed instead"),
        ]
    return told


def failures(summary: LocalizeSummary) -> list[str]:
    """One line each."""
    return ["{analysis}: {name}: {reason}".format(**one) for one in summary.failures]


def _interval(found: Interval) -> str:
    if found.low is None or found.high is None:
        return _value(found.mean)
    return f"{_value(found.mean)} ({_value(found.low)} to {_value(found.high)})"


def _value(value: float) -> str:
    """Three digits, without an exponent where that is short."""
    return f"{value:.3f}" if 0.01 <= abs(value) < 100 or value == 0 else f"{value:.3g}"
