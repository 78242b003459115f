"""Train causal models of five sizes, 0.1 to 10 million parameters, two seeds each, on the prose of pydoc.

    python examples/scaling/train.py -o FOLDER [--sizes 48,80,128] [--seeds 0,1] [--steps 1000]

All read the same tokens. Each is saved as an ordinary checkpoint with its tokenizer; one that is there
already is not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "common"))
from corpus import CONTEXT, Corpus, read_corpus, train_tokenizer
from llama import BATCH, Size, fit, new_model, token_stream

STEPS = 1000
SEEDS = (0, 1)
SIZES = (Size(48, 2, 3), Size(80, 4, 5), Size(128, 5, 4), Size(192, 7, 6), Size(320, 8, 5))


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
        "width": size.width,
        "layers": size.layers,
        "heads": size.heads,
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
    stream = token_stream(tokenizer, corpus.training)
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
