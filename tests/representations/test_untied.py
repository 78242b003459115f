"""A head of its own while it is changed: no state moves with it, and the tie and every bit come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lmscope import LanguageModel
from lmscope.representations.untied import untied

from ..tiny_models import TINY, random_model
from .models import tiny_model

ENCODERS = ("bert", "roberta", "distilbert")
ROWS = [list(range(1, 13))]


def tied_model(kind: str) -> LanguageModel:
    """Causal, or an encoder with its masked head."""
    if kind not in ENCODERS:
        return tiny_model(kind, tie_word_embeddings=True)
    from transformers import AutoConfig, AutoModelForMaskedLM

    config = AutoConfig.for_model(kind, **TINY[kind], tie_word_embeddings=True)
    model = random_model(AutoModelForMaskedLM.from_config, config)
    return LanguageModel(model, tiny_model(kind).tokenizer, "encoder", f"tiny {kind}")


def bits(model: LanguageModel) -> dict[str, tuple[int, bytes]]:
    """Of every parameter: where it lies, and its bytes."""
    return {
        name: (value.data_ptr(), value.detach().view(torch.uint8).numpy().tobytes())
        for name, value in model.model.named_parameters(remove_duplicate=False)
    }


def logits(model: LanguageModel) -> torch.Tensor:
    made: torch.Tensor = model.outputs(ROWS).logits[0]
    return made


@pytest.mark.parametrize("kind", list(TINY))
def test_a_tied_head_is_changed_alone_and_tied_again(kind: str) -> None:
    model = tied_model(kind)
    embedding = model.model.get_input_embeddings().weight
    head = model.model.get_output_embeddings()
    assert head.weight is embedding
    before, given = bits(model), logits(model)
    states = model.forward(ROWS).last_hidden_state
    ties, count = dict(model.model.all_tied_weights_keys), model.parameters
    with untied(model) as own:
        assert head.weight is own is not embedding
        assert torch.equal(logits(model), given)
        assert model.model.config.tie_word_embeddings is False
        assert model.parameters == count + embedding.numel()
        own.data[7] += 1.0
        assert torch.equal(model.forward(ROWS).last_hidden_state, states)
        changed = logits(model) != given
        assert changed[:, 7].any()
        assert not changed[:, [*range(7), *range(8, 50)]].any()
    assert head.weight is model.model.get_input_embeddings().weight is embedding
    assert bits(model) == before
    assert torch.equal(logits(model), given)
    assert model.model.config.tie_word_embeddings is True
    assert model.model.all_tied_weights_keys == ties
    assert model.parameters == count


def test_an_exception_ties_again() -> None:
    model = tied_model("llama")
    before = bits(model)

    def interrupted() -> None:
        with untied(model) as own:
            own.data.zero_()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert model.model.lm_head.weight is model.model.model.embed_tokens.weight
    assert bits(model) == before
    assert model.model.config.tie_word_embeddings is True


def test_transformers_does_not_tie_within() -> None:
    model = tied_model("llama")
    with untied(model) as own:
        model.model.tie_weights()
        model.model.tie_weights(recompute_mapping=False)
        assert model.model.lm_head.weight is own


def test_untied_within_untied_keeps_the_outer_one() -> None:
    model = tied_model("gpt2")
    with untied(model) as outer:
        with untied(model) as inner:
            assert inner is outer
        assert model.model.lm_head.weight is outer
    assert model.model.lm_head.weight is model.model.transformer.wte.weight


def test_a_head_that_is_not_tied_is_given_as_it_is() -> None:
    model = tiny_model("llama", tie_word_embeddings=False)
    head = model.model.lm_head.weight
    with untied(model) as own:
        assert own is head
    assert model.model.lm_head.weight is head


def test_what_is_saved_within_has_both(tmp_path: Path) -> None:
    """transformers reads back the changed head beside the embedding as it was."""
    from transformers import AutoModelForCausalLM

    model = tied_model("qwen2")
    with untied(model) as own:
        own.data[3] *= 2.0
        changed = logits(model)
        model.model.save_pretrained(tmp_path)
    read = AutoModelForCausalLM.from_pretrained(tmp_path)
    again = LanguageModel(read, model.tokenizer, "causal", "read again")
    assert torch.equal(logits(again), changed)
    assert not torch.equal(logits(model), changed)


class EmbeddingAndHead(torch.nn.Embedding):
    """Embeds token ids, and gives the logits of states."""

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        if given.is_floating_point():
            return torch.nn.functional.linear(given, self.weight)
        return super().forward(given)


class HeadByWeight(torch.nn.Module):
    """A head that uses the weight of a module which it does not hold, as FSMT's decoder does."""

    def __init__(self, embedding: torch.nn.Embedding) -> None:
        super().__init__()
        self._embedding = (embedding,)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(states, self._embedding[0].weight)


@pytest.mark.parametrize("by", ["call", "weight"])
def test_one_module_for_both(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tied_model("llama")
    inner: Any = model.model
    both = EmbeddingAndHead(50, 32)
    both.weight = inner.model.embed_tokens.weight
    inner.model.embed_tokens = both
    inner.lm_head = both if by == "call" else HeadByWeight(both)
    monkeypatch.setattr(inner, "get_output_embeddings", lambda: both, raising=False)
    given, states, before = logits(model), model.forward(ROWS).last_hidden_state, bits(model)
    with untied(model) as own:
        assert torch.equal(logits(model), given)
        own.data[7] += 1.0
        assert torch.equal(model.forward(ROWS).last_hidden_state, states)
        changed = logits(model) != given
        assert changed[:, 7].any()
        assert not changed[:, [*range(7), *range(8, 50)]].any()
    assert bits(model) == before
    assert torch.equal(logits(model), given)
    assert "forward" not in vars(both)


def test_two_parameters_in_one_memory_are_parted() -> None:
    model = tiny_model("llama", tie_word_embeddings=False)
    inner: Any = model.model
    inner.lm_head.weight = torch.nn.Parameter(inner.model.embed_tokens.weight.data, requires_grad=False)
    before, states = bits(model), model.forward(ROWS).last_hidden_state
    with untied(model) as own:
        own.data.zero_()
        assert torch.equal(model.forward(ROWS).last_hidden_state, states)
    assert bits(model) == before


def test_no_head_and_no_parameter_are_refused() -> None:
    with pytest.raises(ValueError, match=r"tiny bert has no head: BertModel gives hidden states only"):
        untied(tiny_model("bert")).__enter__()
    model = tied_model("llama")
    torch.nn.utils.parametrizations.weight_norm(model.model.lm_head)
    with pytest.raises(ValueError, match="whose weight is no parameter of it"):
        untied(model).__enter__()
