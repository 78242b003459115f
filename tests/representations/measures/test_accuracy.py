"""Labelled texts are recognised by the checkpoint's own head, or by a read-out of half of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lmscope.representations.measures import measures_for

from ..models import tiny_model
from .models import TEXTS, tiny_bert

WORDS = ("water and fish", "numbers added 123")
LABELLED = ([f"{WORDS[number % 2]} {chr(97 + number)}" for number in range(24)], ["wet", "dry"] * 12)


def test_the_head_by_hand() -> None:
    model = tiny_bert("sequence_classification", id2label={0: "wet", 1: "dry"}, label2id={"wet": 0, "dry": 1})
    assert model.head == "sequence_classification"
    (measure,) = measures_for(model, TEXTS, names=["accuracy"], labelled=LABELLED)
    expected = []
    for text, label in zip(*LABELLED, strict=True):
        ids = torch.tensor([model.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            chosen = int(model.model(ids).logits.argmax())
        expected.append(float(("wet", "dry")[chosen] == label))
    scores = measure.evaluate()["accuracy"]
    np.testing.assert_array_equal(scores.values, expected)
    np.testing.assert_array_equal(scores.weights, np.ones(24))
    assert measure.chance["accuracy"] == 0.5
    assert "by the checkpoint's own head, 2 labels" in measure.notes["accuracy"]
    as_numbers = (LABELLED[0], ["01".index(digit) for digit in "01" * 12])
    (same,) = measures_for(model, TEXTS, names=["accuracy"], labelled=as_numbers)
    np.testing.assert_array_equal(same.evaluate()["accuracy"].values, expected)
    with pytest.raises(ValueError, match=r"labelled text 0 has the label 'hot', .* it has 'wet' \(0\), '"):
        measures_for(model, TEXTS, names=["accuracy"], labelled=(["a"], ["hot"]))


def test_logits_that_are_not_finite_are_no_score() -> None:
    model = tiny_bert("sequence_classification")
    (measure,) = measures_for(model, TEXTS, names=["accuracy"], labelled=(["ab", "cd"], [0, 1]))
    with torch.no_grad():
        model.model.classifier.weight.fill_(float("inf"))
    with pytest.raises(ValueError, match=r"^accuracy: labelled text \d: the logits of tiny bert are not fin"):
        measure.evaluate()


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_readout_learns_what_is_easy_and_forgets_it(kind: str) -> None:
    model = tiny_bert() if kind == "bert" else tiny_model("llama")
    (measure,) = measures_for(model, TEXTS, names=["accuracy"], labelled=LABELLED, seed=1)
    scores = measure.evaluate()["accuracy"]
    assert len(scores.values) == 12
    assert scores.mean == 1.0
    assert measure.chance["accuracy"] == 0.5
    assert "fitted to 12 texts of the untouched model" in measure.notes["accuracy"]
    with torch.no_grad():
        model.model.get_input_embeddings().weight.fill_(0.5)
    assert measure.evaluate()["accuracy"].mean < 1.0


def test_a_readout_tests_texts_that_it_was_not_fitted_on() -> None:
    """On labels of pure noise it is right by chance only."""
    model = tiny_bert()
    generator = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnop "))
    texts = ["".join(generator.choice(letters, 20)) for _ in range(160)]
    labels = generator.integers(2, size=160).tolist()
    (measure,) = measures_for(model, TEXTS, names=["accuracy"], labelled=(texts, labels))
    # Four standard errors of 80 coin flips.
    assert abs(measure.evaluate()["accuracy"].mean - 0.5) < 4 * 0.5 / np.sqrt(80)


def test_repeated_texts_do_not_leak_into_the_test() -> None:
    """A text with a label of its own, whatever it says, is known again only where it was fitted."""
    model = tiny_bert()
    generator = np.random.default_rng(2)
    letters = np.array(list("abcdefghijklmnop "))
    texts = ["".join(generator.choice(letters, 20)) for _ in range(60)]
    labels = generator.integers(2, size=60).tolist()
    once, thrice = (
        measures_for(model, TEXTS, names=["accuracy"], labelled=(texts * times, labels * times))[0]
        for times in (1, 3)
    )
    np.testing.assert_array_equal(thrice.evaluate()["accuracy"].values, once.evaluate()["accuracy"].values)
    assert "120 repeated ones left out" in thrice.notes["accuracy"]


def test_labels_that_cannot_be_learnt() -> None:
    model = tiny_bert()
    for labelled, complaint in [
        (None, "accuracy: it needs labelled texts"),
        ((["a"], []), "labelled: 1 texts and 0 labels"),
        ((["a", "b"], [1, 1]), "accuracy: every label is '1'; at least two are needed"),
        ((["a", "b"] * 4, [1, 1, 1, 1, 1, 1, 2, 2]), "accuracy: every label is '1'"),
        (
            ([*"abcdefgh"], [1, 1, 1, 1, 1, 1, 2, 2]),
            "label '2' has 2 texts without repeats; a read-out needs at ",
        ),
    ]:
        with pytest.raises(ValueError, match=complaint):
            measures_for(model, TEXTS, names=["accuracy"], labelled=labelled)
