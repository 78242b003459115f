"""Distances of texts: closed forms, both ways of computing them, and what makes a distance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from lmscope import text_distances

SHAPES = pytest.mark.parametrize(("first", "second", "dimensions"), [(6, 9, 40), (60, 30, 12), (5, 50, 20)])


def gaussian(tokens: int, dimensions: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, tokens, dimensions]).standard_normal((tokens, dimensions))


@SHAPES
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("normalize_rows", [True, False])
def test_definition(first: int, second: int, dimensions: int, center: bool, normalize_rows: bool) -> None:
    sides = [gaussian(first, dimensions) + 1, gaussian(second, dimensions, 1) * np.linspace(1, 3, dimensions)]
    found = text_distances(*sides, epsilon2=0.7, center=center, normalize_rows=normalize_rows)

    def unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.linalg.norm(rows, axis=1, keepdims=True) if normalize_rows else rows

    means = [unit(rows).mean(axis=0) for rows in sides]
    moments = []
    for rows in sides:
        ready = unit(rows - rows.mean(axis=0) if center else rows)
        moments.append(ready.T @ ready / len(ready))
    x, y = moments
    assert found.mean == pytest.approx(np.linalg.norm(means[0] - means[1]), rel=1e-10)
    assert found.frobenius == pytest.approx(np.linalg.norm(x - y), rel=1e-10)
    # The square root of a singular matrix, from eigenvalues: sqrtm is not accurate there.
    values, vectors = np.linalg.eigh(x)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ y @ root), 0)).sum()
    assert found.bures_wasserstein == pytest.approx(
        math.sqrt(np.trace(x) + np.trace(y) - 2 * overlap), rel=1e-6
    )
    a, b = (np.eye(dimensions) + dimensions / 0.7 * moment for moment in moments)
    expected = np.linalg.slogdet((a + b) / 2)[1] - (np.linalg.slogdet(a)[1] + np.linalg.slogdet(b)[1]) / 2
    assert found.log_det == pytest.approx(expected, rel=1e-9)


def test_commuting_covariances() -> None:
    """Diagonal second moments: all distances in closed form."""
    a, b = np.array([1.0, 4.0, 9.0]), np.array([4.0, 1.0, 16.0])
    sides = [np.vstack([one, -one]) * math.sqrt(3) for one in (np.diag(np.sqrt(a)), np.diag(np.sqrt(b)))]
    found = text_distances(*sides, epsilon2=3.0, normalize_rows=False)
    assert found.mean == pytest.approx(0, abs=1e-12)
    assert found.frobenius == pytest.approx(np.linalg.norm(a - b), rel=1e-12)
    assert found.bures_wasserstein == pytest.approx(np.linalg.norm(np.sqrt(a) - np.sqrt(b)), rel=1e-12)
    log_det = np.log1p((a + b) / 2).sum() - (np.log1p(a) + np.log1p(b)).sum() / 2
    assert found.log_det == pytest.approx(log_det, rel=1e-12)


@SHAPES
def test_what_makes_a_distance(first: int, second: int, dimensions: int) -> None:
    x, y = gaussian(first, dimensions), gaussian(second, dimensions, 1)
    found, back = text_distances(x, y), text_distances(y, x)
    q = scipy.linalg.qr(gaussian(dimensions, dimensions, 2))[0]
    turned = text_distances(x @ q, y @ q)
    shuffled = text_distances(torch.from_numpy(x[::-1].copy()), y)
    for name, value in vars(found).items():
        assert value > 0
        for same in (back, turned, shuffled):
            assert getattr(same, name) == pytest.approx(value, rel=1e-9)
    itself = text_distances(x, x)
    assert itself.mean == 0
    assert itself.frobenius < 1e-14
    assert itself.log_det < 1e-10
    # The square of what is left is rounding.
    assert itself.bures_wasserstein < 1e-6


def test_texts_of_one_kind_are_nearer() -> None:
    axes = [gaussian(3, 64, seed) for seed in (1, 2)]
    texts = [[gaussian(20, 3, seed) @ one for seed in (3, 4)] for one in axes]
    within, between = text_distances(*texts[0]), text_distances(texts[0][0], texts[1][0])
    for name in ("frobenius", "bures_wasserstein", "log_det"):
        assert getattr(between, name) > 1.5 * getattr(within, name)


def test_bad_input() -> None:
    x = gaussian(4, 6)
    with pytest.raises(ValueError, match="states_y must have 6 dimensions"):
        text_distances(x, gaussian(4, 5))
    with pytest.raises(ValueError, match="states_x must be tokens x dimensions"):
        text_distances(x[:0], x)
    with pytest.raises(ValueError, match="row 2 of states_y is zero"):
        text_distances(x, x * [[1], [1], [0], [1]])
    with pytest.raises(ValueError, match="row 0 of states_x less the mean is zero"):
        text_distances(x[:1], x, center=True)
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match="states_x has nan at row 3, column 1"):
        text_distances(x, x)
