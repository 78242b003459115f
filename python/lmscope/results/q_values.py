"""What can only be said over all matrices of a checkpoint."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from lmscope.analyses.multiple_testing import benjamini_hochberg

Q_VALUES = {
    "mp_p_value": "mp_q_value",
    "sign_flip_p_value": "sign_flip_q_value",
    "permutation_p_value": "permutation_q_value",
    "iid_p_value": "iid_q_value",
}


def with_q_values(spectra: pa.Table) -> pa.Table:
    """The records of all matrices with their Benjamini-Hochberg q-values; NaN where there is no p-value."""
    for p_value, q_value in Q_VALUES.items():
        p_values = spectra.column(p_value).to_numpy().astype(np.float64)
        spectra = spectra.append_column(q_value, [benjamini_hochberg(p_values)])
    return spectra
