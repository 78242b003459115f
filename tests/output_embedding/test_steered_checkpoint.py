"""From steering to a checkpoint: the written one does what the edit said it would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmscope import apply_steering, load_model, load_steering, rounded_to
from lmscope.output_embedding.steering import steer_tokens
from lmscope.representations.next_states import next_states
from lmscope.representations.output_head import output_head
from lmscope.representations.token_averages import head_averages

from ..tiny_tokenizers import character_tokenizer
from .edits import saved

TEXTS = ["a text that is longer than most", "one of middling length", "and here is another one of them"]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_written_checkpoint_realises_what_was_told(tmp_path: Path, tied: bool, dtype: str) -> None:
    """Steered in float32; the checkpoint's own dtype rounds the rows, and the told factor is of those."""
    folder = saved(tmp_path / "before", tied=tied, dtype=dtype)
    character_tokenizer(50).save_pretrained(folder)
    model = load_model(folder, dtype="float32")
    states = next_states(model, TEXTS)
    edit = steer_tokens(model, {5: 2.0, 9: 0.5}, fit=states)
    edit.save(tmp_path / "edit.safetensors")
    read = load_steering(tmp_path / "edit.safetensors")
    assert read.identity == model.identity
    apply_steering(read, folder, tmp_path / "steered")
    steered = load_model(tmp_path / "steered", dtype="float32")
    again = next_states(steered, TEXTS)
    assert np.array_equal(states.states, again.states)
    means = [
        np.exp(head_averages(output_head(one), states.states).log_probability[edit.tokens])
        for one in (model, steered)
    ]
    told = rounded_to(read, dtype).realised(states, head=output_head(model)).factor
    np.testing.assert_allclose(means[1] / means[0], told, rtol=1e-5)
    np.testing.assert_allclose(told, [2.0, 0.5], rtol=1e-5 if dtype == "float32" else 0.05)
    assert (np.abs(told / [2.0, 0.5] - 1) > 1e-5).any() == (dtype == "bfloat16")
