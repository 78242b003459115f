"""Sub-vocabularies: points of one order, noise at every size, and the whole vocabulary at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lmscope import encoding_by_size, fit_token_encoding


def vocabulary(tokens: int, seed: int, noise: float) -> tuple[Any, Any, Any]:
    generator = np.random.default_rng([seed, 91])
    embedding = generator.standard_normal((tokens, 6)).astype(np.float32)
    bias = generator.standard_normal(tokens)
    logs = embedding @ np.arange(1.0, 7) + 2 * bias - 9 + noise * generator.standard_normal(tokens)
    return embedding, bias, logs


def test_every_point_is_the_encoding_of_the_beginning_of_an_order() -> None:
    embedding, bias, logs = vocabulary(400, seed=1, noise=3)
    logs[::5] = -np.inf
    mean = -np.arange(6.0)
    given: dict[str, Any] = {"bias": bias, "hidden_mean": mean}
    points = encoding_by_size(
        embedding, logs, sizes=[320, 30, 100], draws=3, seed=4, tokens=np.isfinite(logs), **given
    )
    assert [(point.draw, point.size) for point in points] == [
        (0, 30), (0, 100), (0, 320), (1, 30), (1, 100), (2, 30), (2, 100)
    ]  # fmt: skip
    for point in points:
        order = np.random.default_rng([4, point.draw]).permutation(np.flatnonzero(np.isfinite(logs)))
        whole = fit_token_encoding(embedding, logs, tokens=order[: point.size], **given)
        assert point.r2 == pytest.approx(whole.r2, abs=1e-12)
        assert point.adjusted_r2 == pytest.approx(whole.adjusted_r2, abs=1e-12)
        assert point.cosine == pytest.approx(whole.cosine, abs=1e-12)


def test_sizes_are_doubled_dimensions_by_default() -> None:
    embedding, _, logs = vocabulary(100, seed=2, noise=1)
    points = encoding_by_size(embedding, logs, draws=2)
    assert [point.size for point in points] == [12, 24, 48, 96, 100, 12, 24, 48, 96]
    assert all(point.cosine is None for point in points)
    assert points == encoding_by_size(embedding, logs, draws=2)
    assert points[0].r2 != points[5].r2
    thin = encoding_by_size(embedding[:, :1], logs, draws=1)
    assert [point.size for point in thin] == [4, 8, 16, 32, 64, 100]


def test_the_normaliser_of_a_sub_vocabulary_does_not_matter() -> None:
    embedding, _, logs = vocabulary(300, seed=3, noise=2)
    points = encoding_by_size(embedding, logs, sizes=[50], draws=1)
    kept = np.random.default_rng([0, 0]).permutation(300)[:50]
    renormalised = logs - np.log(np.exp(logs[kept]).sum())
    assert encoding_by_size(embedding, renormalised, sizes=[50], draws=1)[0].r2 == pytest.approx(points[0].r2)


def test_noise_has_adjusted_r2_of_nought_at_every_size() -> None:
    generator = np.random.default_rng(5)
    trials, sizes = 300, [12, 40, 160]
    found = np.empty((trials, len(sizes), 2))
    for trial in range(trials):
        embedding, logs = generator.standard_normal((160, 6)), generator.standard_normal(160)
        points = encoding_by_size(embedding, logs, sizes=sizes, draws=1, seed=trial)
        found[trial] = [(point.r2, point.adjusted_r2) for point in points]
    means, errors = found.mean(axis=0), found.std(axis=0, ddof=1) / trials**0.5
    for (r2, adjusted_r2), (error, adjusted_error), size in zip(means, errors, sizes, strict=True):
        assert abs(r2 - 6 / (size - 1)) < 4 * error
        assert abs(adjusted_r2) < 4 * adjusted_error


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sizes": [8]}, "sizes: 8 is not from 9, three above the dimensions, to 50"),
        ({"sizes": [51]}, "sizes: 51 is not from 9"),
        ({"draws": 0}, "draws must be from 1"),
        ({"tokens": np.arange(8)}, "tokens: 8 are too few"),
        ({"sizes": [20], "log_probability": np.eye(50)[49]}, "the same for each of 20 tokens drawn"),
    ],
)
def test_refusals(changed: dict[str, Any], message: str) -> None:
    embedding, _, logs = vocabulary(50, seed=6, noise=1)
    with pytest.raises(ValueError, match=message):
        encoding_by_size(**({"embedding": embedding, "log_probability": logs} | changed))
