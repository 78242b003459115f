"""Spectra against Marchenko-Pastur: tokens pass the edges as often as said, the label row is told apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

import lmscope
import lmscope.spin_glass as sg

from .plain_features import features, whole


def tokens(dimension: int, length: int, **more: Any) -> np.ndarray:
    tasks = sg.make_tasks(tasks=1, dimension=dimension, prompt_length=length, **more)
    return next(tasks.prompts()).tokens[0]


@pytest.mark.parametrize("rate", [0.05, 0.2])
@pytest.mark.parametrize(("dimension", "length"), [(40, 80), (64, 40)])
def test_isotropic_tokens_pass_the_edges_at_the_stated_rate(rate: float, dimension: int, length: int) -> None:
    tasks = sg.make_tasks(tasks=400, dimension=dimension, prompt_length=length, seed=11)
    flagged = 0
    for prompts in tasks.prompts():
        for one in prompts.tokens:
            found = sg.token_spectrum(one, false_positive_rate=rate)
            flagged += found.above + found.below > 0
    # Both a test that fails by chance and the error of the calibration, a tenth of the rate.
    assert stats.binom.ppf(1e-4, 400, 0.9 * rate) <= flagged <= stats.binom.ppf(1 - 1e-4, 400, 1.1 * rate)


@pytest.mark.parametrize("ratio", [1, 3, 10, 100])
def test_the_papers_prompts(ratio: int) -> None:
    """Fig. S5: D = 100, N / D from 1 to 100."""
    given = tokens(100, 100 * ratio, seed=ratio)
    found = sg.token_spectrum(given)
    eigenvalues = np.linalg.eigvalsh(given.T @ given / len(given))[::-1]
    np.testing.assert_allclose(found.values, eigenvalues, rtol=1e-9, atol=1e-13)
    assert (found.above, found.below, found.label_outliers) == (0, 0, 0)
    assert found.fit.ks < 0.05
    lower, upper = lmscope.analyses.marchenko_pastur.asymptotic_edges(1.0, (100 * ratio, 100))
    assert found.lower_edge < found.values[-1]
    assert found.values[0] < found.upper_edge
    assert found.upper_edge == pytest.approx(upper**2 / len(given), rel=0.1)
    assert found.lower_edge == pytest.approx(lower**2 / len(given), rel=0.2, abs=1e-3)


def test_correlated_tokens_have_one_value_above() -> None:
    found = sg.token_spectrum(tokens(60, 240, correlation=0.5, correlated="coordinates", seed=1))
    assert found.above == 1
    assert found.values[0] == pytest.approx(0.5 + 0.5 * 60, rel=0.4)
    assert repr(found).startswith("CouplingSpectrum(tokens, 240 x 60: 1 above")
    assert "label" not in found._repr_html_()


@pytest.mark.parametrize("count", [60, 110, 3000])
def test_the_label_row_is_told_apart(count: int) -> None:
    tasks = sg.make_tasks(tasks=count, dimension=10, prompt_length=100, seed=3)
    found = sg.coupling_spectrum(sg.fields(tasks))
    rows = features(whole(tasks))
    values = np.linalg.svd(rows, compute_uv=False) ** 2 / count
    np.testing.assert_allclose(found.values, values, rtol=1e-9, atol=1e-12)
    label = np.linalg.svd(rows[:, -10:], compute_uv=False) ** 2 / count
    np.testing.assert_allclose(found.label_values, label, rtol=1e-9)
    # Few tasks leave some of the ten inside the bulk.
    assert (found.label_outliers == 10) == (count > 60)
    assert 5 < found.label_outliers <= found.above
    assert found.label_outliers == np.count_nonzero(label > found.upper_edge)
    assert found.above == np.count_nonzero(values > found.upper_edge)
    assert found.below == np.count_nonzero(values < found.lower_edge)
    same = lmscope.fit_marchenko_pastur(np.linalg.svd(rows, compute_uv=False), rows.shape)
    assert found.fit.upper_edge == pytest.approx(same.upper_edge, rel=1e-9)
    assert found.upper_edge == pytest.approx(same.upper_edge**2 / count, rel=1e-9)
    assert f"{found.label_outliers} of them the label row's" in repr(found)
    assert "label row" in found._repr_html_()


def test_label_values_are_those_of_their_law() -> None:
    """Section 3b: mean square (1 + 2 / D)(1 + 2 / N) against (1 + (D + 1) / N) / D for the others."""
    tasks = sg.make_tasks(tasks=50_000, dimension=6, prompt_length=20, draw="statistics")
    found = sg.coupling_spectrum(sg.fields(tasks))
    assert found.label_values.mean() == pytest.approx((1 + 2 / 6) * (1 + 2 / 20), rel=0.02)
    assert found.values[6:].mean() == pytest.approx((1 + 7 / 20) / 6, rel=0.02)
    assert found.label_outliers == 6


def test_noise_in_place_of_features_is_noise() -> None:
    rows = np.random.default_rng(5).standard_normal((4000, 72))
    noise = sg.Fields(rows.T @ rows / 4000, np.zeros(72), 1.0, 4000, 8, None)
    found = sg.coupling_spectrum(noise)
    assert (found.above, found.below, found.label_outliers) == (0, 0, 0)
    assert found.fit.scale == pytest.approx(1, rel=0.01)


def test_too_few_values_for_a_verdict() -> None:
    tasks = sg.make_tasks(tasks=50, dimension=3, prompt_length=10)
    found = sg.coupling_spectrum(sg.fields(tasks))
    assert "too few" in found.fit.reason
    assert math.isnan(found.upper_edge)
    assert (found.above, found.below, found.label_outliers) == (0, 0, 0)
    assert "no verdict" in repr(found)
    assert "No verdict" in found._repr_html_()


def test_tokens_of_another_shape() -> None:
    for wrong in (np.zeros(5), np.zeros((0, 5)), np.zeros((2, 3, 4))):
        with pytest.raises(ValueError, match=r"tokens must be prompt length x dimension"):
            sg.token_spectrum(wrong)
    with pytest.raises(ValueError, match="tokens has nan at index"):
        sg.token_spectrum(np.full((5, 5), np.nan))
    with pytest.raises(ValueError, match="false_positive_rate"):
        sg.token_spectrum(tokens(40, 50), false_positive_rate=0.0)
