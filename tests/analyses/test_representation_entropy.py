"""Entropy of hidden states: closed forms, invariances, both Gram sides, streams, and what is refused."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope import Entropy, StreamingEntropy, representation_entropy

SHAPES = pytest.mark.parametrize(("tokens", "dimensions"), [(30, 80), (80, 30), (40, 40), (2, 7), (9, 1)])
SWITCHES = pytest.mark.parametrize(
    ("center", "normalize_rows"), [(True, True), (True, False), (False, True), (False, False)]
)


def gaussian(tokens: int, dimensions: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, tokens, dimensions]).standard_normal((tokens, dimensions))


def equal_directions(count: int, dimensions: int) -> np.ndarray:
    """Rows with count equal singular values, of mean 0 and norm 1."""
    axes = np.eye(dimensions)[:count] @ scipy.linalg.qr(gaussian(dimensions, dimensions))[0]
    return np.vstack([axes, -axes])


def by_definition(z: np.ndarray, epsilon2: float, center: bool, normalize_rows: bool) -> dict[str, float]:
    """The formulas of the paper and of Diff-eRank on the d x d covariance, in plain numpy."""
    tokens, dimensions = z.shape
    if center:
        z = z - z.mean(axis=0)
    if normalize_rows:
        z = z / np.linalg.norm(z, axis=1, keepdims=True)
    sigma = z.T @ z / tokens
    log_determinant = np.linalg.slogdet(np.eye(dimensions) + dimensions / epsilon2 * sigma)[1]
    shares = np.linalg.svd(sigma / np.trace(sigma), compute_uv=False)
    shares = shares[shares > 1e-15]
    return {
        "coding_length": (dimensions + tokens) / 2 * log_determinant,
        "normalized": log_determinant / (dimensions * math.log1p(np.trace(sigma) / epsilon2)),
        "matrix_entropy": -float(np.sum(shares * np.log(shares))),
        "effective_rank": math.exp(-float(np.sum(shares * np.log(shares)))),
    }


def assert_same(found: Entropy, expected: dict[str, float], rtol: float = 1e-10) -> None:
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, rel=rtol), name


def test_a_tight_frame_reaches_the_maximum() -> None:
    found = representation_entropy(equal_directions(64, 64))
    assert found.normalized == pytest.approx(1, abs=1e-12)
    assert found.cap == 1
    assert found.directions == pytest.approx(64, rel=1e-9)
    assert found.effective_rank == pytest.approx(64, rel=1e-12)
    assert found.coding_length == pytest.approx((64 + 128) / 2 * 64 * math.log(3), rel=1e-12)


@pytest.mark.parametrize(
    ("epsilon2", "count", "expected"),
    [
        (0.5, 1, 0.069119),
        (0.5, 8, 0.322363),
        (0.5, 32, 0.732487),
        (1.0, 1, 0.094099),
        (1.0, 8, 0.396241),
        (1.0, 32, 0.792481),
    ],
)
def test_equal_singular_values(epsilon2: float, count: int, expected: float) -> None:
    found = representation_entropy(equal_directions(count, 64), epsilon2=epsilon2)
    exact = count * math.log1p(64 / (count * epsilon2)) / (64 * math.log1p(1 / epsilon2))
    assert found.normalized == pytest.approx(exact, abs=1e-9)
    assert found.normalized == pytest.approx(expected, abs=5e-7)
    assert found.directions == pytest.approx(count, rel=1e-9)


@SHAPES
@SWITCHES
def test_definition(tokens: int, dimensions: int, center: bool, normalize_rows: bool) -> None:
    z = gaussian(tokens, dimensions) * np.geomspace(1, 30, dimensions) + 2
    found = representation_entropy(z, epsilon2=0.7, center=center, normalize_rows=normalize_rows)
    assert_same(found, by_definition(z, 0.7, center, normalize_rows), 1e-9)
    assert found.mean_square_norm == pytest.approx(1 if normalize_rows else found.mean_square_norm)
    assert (found.tokens, found.dimensions) == (tokens, dimensions)


def test_the_square_of_wide_states_is_never_formed() -> None:
    """200 x 800 through its 200 x 200 side: the value of Diff-eRank's 800 x 800 decomposition."""
    z = gaussian(200, 800).astype(np.float32)
    centred = z.astype(np.float64) - z.astype(np.float64).mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    eigenvalues = scipy.linalg.eigvalsh(unit.T @ unit / 200)
    eigenvalues = eigenvalues[eigenvalues > 1e-12]
    found = representation_entropy(z)
    assert found.matrix_entropy == pytest.approx(-np.sum(eigenvalues * np.log(eigenvalues)), abs=1e-8)
    assert found.normalized == pytest.approx(
        np.log1p(1600 * eigenvalues).sum() / (800 * math.log(3)), abs=1e-8
    )


@given(
    tokens=st.integers(3, 40),
    dimensions=st.integers(2, 40),
    seed=st.integers(0, 10**6),
    switches=st.integers(0, 3),
)
@settings(deadline=None, max_examples=40)
def test_rotations_change_nothing_and_the_cap_holds(
    tokens: int, dimensions: int, seed: int, switches: int
) -> None:
    z = gaussian(tokens, dimensions, seed)
    options = {"center": bool(switches & 1), "normalize_rows": bool(switches & 2)}
    found = representation_entropy(z, **options)
    q = scipy.linalg.qr(gaussian(dimensions, dimensions, seed + 1))[0]
    turned = representation_entropy(z @ q, **options)
    assert_same(
        turned, {name: getattr(found, name) for name in ("normalized", "matrix_entropy", "directions")}
    )
    assert 0 < found.normalized <= found.cap * (1 + 1e-12)
    assert found.cap <= 1
    rank = min(tokens - options["center"], dimensions)
    assert 1 - 1e-9 <= found.effective_rank <= rank * (1 + 1e-9)
    assert found.directions <= rank * (1 + 1e-9)


def test_the_cap_is_reached_with_fewer_tokens_than_dimensions() -> None:
    """A regular simplex: n tokens, centred, in n - 1 equal directions."""
    found = representation_entropy(np.eye(10, 32))
    assert found.cap < 1
    assert found.normalized == pytest.approx(found.cap, rel=1e-12)
    assert found.directions == pytest.approx(9, rel=1e-9)


@given(seed=st.integers(0, 10**6), tokens=st.integers(1, 20))
@settings(deadline=None, max_examples=30)
def test_an_orthogonal_token_adds_coding_length(seed: int, tokens: int) -> None:
    z = np.hstack([gaussian(tokens, 20, seed), np.zeros((tokens, 1))])
    new = np.eye(21)[20:]
    before = representation_entropy(z, center=False)
    after = representation_entropy(np.vstack([z, new]), center=False)
    assert after.coding_length > before.coding_length * (1 + 1e-10)
    assert after.matrix_entropy > before.matrix_entropy + 1e-10 or tokens > 20


def test_the_rate_difference_of_two_gaussians() -> None:
    """As epsilon vanishes, half the difference of the log-determinants of their covariances."""
    scales = np.geomspace(0.5, 3, 8), np.geomspace(0.2, 9, 8)
    sides = [equal_directions(8, 8) * math.sqrt(8) @ np.diag(scale) for scale in scales]
    lengths = [
        representation_entropy(z, epsilon2=1e-6, normalize_rows=False).coding_length / (8 + 16) for z in sides
    ]
    assert lengths[0] - lengths[1] == pytest.approx(
        np.log(scales[0]).sum() - np.log(scales[1]).sum(), abs=1e-3
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_every_dtype_from_numpy_and_torch(dtype: type) -> None:
    z = gaussian(20, 12).astype(dtype)
    expected = representation_entropy(z.astype(np.float64))
    assert representation_entropy(z) == expected
    as_float32 = torch.from_numpy(z.astype(np.float32 if dtype != np.float64 else np.float64))
    names = {np.float64: torch.float64, np.float32: torch.float32, np.float16: torch.float16}
    tensor = as_float32.to(names.get(dtype, torch.bfloat16)).requires_grad_()
    assert representation_entropy(tensor) == expected
    assert representation_entropy(np.asfortranarray(z)[::-1]).normalized == pytest.approx(
        expected.normalized, rel=1e-12
    )


@SWITCHES
def test_streams_in_any_order(center: bool, normalize_rows: bool) -> None:
    z = gaussian(90, 12) * np.geomspace(1, 20, 12) + 3
    options = {"center": center, "normalize_rows": normalize_rows, "epsilon2": 0.8}
    mean = z.mean(axis=0) if center and normalize_rows else None
    expected = representation_entropy(z, **options)
    parts = [StreamingEntropy(12, mean=mean, **options) for _ in range(3)]
    for stream, block in zip(parts, np.split(z, [5, 50]), strict=True):
        for rows in np.array_split(block, 3):
            stream.update(torch.from_numpy(rows))
    first, second, third = parts
    first.update(z[:0])
    second.merge(third)
    first.merge(second)
    assert first.tokens == 90
    assert_same(
        first.result(), {name: getattr(expected, name) for name in ("coding_length", "effective_rank")}
    )
    assert first.result().settings == expected.settings


def test_a_stream_with_few_tokens() -> None:
    z = gaussian(5, 30)
    for mean in (None, z.mean(axis=0)):
        stream = StreamingEntropy(30, mean=mean, normalize_rows=mean is not None)
        stream.update(z)
        expected = representation_entropy(z, normalize_rows=mean is not None)
        assert_same(
            stream.result(), {"normalized": expected.normalized, "effective_rank": expected.effective_rank}
        )


def refused(message: str, z: object, **options: object) -> None:
    with pytest.raises(ValueError, match=message):
        representation_entropy(z, **options)  # type: ignore[arg-type]


def test_what_has_no_entropy() -> None:
    one = gaussian(1, 8)
    refused("one token less the mean is zero", one)
    assert representation_entropy(one, center=False).effective_rank == pytest.approx(1)
    refused("3 equal tokens", np.repeat(one, 3, axis=0))
    refused("3 equal tokens", np.repeat(one, 3, axis=0), normalize_rows=False)
    refused("row 1 of z less the mean is zero", np.array([[1.0, 0], [0, 0], [-1, 0]]))
    refused("row 2 of z is zero", np.array([[1.0, 0], [0, 2], [0, 0]]), center=False)
    refused("all rows of z are zero", np.zeros((3, 2)), center=False, normalize_rows=False)
    broken = gaussian(4, 5)
    broken[2, 3] = np.nan
    refused("z has nan at row 2, column 3", broken)
    refused(r"z must be tokens x dimensions, got shape \(8,\)", one[0])
    refused(r"z must be tokens x dimensions, got shape \(0, 8\)", one[:0])
    refused("epsilon2 must be above 0", one, epsilon2=0)
    with pytest.raises(TypeError, match="z must be float64, float32, float16 or bfloat16, got int64"):
        representation_entropy(np.ones((3, 3), dtype=np.int64))


def test_what_a_stream_refuses() -> None:
    with pytest.raises(ValueError, match="need the mean of all rows beforehand"):
        StreamingEntropy(4)
    with pytest.raises(ValueError, match="center=False subtracts none"):
        StreamingEntropy(4, center=False, mean=np.zeros(4))
    with pytest.raises(ValueError, match=r"mean must be of shape \(4,\)"):
        StreamingEntropy(4, mean=np.zeros(3))
    stream = StreamingEntropy(4, normalize_rows=False)
    with pytest.raises(ValueError, match="has seen 0 tokens"):
        stream.result()
    stream.update(np.ones((1, 4)))
    with pytest.raises(ValueError, match="has seen 1 tokens"):
        stream.result()
    with pytest.raises(ValueError, match="rows must have 4 dimensions"):
        stream.update(np.ones((1, 5)))
    with pytest.raises(ValueError, match="one set of settings"):
        stream.merge(StreamingEntropy(4, center=False))
    with pytest.raises(ValueError, match="two means"):
        stream.merge(StreamingEntropy(4, normalize_rows=False, mean=np.ones(4)))
    unit = StreamingEntropy(4, center=False)
    unit.update(np.eye(4))
    with pytest.raises(ValueError, match="row 5 of the stream is zero"):
        unit.update(np.array([[1.0, 0, 0, 0], [0, 0, 0, 0]]))
    assert unit.tokens == 4


@pytest.mark.parametrize("scale", [1e200, 1e-200])
@pytest.mark.parametrize("center", [True, False])
def test_rows_of_any_scale(scale: float, center: bool) -> None:
    z = np.random.default_rng(0).standard_normal((30, 12)) + 1
    found = representation_entropy(z * scale, center=center)
    expected = representation_entropy(z, center=center)
    assert found.normalized == pytest.approx(expected.normalized, rel=1e-12)
    with pytest.raises(ValueError, match="the squared norms of z leave the range of float64"):
        representation_entropy(z * 1e200, center=center, normalize_rows=False)


def test_a_tiny_epsilon_counts_directions() -> None:
    """For epsilon2 towards 0 every direction costs the same: the entropy is the rank's share of its cap."""
    z = np.random.default_rng(0).standard_normal((30, 3)) @ np.eye(3, 64)
    for epsilon2 in (1e-300, 1e-308):
        found = representation_entropy(z, epsilon2=epsilon2, center=False)
        assert found.normalized == pytest.approx(3 / 64, rel=0.01)
        assert found.directions == pytest.approx(3, rel=0.01)
        assert found.cap == pytest.approx(30 / 64, rel=0.01)
