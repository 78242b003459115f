"""Small causal models of the Llama architecture, trained from scratch on one stream of tokens."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from corpus import CONTEXT, END
from rich.progress import Progress
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

BATCH = 4
WARM_UP = 0.05


class Size(NamedTuple):
    width: int
    layers: int
    heads: int
    key_heads: int | None = None
    """Groups of query heads share the keys and values of one; None: every head has its own."""


def new_model(size: Size, vocabulary: int, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=size.width,
        intermediate_size=8 * math.ceil(size.width / 3),
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config)


def token_stream(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> torch.Tensor:
    ids: list[int] = []
    for text in texts:
        ids += [*tokenizer.encode(text, verbose=False), tokenizer.convert_tokens_to_ids(END)]
    return torch.tensor(ids)


def fit(
    model: LlamaForCausalLM,
    stream: torch.Tensor,
    *,
    steps: int,
    seed: int,
    progress: Progress,
    name: str,
    after: Callable[[int, list[float]], None] | None = None,
) -> list[float]:
    """AdamW with warm-up and cosine decay; losses of all steps, nats per token. ``after`` is called with the
    number of steps taken, 0 first, and their losses."""
    # Narrow models bear larger steps.
    rate = 3e-3 * math.sqrt(48 / model.config.hidden_size)
    matrices = [weight for weight in model.parameters() if weight.ndim == 2]
    vectors = [weight for weight in model.parameters() if weight.ndim != 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95))
    warm_up = max(1, round(WARM_UP * steps))

    def share(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.55 + 0.45 * math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    generator = torch.Generator().manual_seed(seed)
    bar = progress.add_task(name, total=steps)
    losses: list[float] = []
    if after:
        after(0, losses)
    model.train()
    for step in range(1, steps + 1):
        starts = torch.randint(len(stream) - CONTEXT, (BATCH,), generator=generator)
        ids = torch.stack([stream[start : start + CONTEXT] for start in starts])
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        progress.update(bar, advance=1, description=f"{name}, loss {losses[-1]:.2f}")
        if after:
            after(step, losses)
    return losses
