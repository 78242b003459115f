"""Noise imitates a law of size; its value at the same shape, and a fit to the excess, take that away."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lmscope import EntropyLaw, fit_entropy_law, iid_entropy, representation_entropy
from lmscope.analyses import entropy_law as law_module
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


def test_forms_are_compared_by_the_corrected_criterion() -> None:
    """By the definition: n log(squares / n) + 2 k, and 2 k (k + 1) / (n - k - 1) more."""
    sizes = np.geomspace(1e5, 1e7, 6)
    values = sizes**-0.05 * np.exp(0.01 * np.random.default_rng(0).standard_normal(6))
    found = law(values, sizes)
    left = np.log(values) - np.polyval(np.polyfit(np.log(sizes), np.log(values), 1), np.log(sizes))
    assert found.power.aic == pytest.approx(6 * math.log(left @ left / 6) + 6)
    assert found.power.aicc == pytest.approx(found.power.aic + 24 / 2)
    fitted = found.power_offset.offset + found.power_offset.coefficient * sizes**found.power_offset.exponent
    left = np.log(values) - np.log(fitted)
    assert found.power_offset.aic == pytest.approx(6 * math.log(left @ left / 6) + 8, abs=1e-3)
    assert found.power_offset.aicc == pytest.approx(found.power_offset.aic + 40)
    assert found.better is found.power


def test_five_models_do_not_show_an_offset() -> None:
    """Plain powers: by the uncorrected criterion a third of them look like a constant and a power."""
    generator = np.random.default_rng(0)
    uncorrected = 0
    for _ in range(40):
        found = law(SIZES**-0.05 * np.exp(0.01 * generator.standard_normal(5)), draws=100)
        uncorrected += found.power_offset.aic < found.power.aic
        assert found.better is found.power
        if found.power_offset.refused is None:
            assert found.power_offset.aicc == math.inf
    assert uncorrected > 4


def test_resampled_residuals_have_the_variance_of_the_errors() -> None:
    boot = law_module._Bootstrap(0.95, 400, np.random.default_rng(0), None)
    left, leverage = np.array([1.0, -2.0, 3.0, -2.0]), np.array([0.0, 0.75, 0.36, 0.19])
    inflated = left / np.array([1.0, 0.5, 0.8, 0.9])
    drawn = boot.residuals(left, leverage)
    assert np.unique(drawn) == pytest.approx(np.sort(inflated - inflated.mean()))


def test_the_interval_reaches_to_the_side_that_skewed_residuals_say() -> None:
    """Against a bootstrap written out: the slope less the drawn slopes' studentised errors."""
    logs = np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 6.0])
    errors = np.array([0, 0, 0, 0, 0, 0, 0, 1.0, 0.2, 0]) / 50
    found = law(np.exp(-0.1 * logs + errors), np.exp(logs + 12), draws=20000).power
    x = logs - logs.mean()
    target = -0.1 * logs + errors

    def slope_and_error(y: np.ndarray) -> tuple[float, float]:
        slope, level = np.polyfit(x, y, 1)
        return slope, math.sqrt(np.sum((y - level - slope * x) ** 2) / 8 / (x @ x))

    slope, error = slope_and_error(target)
    left = target - target.mean() - slope * x
    left = left / np.sqrt(1 - 0.1 - x**2 / (x @ x))
    left -= left.mean()
    generator = np.random.default_rng(1)
    drawn = [slope_and_error(generator.choice(left, 10)) for _ in range(4000)]
    ends = np.quantile([slope - error * one / its for one, its in drawn if its > 0], [0.025, 0.975])
    down, up = slope - ends[0], ends[1] - slope
    assert abs(up / down - 1) > 0.3
    assert (slope - found.exponent_low, found.exponent_high - slope) == pytest.approx((down, up), rel=0.12)


@pytest.mark.parametrize("shared", [0.0, 0.02])
def test_coverage_with_texts(shared: float) -> None:
    """Texts may change every model by itself, and all of them the more the larger they are."""
    generator = np.random.default_rng(3)
    x = np.log(SIZES) - np.log(SIZES).mean()
    repeats, held = 150, 0
    for _ in range(repeats):
        tilts = shared * generator.standard_normal(20)
        own = 0.05 * generator.standard_normal((5, 20)) + 0.005 * generator.standard_normal((5, 1))
        found = law(np.exp(-0.05 * x[:, None] + np.outer(x, tilts) + own), draws=300).power
        held += found.exponent_low <= -0.05 <= found.exponent_high
    # 95 % nominal: three standard errors of 150 trials are 5.3 points.
    assert 0.897 * repeats <= held < 0.995 * repeats


def test_texts_are_resampled() -> None:
    """Texts that all models share shift all values alike and leave the slope; texts that differ widen it."""
    generator = np.random.default_rng(0)
    curve = (SIZES**-0.1)[:, None]
    shared = law(curve * np.exp(0.1 * generator.standard_normal(30)))
    own = law(curve * np.exp(0.1 * generator.standard_normal((5, 30))))
    assert shared.power.exponent == pytest.approx(-0.1, abs=1e-12)
    assert shared.power.exponent_high - shared.power.exponent_low < 1e-9
    assert own.power.exponent_high - own.power.exponent_low > 1e-3


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        (
            SIZES,
            {"tokens": 799},
            "799 tokens are 7.99 per dimension of the widest model (100), the law needs 8",
        ),
        (
            SIZES,
            {"dimensions": [100, 200, 300, 400, 600]},
            "4000 tokens are 6.67 per dimension of the widest model (600), the law needs 8",
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
