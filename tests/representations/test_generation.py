"""Generated tokens against transformers' own, one prompt at a time."""

from __future__ import annotations

import pytest
import torch

from lmscope.representations.generation import generate

from .models import tiny_model

PROMPTS = [[1, 7, 9, 12], [1, 5], [1, 30, 31, 32], [1], [1, 8, 8, 8]]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3_text", "opt"])
def test_greedy_tokens_are_those_of_transformers(kind: str) -> None:
    model = tiny_model(kind)
    found = generate(model, PROMPTS, new_tokens=12)
    for prompt, tokens in zip(PROMPTS, found, strict=True):
        own = model.model.generate(
            input_ids=torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            max_new_tokens=12,
            do_sample=False,
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        ends = model.model.generation_config.eos_token_id
        assert tokens == (own[: own.index(ends)] if ends in own else own)


def test_every_token_is_the_most_probable_after_those_before() -> None:
    model = tiny_model("llama")
    for prompt, tokens in zip(PROMPTS, generate(model, PROMPTS, new_tokens=6), strict=True):
        logits = model.outputs([prompt + tokens]).logits[0]
        assert logits[len(prompt) - 1 : -1].argmax(1).tolist() == tokens


def test_draws_follow_the_distribution_whatever_the_model_configures() -> None:
    model = tiny_model("llama")
    configured = model.model.generation_config
    configured.do_sample, configured.top_k, configured.repetition_penalty = True, 1, 5.0
    with torch.no_grad():
        probability = (model.outputs([[1, 7]]).logits[0, -1].double() / 2).softmax(0)
    stop = configured.eos_token_id
    drawn = generate(model, [[1, 7]] * 4000, new_tokens=1, sample=True, temperature=2.0, seed=3)
    counts = torch.zeros(model.vocabulary, dtype=torch.float64)
    for tokens in drawn:
        counts[tokens[0] if tokens else stop] += 1
    expected = probability * len(drawn)
    often = expected > 5
    statistic = ((counts - expected).square() / expected)[often].sum()
    # Chi-squared over its degrees of freedom; 5 standard deviations.
    degrees = int(often.sum()) - 1
    assert degrees > 8
    assert abs(statistic - degrees) < 5 * (2 * degrees) ** 0.5
    assert model.model.generation_config is configured
    assert configured.top_k == 1


def test_the_seed_decides_and_the_caller_keeps_its_random_state() -> None:
    model = tiny_model("llama")
    torch.manual_seed(11)
    before = torch.get_rng_state()
    first, again, other = (
        generate(model, PROMPTS, new_tokens=10, sample=True, temperature=3.0, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)


def test_generation_stops_before_an_end_token_and_others_go_on() -> None:
    model = tiny_model("llama")
    model.model.generation_config.eos_token_id = None
    free = generate(model, PROMPTS, new_tokens=10)
    assert [len(tokens) for tokens in free] == [10] * 5
    end = free[0][3]
    model.model.generation_config.eos_token_id = [end, 49]
    stopped = generate(model, PROMPTS, new_tokens=10)
    for whole, tokens in zip(free, stopped, strict=True):
        cut = next((place for place, token in enumerate(whole) if token in (end, 49)), len(whole))
        assert tokens == whole[:cut]


def test_progress_counts_prompts() -> None:
    done: list[int] = []
    assert generate(tiny_model("gpt2"), PROMPTS, new_tokens=1, advance=done.append)
    assert sum(done) == 5
    assert generate(tiny_model("gpt2"), []) == []


@pytest.mark.parametrize(
    ("prompts", "options", "sentence"),
    [
        ([[1], []], {}, "prompt 1 is empty"),
        ([[1, 50]], {}, "prompt 0 has token 50, but the embedding of tiny llama has 50 rows"),
        ([[1] * 60], {"new_tokens": 5}, "prompt 0 has 60 tokens, with 5 new ones more than the 64"),
        ([[1]], {"new_tokens": 0}, "new_tokens: 0"),
        ([[1]], {"temperature": 0.0}, "temperature: 0.0 is not above 0"),
    ],
)
def test_refusals(prompts: list[list[int]], options: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        generate(tiny_model("llama"), prompts, **options)  # type: ignore[arg-type]


def test_an_encoder_generates_nothing() -> None:
    with pytest.raises(ValueError, match="an encoder: it generates no text"):
        generate(tiny_model("bert"), [[1]])
