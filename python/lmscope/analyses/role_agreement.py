"""Whether two models rank their roles alike."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import real, vector, whole
from lmscope.analyses.rank_correlation import standard_ranks

__all__ = ["RoleAgreement", "role_agreement"]

Floats = npt.NDArray[np.float64]

_LEAST_ROLES = 4
"""They have 24 orders, so that a p-value can fall below 0.05."""
_EXACT_ROLES = 8
"""Up to 8! = 40320 orders are all tried."""
_TIE = 1e-12
"""Correlations that differ by rounding alone are equal."""


@dataclass(frozen=True, repr=False)
class RoleAgreement:
    """Whether two models rank their roles alike; None where it was refused.

    Attributes:
        value: Spearman's correlation of the roles' mean scores.
        p_value: two-sided, over orders of the roles.
        exact: over all of them; else over ``draws``.
        roles: those that both have, sorted.
        means, other_means: of each of them, float64.
        draws: orders tried.
        refused: why there is nothing, or "".
    """

    value: float | None
    p_value: float | None
    exact: bool
    roles: tuple[str, ...]
    means: tuple[float, ...]
    other_means: tuple[float, ...]
    draws: int
    refused: str = ""

    def __repr__(self) -> str:
        if self.refused:
            return f"RoleAgreement(refused: {self.refused})"
        return f"RoleAgreement({self.value:.3g}, p_value={self.p_value:.2g}, {len(self.roles)} roles)"

    def _repr_html_(self) -> str:
        rows = [
            (role, html_repr.number(one), html_repr.number(other))
            for role, one, other in zip(self.roles, self.means, self.other_means, strict=True)
        ]
        verdict = (
            f"Refused: {self.refused}."
            if self.refused
            else f"Rank correlation {html_repr.number(self.value)}, p-value {html_repr.number(self.p_value)}."
        )
        return html_repr.block(
            "Mean score of each role in two models",
            html_repr.table(("role", "one", "other"), rows),
            html_repr.line(verdict),
        )


def role_agreement(
    scores: npt.ArrayLike,
    roles: Sequence[str],
    other_scores: npt.ArrayLike,
    other_roles: Sequence[str],
    *,
    draws: int = 9999,
    seed: int = 0,
) -> RoleAgreement:
    """Rank correlation of the roles' mean scores in two models, over the roles that both have.

    Args:
        scores, roles: of the matrices of one model, shape (matrices,).
        other_scores, other_roles: of the other.
        draws: orders of the roles that the p-value rests on where there are more than 8; else all are tried.
        seed: of the orders.

    Raises:
        ValueError: lengths that disagree, or scores that are not finite.

    Returns:
        The correlation; ``refused`` below 4 roles in common, whose orders are too few for any p-value, or
        where all roles of a model have one mean.
    """
    one = _means(vector("scores", real(scores)), roles, "roles")
    other = _means(vector("other_scores", real(other_scores)), other_roles, "other_roles")
    draws = whole("draws", draws, 1)
    common = tuple(sorted(one.keys() & other.keys()))
    means, other_means = (tuple(by_role[role] for role in common) for by_role in (one, other))
    if len(common) < _LEAST_ROLES:
        reason = f"it takes {_LEAST_ROLES} roles in both, and there are {len(common)}"
    elif min(np.ptp(means), np.ptp(other_means)) == 0:
        reason = "all roles of a model have the same mean"
    else:
        reason = ""
    if reason:
        return RoleAgreement(None, None, False, common, means, other_means, 0, reason)
    a, b = standard_ranks(np.array(means)), standard_ranks(np.array(other_means))
    value = float(a @ b)
    exact = len(common) <= _EXACT_ROLES
    if exact:
        orders = np.array(list(itertools.permutations(range(len(common)))))
    else:
        generator = np.random.default_rng([seed, 3])
        orders = generator.permuted(np.tile(np.arange(len(common)), (draws, 1)), axis=1)
    extreme = int(np.count_nonzero(np.abs(b[orders] @ a) >= abs(value) - _TIE))
    p_value = extreme / len(orders) if exact else (1 + extreme) / (1 + len(orders))
    return RoleAgreement(value, p_value, exact, common, means, other_means, len(orders))


def _means(scores: Floats, roles: Sequence[str], name: str) -> dict[str, float]:
    if len(roles) != scores.size:
        raise ValueError(f"{name} must hold {scores.size} labels, one for each score, got {len(roles)}")
    found: dict[str, list[float]] = {}
    for role, score in zip(roles, scores, strict=True):
        found.setdefault(role, []).append(float(score))
    return {role: float(np.mean(values)) for role, values in found.items()}
