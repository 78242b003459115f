"""The batch solver of the Lasso against its definition, on every instruction set."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import Lasso as SklearnLasso

from lmscope import PrefixLasso, _core, prefix_lasso
from lmscope.kernels.lasso import prefix_lasso_order
from lmscope.reference import lasso as reference

from ..shapes import DTYPES, layouts
from ..tolerances import LASSO_ITERATES

Matrix = NDArray[Any]
Floats = NDArray[np.float64]

# Rounding of a gap of size 1 in extended precision, 64 bits of mantissa and some hundred terms.
EXTENDED = 1e-17


def tokens_like(rows: int, dimensions: int, *, common: float = 0.8, seed: int = 0) -> Floats:
    """Unit rows with a large common direction, neighbours alike: what hidden states look like."""
    rng = np.random.default_rng([seed, rows, dimensions])
    noise = rng.standard_normal((rows, dimensions))
    for t in range(1, rows):
        noise[t] = 0.7 * noise[t - 1] + 0.7 * noise[t]
    made = common * rng.standard_normal(dimensions) + (1 - common) * noise
    unit: Floats = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit


def true_gap(x: Floats, y: Floats, coef: Floats, alpha: float) -> float:
    """The gap in extended precision, at the best dual point in the residual's direction."""
    long_x, long_y, long_coef = (np.asarray(part, dtype=np.longdouble) for part in (x, y, coef))
    threshold = len(y) * np.longdouble(alpha)
    residual = long_y - long_x @ long_coef
    largest = np.abs(long_x.T @ residual).max()
    square = residual @ residual
    scale = max(long_y @ residual / square, np.longdouble(0)) if square > 0 else np.longdouble(1)
    if scale * largest > threshold:
        scale = threshold / largest
    primal = square / 2 + threshold * np.abs(long_coef).sum()
    dual = scale * (long_y @ residual) - scale**2 * square / 2
    return float((primal - dual) / len(y))


def check(found: PrefixLasso, tokens: Floats, tol: float, every: int = 1) -> None:
    """Each gap bounds the true one, and decides what has converged; the optimality conditions follow."""
    dimensions = tokens.shape[1]
    for i in range(0, len(found), every):
        t = int(found.positions[i])
        x, y, coef, alpha = tokens[:t].T, tokens[t], found.coef[i], float(found.alpha[i])
        assert coef.shape == (t,)
        exact = true_gap(x, y, coef, alpha)
        size = float(y @ y) / dimensions
        assert exact <= found.gap[i] + EXTENDED * size
        assert found.gap[i] >= 0
        assert found.converged[i] == (found.gap[i] <= tol * size)
        assert not coef[~tokens[:t].any(axis=1)].any()


def batch(name: str, *arrays: Any, alphas: Floats, ratio: bool = True, tol: float = 1e-6, **more: Any) -> Any:
    return getattr(_core, name)(*arrays, alphas, ratio, tol, more.pop("max_iter", 10_000), **more)


@pytest.mark.parametrize(("rows", "dimensions"), [(2, 1), (9, 30), (40, 12), (75, 100), (140, 64)])
def test_certified_solutions(rows: int, dimensions: int, isa: str) -> None:
    for common in (0.0, 0.8):
        tokens = tokens_like(rows, dimensions, common=common)
        for ratio in (0.7, 0.2, 0.03):
            for tol in (1e-4, 1e-10):
                found = prefix_lasso(tokens, alpha_ratio=ratio, tol=tol)
                assert found.converged.all()
                check(found, tokens, tol, every=7)


def test_against_the_definition_and_scikit_learn(isa: str) -> None:
    tokens = tokens_like(60, 80)
    found = prefix_lasso(tokens, alpha_ratio=0.05, tol=1e-12)
    assert found.converged.all()
    for i in range(9, 59, 10):
        x, y, alpha = tokens[: i + 1].T, tokens[i + 1], float(found.alpha[i])
        # Two points with gaps of g: predictions differ by at most 2 sqrt(2 samples g).
        expected = reference.solve(x, y, alpha, tol=1e-12)
        apart = 2 * np.sqrt(2 * 1e-12) * np.linalg.norm(y)
        assert np.linalg.norm(x @ (found.coef[i] - expected)) <= apart
        sklearn = SklearnLasso(alpha, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(x, y).coef_
        assert np.linalg.norm(x @ (found.coef[i] - sklearn)) <= apart
        assert np.array_equal(np.abs(found.coef[i]) > 1e-4, np.abs(sklearn) > 1e-4)


@pytest.mark.parametrize("sweeps", [1, 2, 5, 23])
def test_plain_iterates_are_those_of_cyclic_descent(sweeps: int, isa: str) -> None:
    """Blocks, lanes and masks change nothing: prefixes across several blocks, and several targets."""
    tokens = tokens_like(75, 50)
    tokens[11] = 0
    positions = np.array([1, 31, 32, 33, 64, 70, 74])
    coef, offsets, alpha, *_ = batch(
        "lasso_prefixes",
        tokens,
        positions,
        alphas=np.full(7, 0.01),
        tol=1e-15,
        max_iter=sweeps,
        plain=True,
    )
    for i, t in enumerate(positions):
        expected = reference.coordinate_descent(tokens[:t].T, tokens[t], alpha[i], sweeps=sweeps)
        assert np.abs(coef[offsets[i] : offsets[i + 1]] - expected).max() <= LASSO_ITERATES
    x, y = tokens[:70].T, tokens[70:].T
    coef, offsets, alpha, *_ = batch(
        "lasso_targets", x, y, alphas=np.full(5, 0.01), tol=1e-15, max_iter=sweeps, plain=True
    )
    for i in range(5):
        expected = reference.coordinate_descent(x, y[:, i], alpha[i], sweeps=sweeps)
        assert np.abs(coef[offsets[i] : offsets[i + 1]] - expected).max() <= LASSO_ITERATES


def test_plain_and_active_sets_agree(isa: str) -> None:
    tokens = tokens_like(90, 70, common=0.5)
    positions = np.arange(1, 90)
    alphas = np.full(89, 0.1)
    plain = batch("lasso_prefixes", tokens, positions, alphas=alphas, tol=1e-11, plain=True)
    found = batch("lasso_prefixes", tokens, positions, alphas=alphas, tol=1e-11)
    assert plain[-1].all()
    assert found[-1].all()
    for i, t in enumerate(positions):
        where = slice(plain[1][i], plain[1][i + 1])
        apart = np.linalg.norm(tokens[:t].T @ (plain[0][where] - found[0][where]))
        assert apart <= 2 * np.sqrt(2e-11) * np.linalg.norm(tokens[t])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(2, 40),
    dimensions=st.integers(1, 40),
    rank=st.integers(1, 40),
    copies=st.integers(0, 6),
    zeros=st.integers(0, 3),
    share=st.sampled_from([2.0, 1.0, 0.9, 0.3, 0.05, 1e-3]),
)
def test_optimality_conditions(
    seed: int, rows: int, dimensions: int, rank: int, copies: int, zeros: int, share: float
) -> None:
    """Collinear, repeated and zero tokens, more tokens than dimensions, alpha above alpha_max and small."""
    rng = np.random.default_rng(seed)
    tokens = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, dimensions))
    for _ in range(copies):
        source, target = rng.integers(rows, size=2)
        tokens[target] = rng.choice([-2.0, 1.0]) * tokens[source]
    tokens[rng.integers(rows, size=zeros)] = 0
    tol = 1e-9
    found = prefix_lasso(tokens, alpha_ratio=share, tol=tol)
    check(found, tokens, tol)
    for i, t in enumerate(found.positions):
        if not found.converged[i]:
            continue
        x, y, coef = tokens[:t].T, tokens[t], found.coef[i]
        gradient = x.T @ (y - x @ coef)
        bound = dimensions * found.alpha[i]
        # A gap g holds the residual within sqrt(2 g) of the dual optimum.
        slack = np.sqrt(2 * dimensions * found.gap[i]) * np.linalg.norm(x, axis=0) + 1e-12 * float(y @ y)
        assert (np.abs(gradient) <= bound + slack + 1e-12 * bound).all()
        if share >= 1:
            assert not coef.any()


def test_alpha_from_alpha_max_on_gives_zero() -> None:
    tokens = tokens_like(30, 20)
    for share in (1.0, 1.5):
        found = prefix_lasso(tokens, alpha_ratio=share)
        assert not any(coef.any() for coef in found.coef)
        assert found.converged.all()
        assert (found.n_iter == 0).all()
        assert (found.gap <= 1e-24).all()
    assert (found.gap == 0).all()
    largest = [np.abs(tokens[:t] @ tokens[t]).max() / 20 for t in range(1, 30)]
    np.testing.assert_allclose(found.alpha_max, largest, rtol=1e-13)
    huge = prefix_lasso(tokens, alpha=1e308)
    assert huge.converged.all()
    assert (huge.gap == 0).all()


def test_what_does_not_converge_says_so() -> None:
    tokens = tokens_like(200, 60)
    stopped = prefix_lasso(tokens, alpha_ratio=1e-6, tol=1e-12, max_iter=3)
    assert not stopped.converged.all()
    assert (stopped.n_iter <= 3).all()
    check(stopped, tokens, 1e-12, every=20)
    # Rounding alone exceeds the tolerance: no sweeps are spent on it.
    rounded = prefix_lasso(tokens, alpha_ratio=0.1, tol=1e-17)
    assert not rounded.converged[20:].any()
    assert (rounded.n_iter < 1000).all()
    check(rounded, tokens, 1e-17, every=20)
    assert (rounded.gap <= 1e-11 * (tokens[1:] ** 2).sum(axis=1) / 60).all()
    tiny = prefix_lasso(tokens[:40], alpha=1e-300, tol=1e-3, max_iter=200)
    check(tiny, tokens[:40], 1e-3)


def test_rounding_that_all_has_one_sign(isa: str) -> None:
    """Equal elements: every sum of the Gram matrix is off to the same side."""
    tokens = np.full((12, 5003), np.float32(0.1)).astype(np.float64) * np.linspace(0.7, 1.3, 12)[:, None]
    tokens[:, :3] += 0.01 * np.random.default_rng(0).standard_normal((12, 3))
    for tol in (1e-3, 1e-10, 1e-16):
        check(prefix_lasso(tokens, alpha_ratio=0.01, tol=tol), tokens, tol)


def test_large_supports() -> None:
    """More active tokens than a working set holds in cache."""
    tokens = tokens_like(420, 400, common=0.3)
    positions = np.array([300, 380, 419])
    found = prefix_lasso(tokens, alpha_ratio=1e-4, positions=positions)
    assert found.converged.all()
    assert (found.nonzeros > 256).all()
    check(found, tokens, 1e-6)


def test_targets(isa: str) -> None:
    x, y = tokens_like(50, 37).T[:, :20], tokens_like(40, 37, seed=1).T
    alphas = np.linspace(0.05, 0.9, 40)
    coef, offsets, alpha, alpha_max, gap, _sweeps, converged = batch("lasso_targets", x, y, alphas=alphas)
    assert converged.all()
    assert np.array_equal(offsets, 20 * np.arange(41))
    np.testing.assert_allclose(alpha, alphas * alpha_max, rtol=1e-14)
    for i in range(40):
        found = coef[offsets[i] : offsets[i + 1]]
        exact = true_gap(np.ascontiguousarray(x), np.ascontiguousarray(y[:, i]), found, alpha[i])
        size = float(y[:, i] @ y[:, i]) / 37
        assert exact - EXTENDED * size <= gap[i] <= 1e-6 * size


@pytest.mark.parametrize("common", [0.0, 0.8])
def test_number_of_tokens(common: float) -> None:
    tokens = tokens_like(120, 80, common=common)
    positions = np.arange(1, 120, 3)
    for k in (1, 4, 25):
        found = prefix_lasso(tokens, k=k, positions=positions)
        assert found.converged.all()
        check(found, tokens, 1e-10, every=5)
        order = prefix_lasso_order(tokens, steps=1000, positions=positions, most_nonzeros=k + 8)
        for coef, support in zip(found.coef, order.supports(k), strict=True):
            assert np.array_equal(np.flatnonzero(coef), support)
        assert (found.nonzeros >= np.minimum(k, positions)).mean() > 0.9
    few = prefix_lasso(np.vstack([tokens[:3], np.zeros((2, 80)), tokens[5:8]]), k=6, positions=[2, 4, 7])
    assert few.nonzeros.tolist() == [2, 0, 5]
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        prefix_lasso(tokens, k=0)
    with pytest.raises(TypeError, match=r"k must be an integer, got 2\.0"):
        prefix_lasso(tokens, k=2.0)  # type: ignore[arg-type]


def test_positions_in_any_order() -> None:
    tokens = tokens_like(80, 50)
    every = prefix_lasso(tokens, alpha_ratio=0.1, tol=1e-12)
    some = prefix_lasso(tokens, alpha_ratio=0.1, tol=1e-12, positions=[70, 3, 3, 41])
    for i, t in enumerate(some.positions):
        np.testing.assert_allclose(some.coef[i], every.coef[t - 1], atol=1e-5)
        assert some.alpha[i] == every.alpha[t - 1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_layouts(dtype: str) -> None:
    tokens = tokens_like(60, 45).astype(DTYPES[dtype])
    wide = tokens.astype(np.float64)
    expected = prefix_lasso(wide, alpha_ratio=0.1)
    for name, layout in layouts(tokens):
        found = prefix_lasso(layout, alpha_ratio=0.1)
        check(found, wide, 1e-6, every=10)
        for got, wanted in zip(found.coef, expected.coef, strict=True):
            np.testing.assert_allclose(got, wanted, atol=1e-12, err_msg=name)
    if dtype == "bfloat16":
        tensor = torch.from_numpy(wide).to(torch.bfloat16)
        assert np.array_equal(prefix_lasso(tensor, alpha_ratio=0.1).coef[-1], found.coef[-1])


def test_bits_do_not_depend_on_threads(threads: Callable[[int], None]) -> None:
    tokens = tokens_like(300, 70)
    found = []
    for count in (1, 2, 3, 8):
        threads(count)
        solved = prefix_lasso(tokens, alpha_ratio=0.05)
        found.append(b"".join(coef.tobytes() for coef in solved.coef) + solved.gap.tobytes())
    assert len(set(found)) == 1


def test_gil_is_released(threads: Callable[[int], None]) -> None:
    threads(1)
    tokens = tokens_like(1200, 300)
    started, done = threading.Event(), threading.Event()

    def compute() -> None:
        started.set()
        prefix_lasso(tokens, alpha_ratio=0.02)
        done.set()

    thread = threading.Thread(target=compute)
    wakes = 0
    thread.start()
    started.wait()
    while not done.is_set():
        time.sleep(0.001)
        wakes += 1
    thread.join()
    assert wakes > 10


def test_zero_and_orthogonal_tokens() -> None:
    zero = prefix_lasso(np.zeros((4, 3)), alpha_ratio=0.5)
    assert zero.converged.all()
    assert (zero.gap == 0).all()
    orthogonal = prefix_lasso(np.eye(6), alpha_ratio=0.5)
    assert orthogonal.converged.all()
    assert (orthogonal.alpha_max == 0).all()
    assert not any(coef.any() for coef in orthogonal.coef)
    # Orthonormal tokens: the soft threshold of the correlations.
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((12, 12)))[0]
    target = np.random.default_rng(1).standard_normal(12)
    found = prefix_lasso(np.vstack([basis, target]), alpha=0.05, positions=[12], tol=1e-13)
    products = basis @ target
    expected = np.sign(products) * np.maximum(np.abs(products) - 12 * 0.05, 0)
    np.testing.assert_allclose(found.coef[0], expected, atol=1e-12)


@pytest.mark.parametrize("factor", [2.0**-400, 2.0**400])
def test_powers_of_two_change_nothing(factor: float) -> None:
    tokens = tokens_like(40, 30)
    expected = prefix_lasso(tokens, alpha_ratio=0.1)
    found = prefix_lasso(tokens * factor, alpha_ratio=0.1)
    assert all(np.array_equal(a, b) for a, b in zip(found.coef, expected.coef, strict=True))
    assert np.array_equal(found.gap, expected.gap * factor**2)


@pytest.mark.parametrize(("size", "said"), [(1e-200, "below 2.-960"), (1e200, "above 2.960")])
def test_magnitudes_that_would_vanish_or_overflow_are_refused(size: float, said: str) -> None:
    tokens = tokens_like(5, 8)
    tokens[3] *= size
    with pytest.raises(ValueError, match=rf"tokens has a row, 3, whose squared norm is {said}"):
        prefix_lasso(tokens, alpha_ratio=0.5)
    with pytest.raises(ValueError, match=rf"y has a column, 1, whose squared norm is {said}"):
        batch("lasso_targets", tokens[:2].T, tokens[2:].T, alphas=np.ones(3))


def test_refusals() -> None:
    tokens = tokens_like(6, 4)
    broken = tokens.copy()
    broken[2, 3] = np.nan
    with pytest.raises(ValueError, match="tokens has NaN at row 2, column 3"):
        prefix_lasso(broken, alpha=0.1)
    for wrong in ({}, {"alpha": 0.1, "k": 2}, {"alpha": 0.1, "alpha_ratio": 0.1}):
        with pytest.raises(ValueError, match="give exactly one of alpha, alpha_ratio and k"):
            prefix_lasso(tokens, **wrong)  # type: ignore[arg-type]
    for value in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="alpha must be positive and finite"):
            prefix_lasso(tokens, alpha=value)
        with pytest.raises(ValueError, match="alpha_ratio must be positive and finite"):
            prefix_lasso(tokens, alpha_ratio=value)
    for position in (0, -1, 6):
        with pytest.raises(
            ValueError, match=rf"positions holds {position}; with 6 tokens they lie between 1 and 5"
        ):
            prefix_lasso(tokens, alpha=0.1, positions=[position])
    with pytest.raises(TypeError, match="positions must be integers, got float64"):
        prefix_lasso(tokens, alpha=0.1, positions=[1.0])
    with pytest.raises(ValueError, match="positions must be one-dimensional and not empty"):
        prefix_lasso(tokens, alpha=0.1, positions=[])
    with pytest.raises(ValueError, match=r"tokens has shape \(1, 4\); a token and one before it take"):
        prefix_lasso(tokens[:1], alpha=0.1)
    with pytest.raises(ValueError, match="tokens must be 2-D, got 1-D"):
        prefix_lasso(tokens[0], alpha=0.1)
    with pytest.raises(ValueError, match="tol must lie between 0 and 1, got 0"):
        prefix_lasso(tokens, alpha=0.1, tol=0)
    with pytest.raises(ValueError, match="max_iter must be at least 1, got 0"):
        prefix_lasso(tokens, alpha=0.1, max_iter=0)
    with pytest.raises(TypeError, match=r"max_iter must be an integer, got 1\.5"):
        prefix_lasso(tokens, alpha=0.1, max_iter=1.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="tokens has dtype int64"):
        prefix_lasso(np.ones((3, 3), dtype=np.int64), alpha=0.1)
    with pytest.raises(TypeError, match="tokens must be a numpy array or a torch tensor, got list"):
        prefix_lasso([[1.0], [2.0]], alpha=0.1)
