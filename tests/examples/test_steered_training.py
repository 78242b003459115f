"""Steering of a small trained model, on text that it never read; controls fail."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from rich.progress import Progress

from lmscope.output_embedding.middle_tokens import middle_tokens
from lmscope.output_embedding.steered_alone import steered_alone
from lmscope.output_embedding.text_states import text_states
from lmscope.representations import LanguageModel
from lmscope.representations.next_states import next_states
from lmscope.representations.output_head import output_head
from lmscope.representations.token_averages import head_averages

EXAMPLE = ("training", "corpus", "llama")

NEAR, FAR = (0.5, 2.0), (0.05, 0.1, 5.0, 20.0)


@pytest.fixture(scope="module")
def steered(example: dict[str, ModuleType]) -> Any:
    """Median errors of 40 tokens on held-out text, by factor: a function of how they are steered."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    corpus, llama = example["corpus"], example["llama"]
    texts = corpus.read_corpus()
    tokenizer = corpus.train_tokenizer(texts.training[:40])
    trained = llama.new_model(llama.Size(48, 2, 3, 3), len(tokenizer), 0)
    stream = llama.token_stream(tokenizer, texts.training)
    losses = llama.fit(trained, stream, steps=120, seed=0, progress=Progress(disable=True), name="")
    assert losses[-1] < losses[0] - 1
    model = LanguageModel(trained, tokenizer, "causal", "trained")
    head = output_head(model)
    fit = next_states(model, texts.training, positions=4000)
    averages = head_averages(head, fit.states)
    held = text_states(head, next_states(model, texts.held_out, positions=2000))
    counts = np.bincount(fit.targets, minlength=head.vocabulary)
    tokens = middle_tokens(averages.log_probability, counts, count=40)

    def errors(factors: tuple[float, ...], **options: Any) -> dict[float, float]:
        rows = list(steered_alone(head, fit, averages, None, tokens.tolist(), factors, {"": held}, **options))
        assert not any(row.reason for row in rows)
        return {
            factor: float(
                np.median(
                    [
                        abs(math.log(row.realised[""].factor[0] / factor))
                        for row in rows
                        if row.factor == factor
                    ]
                )
            )
            for factor in factors
        }

    yield errors
    torch.set_num_threads(threads)


@pytest.mark.parametrize("calibrate", [False, True])
def test_factors_are_realised_on_held_out_text(steered: Any, calibrate: bool) -> None:
    assert max(steered(NEAR, calibrate=calibrate).values()) < 0.15 / 3
    assert max(steered(FAR, calibrate=calibrate).values()) < 0.4 / 3


def test_even_needs_no_calibration_where_the_slope_of_the_encoding_does(steered: Any) -> None:
    even, shortest = (
        steered((0.1,), allocation=allocation, calibrate=False)[0.1]
        for allocation in ("even", "minimum_norm")
    )
    assert even < shortest / 2
    assert steered((0.1,), allocation="minimum_norm", calibrate=True)[0.1] < shortest / 2


@pytest.mark.parametrize("control", ["wrong_sign", "random_direction"])
def test_controls_fail_at_every_factor(steered: Any, control: str) -> None:
    assert min(steered(NEAR, control=control).values()) > 0.15 * 3
    assert min(steered(FAR, control=control).values()) > 0.4 * 3
