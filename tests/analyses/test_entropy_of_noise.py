"""Noise imitates a law of size; its value at the same shape, and a fit to the excess, take that away."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmscope import EntropyLaw, fit_entropy_law, iid_entropy, representation_entropy
from lmscope.analyses import iid_entropy as module
from lmscope.analyses.representation_entropy import EntropySettings

SIZES = np.array([1e5, 3.2e5, 1e6, 3.2e6, 1e7])


@pytest.mark.parametrize(("tokens", "expected"), [(4096, 0.997), (128, 0.898)])
def test_known_values(tokens: int, expected: float) -> None:
    found = iid_entropy(tokens, 64)
    assert found.normalized == pytest.approx(expected, abs=0.01)
    single = representation_entropy(np.random.default_rng(1).standard_normal((tokens, 64)))
    assert found.normalized == pytest.approx(single.normalized, abs=8 * found.normalized_error * math.sqrt(8))
    assert found.draws == 8
    assert found.cap == single.cap
    assert iid_entropy(tokens, 64) is found
    assert iid_entropy(tokens, 64, seed=1).normalized != found.normalized


def test_noise_falls_with_width_at_fixed_tokens() -> None:
    """The confound: 512 tokens of pure noise, 128 to 2048 dimensions."""
    found = [iid_entropy(512, width, draws=2).normalized for width in (128, 512, 2048)]
    assert found[0] == pytest.approx(0.95, abs=0.005)
    assert found[-1] == pytest.approx(0.476, abs=0.005)
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(("tokens", "dimensions"), [(600, 40), (64, 512), (200, 200)])
@pytest.mark.parametrize("center", [True, False])
def test_drawn_eigenvalues_against_drawn_rows(tokens: int, dimensions: int, center: bool) -> None:
    """The two ways differ by no more than is stated of row normalisation, and by chance."""
    rows = iid_entropy(tokens, dimensions, center=center, draws=24)
    settings = EntropySettings(center=center)
    drawn = [
        one.normalized
        for one in module._from_eigenvalues(tokens, dimensions, settings, 1.0, 24, np.random.default_rng(3))
    ]
    allowed = 4 * (1 - rows.normalized) / dimensions + 5 * rows.normalized_error
    assert abs(np.mean(drawn) - rows.normalized) < allowed
    # Without normalisation both have one law.
    raw = iid_entropy(tokens, dimensions, center=center, normalize_rows=False, mean_square_norm=9.0, draws=24)
    settings = EntropySettings(0.5, center, False)
    same = list(module._from_eigenvalues(tokens, dimensions, settings, 9.0, 24, np.random.default_rng(4)))
    assert same[0].mean_square_norm == pytest.approx(9)
    assert np.mean([one.normalized for one in same]) == pytest.approx(
        raw.normalized, abs=5 * math.sqrt(2) * raw.normalized_error
    )


def test_many_tokens_cost_the_smaller_side_only() -> None:
    found = iid_entropy(10**7, 300, draws=2)
    assert 0.9999 < found.normalized < 1
    assert found.effective_rank == pytest.approx(300, abs=0.02)


def test_iid_arguments() -> None:
    with pytest.raises(ValueError, match="tokens must be from 2 up"):
        iid_entropy(1, 8)
    assert iid_entropy(1, 8, center=False).effective_rank == pytest.approx(1)
    with pytest.raises(ValueError, match="normalised rows have a mean_square_norm of 1"):
        iid_entropy(9, 8, mean_square_norm=2)
    assert math.isnan(iid_entropy(9, 8, draws=1).normalized_error)


def law(entropies: np.ndarray, sizes: np.ndarray = SIZES, **options: object) -> EntropyLaw:
    settings = {"tokens": 4000, "dimensions": np.full(len(sizes), 100), "draws": 500, **options}
    return fit_entropy_law(sizes, entropies, np.ones(len(sizes)), **settings)  # type: ignore[arg-type]


def test_on_noise_the_interval_holds_zero() -> None:
    """Measured: states of pure noise of growing width at fixed tokens, eight to a dimension of the widest.
    The law of the raw values is steep in all of them; that of the excess has an exponent of 0 as often as it
    says."""
    widths = np.array([8, 16, 24, 40, 64])
    tokens = 512
    noise = [iid_entropy(tokens, int(width), draws=400).normalized for width in widths]
    repeats, held, fooled = 120, 0, 0
    generator = np.random.default_rng(7)
    for _ in range(repeats):
        found = [
            representation_entropy(generator.standard_normal((tokens, width))).normalized for width in widths
        ]
        excess, raw = (
            fit_entropy_law(SIZES, found, iid, tokens=tokens, dimensions=widths, draws=200).power
            for iid in (noise, np.ones(5))
        )
        held += excess.exponent_low <= 0 <= excess.exponent_high
        fooled += raw.exponent_high < 0
    # 95 % nominal: three standard errors of 120 trials are 6 points.
    assert held >= 0.89 * repeats
    assert fooled == repeats


def test_coverage_of_a_power() -> None:
    exponent = -0.05
    generator = np.random.default_rng(0)
    sizes = np.repeat(SIZES, 2)
    # 95 % nominal: three standard errors of 200 trials are 4.6 points.
    held = 0
    for _ in range(200):
        found = law(2.0 * sizes**exponent * np.exp(0.01 * generator.standard_normal(10)), sizes).power
        held += found.exponent_low <= exponent <= found.exponent_high
    assert 0.904 * 200 <= held <= 0.995 * 200


def test_an_exact_power_law() -> None:
    found = law(3 * SIZES**-0.125)
    assert found.power.exponent == pytest.approx(-0.125, abs=1e-12)
    assert found.power.coefficient == pytest.approx(3, rel=1e-10)
    assert found.power.r2 == pytest.approx(1)
    assert found.power.offset == 0
    assert np.array_equal(found.parameters, SIZES)
    assert found.excess == pytest.approx(3 * SIZES**-0.125 - 1)


def test_an_offset_is_told_from_a_power() -> None:
    sizes = np.geomspace(1e5, 1e8, 10)
    curve = 0.4 + 30 * sizes**-0.4
    noise = np.exp(1e-3 * np.random.default_rng(0).standard_normal(10))
    found = law(curve * noise, sizes)
    assert found.better is found.power_offset
    assert found.power_offset.aic < found.power.aic - 10
    assert found.power_offset.exponent == pytest.approx(-0.4, abs=0.03)
    assert found.power_offset.exponent_low < -0.4 < found.power_offset.exponent_high
    assert found.power_offset.offset == pytest.approx(0.4, abs=0.02)
    exact = law(curve, sizes).power_offset
    assert (exact.exponent, exact.coefficient, exact.offset) == pytest.approx((-0.4, 30, 0.4), rel=1e-2)


def test_texts_are_resampled() -> None:
    """Texts that all models share shift all values alike and leave the slope; texts that differ widen it."""
    generator = np.random.default_rng(0)
    curve = (SIZES**-0.1)[:, None]
    shared = law(curve * np.exp(0.1 * generator.standard_normal(30)))
    own = law(curve * np.exp(0.1 * generator.standard_normal((5, 30))))
    assert shared.power.exponent == pytest.approx(-0.1, abs=1e-12)
    assert shared.power.exponent_high - shared.power.exponent_low < 1e-9
    assert own.power.exponent_low < -0.1 < own.power.exponent_high
    assert own.power.exponent_high - own.power.exponent_low > 1e-3


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        (
            SIZES,
            {"tokens": 799},
            "799 tokens are 7.99 per dimension of the widest model (100), the law needs 8",
        ),
        (SIZES, {"tokens": [4000, 4000, 4100, 4000, 4000]}, "the models read 4000 to 4100 tokens"),
        (SIZES[[0, 0, 0, 1, 1]], {}, "2 sizes of models, 3 are needed"),
    ],
)
def test_refusals(sizes: np.ndarray, options: dict[str, object], message: str) -> None:
    found = law(sizes**-0.1, sizes, **options)
    for fit in found.fits:
        assert fit.refused is not None
        assert math.isnan(fit.exponent)
        assert fit.models == 5
    assert message in str(found.power.refused)
    assert found.better is None
    assert "refused" in found._repr_html_()


def test_three_sizes_give_a_power_and_no_offset() -> None:
    found = law(SIZES[:3] ** -0.1 * [1, 1.01, 1], SIZES[:3])
    assert found.power.refused is None
    assert found.power.exponent_low < -0.1 < found.power.exponent_high
    assert found.power_offset.refused == "3 sizes of models, 4 are needed"


def test_law_arguments() -> None:
    with pytest.raises(ValueError, match="entropies must hold 5 models' values above 0"):
        law(np.ones(4))
    with pytest.raises(ValueError, match="entropies must hold 5 models' values above 0"):
        law(-np.ones(5))
    with pytest.raises(ValueError, match="parameters must be above 0"):
        law(np.ones(5), -SIZES)
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
        law(np.ones(5), confidence=95)
