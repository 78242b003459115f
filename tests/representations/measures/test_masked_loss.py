"""The masks are drawn once, and the loss is that of the checkpoint's own head."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lmscope.representations.measures import measures_for
from lmscope.representations.measures.masking import masked
from lmscope.representations.windows import cut

from ...tiny_tokenizers import character_tokenizer
from .models import TEXTS, tiny_bert


def test_the_loss_by_hand_from_the_models_own_logits() -> None:
    model = tiny_bert("masked_lm")
    assert (model.kind, model.head) == ("encoder", "masked_lm")
    (measure,) = measures_for(model, TEXTS, window=24, seed=3)
    found = measure.evaluate()["masked_loss"]
    token = model.tokenizer.mask_token_id
    means, counts = [], []
    for window in masked(cut(model, TEXTS, 24), token, 3):
        with torch.no_grad():
            logits = model.model(torch.tensor([window.window.ids])).logits[0, window.places].double()
        targets = torch.from_numpy(window.targets)[:, None]
        means.append(-float(logits.log_softmax(1).gather(1, targets).mean()))
        counts.append(len(window.places))
    np.testing.assert_allclose(found.values, means, rtol=1e-5)
    np.testing.assert_array_equal(found.weights, counts)


def test_masks_cover_15_percent_of_own_tokens_and_stay() -> None:
    model = tiny_bert("masked_lm")
    token = model.tokenizer.mask_token_id
    windows = list(cut(model, [*TEXTS, "ab"], 42))
    first, again, other = (list(masked(windows, token, seed)) for seed in (0, 0, 1))
    alone = list(masked(windows[3:4], token, 0))
    np.testing.assert_array_equal(alone[0].places, first[3].places)
    for window, one, same in zip(windows, first, again, strict=True):
        assert one.window.ids == same.window.ids
        own = int((~window.special).sum())
        assert len(one.places) == max(1, round(0.15 * own))
        assert not window.special[one.places].any()
        changed = np.flatnonzero(np.array(window.ids) != np.array(one.window.ids))
        np.testing.assert_array_equal(changed, one.places)
        np.testing.assert_array_equal(np.array(window.ids)[one.places], one.targets)
        assert all(one.window.ids[place] == token for place in one.places)
    assert any(one.window.ids != two.window.ids for one, two in zip(first, other, strict=True))


def test_what_has_no_masked_loss() -> None:
    with pytest.raises(ValueError, match=r'^masked_loss: tiny bert was loaded without .* head="masked_lm"'):
        measures_for(tiny_bert(), TEXTS, names=["masked_loss"])
    model = tiny_bert("masked_lm")
    object.__setattr__(model, "tokenizer", character_tokenizer(50, around="<s> $A </s>"))
    with pytest.raises(ValueError, match=r"^masked_loss: the tokenizer of tiny bert has no mask token"):
        measures_for(model, TEXTS)


@pytest.mark.parametrize("model_type", ["roberta", "distilbert"])
def test_other_heads_keep_apart_from_their_bodies(model_type: str) -> None:
    from transformers import AutoConfig, AutoModelForMaskedLM

    from lmscope.representations import LanguageModel

    from ...tiny_models import TINY, random_model
    from .models import tokenizer_with_mask

    config = AutoConfig.for_model(model_type, **TINY[model_type] | {"max_position_embeddings": 64})
    wrapped = random_model(AutoModelForMaskedLM.from_config, config)
    model = LanguageModel(wrapped, tokenizer_with_mask(), "encoder", model_type)
    (measure,) = measures_for(model, TEXTS, window=30)
    assert np.isfinite(measure.evaluate()["masked_loss"].mean)
