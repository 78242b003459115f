"""Which measures a model has; every one sees a lesion, and none sees anything where nothing changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lmscope.analyses.lesion_impact import impact_of
from lmscope.representations import LanguageModel
from lmscope.representations.measures import MEASURES, measures_for

from ..models import tiny_model
from .models import TEXTS, spoil, tiny_bert

LABELLED = ([f"{text[:25]} {number}" for number in "abcdefgh" for text in TEXTS[:2]], ["one", "two"] * 8)


def model_of(kind: str) -> LanguageModel:
    return tiny_model("llama") if kind == "llama" else tiny_bert(None if kind == "bert" else kind)


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("llama", {}, ["loss"]),
        ("llama", {"labelled": LABELLED}, ["loss", "accuracy"]),
        ("masked_lm", {}, ["masked_loss"]),
        ("bert", {"targets": 4}, ["embedding", "retrieval", "readout_loss"]),
        ("sequence_classification", {"targets": 4}, ["embedding", "retrieval", "readout_loss"]),
        ("llama", {"names": ["retrieval", "loss"]}, ["loss", "retrieval"]),
        ("bert", {"names": "embedding"}, ["embedding"]),
    ],
)
def test_every_measure_sees_a_lesion(kind: str, options: dict[str, Any], expected: list[str]) -> None:
    model = model_of(kind)
    texts = [text[start:] for start in range(4) for text in TEXTS]
    measures = measures_for(model, texts, window=40, **options)
    assert [name for one in measures for name in one.names] == expected
    before = {name: scores for one in measures for name, scores in one.evaluate().items()}
    again = {name: scores for one in measures for name, scores in one.evaluate().items()}
    for name in expected:
        same = impact_of(before[name], again[name], harm=MEASURES[name].harm)
        assert (same.impact, same.low, same.high) == (0.0, 0.0, 0.0)
    for block in model.layers:
        for parameter in block.parameters():
            parameter.data.mul_(-0.5)
    after = {name: scores for one in measures for name, scores in one.evaluate().items()}
    for name in expected:
        assert not np.array_equal(after[name].values, before[name].values), name
        assert all(one.notes[key].strip() for one in measures for key in one.names)


def test_what_is_left_out_by_default() -> None:
    model = tiny_bert()
    model.tokenizer.mask_token = None
    (measure,) = measures_for(model, TEXTS[:2])
    assert measure.names == ("embedding",)


def test_what_cannot_be_fitted_is_left_out_unless_it_is_named(caplog: pytest.LogCaptureFixture) -> None:
    model, texts = tiny_bert(), [f"{text[:17]}" for text in TEXTS]
    reasons: dict[str, str] = {}
    (measure,) = measures_for(model, texts, left_out=reasons)
    assert measure.names == ("embedding", "retrieval")
    assert reasons.keys() == {"readout_loss"}
    assert reasons["readout_loss"].startswith("readout_loss: the texts are too short")
    measures_for(model, texts)
    assert "readout_loss is not measured: readout_loss: the texts are too short" in caplog.text
    with pytest.raises(ValueError, match=r"^readout_loss: the texts are too short"):
        measures_for(model, texts, names=["embedding", "readout_loss"])
    # Where few of many texts can be read, there is no rank among them.
    reasons.clear()
    (measure,) = measures_for(model, texts, eval_tokens=60, left_out=reasons)
    assert (measure.names, reasons.keys()) == (("embedding",), {"retrieval", "readout_loss"})


def test_wrong_arguments() -> None:
    model = tiny_bert()
    for options, complaint in [
        ({"names": ["perplexity"]}, "names: 'perplexity' is no measure; there are loss, masked_loss, "),
        ({"names": []}, "names: there are none"),
        (
            {"names": ["embedding"], "labelled": LABELLED},
            "labelled: the texts are for accuracy, which is",
        ),
        ({"eval_tokens": 0}, "eval_tokens: 0 is less than 1"),
        ({"targets": 1}, "targets: 1 is less than 2"),
        ({"window": 65}, "window: 65 tokens, but tiny bert takes at most 64"),
    ]:
        with pytest.raises(ValueError, match=complaint):
            measures_for(model, TEXTS, **options)
    with pytest.raises(ValueError, match="texts: there are none"):
        measures_for(model, [])
    with pytest.raises(TypeError, match="texts: one text was given"):
        measures_for(model, "text")
    spoil(model.layers[-1], float("inf"))
    with pytest.raises(ValueError, match="hidden states are not finite"):
        measures_for(model, TEXTS, names=["embedding"])
