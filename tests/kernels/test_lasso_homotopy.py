"""The exact path against its definition, scikit-learn's LARS and the solver on a grid."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import hadamard
from sklearn.datasets import load_diabetes
from sklearn.linear_model import lars_path

import lmscope
from lmscope import prefix_lasso
from lmscope.kernels.lasso import lasso, lasso_homotopy, prefix_lasso_order
from lmscope.reference import lasso as reference

from ..tolerances import OPTIMALITY

Floats = NDArray[np.float64]


def diabetes() -> tuple[Floats, Floats]:
    x, y = load_diabetes(return_X_y=True)
    return x, y - y.mean()


def assert_path(x: Floats, y: Floats, alphas: Floats, coefs: Floats) -> None:
    """Every knot, and the middle of every segment, is optimal."""
    slack = OPTIMALITY * alphas[0]
    middles = (alphas[1:] + alphas[:-1]) / 2, (coefs[:, 1:] + coefs[:, :-1]) / 2
    for points, columns in ((alphas, coefs), middles):
        correlations = x.T @ (y[:, None] - x @ columns) / len(y)
        assert (np.abs(correlations).max(axis=0) <= points + 2 * slack).all()
        on = np.abs(np.abs(correlations) - points) * (columns != 0)
        assert on.max() <= 2 * slack


def test_diabetes_enters_in_the_order_of_lars() -> None:
    x, y = diabetes()
    alphas, active, coefs = lars_path(x, y, method="lasso")
    found = lasso_homotopy(x, y)
    assert found.end == "alpha_zero"
    # The sixth of the entries leaves once and comes back: the order of the first entries is LARS's.
    np.testing.assert_array_equal(found.events, [2, 8, 3, 6, 1, 9, 4, 7, 5, 0, -7, 6])
    assert sorted(active) == sorted({int(event) for event in found.events if event >= 0})
    np.testing.assert_allclose(found.alphas, alphas, rtol=1e-9, atol=1e-9 * alphas[0])
    np.testing.assert_allclose(found.coefs, coefs, atol=1e-7 * np.abs(coefs).max())
    assert_path(x, y, found.alphas, found.coefs)


@pytest.mark.parametrize("shape", [(40, 15), (20, 60), (5, 5), (9, 1)])
def test_against_its_definition(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape)
    x, y = rng.standard_normal(shape), rng.standard_normal(shape[0])
    found, expected = lasso_homotopy(x, y), reference.homotopy(x, y, most_steps=500)
    np.testing.assert_array_equal(found.events, expected.events)
    np.testing.assert_allclose(found.alphas, expected.alphas, atol=1e-9 * found.alphas[0])
    np.testing.assert_allclose(found.coefs, expected.coefs, atol=1e-6)
    assert found.end == "alpha_zero"


@settings(deadline=None, max_examples=60)
@given(
    st.integers(2, 15),
    st.integers(1, 25),
    st.integers(0, 2**16),
    st.sampled_from(["plain", "twins", "whole"]),
)
def test_every_knot_is_optimal(samples: int, features: int, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((samples, features)), rng.standard_normal(samples)
    if kind == "twins" and features > 4:
        x[:, 2], x[:, 3], x[:, 4] = x[:, 0], 0, x[:, 0] - x[:, 1]
    if kind == "whole":  # ties and dependent columns everywhere
        x, y = np.round(x), np.round(y)
    found = lasso_homotopy(x, y)
    assert found.end in ("alpha_zero", "rounding")
    assert (np.diff(found.alphas) <= 0).all()
    assert len(found.alphas) == len(found.events) + 1 == found.coefs.shape[1]
    if found.alphas[0] > 0:
        assert_path(x, y, found.alphas, found.coefs)
    else:
        assert not found.events.size
    if found.end == "alpha_zero":
        residual = y - x @ found.coefs[:, -1]
        least = np.linalg.lstsq(x, y, rcond=None)[0]
        assert np.linalg.norm(residual) == pytest.approx(
            np.linalg.norm(y - x @ least), abs=1e-6 * (1 + np.linalg.norm(y))
        )


def test_twins_and_zero_columns_end_cleanly() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((12, 6)), rng.standard_normal(12)
    x[:, 3], x[:, 5] = x[:, 0], 0
    found = lasso_homotopy(x, y)
    assert found.end == "alpha_zero"
    assert 5 not in found.events
    assert 3 not in found.events
    assert set(found.dependent) <= {3}
    assert_path(x, y, found.alphas, found.coefs)


def test_lowest_of_equals_enters_first() -> None:
    found = lasso_homotopy(np.eye(5), np.array([1.0, 3.0, 3.0, -3.0, 2.0]))
    np.testing.assert_array_equal(found.events, [1, 2, 3, 4, 0])
    np.testing.assert_allclose(found.alphas, np.array([3, 3, 3, 2, 1, 0]) / 5, atol=1e-15)


def test_steps_end_a_path_before_its_next_event() -> None:
    x, y = diabetes()
    whole, cut = lasso_homotopy(x, y), lasso_homotopy(x, y, max_steps=4)
    assert cut.end == "limit"
    np.testing.assert_array_equal(cut.events, whole.events[:4])
    np.testing.assert_array_equal(cut.alphas, whole.alphas[:5])
    with pytest.raises(ValueError, match="max_steps must be at least 1, got 0"):
        lasso_homotopy(x, y, max_steps=0)


def test_nothing_to_explain() -> None:
    found = lasso_homotopy(np.eye(3), np.zeros(3))
    assert (found.end, len(found.events), found.alphas.tolist()) == ("alpha_zero", 0, [0.0])


TOKENS = np.random.default_rng(5).standard_normal((40, 24)) + 1.2 * np.random.default_rng(6).standard_normal(
    24
)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_prefixes_are_their_own_problems(dtype: Any) -> None:
    tokens = TOKENS.astype(dtype)
    found = prefix_lasso_order(tokens, steps=12, positions=[1, 7, 39, 20])
    wide = tokens.astype(np.float64)
    for index, position in enumerate([1, 7, 39, 20]):
        alone = lasso_homotopy(np.ascontiguousarray(wide[:position].T), wide[position], max_steps=12)
        np.testing.assert_array_equal(found.events[index], alone.events)
        np.testing.assert_allclose(found.knots[index], alone.alphas, atol=1e-10 * alone.alphas[0])
        assert found.ends[index] == alone.end


def test_supports_are_what_the_solver_finds() -> None:
    found = prefix_lasso_order(TOKENS, steps=40)
    assert len(found) == 39
    for k in (1, 3, 6):
        for index, support in enumerate(found.supports(k)):
            position = int(found.positions[index])
            design = np.ascontiguousarray(TOKENS[:position].T)
            solved = lasso(design, TOKENS[position], k=k, tol=1e-13)
            np.testing.assert_array_equal(support, np.flatnonzero(solved.coef))
            assert len(support) == min(k, position) or position <= 24


@pytest.mark.parametrize("spread", [1e-2, 1e-3])
def test_nearly_dependent_columns_end_no_path(spread: float) -> None:
    """Exits from sets whose Gram matrix has condition 1e4 to 1e6: what stays in is solved for again."""
    exits = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((20, 1)) + spread * rng.standard_normal((20, 10))
        y = rng.standard_normal(20)
        found = lasso_homotopy(x, y)
        assert found.end == "alpha_zero", seed
        exits += np.count_nonzero(found.events < 0)
        assert_path(x, y, found.alphas, found.coefs)
    assert exits > 50


def massive(tokens: int, size: float, seed: int = 0) -> Floats:
    """Two dimensions hold nearly all of the norm, as massive activations do."""
    made = np.random.default_rng(seed).standard_normal((tokens, 640))
    made[:, 7] += 5 * size
    made[:, 100] -= 3 * size
    return made


@pytest.mark.parametrize("size", [100.0, 1000.0])
def test_massive_activations_end_no_path(size: float) -> None:
    found = prefix_lasso_order(massive(100, size), steps=1000, positions=np.arange(50, 100))
    assert set(found.ends) == {"alpha_zero"}
    assert {len(support) for support in found.supports(10)} == {10}


def repeated_tokens() -> Floats:
    """Few distinct rows many times, as embeddings of a text have, and targets that are new."""
    rng = np.random.default_rng(2)
    vocabulary = rng.standard_normal((30, 48))
    return np.vstack([vocabulary[rng.integers(0, 30, 90)], rng.standard_normal((4, 48))])


def plus_minus(integers: bool) -> Floats:
    rng = np.random.default_rng(4)
    values = rng.integers(-2, 3, (60, 40)).astype(float)
    return values if integers else np.where(values > 0, 1.0, -1.0)


@pytest.mark.parametrize(
    ("tokens", "positions"),
    [
        (repeated_tokens(), [90, 91, 92, 93]),
        (plus_minus(False), [40, 50, 59]),
        (plus_minus(True), [40, 50]),
        (massive(80, 3000.0), [40, 60, 79]),
    ],
    ids=["copies", "signs", "integers", "massive"],
)
def test_exactly_k(tokens: Floats, positions: list[int]) -> None:
    for k in (1, 3, 8):
        found = prefix_lasso(tokens, k=k, positions=positions)
        assert found.converged.all()
        assert found.nonzeros.tolist() == [k] * len(positions)
        for index, position in enumerate(positions):
            alone = lasso(np.ascontiguousarray(tokens[:position].T), tokens[position], k=k)
            assert alone.converged
            assert alone.alpha == pytest.approx(found.alpha[index], rel=1e-7)
            np.testing.assert_array_equal(np.flatnonzero(alone.coef), np.flatnonzero(found.coef[index]))
            size = np.abs(alone.coef).max()
            np.testing.assert_allclose(found.coef[index], alone.coef, atol=1e-7 * size)


def test_many_that_enter_together_take_few_paths() -> None:
    """512 orthogonal tokens tie: the number that is tried doubles."""
    rows = hadamard(512).astype(float)
    started = time.perf_counter()
    found = prefix_lasso(np.vstack([rows, rows.sum(axis=0)]), k=3, positions=[512])
    assert time.perf_counter() - started < 2
    assert found.nonzeros.tolist() == [512]
    assert found.converged.all()


def test_k_that_rounding_keeps_out_has_not_converged() -> None:
    """Columns that differ by 1e-6 of their norm: a Gram matrix of condition 1e12."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 1)) + 1e-6 * rng.standard_normal((20, 10))
    y = rng.standard_normal(20)
    tokens = np.vstack([x.T, y])
    assert prefix_lasso_order(tokens, steps=1000, positions=[10]).ends == ["rounding"]
    for found in (prefix_lasso(tokens, k=9, positions=[10]), lasso(x, y, k=9)):
        assert np.count_nonzero(found.coef) < 9
        assert not np.any(found.converged)


def test_same_bits_for_any_number_of_threads() -> None:
    before = lmscope.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            lmscope.set_num_threads(threads)
            found.append(prefix_lasso_order(TOKENS, steps=20, most_nonzeros=8))
    finally:
        lmscope.set_num_threads(before)
    for one, other in zip(found[0].knots, found[1].knots, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
        ({"steps": 2.5}, TypeError, "steps must be an integer, got 2.5"),
        ({"steps": 5, "most_nonzeros": 0}, ValueError, "most_nonzeros must be at least 1"),
        (
            {"steps": 5, "positions": [0]},
            ValueError,
            "positions holds 0; with 40 tokens they lie between 1 and 39",
        ),
        ({"steps": 5, "positions": [1.5]}, TypeError, "positions must be integers, got float64"),
        (
            {"steps": 5, "positions": np.array([2**63], np.uint64)},
            ValueError,
            "positions holds 9223",
        ),
        ({"steps": 5, "positions": []}, ValueError, "positions must be one-dimensional and not empty"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        prefix_lasso_order(TOKENS, **options)


def test_words_of_the_results() -> None:
    order = prefix_lasso_order(TOKENS, steps=5, positions=[9, 30])
    assert repr(order).startswith("PrefixLassoOrder(positions: 2; steps, mean: ")
    path = lasso_homotopy(*diabetes())
    assert repr(path).startswith("LassoHomotopy(knots: 13 from 2.148 to 0; entries: 11; exits: 1")
    for found in (order, path):
        assert "<table" in found._repr_html_()
