"""What a model says when tokens are left out, against its own forward pass with masks written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.representations import LanguageModel, head, kept_tokens
from lmscope.representations.kept_tokens import WAYS, KeptTokens
from lmscope.representations.next_token import next_token_losses

from ..tiny_models import random_model
from ..tiny_tokenizers import character_tokenizer
from .models import tiny_model

TOKENS = 20
IDS = torch.cat([torch.tensor([1]), torch.randint(4, 50, (TOKENS - 1,), generator=torch.manual_seed(0))])
SETS = {19: [[3, 5, 11], [0], [], list(range(0, 19, 2))], 9: [[8], [0, 2, 4]], 1: [[], [0]]}
KINDS = ["llama", "gpt2", "gemma3_text", "gpt_neox", "qwen2", "opt", "phi3"]

# Differences of float64 forward passes through three blocks, whose logits are of the order of 10.
EXACT = 1e-10
# transformers' eager attention takes its softmax in float32, and sums of other lengths round otherwise.
TOLERANCE = {"sdpa": EXACT, "eager": 1e-5}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Tiny products wait longer for a second thread than they take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model_of(kind: str, attention: str = "sdpa", **changes: Any) -> LanguageModel:
    model = tiny_model(kind, **changes)
    model.model.double().set_attn_implementation(attention)
    return model


def log_probabilities(model: LanguageModel, ids: Any, **options: Any) -> Any:
    positions = torch.arange(len(ids))[None]
    with torch.no_grad():
        return (
            model.model(input_ids=torch.as_tensor(ids)[None], position_ids=positions, **options)
            .logits[0]
            .log_softmax(-1)
        )


def divergence(full: Any, kept: Any) -> float:
    return float((full.exp() * (full - kept)).sum())


def masks(model: LanguageModel, position: int, kept: list[int]) -> tuple[Any, Any]:
    """Additive masks of the whole passage: as the model has them, and with one query restricted."""
    row, column = torch.arange(TOKENS)[:, None], torch.arange(TOKENS)
    only = torch.zeros(TOKENS, dtype=torch.bool)
    only[[*kept, position]] = True
    forms = {"full_attention": column <= row}
    if model.config.model_type == "gemma3_text":
        window = model.config.sliding_window
        forms["sliding_attention"] = (column <= row) & (column > row - window)
    whole, restricted = {}, {}
    for form, seen in forms.items():
        narrow = seen.clone()
        narrow[position] &= only
        for into, mask in ((whole, seen), (restricted, narrow)):
            into[form] = torch.zeros(1, 1, TOKENS, TOKENS, dtype=torch.float64).masked_fill(~mask, -1e300)
    if len(forms) == 1:
        return whole["full_attention"], restricted["full_attention"]
    return whole, restricted


def by_hand(model: LanguageModel, position: int, kept: list[int], way: str) -> Any:
    """Log-probabilities behind ``position``."""
    if way == "deleted":
        return log_probabilities(model, IDS[[*kept, position]])[-1]
    whole, restricted = masks(model, position, kept)
    if way == "all_layers":
        return log_probabilities(model, IDS, attention_mask=restricted)[position]
    # The last block of the tiny Gemma 3 has full attention.
    last = restricted["full_attention"] if isinstance(restricted, dict) else restricted

    def narrow(_: Any, positional: Any, named: Any) -> Any:
        def swap(value: Any) -> Any:
            return last if getattr(value, "shape", None) == last.shape else value

        return tuple(map(swap, positional)), {name: swap(value) for name, value in named.items()}

    hook = model.layers[-1].register_forward_pre_hook(narrow, with_kwargs=True)
    try:
        return log_probabilities(model, IDS, attention_mask=whole)[position]
    finally:
        hook.remove()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_way_equals_a_forward_pass_with_masks_written_by_hand(kind: str, attention: str) -> None:
    model = model_of(kind, attention)
    full = log_probabilities(model, IDS)
    passage = KeptTokens(model, IDS)
    for way in WAYS:
        found = passage.divergences(list(SETS), list(SETS.values()), way, keep_special=False)
        for (position, sets), values in zip(SETS.items(), found, strict=True):
            expected = [divergence(full[position], by_hand(model, position, kept, way)) for kept in sets]
            np.testing.assert_allclose(values, expected, rtol=0, atol=TOLERANCE[attention])
            assert max(expected) > 1e-4 or way == "last_layer"


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", KINDS)
def test_keeping_everything_changes_nothing(kind: str, attention: str) -> None:
    passage = KeptTokens(model_of(kind, attention), IDS)
    for way in WAYS:
        for position in (0, 1, 7, 19):
            assert passage.divergence(position, [range(position)], way)[0] <= TOLERANCE[attention]


def test_what_one_block_leaves_out_the_states_before_still_hold() -> None:
    passage = KeptTokens(model_of("llama"), IDS)
    last, every = (passage.divergence(19, [[3]], way)[0] for way in ("last_layer", "all_layers"))
    assert 0 < last < every


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_divergences_are_never_negative_and_do_not_depend_on_order(data: Any) -> None:
    passage = KeptTokens(HYPOTHESIS_MODEL, IDS)
    position = data.draw(st.integers(1, TOKENS - 1))
    kept = data.draw(st.lists(st.integers(0, position - 1), max_size=8))
    way = data.draw(st.sampled_from(WAYS))
    (found,) = passage.divergence(position, [kept], way)
    (again,) = passage.divergence(position, [sorted(set(kept))], way)
    assert found >= 0
    assert found == pytest.approx(again, abs=EXACT)


HYPOTHESIS_MODEL = model_of("gpt_neox")


def test_special_tokens_are_kept_unless_refused() -> None:
    passage = KeptTokens(model_of("llama"), IDS)
    for way in WAYS:
        kept = passage.divergence(12, [[5], [0, 5]], way)
        without = passage.divergence(12, [[5], [0, 5]], way, keep_special=False)
        assert kept[0] == kept[1] == pytest.approx(without[1], abs=EXACT)
        assert without[0] != pytest.approx(kept[0], rel=1e-3)


def test_special_tokens_can_be_named() -> None:
    special = np.zeros(TOKENS, dtype=bool)
    special[4] = True
    model = model_of("llama")
    named = KeptTokens(model, IDS, special=special).divergence(12, [[5]], "all_layers")
    plain = KeptTokens(model, IDS).divergence(12, [[4, 5]], "all_layers", keep_special=False)
    np.testing.assert_allclose(named, plain, atol=EXACT)


def test_many_positions_equal_one_by_one_whatever_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("gemma3_text")
    passage = KeptTokens(model, IDS)
    single = {way: [passage.divergence(at, sets, way) for at, sets in SETS.items()] for way in WAYS}
    monkeypatch.setattr(kept_tokens, "_PROBES", 3)
    monkeypatch.setattr(kept_tokens, "_PROMPT_TOKENS", 7)
    monkeypatch.setattr(head, "_LOGITS_BYTES", 4 * 50 * 2)
    monkeypatch.setattr(head, "_ROW_BYTES", 1)
    for way in WAYS:
        together = KeptTokens(model, IDS).divergences(list(SETS), list(SETS.values()), way)
        for found, expected in zip(together, single[way], strict=True):
            np.testing.assert_allclose(found, expected, atol=EXACT)


def test_equal_sets_are_computed_once() -> None:
    model = model_of("llama")
    passage = KeptTokens(model, IDS)
    rows: list[int] = []
    passage.divergence(9, [[1]], "deleted")
    model.layers[0].register_forward_hook(lambda _, given, __: rows.append(given[0].shape[0]))
    found = passage.divergence(9, [[5], [0, 5], [5, 5], [6]], "deleted")
    # Two prompts, and one token that tells what the body's output looks like.
    assert sorted(rows) == [1, 2]
    assert found[0] == found[1] == found[2] != found[3]


def test_no_sets_give_no_numbers() -> None:
    passage = KeptTokens(model_of("llama"), IDS)
    assert [found.shape for found in passage.divergences([3, 5], [[], [[1]]], "deleted")] == [(0,), (1,)]
    assert passage.divergences([], [], "all_layers") == []


def test_the_model_is_left_as_it_was() -> None:
    model = model_of("llama")
    before = log_probabilities(model, IDS)
    KeptTokens(model, IDS).divergence(9, [[1]], "all_layers")
    assert model.model.config._attn_implementation == "sdpa"
    assert "forward" not in vars(model.model.get_decoder())
    assert torch.equal(log_probabilities(model, IDS), before)


def test_bfloat16_keeps_everything_to_its_own_rounding() -> None:
    model = tiny_model("llama")
    model.model.bfloat16()
    found = KeptTokens(model, IDS).divergence(19, [range(19), [3]], "all_layers")
    assert found[0] < 0.05 < found[1]


def test_a_state_space_model_can_only_have_tokens_deleted() -> None:
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(0)
    mamba = MambaForCausalLM(MambaConfig(hidden_size=16, num_hidden_layers=2, vocab_size=50, state_size=4))
    model = LanguageModel(mamba, tiny_model("llama").tokenizer, "causal", "tiny mamba")
    passage = KeptTokens(model, IDS)
    for way in ("last_layer", "all_layers"):
        with pytest.raises(ValueError, match=r"'mamba' .* attention interface; way=\"deleted\" works"):
            passage.divergence(9, [[1]], way)
    full = log_probabilities(model, IDS)[9]
    short = log_probabilities(model, IDS[[0, 1, 9]])[-1]
    assert passage.divergence(9, [[1]], "deleted")[0] == pytest.approx(divergence(full, short), rel=1e-3)


def test_a_model_that_reads_others_beside_attention_is_found_out() -> None:
    model = model_of("llama")

    def mean_of_row(_: Any, given: Any, output: Any) -> Any:
        return output + output.cumsum(1) / 10

    model.layers[1].mlp.register_forward_hook(mean_of_row)
    with pytest.raises(ValueError, match="read other tokens by more than attention"):
        KeptTokens(model, IDS).divergence(9, [[1]], "all_layers")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((9, [[1]], "both"), "way must be one of last_layer, all_layers, deleted; found 'both'"),
        ((20, [[1]], "deleted"), "position must be within the passage's 20 tokens; found 20"),
        ((-1, [[]], "deleted"), "found -1"),
        ((9, [[1], [2, 9]], "deleted"), "tokens kept for position 9 must lie before it; found 9"),
        ((9, [[-2]], "deleted"), "found -2"),
    ],
)
def test_wrong_arguments_are_named(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KeptTokens(model_of("llama"), IDS).divergence(*arguments)


def test_wrong_passages_are_named() -> None:
    model = model_of("llama")
    with pytest.raises(ValueError, match=r"ids must be the tokens of one window.*\(2, 3\)"):
        KeptTokens(model, [[1, 2, 3], [4, 5, 6]])
    with pytest.raises(ValueError, match=r"ids must be .*\(0,\)"):
        next_token_losses(model, [])
    with pytest.raises(ValueError, match=r"special must have shape \(20,\).*\(3,\)"):
        KeptTokens(model, IDS, special=[True, False, False])
    with pytest.raises(ValueError, match="2 positions need as many lists of sets; found 1"):
        KeptTokens(model, IDS).divergences([3, 4], [[[1]]], "deleted")
    with pytest.raises(ValueError, match="'bert', an encoder: it gives no next-token distribution"):
        KeptTokens(tiny_model("bert"), IDS)


@pytest.mark.parametrize("kind", [*KINDS, "gemma2"])
def test_losses_and_entropies_equal_those_of_all_logits(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"final_logit_softcapping": 2.0} if kind == "gemma2" else {}
    model = model_of(kind, "eager", **changes)
    expected = log_probabilities(model, IDS)
    for logits_bytes in (head._LOGITS_BYTES, 4 * 50 * 3):
        monkeypatch.setattr(head, "_LOGITS_BYTES", logits_bytes)
        found = next_token_losses(model, IDS)
        losses = -expected[:-1].gather(1, IDS[1:, None])[:, 0]
        np.testing.assert_allclose(found.losses, losses, rtol=0, atol=EXACT)
        np.testing.assert_allclose(found.entropies, -(expected.exp() * expected).sum(1), rtol=0, atol=EXACT)


def test_one_token_has_an_entropy_and_no_loss() -> None:
    found = next_token_losses(model_of("llama"), [5])
    assert found.losses.shape == (0,)
    assert found.entropies.shape == (1,)
    assert repr(found) == "NextTokenLosses(1 tokens, mean loss none, nats)"
    assert "predictive entropy" in found._repr_html_()
    assert repr(KeptTokens(model_of("llama"), [5])) == "KeptTokens(1 tokens, tiny llama)"


def test_logits_of_a_large_vocabulary_come_in_blocks_of_at_most_32_mb() -> None:
    model = tiny_model("llama", vocab_size=262_144, tie_word_embeddings=True)
    states = torch.zeros(40, 32)
    shapes = [block.shape for _, block in head.logits(model, states)]
    assert shapes == [(32, 262_144), (8, 262_144)]


def test_logits_that_are_not_finite_are_refused() -> None:
    model = model_of("llama")
    model.model.lm_head.weight[7] = torch.nan
    with pytest.raises(ValueError, match="logits are not finite at row 0"):
        next_token_losses(model, IDS)


def test_tokens_that_a_model_rules_out_count_nothing() -> None:
    model = model_of("llama")

    def rule_out(_: Any, __: Any, logits: Any) -> Any:
        return logits.index_fill(-1, torch.tensor([7, 8]), -torch.inf)

    model.model.lm_head.register_forward_hook(rule_out)
    found = KeptTokens(model, IDS).divergence(9, [range(9), [3]], "all_layers")
    assert found[0] <= EXACT
    assert 0 < found[1] < np.inf


SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 50,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# get_decoder() of the first two gives the model itself, that of the third its head.
NAMED_OTHERWISE = {
    "llama4_text": {"num_local_experts": 2, "intermediate_size_mlp": 48, "attention_chunk_size": 8},
    "mllama_text_model": {"cross_attention_layers": [1]},
    "modernbert-decoder": {"cls_token_id": 1, "sep_token_id": 2},
}


@pytest.mark.parametrize("kind", NAMED_OTHERWISE)
def test_the_body_is_not_what_the_class_calls_its_decoder(kind: str) -> None:
    import transformers

    config = transformers.AutoConfig.for_model(kind, **SMALL, **NAMED_OTHERWISE[kind])
    # The auto class takes Mllama by the whole model's configuration alone.
    text_of = {"mllama_text_model": transformers.MllamaForCausalLM}
    make = text_of.get(kind, transformers.AutoModelForCausalLM.from_config)
    made = random_model(make, config).double()
    model = LanguageModel(made, character_tokenizer(50), "causal", f"tiny {kind}")
    full = log_probabilities(model, IDS)
    losses = next_token_losses(model, IDS).losses
    np.testing.assert_allclose(losses, -full[:-1].gather(1, IDS[1:, None])[:, 0], atol=1e-6)
    kept = [0, 3, 5, 7, 11]
    expected = divergence(full[15], log_probabilities(model, IDS[[*kept, 15]])[-1])
    assert KeptTokens(model, IDS).divergence(15, [kept], "deleted")[0] == pytest.approx(expected, rel=1e-4)


def test_a_body_that_is_not_all_that_comes_before_the_head() -> None:
    model = model_of("llama")

    class Shifted(type(model.model)):
        def forward(self, input_ids: Any, **options: Any) -> Any:
            output = super().forward(input_ids, **options)
            output.logits = output.logits + input_ids[..., None]
            return output

    model.model.__class__ = Shifted
    complaint = r"^models of type 'llama' do not keep head and body apart: the head of Shifted on the states"
    with pytest.raises(ValueError, match=complaint):
        next_token_losses(model, IDS)
    with pytest.raises(ValueError, match=complaint):
        KeptTokens(model, IDS)


def test_an_unknown_word_is_no_special_token() -> None:
    model = model_of("llama")
    unknown = model.tokenizer.unk_token_id
    assert unknown is not None
    ids = IDS.clone()
    ids[3] = unknown
    sets = [[8], [3, 8]]
    found = KeptTokens(model, ids).divergence(12, sets, "deleted")
    assert found[0] != found[1]
