"""A read-out is fitted once, to the optimum, and learns what a real encoder knows of masked tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmscope.representations import load_model
from lmscope.representations.measures import measures_for
from lmscope.representations.measures.softmax_regression import _minimise, fit_softmax_regression

from ..models import tiny_model
from .models import TEXTS, spoil, tiny_bert


def test_the_fit_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(0)
    features = generator.standard_normal((300, 12)) @ np.diag(np.geomspace(0.01, 10, 12))
    labels = (features[:, -3:] + generator.standard_normal((300, 3))).argmax(1)
    ours = _minimise(features, labels, 3, 0.05)
    theirs = LogisticRegression(C=1 / (0.05 * 300), tol=1e-8, max_iter=2000).fit(features, labels)
    np.testing.assert_allclose(ours[:-1].T, theirs.coef_, atol=5e-3)
    # Of an intercept only differences count.
    shifts = ours[-1] - theirs.intercept_
    np.testing.assert_allclose(shifts - shifts.mean(), 0, atol=5e-3)


def test_constant_features_and_noise_do_no_harm() -> None:
    generator = np.random.default_rng(1)
    features = np.column_stack([np.full(400, 3.7), generator.standard_normal((400, 20))])
    labels = generator.integers(4, size=400)
    validation = np.arange(400) % 4 == 3
    fitted = fit_softmax_regression(features, labels, 4, validation)
    other = np.column_stack([np.full(2000, 9.0), generator.standard_normal((2000, 20))])
    assert fitted.losses(other, generator.integers(4, size=2000)).mean() < np.log(4) + 0.02


def test_a_real_encoder_knows_more_than_frequencies(minilm_path: Path) -> None:
    from pydoc_data.topics import topics

    model = load_model(minilm_path)
    texts = [text[:1500] for text in topics.values()][:30]
    options = {"names": ["readout_loss"], "eval_tokens": 512, "targets": 8}
    (measure,) = measures_for(model, texts, **options)
    (again,) = measures_for(model, texts, **options)
    scores = measure.evaluate()["readout_loss"]
    assert scores.mean < measure.chance["readout_loss"] - 0.1
    assert measure.chance["readout_loss"] < np.log(8)
    assert measure.notes["readout_loss"].startswith("a read-out of the 8 most frequent tokens, fitted to ")
    np.testing.assert_array_equal(again.evaluate()["readout_loss"].values, scores.values)
    for block in model.layers:
        spoil(block.intermediate)
    assert measure.evaluate()["readout_loss"].mean > scores.mean + 0.1


def test_repeated_windows_are_not_tested_again() -> None:
    generator = np.random.default_rng(0)
    letters = np.array(list("abcdefgh"))
    texts = ["".join(generator.choice(letters, 60)) for _ in range(12)]
    options = {"names": ["readout_loss"], "window": 30, "targets": 4}
    once, thrice = (measures_for(tiny_bert(), texts * times, **options)[0] for times in (1, 3))
    values = [one.evaluate()["readout_loss"].values for one in (once, thrice)]
    np.testing.assert_array_equal(*values)
    assert "72 repeated ones left out" in thrice.notes["readout_loss"]


def test_what_has_no_readout() -> None:
    with pytest.raises(ValueError, match=r"^readout_loss: tiny llama is a causal model"):
        measures_for(tiny_model("llama"), TEXTS, names=["readout_loss"])
    with pytest.raises(ValueError, match=r"^readout_loss: the texts are too short: 0 tokens occur 12 times"):
        measures_for(tiny_bert(), ["a text"], names=["readout_loss"])
    with pytest.raises(ValueError, match=r"^readout_loss: .* 3 windows of at most 60 tokens to fit"):
        measures_for(tiny_bert(), TEXTS[:3], names=["readout_loss"], window=60, targets=4)
