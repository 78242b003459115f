"""Train one small Llama-type model from scratch on the prose of pydoc, and keep it at steps 0, 4, 8, ...

    python examples/training/train.py -o FOLDER [--steps 2048] [--width 192] [--layers 6] [--seed 0]

FOLDER/steps/step-00000 is the model as initialised; checkpoints follow at the total halved again and again,
each an ordinary one in float32 with its tokenizer. FOLDER/training.txt is the text that it learns from,
FOLDER/held_out.txt is text that it never reads, FOLDER/training.json the losses. A training that is finished
is kept; one that was interrupted begins anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "common"))
from corpus import CONTEXT, Corpus, read_corpus, train_tokenizer
from llama import BATCH, Size, fit, new_model, token_stream

STEPS = 2048
HEAD = 32
LAYERS, WIDTH = 6, 192
FIRST_KEPT = 4
HELD_OUT_WINDOWS = 32


def size_of(width: int, layers: int) -> Size:
    """Heads of 32, two of them to a group: keys and values are half as wide."""
    return Size(width, layers, width // HEAD, width // HEAD // 2)


def kept_steps(steps: int) -> list[int]:
    """0, and ``steps`` halved while at least 4 are left, ascending."""
    found = [steps]
    while found[-1] // 2 >= FIRST_KEPT:
        found.append(found[-1] // 2)
    return [0, *reversed(found)]


def held_out_loss(model: LlamaForCausalLM, stream: torch.Tensor) -> float:
    """Nats per token over windows spread evenly over text that was not trained on."""
    starts = torch.linspace(0, len(stream) - CONTEXT, HELD_OUT_WINDOWS).long()
    model.eval()
    with torch.inference_mode():
        losses = [
            model(input_ids=ids, labels=ids).loss.item()
            for ids in (stream[start : start + CONTEXT][None] for start in starts)
        ]
    model.train()
    return sum(losses) / len(losses)


def save(path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    # A folder of the final name is a whole checkpoint.
    partial = path.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    os.replace(partial, path)


def train(folder: Path, corpus: Corpus, *, size: Size, steps: int, seed: int = 0, progress: Progress) -> bool:
    """False where ``folder`` holds this very training, finished; SystemExit where it holds another."""
    record = folder / "training.json"
    wanted: dict[str, Any] = {**size._asdict(), "steps": steps, "seed": seed}
    if record.is_file():
        there = json.loads(record.read_text(encoding="utf-8"))
        other = {name: there.get(name) for name in wanted if there.get(name) != wanted[name]}
        if other:
            raise SystemExit(f"{folder} holds a training of {other}: remove it or take another folder")
        return False
    shutil.rmtree(folder / "steps", ignore_errors=True)
    (folder / "steps").mkdir(parents=True)
    for name, texts in corpus._asdict().items():
        (folder / f"{name}.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    tokenizer = train_tokenizer(corpus.training)
    learnt, held_out = (token_stream(tokenizer, texts) for texts in corpus)
    model = new_model(size, len(tokenizer), seed)
    keep = set(kept_steps(steps))
    checkpoints: list[dict[str, Any]] = []

    def after(step: int, losses: list[float]) -> None:
        if step in keep:
            name = f"step-{step:05d}"
            save(folder / "steps" / name, model, tokenizer)
            last = losses[-20:]
            checkpoints.append(
                {
                    "name": name,
                    "step": step,
                    "training_loss": sum(last) / len(last) if last else None,
                    "held_out_loss": held_out_loss(model, held_out),
                }
            )

    begin = time.perf_counter()
    fit(model, learnt, steps=steps, seed=seed, progress=progress, name=folder.name, after=after)
    facts = {
        **wanted,
        "tokens": steps * BATCH * CONTEXT,
        "tokens_of_the_text": len(learnt),
        "seconds": round(time.perf_counter() - begin, 1),
        "checkpoints": checkpoints,
    }
    partial = record.with_suffix(".partial")
    partial.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, record)
    return True


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--width", type=int, default=WIDTH, help="a multiple of 64")
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if given.width < 2 * HEAD or given.width % (2 * HEAD):
        parser.error(f"--width must be a multiple of {2 * HEAD}, not {given.width}")
    if min(given.steps, given.layers) < 1:
        parser.error("--steps and --layers must be at least 1")
    size = size_of(given.width, given.layers)
    logging.disable_progress_bar()
    with Progress(console=Console(stderr=True)) as progress:
        train(given.out, read_corpus(), size=size, steps=given.steps, seed=given.seed, progress=progress)
    for row in json.loads((given.out / "training.json").read_text(encoding="utf-8"))["checkpoints"]:
        print(f"{given.out / 'steps' / row['name']}  held-out loss {row['held_out_loss']:.3f} nats per token")


if __name__ == "__main__":
    main()
