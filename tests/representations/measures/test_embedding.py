"""Embeddings are means of all tokens' states; a text's halves find each other where they are alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lmscope.representations.measures import measures_for
from lmscope.representations.measures.budget import Reading
from lmscope.representations.measures.embedding import retrieval_ranks
from lmscope.representations.measures.halved import halved

from ..models import tiny_model
from .models import TEXTS, spoil, tiny_bert


def test_ranks_of_planted_embeddings() -> None:
    axes = np.eye(6)
    np.testing.assert_array_equal(retrieval_ranks(axes, axes), np.ones(6))
    np.testing.assert_array_equal(retrieval_ranks(axes, axes[::-1]), np.full(6, 4.0))
    alike = np.ones((5, 1))
    np.testing.assert_array_equal(retrieval_ranks(alike, alike), np.full(5, 3.0))
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((2, 400, 8))
    first, second = noise / np.linalg.norm(noise, axis=2, keepdims=True)
    assert abs(retrieval_ranks(first, second).mean() - 200.5) < 4 * np.sqrt(400**2 / 12 / 400)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_cosines_and_ranks_by_hand(kind: str) -> None:
    model = tiny_bert() if kind == "bert" else tiny_model("llama")

    def embedded() -> tuple[np.ndarray, np.ndarray]:
        """Sums of each half's own states, from windows of 20 own tokens run alone."""
        halves = []
        for text in TEXTS:
            ids = model.tokenizer(text)["input_ids"]
            head, body, tail = ids[:1], ids[1:-1] if kind == "bert" else ids[1:], ids[-1:] * (kind == "bert")
            middle = (len(body) + 1) // 2
            for half in (body[:middle], body[middle:]):
                total = np.zeros(32)
                for start in range(0, len(half), 20):
                    rows = torch.tensor([head + half[start : start + 20] + tail])
                    with torch.no_grad():
                        states = model.base(rows).last_hidden_state[0].double()
                    # A causal model's first token is its special one.
                    total += (states if kind == "bert" else states[1:]).sum(0).numpy()
                halves.append(total)
        found = np.array(halves).reshape(len(TEXTS), 2, 32)
        whole = found.sum(1)
        return whole / np.linalg.norm(whole, axis=1, keepdims=True), found

    window = 22 if kind == "bert" else 21
    (measure,) = measures_for(model, TEXTS, names=["embedding", "retrieval"], window=window)
    before, _ = embedded()
    untouched = measure.evaluate()
    np.testing.assert_array_equal(untouched["embedding"].values, np.zeros(5))
    spoil(model.layers[-1])
    after, halves = embedded()
    found = measure.evaluate()
    np.testing.assert_allclose(
        found["embedding"].values, 1 - np.sum(before * after, axis=1), rtol=1e-3, atol=1e-7
    )
    units = halves / np.linalg.norm(halves, axis=2, keepdims=True)
    cosines = units[:, 0] @ units[:, 1].T
    expected = [1 + np.sum(row > row[text]) for text, row in enumerate(cosines)]
    np.testing.assert_array_equal(found["retrieval"].values, expected)


def test_of_every_half_equally_many_tokens_are_read() -> None:
    model = tiny_bert()
    sizes = [len(text) for text in TEXTS]
    texts = [*TEXTS, "short"]
    whole = halved(model, texts, 60, Reading(None, 4096, 0))
    assert whole.sizes == [*sizes, 5]
    own = dict.fromkeys(whole.keys, 0)
    for key, window in zip(whole.keys, whole.windows, strict=True):
        own[key] += int((~window.special).sum())
    assert [own[text, 0] + own[text, 1] for text in range(6)] == [*sizes, 5]
    part = halved(model, texts, 60, Reading(None, 342, 0))
    assert len(part.sizes) == 6
    assert sum(len(window.ids) for window in part.windows) <= 342
    halves = [half for size in part.sizes for half in ((size + 1) // 2, size // 2)]
    found = [int((~window.special).sum()) for window in part.windows]
    assert found == [min(half, part.read) for half in halves]
    assert 32 <= part.read < max(halves)
    few = halved(model, texts * 10, 60, Reading(None, 350, 0))
    assert len(few.sizes) < 12
    assert few.read >= 32
    assert sum(len(window.ids) for window in few.windows) <= 350


def test_too_few_texts_for_retrieval() -> None:
    texts = [*TEXTS[:3], "short"]
    with pytest.raises(ValueError, match=r"^retrieval: 3 of the 4 texts read have 16 tokens or more"):
        measures_for(tiny_bert(), texts, names=["retrieval"])
    (measure,) = measures_for(tiny_bert(), texts, names=["embedding"])
    assert set(measure.evaluate()) == {"embedding"}
