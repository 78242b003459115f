"""The kernel families that `lmscope bench` knows."""

from __future__ import annotations

from collections.abc import Sequence

from lmscope.runs.benchmarks.column_cosine import ColumnCosineFamily
from lmscope.runs.benchmarks.couplings import CouplingsFamily
from lmscope.runs.benchmarks.family import Family
from lmscope.runs.benchmarks.lasso import LassoFamily
from lmscope.runs.benchmarks.singular_values import SingularValuesFamily
from lmscope.runs.benchmarks.symmetric_eigenvalues import SymmetricEigenvaluesFamily
from lmscope.runs.benchmarks.token_averages import TokenAveragesFamily
from lmscope.runs.errors import UsageError

_ALL: tuple[Family, ...] = (
    SingularValuesFamily(),
    SymmetricEigenvaluesFamily(),
    ColumnCosineFamily(),
    LassoFamily(),
    TokenAveragesFamily(),
    CouplingsFamily(),
)
FAMILIES = {family.name: family for family in _ALL}


def families_of(names: Sequence[str]) -> list[Family]:
    """Those of the names, each once, all without names; UsageError for an unknown one."""
    for name in names:
        if name not in FAMILIES:
            raise UsageError(f"--family: {name!r} is none of {', '.join(FAMILIES)}")
    return [FAMILIES[name] for name in dict.fromkeys(names or FAMILIES)]
