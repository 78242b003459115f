"""What `localize` found, as cells of tables and sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from lmscope.report.claim_words import SAME, refused, said, sentence
from lmscope.report.lesion_rows import partly
from lmscope.report.words import number, of_one, p_value, percent, plain, rate

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
VECTORS_COLUMNS = ("role", "side", "below", "inside", "above", "untrained", "vectors")
OVERLAPS_TITLE = "Right singular vectors above the band of overlaps"
OVERLAPS_COLUMNS = ("role", "below", "inside", "above", "untrained", "random", "vectors")
LESIONS_COLUMNS = ("role", "slice", "energy removed", "impact", "equal size", "equal energy")
CLAIMS_TITLE = "Claims"
PERPLEXITY_COLUMNS = (*LESIONS_COLUMNS, "PPL")
CLAIMS_COLUMNS = ("score", "held against", "value", "shared", "95 %", "p", "points")

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


def tables(summary: LocalizeSummary) -> Iterator[Table]:
    """Title, columns and rows, of the first and the last checkpoint where there are several."""
    names = list(dict.fromkeys(role.checkpoint for role in summary.roles))
    for name in dict.fromkeys((names[0], names[-1]) if names else ()):
        of = f" ({name})" if len(names) > 1 else ""
        roles = [role for role in summary.roles if role.checkpoint == name]
        yield (
            f"{VECTORS_TITLE}{of}",
            VECTORS_COLUMNS,
            [cells for role in roles for cells in vector_cells(role)],
        )
        located = [overlap_cells(role, role.overlaps) for role in roles if role.overlaps is not None]
        if located:
            yield f"{OVERLAPS_TITLE}{of}", OVERLAPS_COLUMNS, located
        lesions = [one for one in summary.lesions if one.checkpoint == name]
        for measure in dict.fromkeys(one.measure for one in lesions):
            told = [one for one in lesions if one.measure == measure]
            columns = LESIONS_COLUMNS if told[0].baseline_perplexity is None else PERPLEXITY_COLUMNS
            yield lesion_title(told[0], of), columns, [lesion_cells(one) for one in told]
        claims = [claim for claim in summary.claims if claim.checkpoint == name and claim.value is not None]
        if claims:
            yield f"{CLAIMS_TITLE}{of}", CLAIMS_COLUMNS, [claim_cells(claim) for claim in claims]


def vector_cells(role: RoleLocation) -> list[tuple[str, ...]]:
    """Two rows under `VECTORS_COLUMNS`."""
    return [
        (plain(role.role), side, *_shares(parts), _sizes(parts))
        for side, parts in (("right", role.right), ("left", role.left))
    ]


def overlap_cells(role: RoleLocation, overlaps: Parts) -> tuple[str, ...]:
    """A row under `OVERLAPS_COLUMNS`."""
    return plain(role.role), *_shares(overlaps), rate(role.expected), _sizes(overlaps)


def _shares(parts: Parts) -> tuple[str, ...]:
    return tuple(map(_share, (parts.below, parts.inside, parts.above, parts.untrained)))


def _sizes(parts: Parts) -> str:
    """How many vectors the shares are of."""
    return "/".join(str(share.of) for share in (parts.below, parts.inside, parts.above))


def _share(share: Share | None) -> str:
    return "" if share is None or not share.of else percent(share.value)


def lesion_title(one: LesionImpact, of: str) -> str:
    perplexity = "" if one.baseline_perplexity is None else f" (perplexity {number(one.baseline_perplexity)})"
    return (
        f"What a removed slice costs: {plain(one.measure)}, {one.unit}, {_value(one.baseline)}{perplexity} "
        f"of the untouched model{of}"
    )


def lesion_cells(one: LesionImpact) -> tuple[str, ...]:
    """A row under `LESIONS_COLUMNS`, or under `PERPLEXITY_COLUMNS` where the measure has one."""
    target = plain(one.target) if one.target_kind == "role" else one.target
    target += partly({"matrices": one.matrices, "of_matrices": one.of_matrices})
    return (
        target,
        f"{one.slice}/{one.slices}",
        percent(one.removed_energy),
        _interval(one.impact),
        "" if one.random_size is None else _interval(one.random_size),
        "" if one.random_energy is None else _interval(one.random_energy),
        *(() if one.perplexity is None else (number(one.perplexity),)),
    )


def claim_cells(claim: Claim) -> tuple[str, ...]:
    """A row under `CLAIMS_COLUMNS`."""
    return (
        plain(claim.score).removesuffix(" deviation"),
        plain(claim.against) + (", in roles" if claim.claim == "beyond_roles" else ""),
        "" if claim.value is None else f"{claim.value:.2f}",
        "" if claim.shared is None else f"{claim.shared:.2f}",
        _range(claim.low, claim.high)
        if claim.shared is None
        else _range(claim.beyond_low, claim.beyond_high),
        "" if claim.p_value is None else p_value(claim.p_value),
        str(claim.points),
    )


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def sentences(summary: LocalizeSummary) -> list[str]:
    """What the tables say, what limits it, and what became of the claims: of the checkpoint `shown`."""
    several = len({role.checkpoint for role in summary.roles}) > 1
    own = [asdict(one) for one in summary.claims if summary.shown in (one.checkpoint, one.against)]
    told = [(row["claim"] != SAME, sentence(row)) for row in said(own)]
    told += [(True, text) for text in [refused(own)] if text]
    named = (of_one(summary.shown, text) if here and several else text for here, text in told)
    return [*summary.sentences, *summary.remarks, *named]


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
            ("vectors", "how many there are below/inside/above"),
        ]
    if any(role.overlaps is not None for role in summary.roles):
        told += [
            ("overlap", "largest |cosine| with an eigenvector of the covariance of the matrix' inputs"),
            ("random", "share of random directions above the band"),
        ]
    if any(claim.shared is not None for claim in summary.claims):
        told.append(
            ("shared", "part of the value from a profile that all roles have; 95 %: of the rest of it")
        )
    if summary.lesions:
        told += [
            ("slice", "1: the smallest singular values; of each role the smallest and that of most impact"),
            ("impact", "harm done, with its 95 % interval over windows or texts; negative: an improvement"),
            ("equal size", "a random subspace of as many directions removed instead"),
            ("equal energy", "a random subspace of as much squared norm removed instead"),
        ]
    if any(one.perplexity is not None for one in summary.lesions):
        told.append(("PPL", "perplexity with the slice removed: exp(loss)"))
    if any(claim.value is not None for claim in summary.claims):
        told += [
            ("score", "vector, value: deviation of a slice's vectors or values from noise"),
            ("held against", "role, layer: share of the scores' variance; else: rank correlation"),
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
