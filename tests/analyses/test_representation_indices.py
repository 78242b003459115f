"""Indices that DOCS is compared with: closed forms, invariances, and what they cannot tell apart."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import scipy.linalg

from lmscope import docs
from lmscope.analyses.layer_map import gini
from lmscope.analyses.representation_indices import (
    INDICES,
    cca,
    linear_cka,
    linear_regression,
    orthogonal_procrustes,
    svcca,
)

Index = Callable[[np.ndarray, np.ndarray], float]
every_index = pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)


def gaussian(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, rows, columns]).standard_normal((rows, columns))


def rotation(order: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(gaussian(order, order, seed))[0]


@every_index
def test_a_matrix_and_itself_rotated_and_scaled(index: Index) -> None:
    x = gaussian(40, 12)
    assert index(x, x) == pytest.approx(1, abs=1e-12)
    assert index(x, -1e-170 * x @ rotation(12)) == pytest.approx(1, abs=1e-12)
    y = gaussian(40, 9, 1)
    q = rotation(40)
    assert index(q @ x, q @ y) == pytest.approx(index(x, y), abs=1e-12)
    assert index(x @ rotation(12), y) == pytest.approx(index(x, y), abs=1e-12)
    assert 0 < index(x, y) < 1


@every_index
def test_identity_against_hadamard(index: Index) -> None:
    """All pairs of orthogonal matrices have the value 1; DOCS gives 1 / sqrt(n)."""
    hadamard = scipy.linalg.hadamard(256) / 16
    if index is svcca:
        # 99 % of equal energies leaves some directions out, and which ones is arbitrary.
        index = partial(svcca, energy=1.0)
    assert index(np.eye(256), hadamard) == pytest.approx(1, abs=1e-10)
    assert docs(np.eye(256), hadamard).score == pytest.approx(1 / 16, abs=1e-12)


@every_index
def test_orthogonal_column_spaces_have_nothing_in_common(index: Index) -> None:
    q = rotation(20)
    assert index(q[:, :7], q[:, 7:]) == pytest.approx(0, abs=1e-12)


def test_known_angles() -> None:
    q = rotation(12)
    cosines = np.array([0.9, 0.5, 0.1])
    x, y = q[:, :3], q[:, :3] * cosines + q[:, 3:6] * np.sqrt(1 - cosines**2)
    assert cca(x, y) == pytest.approx(cosines.mean(), abs=1e-12)
    assert linear_regression(x, y) == pytest.approx((cosines**2).mean(), abs=1e-12)
    assert linear_cka(x, y) == pytest.approx((cosines**2).sum() / 3, abs=1e-12)
    assert orthogonal_procrustes(x, y) == pytest.approx(cosines.mean(), abs=1e-12)


@every_index
def test_no_index_is_above_one(index: Index) -> None:
    x = [gaussian(30, 40 + seed, seed) for seed in range(20)]
    assert max(index(one, one @ rotation(one.shape[1])) for one in x) <= 1
    assert max(index(rotation(20, seed), rotation(20, seed + 30)) for seed in range(20)) <= 1


def test_correlations_are_averaged_over_the_smaller_space() -> None:
    q = rotation(12)
    for index in (cca, svcca):
        assert index(q[:, :3], q[:, :6]) == index(q[:, :6], q[:, :3]) == pytest.approx(1, abs=1e-12)


def test_svcca_leaves_out_what_carries_no_energy() -> None:
    q = rotation(30)
    x = q[:, :4] * [3, 2, 1, 1e-3]
    y = q[:, [0, 1, 2, 7]] * [1, 5, 2, 1e-3]
    assert cca(x, y) == pytest.approx(3 / 4, abs=1e-12)
    assert svcca(x, y) == pytest.approx(1, abs=1e-12)
    assert svcca(x, y, energy=1) == pytest.approx(3 / 4, abs=1e-12)


def test_procrustes_is_half_the_squared_distance_to_the_best_rotation() -> None:
    x, y = gaussian(30, 8), gaussian(30, 8, 1)
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    turn, _ = scipy.linalg.orthogonal_procrustes(y, x)
    distance = np.linalg.norm(x - y @ turn) ** 2
    assert orthogonal_procrustes(x, y) == pytest.approx(1 - distance / 2, abs=1e-12)


def test_docs_has_the_most_contrast_where_neurons_are_shared() -> None:
    """Five orthogonal layers, each a mixture of its own neurons and the ones of the layer before."""
    layers = [rotation(48, 0)]
    for seed in range(1, 5):
        kept = layers[-1].copy()
        kept[:, 24:] = kept[:, 24:] @ rotation(24, seed)
        layers.append(kept)

    def contrast(index: Index) -> float:
        return gini([[index(x, y) for y in layers] for x in layers])

    ours = contrast(lambda x, y: docs(x, y).score)
    theirs = [contrast(index) for index in INDICES.values()]
    assert max(theirs) < 1e-9
    assert ours > 0.005


@every_index
def test_bad_input(index: Index) -> None:
    x = gaussian(6, 4)
    for y, message in (
        (gaussian(7, 4), "length 6, y of length 7"),
        (np.zeros((6, 4)), "y is a matrix of zeros"),
        (np.full((6, 4), np.nan), "y holds NaN"),
        (np.ones(6), "must be a matrix"),
        (np.ones((6, 2049)), "at most 2048"),
    ):
        with pytest.raises(ValueError, match=message):
            index(x, y)
