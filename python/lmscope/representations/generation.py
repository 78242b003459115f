"""Text that a causal model goes on with, as token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lmscope.representations.quiet import quiet_transformers
from lmscope.representations.windows import whole_number

if TYPE_CHECKING:
    from lmscope.representations.language_model import LanguageModel

__all__ = ["generate"]

# Prompts and new tokens of a batch: their keys and values take half a gigabyte in models of seven billions.
_BATCH_TOKENS = 4096


def generate(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    new_tokens: int = 48,
    sample: bool = False,
    temperature: float = 1.0,
    seed: int = 0,
    advance: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """The tokens that follow each prompt, up to the model's end-of-text token, which is left out.

    Prompts of one length are generated together, as no architecture needs padding then. Nothing but the
    model decides: what its generation configuration says of sampling, penalties and lengths is not applied.

    Args:
        model: a causal model, as it is now: steered, masked or lesioned where it is so.
        prompts: token ids of each, special tokens included.
        new_tokens: the most for one prompt.
        sample: draw from the model's distribution instead of taking the most probable token.
        temperature: that logits are divided by where ``sample``.
        seed: of the draws; the caller's random state is left as it was.
        advance: called with the number of prompts that are done.

    Raises:
        ValueError: the model is an encoder, a prompt is empty or has a token without an embedding, prompt
            and new tokens go beyond the model's context, ``new_tokens`` below 1, a temperature that is not
            above 0.
    """
    import torch
    from transformers import GenerationConfig

    _refuse(model, prompts, whole_number("new_tokens", new_tokens), temperature)
    configured = model.model.generation_config
    ends = configured.eos_token_id
    stops = set() if ends is None else set(ends) if isinstance(ends, list) else {ends}
    options: dict[str, Any] = {"temperature": float(temperature), "top_k": 0, "top_p": 1.0} if sample else {}
    untyped: Any = GenerationConfig
    config = untyped(
        do_sample=sample,
        max_new_tokens=new_tokens,
        eos_token_id=sorted(stops) or None,
        pad_token_id=model.padding,
        **options,
    )
    found: list[list[int]] = [[] for _ in prompts]
    with _own_random_state(model, seed), _configured(model.model, config), quiet_transformers():
        for batch in _batches(prompts, new_tokens):
            ids = torch.tensor([list(prompts[place]) for place in batch], device=model.device)
            made = model.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids))
            for place, tokens in zip(batch, made[:, ids.shape[1] :].tolist(), strict=True):
                end = next((at for at, token in enumerate(tokens) if token in stops), len(tokens))
                found[place] = tokens[:end]
            if advance is not None:
                advance(len(batch))
    return found


def _refuse(
    model: LanguageModel, prompts: Sequence[Sequence[int]], new_tokens: int, temperature: float
) -> None:
    if model.kind != "causal":
        raise ValueError(f"model is of type {model.model_type!r}, an encoder: it generates no text")
    if new_tokens < 1:
        raise ValueError(f"new_tokens: {new_tokens}; at least one is needed")
    if not temperature > 0:
        raise ValueError(
            f"temperature: {temperature} is not above 0; give sample=False for the most probable"
        )
    for number, prompt in enumerate(prompts):
        if not len(prompt):
            raise ValueError(f"prompts: prompt {number} is empty; give at least one token")
        outside = next((token for token in prompt if not 0 <= token < model.vocabulary), None)
        if outside is not None:
            raise ValueError(
                f"prompts: prompt {number} has token {outside}, but the embedding of {model.label} has "
                f"{model.vocabulary} rows"
            )
        if model.context is not None and len(prompt) + new_tokens > model.context:
            raise ValueError(
                f"prompts: prompt {number} has {len(prompt)} tokens, with {new_tokens} new ones more than "
                f"the {model.context} that {model.label} takes"
            )


def _batches(prompts: Sequence[Sequence[int]], new_tokens: int) -> Iterator[list[int]]:
    """Numbers of prompts of equal length."""
    by_length: dict[int, list[int]] = {}
    for place, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(place)
    for length, places in sorted(by_length.items()):
        size = max(1, _BATCH_TOKENS // (length + new_tokens))
        for start in range(0, len(places), size):
            yield places[start : start + size]


@contextmanager
def _own_random_state(model: LanguageModel, seed: int) -> Iterator[None]:
    import torch

    device = model.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def _configured(model: Any, config: Any) -> Iterator[None]:
    """Within, ``config`` is all that the model knows of generating: what a call leaves open is filled from
    the model's own."""
    before = model.generation_config
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = before
