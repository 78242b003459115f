"""The estimator keeps scikit-learn's contract and finds what scikit-learn's Lasso finds."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso as SklearnLasso
from sklearn.utils.estimator_checks import parametrize_with_checks

from lmscope.sklearn import Lasso


@parametrize_with_checks([Lasso()])
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("targets", [1, 3])
def test_finds_what_scikit_learn_finds(fit_intercept: bool, targets: int) -> None:
    x, y = load_diabetes(return_X_y=True)
    if targets > 1:
        y = y[:, None] + np.random.default_rng(0).standard_normal((len(y), targets)) * 20
    mine = Lasso(alpha=0.05, fit_intercept=fit_intercept, tol=1e-12).fit(x, y)
    theirs = SklearnLasso(alpha=0.05, fit_intercept=fit_intercept, tol=1e-12, max_iter=100_000).fit(x, y)
    np.testing.assert_allclose(mine.coef_, theirs.coef_, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(mine.intercept_, theirs.intercept_, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(mine.predict(x), theirs.predict(x), rtol=1e-6)
    assert np.shape(mine.dual_gap_) == (() if targets == 1 else (targets,))


def test_a_fit_that_has_not_converged_warns() -> None:
    x, y = load_diabetes(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="has not converged after 1 sweeps: its duality gap is"):
        Lasso(alpha=1e-4, max_iter=1).fit(x, y)


def test_a_tolerance_below_rounding_warns_of_rounding() -> None:
    x, y = load_diabetes(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="Rounding stops it there: only a larger tol may help"):
        Lasso(alpha=0.1, tol=1e-20).fit(x, y)


def test_without_scikit_learn_the_import_names_the_command() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "try:\n    import lmscope.sklearn\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'lmscope[sklearn]'" in done.stdout
