"""Where the encoding is exact, and where its second order is."""

from __future__ import annotations

import numpy as np
import pytest

from lmscope import average_probabilities, fit_token_encoding, token_probability_encoding

from ..gaussian_head import gaussian_head, jensen_shannon, log_softmax


def test_one_state_is_encoded_exactly() -> None:
    """Logits that do not vary at all: the slope is minus the state, the intercept the log normaliser."""
    head = gaussian_head(0.0, 5.0, seed=1, tokens=900, dimensions=20, positions=3)
    found = token_probability_encoding(hidden=head.states, embedding=head.embedding)
    assert found.r2 == pytest.approx(1, abs=1e-13)
    np.testing.assert_allclose(found.slope, -head.mean, atol=1e-12)
    normaliser = np.log(np.exp(head.embedding @ head.mean).sum())
    assert found.intercept == pytest.approx(normaliser, rel=1e-12)
    assert found.cosine == pytest.approx(1, abs=1e-12)
    # Only the eight coordinates of the mean contribute.
    assert found.coordinates.ninety <= 8
    assert np.sort(found.coordinates.contribution)[:12].max() < 1e-12


@pytest.mark.parametrize("factor", [0.1, 0.5, 2, 5, 20])
@pytest.mark.parametrize("allocation", ["minimum_norm", "largest", "single"])
def test_an_edit_of_one_state_realises_its_factor_over_the_normalisers(
    factor: float, allocation: str
) -> None:
    """E_w' = E_w - log(r) Omega / A with sum(Omega) = 1, and Z'/Z = 1 + (r - 1) alpha, whatever Omega is."""
    head = gaussian_head(0.0, 5.0, seed=2, tokens=900, dimensions=20, positions=1)
    found = token_probability_encoding(hidden=head.states, embedding=head.embedding)
    strength = found.slope**2
    if allocation != "minimum_norm":
        kept = np.argsort(strength)[-1 if allocation == "single" else -5 :]
        strength = np.where(np.isin(np.arange(20), kept), strength, 0)
    used = strength > 0
    direction = np.zeros(20)
    direction[used] = (strength / strength.sum())[used] / found.slope[used]
    token = int(np.argsort(found.log_probability)[700])
    edited = head.embedding.copy()
    edited[token] -= np.log(factor) * direction
    assert found.slope @ edited[token] == pytest.approx(
        found.slope @ head.embedding[token] - np.log(factor), abs=1e-12
    )
    alpha = np.exp(found.log_probability)
    after = np.exp(average_probabilities(head.states, edited).log_probability)
    grown = 1 + (factor - 1) * alpha[token]
    np.testing.assert_allclose(after[token] / alpha[token], factor / grown, rtol=1e-10)
    others = np.arange(900) != token
    np.testing.assert_allclose(after[others] / alpha[others], 1 / grown, rtol=1e-10)


def test_a_coordinate_that_neither_has_a_slope_nor_varies_changes_nothing() -> None:
    head = gaussian_head(0.2, 5.0, seed=3, tokens=900, dimensions=20, positions=200)
    states = head.states.copy()
    states[:, 7] = 0.0
    before = log_softmax(states @ head.embedding.T)
    removed = head.embedding.copy()
    removed[:, 7] = 0.0
    np.testing.assert_array_equal(log_softmax(states @ removed.T), before)
    # A constant coordinate with a slope is what the encoding is made of.
    states[:, 7] = 1.0
    assert jensen_shannon(log_softmax(states @ head.embedding.T), before) > 0.05
    assert token_probability_encoding(hidden=states, embedding=head.embedding).slope[7] < -0.9


@pytest.mark.parametrize(("spread", "unexplained"), [(0.1, 0.01), (0.3, 0.15)])
def test_what_the_line_misses_is_the_second_order(spread: float, unexplained: float) -> None:
    """For Gaussian states -log alpha = -mu.E - E'CE / 2 + log Z, in a covariance C that the normaliser, for
    Gaussian rows exp(|h|^2 / 2), has shrunk by 1 + spread^2; the rest is of third order."""
    head = gaussian_head(spread, 5.0, seed=4, tokens=2000, dimensions=24, positions=1500)
    averages = average_probabilities(head.states, head.embedding)
    form = np.einsum("wi,ij,wj->w", head.embedding, averages.hidden_covariance, head.embedding) / 2
    missed = fit_token_encoding(head.embedding, averages.log_probability)
    expected = fit_token_encoding(head.embedding, form)
    correlation = np.corrcoef(missed.residuals, expected.residuals)[0, 1]
    assert 1 - correlation**2 < unexplained
    assert missed.residual_sd / expected.residual_sd == pytest.approx(1 / (1 + spread**2), rel=0.03)
    # Without the form the residuals have nothing to follow.
    wrong = np.corrcoef(missed.residuals, np.roll(expected.residuals, 1))[0, 1]
    assert abs(wrong) < 0.1
