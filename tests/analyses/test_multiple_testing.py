from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lmscope.analyses.multiple_testing import benjamini_hochberg


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_same_as_scipy(p_values):
    np.testing.assert_allclose(
        benjamini_hochberg(p_values), stats.false_discovery_control(p_values), rtol=1e-12
    )


def test_tests_that_were_not_made_do_not_count():
    q = benjamini_hochberg([0.01, np.nan, 0.04, np.nan])
    np.testing.assert_allclose(q, [0.02, np.nan, 0.04, np.nan])
    assert benjamini_hochberg([]).size == 0
    assert np.isnan(benjamini_hochberg([np.nan])).all()


def test_called_tests_are_those_of_the_step_up_procedure():
    # 0.03 alone would fail its own limit 2/4 * 0.05, and is carried by 0.035 <= 3/4 * 0.05.
    q = benjamini_hochberg([0.001, 0.03, 0.035, 0.9])
    assert (q <= 0.05).tolist() == [True, True, True, False]


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match="lie in"):
        benjamini_hochberg([0.5, 1.5])
    with pytest.raises(ValueError, match="one-dimensional"):
        benjamini_hochberg([[0.5]])
