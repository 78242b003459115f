"""One Lasso problem against its definition, the optimality conditions and three other solvers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import lmscope
from lmscope.kernels.lasso import lasso, lasso_homotopy, lasso_path
from lmscope.reference import lasso as reference

from ..shapes import DTYPES, layouts, random_orthogonal
from ..tolerances import LASSO_ORTHONORMAL, OPTIMALITY

Floats = NDArray[np.float64]


def problem(samples: int, features: int, *, common: float = 0.0, seed: int = 0) -> tuple[Floats, Floats]:
    """A sparse truth in noise; the columns share a direction."""
    rng = np.random.default_rng([seed, samples, features])
    x = rng.standard_normal((samples, features)) + common * rng.standard_normal((samples, 1))
    y = x[:, :: max(1, features // 7)].sum(axis=1) + rng.standard_normal(samples)
    return x, y


def prediction_bound(y: Floats, *gaps: float) -> float:
    """How far the predictions of two solutions may lie apart: the objective is 1/samples-strongly convex in
    the prediction, so each lies within ``sqrt(2 samples gap)`` of the optimal one."""
    return sum(np.sqrt(2 * len(y) * max(gap, 0.0)) for gap in gaps) + 1e-12 * float(np.linalg.norm(y))


def assert_optimal(x: Floats, y: Floats, coef: Floats, alpha: float) -> None:
    """KKT: x_j'r / samples is alpha times the sign on the support, at most alpha in magnitude off it."""
    slack = OPTIMALITY * reference.alpha_max(x, y)
    correlations = x.T @ (y - x @ coef) / len(y)
    support = coef != 0
    assert np.abs(correlations).max() <= alpha + slack
    np.testing.assert_allclose(correlations[support], alpha * np.sign(coef[support]), atol=slack, rtol=0)


@pytest.mark.parametrize("shape", [(30, 10), (40, 120), (1, 3), (200, 1), (150, 400)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("share", [0.7, 0.2, 0.03])
def test_gap_is_certified_on_every_level(isa: str, shape: tuple[int, int], dtype: str, share: float) -> None:
    x, y = (part.astype(DTYPES[dtype]) for part in problem(*shape, common=0.7))
    found = lasso(x, y, alpha_ratio=share, tol=1e-10)
    x, y = x.astype(np.float64), y.astype(np.float64)
    assert found.converged
    assert found.gap <= 1e-10 * (y @ y) / len(y)
    assert reference.gap(x, y, found.coef, found.alpha) <= found.gap + 1e-14 * (y @ y) / len(y)
    assert found.alpha_max == pytest.approx(reference.alpha_max(x, y), rel=1e-12)
    assert found.alpha == pytest.approx(share * found.alpha_max, rel=1e-14)
    exact = reference.solve(x, y, found.alpha, tol=1e-12)
    apart = np.linalg.norm(x @ (found.coef - exact))
    assert apart <= prediction_bound(y, found.gap, 1e-12 * (y @ y) / len(y))


def test_orthonormal_columns_give_the_soft_threshold() -> None:
    x = random_orthogonal(60, 25, 3)
    y = np.random.default_rng(0).standard_normal(60)
    alpha = 0.4 * reference.alpha_max(x, y)
    correlations = x.T @ y
    expected = np.sign(correlations) * np.maximum(np.abs(correlations) - 60 * alpha, 0)
    found = lasso(x, y, alpha=alpha, tol=1e-12)
    np.testing.assert_allclose(found.coef, expected, atol=LASSO_ORTHONORMAL, rtol=0)
    np.testing.assert_array_equal(found.coef != 0, expected != 0)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(2, 30),
    st.integers(1, 40),
    st.integers(0, 2**16),
    st.floats(1e-3, 1.5),
    st.booleans(),
    st.booleans(),
)
def test_conditions_hold_with_collinear_and_zero_columns(
    samples: int, features: int, seed: int, share: float, twins: bool, zeros: bool
) -> None:
    x, y = problem(samples, features, common=seed % 3, seed=seed)
    if twins:
        x[:, features // 2] = x[:, 0]
        x[:, -1] = -2 * x[:, features // 3]
    if zeros:
        x[:, ::3] = 0
    alpha = share * reference.alpha_max(x, y)
    if alpha == 0:
        alpha = 1.0
    found = lasso(x, y, alpha=alpha, tol=1e-13)
    assert found.gap >= 0
    assert not found.coef[~x.any(axis=0)].any()
    if alpha >= found.alpha_max:
        assert not found.coef.any()
        # Exactly at alpha_max the rounding of the correlations is in the gap.
        assert found.gap <= 1e-13 * (y @ y) / samples
        assert (found.n_iter, found.converged) == (0, True)
    # At most sqrt(2 samples gap) in the prediction, so that much of its norm in a correlation.
    slack = np.sqrt(2 * found.gap / samples) * np.linalg.norm(x, axis=0).max()
    correlations = x.T @ (y - x @ found.coef) / samples
    assert np.abs(correlations).max(initial=0.0) <= alpha + slack + 1e-12
    assert reference.gap(x, y, found.coef, alpha) <= found.gap + 1e-14 * (y @ y) / samples


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
@pytest.mark.parametrize("shape", [(80, 30), (100, 400)])
def test_against_three_other_solvers(shape: tuple[int, int], share: float) -> None:
    import celer
    import skglm
    from sklearn.linear_model import Lasso as SklearnLasso

    x, y = problem(*shape)
    mine = lasso(x, y, alpha_ratio=share, tol=1e-11)
    assert mine.converged
    assert_optimal(x, y, mine.coef, mine.alpha)
    slack = np.abs(np.abs(x.T @ (y - x @ mine.coef)) / len(y) - mine.alpha) / mine.alpha
    decided = (mine.coef != 0) | (slack > 1e-4)
    others = {
        "scikit-learn": SklearnLasso(alpha=mine.alpha, fit_intercept=False, tol=1e-12, max_iter=100_000),
        "celer": celer.Lasso(alpha=mine.alpha, fit_intercept=False, tol=1e-12, max_iter=1000),
        "skglm": skglm.Lasso(alpha=mine.alpha, fit_intercept=False, tol=1e-8, max_iter=1000),
    }
    for name, other in others.items():
        coef = np.asarray(other.fit(np.asfortranarray(x), y).coef_)
        gap = reference.gap(x, y, coef, mine.alpha)
        apart = x @ (coef - mine.coef)
        bound = prediction_bound(y, gap, mine.gap)
        assert np.linalg.norm(apart) <= bound, name
        # The coefficients on the support follow through its smallest singular value.
        support = (coef != 0) | (mine.coef != 0)
        least = np.linalg.svd(x[:, support], compute_uv=False)[-1] if support.sum() <= len(y) else 0.0
        if least > 0:
            assert np.linalg.norm(coef - mine.coef) <= bound / least, name
        # Supports agree where the dual slack or the coefficient is beyond what the gaps may move.
        clear = decided & ((mine.coef == 0) | (np.abs(mine.coef) > bound / max(least, 1e-300)))
        np.testing.assert_array_equal((coef != 0)[clear], (mine.coef != 0)[clear], err_msg=name)


def test_intercept_as_scikit_learn() -> None:
    from sklearn.linear_model import Lasso as SklearnLasso

    x, y = problem(60, 20)
    x += 1000.0
    y += 5.0
    found = lasso(x, y, alpha=0.1, tol=1e-12, fit_intercept=True)
    theirs = SklearnLasso(alpha=0.1, tol=1e-12, max_iter=100_000).fit(x, y)
    np.testing.assert_allclose(found.coef, theirs.coef_, atol=1e-6)
    assert found.intercept == pytest.approx(theirs.intercept_, abs=1e-2)
    assert np.mean(y - x @ found.coef) == pytest.approx(found.intercept, abs=1e-9)


def test_several_targets_are_so_many_problems() -> None:
    x, y = problem(50, 30)
    targets = np.stack([y, -y[::-1], y**2], axis=1)
    found = lasso(x, targets, alpha_ratio=0.1, tol=1e-12)
    assert found.coef.shape == (3, 30)
    for index in range(3):
        alone = lasso(x, targets[:, index], alpha_ratio=0.1, tol=1e-12)
        assert found.alpha[index] == pytest.approx(alone.alpha, rel=1e-12)
        apart = np.linalg.norm(x @ (found.coef[index] - alone.coef))
        assert apart <= prediction_bound(targets[:, index], found.gap[index], alone.gap)


@pytest.mark.parametrize("k", [1, 4, 9])
def test_k_features(k: int) -> None:
    x, y = problem(60, 40)
    found = lasso(x, y, k=k, tol=1e-12)
    assert found.converged
    assert np.count_nonzero(found.coef) == k


def test_more_features_wanted_than_can_enter() -> None:
    x, y = problem(60, 5)
    assert np.count_nonzero(lasso(x, y, k=9, tol=1e-12).coef) == 5


@pytest.mark.parametrize("exponent", [-300, -150, 150, 300])
def test_huge_and_tiny_numbers(exponent: int) -> None:
    x, y = problem(40, 60)
    plain = lasso(x, y, alpha_ratio=0.1, tol=1e-10)
    scaled = lasso(np.ldexp(x, exponent * 3), y, alpha_ratio=0.1, tol=1e-10)
    np.testing.assert_array_equal(np.ldexp(scaled.coef, exponent * 3), plain.coef)
    assert scaled.gap == plain.gap


@pytest.mark.parametrize("scale", [1e200, 1e-162])
@pytest.mark.parametrize("penalty", [{"alpha_ratio": 0.1}, {"k": 3}])
def test_numbers_whose_squares_leave_float64_are_refused(scale: float, penalty: dict[str, Any]) -> None:
    x, y = problem(40, 12)
    words = "y has a column, 0, whose squared norm is " + ("above 2\\^960" if scale > 1 else "below 2\\^-960")
    with pytest.raises(ValueError, match=words):
        lasso(x * scale, y * scale, **penalty)
    with pytest.raises(ValueError, match=words):
        lasso_path(x * scale, y * scale, n_alphas=3)
    with pytest.raises(ValueError, match=words):
        lasso_homotopy(x * scale, y * scale)
    with pytest.raises(ValueError, match=r"tokens has a row, 0, whose squared norm is"):
        lmscope.prefix_lasso(x * scale, **penalty)


def test_a_coefficient_beyond_float64_is_refused() -> None:
    x, y = problem(40, 12)
    with pytest.raises(ValueError, match=r"the coefficient of column .* leaves the range of float64"):
        lasso(x * 1e-200, y * 1e140, alpha_ratio=0.1)
    with pytest.raises(ValueError, match="alpha_max above the range of float64"):
        lasso(x * 1e200, y * 1e140, alpha_ratio=0.1)


@pytest.mark.parametrize("solve", [lambda x, y: lasso(x, y, alpha=0.1), lasso_homotopy])
def test_a_column_that_vanishes_beside_the_others_is_refused(solve: Any) -> None:
    x, y = problem(20, 5)
    x[:, 3] *= 1e-170
    with pytest.raises(ValueError, match="x has a column, 3, whose squared norm is below 2"):
        solve(x, y)


@pytest.mark.parametrize("kind", ["random", "common", "copies", "chain"])
@pytest.mark.parametrize("share", [1e-2, 1e-3, 1e-4])
def test_more_features_than_samples_at_small_penalties(kind: str, share: float) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((100, 300))
    if kind == "common":
        x = rng.standard_normal((100, 1)) + 0.05 * x
    elif kind == "copies":
        x = x[:, rng.integers(0, 100, 300)]
    elif kind == "chain":
        for column in range(1, 300):
            x[:, column] = 0.95 * x[:, column - 1] + 0.3 * x[:, column]
    y = x[:, :5] @ rng.standard_normal(5) + 0.3 * rng.standard_normal(100)
    found = lasso(x, y, alpha_ratio=share)
    assert found.converged
    assert reference.gap(x, y, found.coef, found.alpha) <= found.gap + 1e-14 * (y @ y) / len(y)


def exact_objective(x: Floats, y: Floats, coef: Floats, alpha: float) -> Fraction:
    """With the intercept that suits the coefficients best, in rationals."""
    weights = [(j, Fraction(value)) for j, value in enumerate(coef.tolist()) if value]
    residual = [
        Fraction(target) - sum((w * Fraction(row[j]) for j, w in weights), Fraction(0))
        for target, row in zip(y.tolist(), x.tolist(), strict=True)
    ]
    mean = sum(residual, Fraction(0)) / len(residual)
    square = sum(((value - mean) ** 2 for value in residual), Fraction(0))
    return square / (2 * len(residual)) + Fraction(alpha) * sum((abs(w) for _, w in weights), Fraction(0))


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e10, 1e12])
@pytest.mark.parametrize("targets", [1, 2])
def test_gap_with_an_intercept_holds_at_any_offset(offset: float, targets: int) -> None:
    for seed in range(8):
        x, y = problem(30, 12, seed=seed)
        x, y = x + offset, y + offset
        # The minimum, near enough: the same numbers less the offset, an exact difference.
        near = lasso(x - offset, y - offset, alpha=0.05, tol=1e-13, fit_intercept=True)
        wanted = y if targets == 1 else np.stack([y[::-1], y], 1)
        found = lasso(x, wanted, alpha=0.05, tol=1e-9, fit_intercept=True)
        coef = found.coef if targets == 1 else found.coef[-1]
        gap = float(np.atleast_1d(found.gap)[-1])
        above = exact_objective(x, y, coef, 0.05) - exact_objective(x, y, near.coef, 0.05)
        assert above <= Fraction(gap)
        assert gap <= 1e-3 * np.var(y)


def test_layouts_and_torch() -> None:
    x, y = problem(70, 50)
    x, y = x.astype(np.float32), y.astype(np.float32)
    plain = lasso(x, y, alpha_ratio=0.1, tol=1e-12)
    for name, same in layouts(x):
        found = lasso(same, y, alpha_ratio=0.1, tol=1e-12)
        np.testing.assert_allclose(found.coef, plain.coef, atol=1e-5, err_msg=name)
        assert found.converged, name
    found = lasso(torch.from_numpy(x), torch.from_numpy(y), alpha_ratio=0.1, tol=1e-12)
    np.testing.assert_array_equal(found.coef, plain.coef)


def test_same_bits_for_any_number_of_threads() -> None:
    x, y = problem(300, 700, common=0.5)
    before = lmscope.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            lmscope.set_num_threads(threads)
            found.append(lasso(x, y, alpha_ratio=0.02))
    finally:
        lmscope.set_num_threads(before)
    for other in found[1:]:
        np.testing.assert_array_equal(other.coef, found[0].coef)
        assert other.gap == found[0].gap


def test_one_that_has_not_converged_says_so() -> None:
    x, y = problem(200, 400, common=2.0)
    found = lasso(x, y, alpha_ratio=1e-3, tol=1e-9, max_iter=2)
    assert not found.converged
    assert found.n_iter == 2
    assert found.gap > 1e-9 * (y @ y) / len(y)
    assert reference.gap(x, y, found.coef, found.alpha) <= found.gap


def test_a_tolerance_below_rounding_is_never_met() -> None:
    x, y = problem(200, 50)
    found = lasso(x, y, alpha_ratio=0.1, tol=1e-17)
    assert not found.converged
    assert found.gap <= 1e-11 * (y @ y) / len(y)


def test_path_as_scikit_learn_with_every_gap() -> None:
    from sklearn.linear_model import lasso_path as sklearn_path

    x, y = problem(80, 150)
    found = lasso_path(x, y, n_alphas=30, eps=1e-2, tol=1e-10)
    alphas, coefs, _ = sklearn_path(x, y, alphas=found.alphas, tol=1e-10, max_iter=100_000)
    np.testing.assert_array_equal(found.alphas, alphas)
    assert found.coefs.shape == coefs.shape == (150, 30)
    assert found.converged.all()
    assert found.alphas[0] == found.alpha_max
    for index, alpha in enumerate(found.alphas):
        gaps = [reference.gap(x, y, each[:, index], alpha) for each in (found.coefs, coefs)]
        apart = np.linalg.norm(x @ (found.coefs - coefs)[:, index])
        assert apart <= prediction_bound(y, *gaps)
    given_ones = lasso_path(x, y, alphas=found.alphas[[5, 20, 11]], tol=1e-10)
    np.testing.assert_array_equal(given_ones.alphas, found.alphas[[5, 11, 20]])
    assert given_ones.converged.all()


X, Y = problem(20, 6)
NOT_A_NUMBER = X.copy()
NOT_A_NUMBER[3, 2] = np.nan
INFINITE = Y.copy()
INFINITE[7] = -np.inf


@pytest.mark.parametrize(
    ("x", "y", "options", "error", "words"),
    [
        (X, Y, {}, ValueError, "give exactly one of alpha, alpha_ratio and k, got alpha=None"),
        (X, Y, {"alpha": 1.0, "k": 2}, ValueError, "give exactly one of alpha, alpha_ratio and k"),
        (X, Y, {"alpha": 0.0}, ValueError, "alpha must be above 0 and finite, got 0.0"),
        (X, Y, {"alpha_ratio": -1.0}, ValueError, "alpha_ratio must be above 0 and finite, got -1.0"),
        (X, Y, {"k": 0}, ValueError, "k must be at least 1, got 0"),
        (X, Y, {"k": 1.5}, TypeError, "k must be an integer, got 1.5"),
        (X, Y, {"alpha": 1.0, "tol": 0.0}, ValueError, "tol must lie between 0 and 1, got 0.0"),
        (X, Y, {"alpha": 1.0, "tol": 1.0}, ValueError, "tol must lie between 0 and 1, got 1.0"),
        (X, Y, {"alpha": 1.0, "tol": np.inf}, ValueError, "tol must lie between 0 and 1, got inf"),
        (X, Y, {"alpha": 1.0, "tol": "x"}, TypeError, "tol must be a number, got 'x'"),
        (X, Y, {"alpha": "0.1"}, TypeError, "alpha must be a number, got '0.1'"),
        (X, Y, {"alpha": 1.0, "max_iter": 2**63}, ValueError, r"max_iter must be below 2\*\*63"),
        (X, Y, {"k": 2**63}, ValueError, r"k must be below 2\*\*63"),
        (X, 1e3 * Y, {"alpha_ratio": 1e308}, ValueError, "alpha_ratio times alpha_max exceeds"),
        (
            X,
            np.stack([Y, Y], 1) * 1e3,
            {"alpha_ratio": 1e308},
            ValueError,
            "alpha_ratio times alpha_max exceeds",
        ),
        (X, Y.tolist(), {"alpha": 1.0}, TypeError, "y must be a numpy array or a torch tensor, got list"),
        (X, 1.0, {"alpha": 1.0}, TypeError, "y must be a numpy array or a torch tensor, got float"),
        (X, np.array(1.0), {"alpha": 1.0}, ValueError, "y must be 1-D or 2-D, got 0-D"),
        (X, Y, {"alpha": 1.0, "max_iter": 0}, ValueError, "max_iter must be at least 1, got 0"),
        (X, Y[:-1], {"alpha": 1.0}, ValueError, "the same number of rows, got 20 and 19"),
        (NOT_A_NUMBER, Y, {"alpha": 1.0}, ValueError, "x has NaN at row 3, column 2"),
        (X, INFINITE, {"alpha": 1.0}, ValueError, "y has -Inf at row 7, column 0"),
        (X[:, :0], Y, {"alpha": 1.0}, ValueError, r"x has shape \(20, 0\)"),
        (X[0], Y, {"alpha": 1.0}, ValueError, "x must be 2-D, got 1-D"),
        (X.astype(np.int64), Y, {"alpha": 1.0}, TypeError, "x has dtype int64"),
        (X.tolist(), Y, {"alpha": 1.0}, TypeError, "x must be a numpy array or a torch tensor"),
        (X, np.stack([Y, Y], 1), {"k": 2}, ValueError, "k takes a y of one dimension"),
    ],
)
def test_wrong_arguments(x: Any, y: Any, options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        lasso(x, y, **options)


def test_words_of_the_results() -> None:
    x, y = problem(20, 6)
    found = lasso(x, y, alpha=0.1)
    assert repr(found).startswith("Lasso(targets: 1; alpha: 0.1; non-zeros: ")
    assert "<table" in found._repr_html_()
    path = lasso_path(x, y, n_alphas=5)
    assert repr(path).startswith("LassoPath(alphas: 5 from ")
    assert "<table" in path._repr_html_()
