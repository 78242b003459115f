"""Every position's state is what the head reads before its target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lmscope import load_model, next_states, output_head
from lmscope.representations import LanguageModel, TextError

from .models import TEXTS, alone, tiny_model

LONG = ["abcdefgh" * 12, "the quick brown fox" * 5, "zyxw" * 20]


@pytest.fixture(scope="module")
def llama() -> LanguageModel:
    return tiny_model("llama")


def test_states_and_targets_of_every_position(llama: LanguageModel) -> None:
    found = next_states(llama, TEXTS)
    states, targets, units = [], [], []
    for unit, text in enumerate(TEXTS):
        ids = llama.tokenizer(text)["input_ids"]
        states.append(alone(llama, ids).last_hidden_state[0, :-1])
        targets += ids[1:]
        units += [unit] * (len(ids) - 1)
    np.testing.assert_array_equal(found.targets, targets)
    np.testing.assert_array_equal(found.unit, units)
    torch.testing.assert_close(found.states, torch.cat(states), rtol=1e-4, atol=1e-4)
    assert (found.texts, found.windows, found.tokens, len(found)) == (5, 5, len(targets), len(targets))
    # The first token of a text is one of the targets: the special token before it is its context.
    assert found.targets[0] == llama.tokenizer(TEXTS[0])["input_ids"][1]


def test_losses_are_the_models_own(llama: LanguageModel) -> None:
    found = next_states(llama, TEXTS[:2])
    logits = output_head(llama).logits(found.states)
    made = torch.nn.functional.cross_entropy(logits, torch.from_numpy(found.targets), reduction="none")
    own = []
    for text in TEXTS[:2]:
        ids = llama.tokenizer(text)["input_ids"]
        output = llama.outputs([ids]).logits[0, :-1]
        own.append(torch.nn.functional.cross_entropy(output, torch.tensor(ids[1:]), reduction="none"))
    torch.testing.assert_close(made, torch.cat(own), rtol=1e-4, atol=1e-4)


def test_special_tokens_are_no_targets(llama: LanguageModel) -> None:
    special = llama.tokenizer.special_tokens_map["bos_token"]
    plain = next_states(llama, ["abcdef", "ghij"])
    marked = next_states(llama, [f"abc{special}def", "ghij"])
    np.testing.assert_array_equal(marked.targets, plain.targets)
    assert not np.isin(marked.targets, llama.tokenizer.convert_tokens_to_ids(special)).any()


def test_bounded_positions_are_whole_windows_spread_evenly(llama: LanguageModel) -> None:
    whole = next_states(llama, LONG, window=11)
    some = next_states(llama, LONG, window=11, positions=90)
    assert 60 <= len(some) <= 90
    assert (whole.tokens, some.tokens) == (len(whole), len(whole))
    assert some.texts == 3
    # Each window of the part is one of the whole.
    rows = {one.states.numpy().round(3).tobytes() for one in _windows(whole)}
    assert all(one.states.numpy().round(3).tobytes() in rows for one in _windows(some))
    np.testing.assert_array_equal(np.unique(some.unit), np.arange(some.windows))
    again = next_states(llama, LONG, window=11, positions=90)
    assert torch.equal(again.states, some.states)


def _windows(states: object) -> list:  # type: ignore[type-arg]
    return [states.part(states.unit == unit) for unit in np.unique(states.unit)]  # type: ignore[attr-defined]


def test_progress_and_parts(llama: LanguageModel) -> None:
    told: list[int] = []
    found = next_states(llama, LONG, window=16, advance=told.append)
    assert (sum(told), len(told)) == (len(found), found.windows)
    mask = found.unit % 2 == 0
    part = found.part(mask)
    assert torch.equal(part.states, found.states[torch.from_numpy(mask)])
    np.testing.assert_array_equal(part.unit, found.unit[mask])
    assert f"{len(found)} of {found.tokens} positions" in repr(found)
    assert "windows" in found._repr_html_()


def test_bfloat16_states_keep_their_dtype() -> None:
    model = tiny_model("llama")
    model.model.to(torch.bfloat16)
    assert next_states(model, TEXTS).states.dtype == torch.bfloat16


def test_too_little_text(llama: LanguageModel) -> None:
    with pytest.raises(TextError, match=r"1 window with 6 positions; at least 2 windows .* give more text"):
        next_states(llama, ["abcdef"])
    with pytest.raises(ValueError, match="positions: 12 are less than two whole windows; the largest"):
        next_states(llama, LONG, window=11, positions=12)
    with pytest.raises(TypeError, match="one text was given"):
        next_states(llama, "abc")


def test_an_encoder(minilm_path: Path) -> None:
    with pytest.raises(ValueError, match="an encoder, which gives no next-token distribution"):
        next_states(load_model(minilm_path), TEXTS)
