"""Train causal models of five sizes, 0.1 to 10 million parameters, two seeds each, on the prose of pydoc.

    python examples/scaling/train.py -o FOLDER [--sizes 48,80,128] [--seeds 0,1] [--steps 1000]

All read the same tokens. Each is saved as an ordinary checkpoint with its tokenizer; one that is there
already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import torch
from corpus import CONTEXT, END, Corpus, read_corpus, train_tokenizer
from rich.console import Console
from rich.progress import Progress
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

BATCH = 4
STEPS = 1000
WARM_UP = 0.05
SEEDS = (0, 1)


class Size(NamedTuple):
    width: int
    layers: int
    heads: int


SIZES = (Size(48, 2, 3), Size(80, 4, 5), Size(128, 5, 4), Size(192, 7, 6), Size(320, 8, 5))


def new_model(size: Size, vocabulary: int, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=size.width,
        intermediate_size=8 * math.ceil(size.width / 3),
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config)


def token_stream(tokenizer: PreTrainedTokenizerFast, corpus: Corpus) -> torch.Tensor:
    ids: list[int] = []
    for text in corpus.training:
        ids += [*tokenizer.encode(text, verbose=False), tokenizer.convert_tokens_to_ids(END)]
    return torch.tensor(ids)


def fit(
    model: LlamaForCausalLM, stream: torch.Tensor, *, steps: int, seed: int, progress: Progress, name: str
) -> list[float]:
    """AdamW with warm-up and cosine decay; losses of all steps, nats per token."""
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
    losses = []
    model.train()
    for _ in range(steps):
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
    return losses


def train_one(
    folder: Path,
    size: Size,
    seed: int,
    *,
    steps: int,
    stream: torch.Tensor,
    tokenizer: PreTrainedTokenizerFast,
    progress: Progress,
) -> bool:
    """The checkpoint ``width-seed`` in ``folder``; False where it was there, trained for as many steps."""
    path = folder / f"{size.width}-{seed}"
    record = path / "training.json"
    if record.is_file():
        there = json.loads(record.read_text(encoding="utf-8"))["steps"]
        if there != steps:
            raise SystemExit(
                f"{path} was trained for {there} steps, not {steps}: remove it or take another folder"
            )
        return False
    model = new_model(size, len(tokenizer), seed)
    begin = time.perf_counter()
    losses = fit(model, stream, steps=steps, seed=seed, progress=progress, name=path.name)
    # A folder of the final name is a finished model.
    partial = path.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.eval().save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    facts = {
        **size._asdict(),
        "seed": seed,
        "steps": steps,
        "tokens": steps * BATCH * CONTEXT,
        "seconds": round(time.perf_counter() - begin, 1),
        "last_losses": sum(losses[-20:]) / len(losses[-20:]),
    }
    (partial / record.name).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return True


def write_held_out(folder: Path, corpus: Corpus) -> None:
    (folder / "held_out").mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(corpus.held_out):
        (folder / "held_out" / f"{number:02d}.txt").write_text(text + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--sizes", default=",".join(str(size.width) for size in SIZES), help="widths")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args(arguments)
    widths = {int(width) for width in given.sizes.split(",")}
    unknown = widths - {size.width for size in SIZES}
    if unknown:
        parser.error(f"--sizes may be of {', '.join(str(size.width) for size in SIZES)}, not {unknown}")
    logging.disable_progress_bar()
    corpus = read_corpus()
    write_held_out(given.out, corpus)
    tokenizer = train_tokenizer(corpus.training)
    stream = token_stream(tokenizer, corpus)
    with Progress(console=Console(stderr=True)) as progress:
        for size in SIZES:
            for seed in map(int, given.seeds.split(",")):
                if size.width in widths:
                    train_one(
                        given.out,
                        size,
                        seed,
                        steps=given.steps,
                        stream=stream,
                        tokenizer=tokenizer,
                        progress=progress,
                    )


if __name__ == "__main__":
    main()
