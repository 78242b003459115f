"""Is the variance of a matrix's entries the same in every row, and in every column?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from lmscope.kernels.entry_statistics import EntryStatistics

__all__ = ["IidTests", "iid_tests"]


@dataclass(frozen=True)
class IidTests:
    """p-values of equal row variances, of equal column variances, and of both by Bonferroni.

    NaN where there is nothing to test: one row (or column) only, or all entries equal.
    """

    row_p_value: float
    column_p_value: float
    p_value: float


def iid_tests(entries: EntryStatistics) -> IidTests:
    """Test iid entries of any law with a finite fourth moment by the spread of row and of column variances.

    With v_i the mean squared deviation of row i (n entries) over that of all entries and kappa the sample
    kurtosis, sum_i (v_i - 1)^2 * n / (kappa - 1) is taken as chi-squared with rows - 1 degrees of freedom,
    and columns likewise. Over permutations of the given entries its mean is exactly that, up to one part in
    the number of entries; that it is chi-squared rests on the central limit in a row, so it needs a few dozen
    columns. This is the analysis of variance of squared deviations, in which a heavy tail of the entries
    enters numerator and denominator alike (Box and Andersen 1955). Measured over 1500 matrices of 32 x 32 to
    512 x 64, asking for 1 %: 0.4 % to 1.8 % for Gaussian, uniform, t(10) and t(5) entries, up to 2.7 % for
    t(3), whose kurtosis is infinite.
    """
    rows, columns = entries.shape
    row = _equal_variances(entries.row_variances, columns, entries.kurtosis)
    column = _equal_variances(entries.column_variances, rows, entries.kurtosis)
    known = [p for p in (row, column) if not math.isnan(p)]
    return IidTests(row, column, min(1.0, len(known) * min(known)) if known else math.nan)


def _equal_variances(variances: np.ndarray, count: int, kurtosis: float) -> float:
    from scipy.stats import chi2

    if len(variances) < 2 or math.isnan(kurtosis):
        return math.nan
    # Magnitudes that are all equal, as those of signs are, have no variance that could differ.
    if kurtosis - 1 < 1e-9:
        return 1.0
    statistic = float(np.sum((variances - 1) ** 2)) * count / (kurtosis - 1)
    return float(chi2.sf(statistic, len(variances) - 1))
