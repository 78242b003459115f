"""Every token is scored once, with enough before it, and the loss is the one of its logits."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
import torch

from lmscope.representations import LanguageModel
from lmscope.representations.measures import measures_for
from lmscope.representations.measures.strided import strided
from lmscope.representations.measures.token_losses import token_losses
from lmscope.representations.passages import StatesError

from ..models import tiny_model
from .models import TEXTS, spoil, tiny_bert

WINDOW, STRIDE = 12, 5


@pytest.fixture(scope="module")
def llama() -> LanguageModel:
    return tiny_model("llama")


def loss_of_last(model: LanguageModel, ids: list[int]) -> float:
    with torch.no_grad():
        logits = model.model(torch.tensor([ids])).logits[0, -2].double()
    return -float(logits.log_softmax(0)[ids[-1]])


@pytest.mark.parametrize("stride", [1, 5, 10])
def test_every_token_is_scored_once_with_its_context(llama: LanguageModel, stride: int) -> None:
    texts = ["x", "a" * 11, "b" * 12, *TEXTS]
    windows = list(strided(llama, texts, WINDOW, stride))
    for text, own in groupby(windows, lambda one: one.window.text):
        scored = []
        for one in own:
            assert len(one.window.ids) <= WINDOW
            assert one.window.ids[0] == llama.tokenizer.bos_token_id
            first = one.window.start + one.first - 1
            scored += range(first, first + one.scored)
            assert one.window.start == 0 or one.first >= WINDOW - stride
            places = one.window.ids[one.first :]
            assert places == llama.tokenizer(texts[text])["input_ids"][1:][first : first + one.scored]
        assert scored == list(range(len(texts[text])))


def test_the_loss_by_hand(llama: LanguageModel) -> None:
    (measure,) = measures_for(llama, TEXTS[:2], window=WINDOW, stride=STRIDE)
    found = measure.evaluate()["loss"]
    room = WINDOW - 1
    losses = []
    for text in TEXTS[:2]:
        bos, *body = llama.tokenizer(text)["input_ids"]
        for place in range(len(body)):
            start = 0 if place < room else -(-(place + 1 - room) // STRIDE) * STRIDE
            losses.append(loss_of_last(llama, [bos, *body[start : place + 1]]))
    assert found.weights.sum() == len(losses) == sum(map(len, TEXTS[:2]))
    assert found.mean == pytest.approx(np.mean(losses), rel=1e-5)
    ends = np.cumsum(found.weights).astype(int)
    by_window = [part.mean() for part in np.split(np.array(losses), ends[:-1])]
    np.testing.assert_allclose(found.values, by_window, rtol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_one_window_has_the_loss_of_transformers(kind: str) -> None:
    model = tiny_model(kind)
    (measure,) = measures_for(model, TEXTS[1:2], window=64)
    ids = torch.tensor([model.tokenizer(TEXTS[1])["input_ids"]])
    with torch.no_grad():
        expected = float(model.model(ids, labels=ids).loss)
    assert measure.evaluate()["loss"].mean == pytest.approx(expected, rel=1e-5)
    assert measure.chance["loss"] == pytest.approx(np.log(50))


def test_without_a_special_token_the_first_token_is_not_scored(llama: LanguageModel) -> None:
    from ...tiny_tokenizers import character_tokenizer

    bare = LanguageModel(llama.model, character_tokenizer(50, around="$A"), "causal", "bare")
    windows = list(strided(bare, ["x", "abc", "a" * 13], 12, 6))
    assert [(one.window.text, one.first, one.scored) for one in windows] == [(1, 1, 2), (2, 1, 11), (2, 6, 1)]
    with pytest.raises(ValueError, match="loss: the texts have no token with another before it"):
        measures_for(bare, ["x"])
    with pytest.raises(ValueError, match=r"stride: 12 .* the 0 special tokens .* a stride of at most 11$"):
        measures_for(bare, ["a" * 40], window=12, stride=12)
    (measure,) = measures_for(bare, ["a" * 40], window=12, stride=11)
    assert np.isfinite(measure.evaluate()["loss"].values).all()
    assert measure.evaluate()["loss"].weights.sum() == 39


def test_states_and_tokens_are_as_many(llama: LanguageModel) -> None:
    states, targets = torch.zeros(3, 32), np.array([1, 2, 3])
    for own, wanted, complaint in (
        ([states[:0], states], [targets, targets], "window 0 has 0 states for 3 tokens to be scored"),
        ([states] * 2, [targets], "window 1 has 3 states for no tokens"),
        ([states], [targets] * 2, "1 windows have states, and 2 have tokens"),
    ):
        with pytest.raises(ValueError, match=complaint):
            token_losses(llama, own, wanted)


def test_the_default_has_enough_windows_for_an_interval(llama: LanguageModel) -> None:
    import transformers

    config = transformers.LlamaConfig.from_dict(
        llama.model.config.to_dict() | {"max_position_embeddings": 512}
    )
    model = LanguageModel(transformers.LlamaForCausalLM(config), llama.tokenizer, "causal", "long")
    (measure,) = measures_for(model, ["".join(TEXTS) * 60])
    assert len(measure.evaluate()["loss"].values) >= 16
    assert "windows of at most 256 tokens, 128 apart" in measure.notes["loss"]


def test_an_evaluation_reads_no_more_than_it_may(llama: LanguageModel) -> None:
    texts = [text * 5 for text in TEXTS]
    every = list(strided(llama, texts, WINDOW, STRIDE))
    (measure,) = measures_for(llama, texts, window=WINDOW, stride=STRIDE, eval_tokens=200)
    units = len(measure.evaluate()["loss"].values)
    assert 10 <= units <= 16
    assert f"in {units} of {len(every)} windows" in measure.notes["loss"]


def test_the_same_bits_as_long_as_nothing_changes(llama: LanguageModel) -> None:
    (measure,) = measures_for(llama, TEXTS)
    first, second = (measure.evaluate()["loss"] for _ in range(2))
    np.testing.assert_array_equal(first.values, second.values)


def test_what_has_no_loss() -> None:
    with pytest.raises(ValueError, match=r"^loss: tiny bert is of type 'bert', an encoder"):
        measures_for(tiny_bert(), TEXTS, names=["loss"])
    model = tiny_model("llama")
    for stride in (0, 13):
        with pytest.raises(ValueError, match=f"stride: {stride} is not between 1 and the window's 12 tokens"):
            measures_for(model, TEXTS, window=12, stride=stride)
    for stride in (11, 12):
        with pytest.raises(
            ValueError, match=f"stride: {stride} tokens .* 1 special .* of 12: .* at most 10$"
        ):
            measures_for(model, TEXTS, window=12, stride=stride)
    with pytest.raises(ValueError, match="do not fit into a window of 2: give a larger window"):
        measures_for(model, TEXTS, window=2)


def test_states_that_are_not_finite_are_no_score() -> None:
    model = tiny_model("llama")
    (measure,) = measures_for(model, TEXTS)
    spoil(model.layers[-1], float("nan"))
    with pytest.raises(StatesError, match=r"^text 0, window 0, token 0 .* hidden states are not finite"):
        measure.evaluate()
