"""Does the entropy of representations follow a power law in the size of the model, beyond what noise does?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lmscope import html_repr
from lmscope.analyses.intake import states, vector, whole
from lmscope.analyses.intervals import confidence_of

__all__ = ["EntropyLaw", "LawFit", "fit_entropy_law"]

Floats = npt.NDArray[np.float64]

LEAST_TOKENS_PER_DIMENSION = 8
_LEAST_MODELS = {"power": 3, "power_offset": 4}
_RESAMPLED = 5
"""Models from which on residuals are resampled; fewer give too few different samples."""
_STEEPEST = 3.0
_EXPONENTS = np.linspace(-_STEEPEST, _STEEPEST, 241)


@dataclass(frozen=True, repr=False)
class LawFit:
    """One form, fitted to ``normalized / iid`` of the models; numbers are NaN where it was refused.

    Attributes:
        form: ``"power"``: coefficient * N^exponent. ``"power_offset"``: offset + coefficient * N^exponent.
        exponent, exponent_low, exponent_high: of the number of parameters N, and its interval.
        coefficient, offset: at N = 1; offset 0 for ``"power"``.
        r2: share of the variance of the logarithms that the fit explains.
        aic: Akaike's criterion of the same logarithms, so that both forms compare.
        aicc: the same corrected for few models, which ``better`` goes by; infinite for 4 models or fewer,
            with offset for 5.
        models: how many.
        refused: why nothing was fitted, or None.
    """

    form: str
    exponent: float
    exponent_low: float
    exponent_high: float
    coefficient: float
    offset: float
    r2: float
    aic: float
    aicc: float
    models: int
    refused: str | None

    def __repr__(self) -> str:
        if self.refused is not None:
            return f"LawFit({self.form!r}, refused: {self.refused})"
        return (
            f"LawFit({self.form!r}, exponent={self.exponent:.4g} ({self.exponent_low:.4g} to "
            f"{self.exponent_high:.4g}), r2={self.r2:.4g}, aicc={self.aicc:.4g}, models={self.models})"
        )

    def _repr_html_(self) -> str:
        return html_repr.block("Entropy against size", _table([self]))


@dataclass(frozen=True, repr=False)
class EntropyLaw:
    """Both forms, and what they were fitted to.

    Attributes:
        power, power_offset: the fits.
        parameters: int64, shape (models,), ascending.
        excess: float64, same shape, ``normalized - iid`` of each model: below 0 where states spread less than
            noise.
        ratio: float64, same shape, ``normalized / iid``, which both forms describe.
        confidence: of the intervals.
    """

    power: LawFit
    power_offset: LawFit
    parameters: npt.NDArray[np.int64]
    excess: Floats
    ratio: Floats
    confidence: float

    @property
    def fits(self) -> tuple[LawFit, LawFit]:
        return self.power, self.power_offset

    @property
    def better(self) -> LawFit | None:
        """The form of the smaller ``aicc``, the power where both are infinite; None where both were
        refused."""
        fitted = [fit for fit in self.fits if fit.refused is None]
        return min(fitted, key=lambda fit: fit.aicc) if fitted else None

    def __repr__(self) -> str:
        return f"EntropyLaw({self.power!r}, {self.power_offset!r})"

    def _repr_html_(self) -> str:
        return html_repr.block("Entropy against size", _table(self.fits))


def fit_entropy_law(
    parameters: Any,
    entropies: Any,
    iid: Any,
    *,
    tokens: Any,
    dimensions: Any,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> EntropyLaw:
    """Fit the normalised entropy of several models, over that of noise, against their parameters.

    At fixed tokens the entropy of pure noise falls with width and imitates a law; so what is fitted is its
    excess over noise as a factor, ``normalized / iid``, which for noise has the exponent 0. No sign is
    assumed.

    ``"power"`` is least squares of logarithms. Its interval is the bootstrap's: residuals over ``sqrt(1 -
    leverage)`` are resampled, and the slope's error studentised; below five models it is Student's, as
    three or four residuals give too few samples. ``"power_offset"`` is least squares of relative errors,
    exponents searched between -3 and 3; its interval are percentiles of the same bootstrap, which for few
    models come out too narrow. Intervals hold for models scattered independently about the curve, and say
    nothing of its form.

    Args:
        parameters: of each model, shape (models,).
        entropies: ``normalized`` of each, shape (models,), or (models, texts) with the values of the same
            texts, each of ``tokens`` tokens: then their means are fitted, and texts are resampled too. Of
            that only what models share counts, texts that change all of them with size: what is each model's
            own is in the scatter about the curve already.
        iid: ``normalized`` of :func:`lmscope.iid_entropy` at each model's tokens and dimensions, shape
            (models,).
        tokens: that the models read, one number or shape (models,).
        dimensions: of each model's states, shape (models,).
        confidence: of the intervals.
        draws, seed: of the bootstrap.

    Returns:
        Both forms; each is refused, with the reason, below 8 tokens per dimension, where models read
        different numbers of tokens, below 3 sizes (4 with offset), and where the models cannot tell an offset
        from a slow power.

    Raises:
        ValueError: shapes that do not fit, NaN/Inf, or a number that is not above 0.
    """
    confidence_of(confidence)
    generator = np.random.default_rng(whole("seed", seed, 0))
    draws = whole("draws", draws, 100)
    sizes = _above_zero("parameters", parameters, None)
    count = sizes.size
    noise = _above_zero("iid", iid, count)
    widths = _above_zero("dimensions", dimensions, count)
    read = np.broadcast_to(np.asarray(tokens, dtype=np.float64), (count,))
    read = _above_zero("tokens", read, count)
    by_text = np.ndim(entropies) == 2
    values = states("entropies", entropies if by_text else np.reshape(entropies, (-1, 1)))
    if len(values) != count or values.min() <= 0:
        raise ValueError(f"entropies must hold {count} models' values above 0, got shape {values.shape}")
    order = np.argsort(sizes, kind="stable")
    sizes, values, noise = sizes[order], values[order], noise[order]
    ratios = values / noise[:, None]
    logs = np.log(sizes)
    reason = _refusal(sizes, read, widths)
    boot = _Bootstrap(confidence, draws, generator, ratios if by_text else None)
    mean = ratios.mean(axis=1)
    fits: dict[str, LawFit] = {}
    for form, fit in (("power", _fit_power), ("power_offset", _fit_offset)):
        few = len(np.unique(sizes)) < _LEAST_MODELS[form]
        why = reason or (
            f"{len(np.unique(sizes))} sizes of models, {_LEAST_MODELS[form]} are needed" if few else None
        )
        fits[form] = _refused(form, count, why) if why else fit(logs, mean, boot)
    excess = values.mean(axis=1) - noise
    return EntropyLaw(
        **fits, parameters=sizes.astype(np.int64), excess=excess, ratio=mean, confidence=confidence
    )


class _Bootstrap(NamedTuple):
    confidence: float
    draws: int
    generator: np.random.Generator
    by_text: Floats | None

    def residuals(self, left: Floats, leverage: Floats) -> Floats:
        """draws x models, resampled with the variance of the errors."""
        inflated = left / np.sqrt(np.maximum(1 - leverage, 1e-3))
        return self.generator.choice(inflated - inflated.mean(), (self.draws, left.size))

    def texts(self, draws: int, x: Floats) -> Floats | None:
        """draws x models: what resampled texts change in the logarithms of the means, as a slope along x.

        Slopes of texts scatter by their own differences and by those of single models, which leave residuals
        of known variance; the slopes are shrunk to the variance of the first.
        """
        if self.by_text is None or self.by_text.shape[1] == 1:
            return None
        models, texts = self.by_text.shape
        relative = (self.by_text / self.by_text.mean(axis=1, keepdims=True) - 1).T
        slopes = relative @ x / (x @ x)
        left = relative - relative.mean(axis=1, keepdims=True) - slopes[:, None] * x
        variance = float(slopes @ slopes) / (texts - 1)
        by_chance = float(np.sum(left**2)) / ((texts - 1) * (models - 2)) / float(x @ x)
        if variance <= by_chance:
            return None
        counts = self.generator.multinomial(texts, np.full(texts, 1 / texts), size=draws)
        drawn = counts @ slopes / texts * math.sqrt((1 - by_chance / variance) * texts / (texts - 1))
        shifts: Floats = drawn[:, None] * x
        return shifts

    def ends(self, drawn: Floats) -> tuple[float, float]:
        low, high = np.quantile(drawn, [(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        return float(low), float(high)


def _fit_power(logs: Floats, ratio: Floats, boot: _Bootstrap) -> LawFit:
    from scipy import stats

    count = logs.size
    target = np.log(ratio)
    x = logs - logs.mean()
    squares = float(x @ x)

    def slopes(of: Floats) -> tuple[Floats, Floats]:
        """Of the last axis, and their standard errors."""
        slope = of @ x / squares
        left = of - of.mean(axis=-1, keepdims=True) - slope[..., None] * x
        return slope, np.sqrt((left**2).sum(axis=-1) / (count - 2) / squares)

    slope, error = slopes(target)
    fitted = target.mean() + slope * x
    if count >= _RESAMPLED:
        drawn, errors = slopes(boot.residuals(target - fitted, 1 / count + x**2 / squares))
        with np.errstate(divide="ignore", invalid="ignore"):
            studentised = drawn / errors
        # A sample of one residual alone has neither slope nor error.
        studentised = studentised[np.isfinite(studentised)]
    else:
        levels = (np.arange(boot.draws) + 0.5) / boot.draws
        studentised = boot.generator.permutation(stats.t.ppf(levels, count - 2))
    errors_of_slope = -studentised * error if studentised.size else np.zeros(1)
    by_text = boot.texts(errors_of_slope.size, x)
    if by_text is not None:
        errors_of_slope = errors_of_slope + slopes(by_text)[0]
    low, high = boot.ends(slope + errors_of_slope)
    coefficient = math.exp(target.mean() - slope * logs.mean())
    return LawFit(
        "power", float(slope), low, high, coefficient, 0.0, *_quality(target, fitted, 3), count, None
    )


def _fit_offset(logs: Floats, ratio: Floats, boot: _Bootstrap) -> LawFit:
    """For each exponent the rest is linear, in 1 and (u^exponent - 1) / exponent, u the size over the middle
    one: near exponent 0 that is the logarithm, and nothing is singular."""
    count = logs.size
    u = logs - logs.mean()
    bases = np.linalg.qr(_designs(_EXPONENTS, u, ratio))[0]

    def best(relative: Floats) -> Floats:
        """Exponent of least squares for each row of values over ``ratio``, between those tried by a
        parabola."""
        held = relative @ bases
        left = (relative**2).sum(axis=1) - (held**2).sum(axis=2)
        place = np.clip(np.argmin(left, axis=0), 1, _EXPONENTS.size - 2)
        before, at, after = (left[place + step, np.arange(len(relative))] for step in (-1, 0, 1))
        bend = np.maximum(before - 2 * at + after, np.finfo(np.float64).tiny)
        step = _EXPONENTS[1] - _EXPONENTS[0]
        found: Floats = _EXPONENTS[place] + step * np.clip((before - after) / (2 * bend), -1, 1)
        return found

    exponent = float(best(np.ones((1, count)))[0])
    design = _designs(np.array([exponent]), u, ratio)[0]
    basis = np.linalg.qr(design)[0]
    held = basis @ (basis.T @ np.ones(count))
    # Moving the exponent takes up a third direction.
    drawn = held + boot.residuals(1 - held, (basis**2).sum(axis=1) + 1 / count)
    by_text = boot.texts(boot.draws, u)
    if by_text is not None:
        drawn = drawn + by_text
    low, high = boot.ends(best(drawn))
    fitted = held * ratio
    edge = _EXPONENTS[-2]
    if max(-low, high, abs(exponent)) >= edge or exponent == 0 or fitted.min() <= 0:
        return _refused(
            "power_offset", count, "these models cannot tell an offset and its exponent from other such pairs"
        )
    level, slope = np.linalg.lstsq(design, np.ones(count), rcond=None)[0]
    coefficient = slope / exponent * math.exp(-exponent * logs.mean())
    return LawFit(
        "power_offset",
        exponent,
        low,
        high,
        float(coefficient),
        float(level - slope / exponent),
        *_quality(np.log(ratio), np.log(fitted), 4),
        count,
        None,
    )


def _designs(exponents: Floats, u: Floats, ratio: Floats) -> Floats:
    """exponents x models x 2: 1 and (e^(u exponent) - 1) / exponent, over the ratio."""
    nearly = np.where(exponents == 0, 1e-9, exponents)[:, None]
    powers = np.expm1(nearly * u) / nearly
    return np.stack([np.ones_like(powers), powers], axis=2) / ratio[:, None]


def _quality(target: Floats, fitted: Floats, estimated: int) -> tuple[float, float, float]:
    """R^2, and Akaike's criterion, plain and corrected, with this many estimated numbers, the variance one
    of them."""
    left = float(np.sum((target - fitted) ** 2))
    total = float(np.sum((target - target.mean()) ** 2))
    count = target.size
    aic = count * math.log(max(left, np.finfo(np.float64).tiny) / count) + 2 * estimated
    room = count - estimated - 1
    aicc = aic + 2 * estimated * (estimated + 1) / room if room > 0 else math.inf
    return (1 - left / total if total else math.nan), aic, aicc


def _refusal(sizes: Floats, tokens: Floats, dimensions: Floats) -> str | None:
    if tokens.min() != tokens.max():
        return f"the models read {tokens.min():g} to {tokens.max():g} tokens, the law needs the same for all"
    per_dimension = tokens[0] / dimensions.max()
    if per_dimension < LEAST_TOKENS_PER_DIMENSION:
        return (
            f"{tokens[0]:g} tokens are {per_dimension:.3g} per dimension of the widest model "
            f"({dimensions.max():g}), the law needs {LEAST_TOKENS_PER_DIMENSION}"
        )
    return None


def _refused(form: str, models: int, reason: str) -> LawFit:
    none = math.nan
    return LawFit(form, none, none, none, none, none, none, none, none, models, reason)


def _above_zero(name: str, given: Any, length: int | None) -> Floats:
    found = vector(name, np.asarray(given, dtype=np.float64), length=length)
    if found.min() <= 0:
        raise ValueError(f"{name} must be above 0, got {found.min():g}")
    return found


def _table(fits: Any) -> str:
    rows = [
        (
            fit.form,
            *map(html_repr.number, (fit.exponent, fit.exponent_low, fit.exponent_high, fit.r2, fit.aicc)),
        )
        for fit in fits
    ]
    table = html_repr.table(("form", "exponent", "from", "to", "R²", "AICc"), rows)
    return table + "".join(
        html_repr.line(f"{fit.form} refused: {fit.refused}.") for fit in fits if fit.refused is not None
    )
