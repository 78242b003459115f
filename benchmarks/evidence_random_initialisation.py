"""How often random-matrix verdicts flag checkpoints that have learnt nothing.

LlamaForCausalLM as transformers initialises it (hidden 512, 4 layers), seeds 0 to 19, bfloat16 and float32:
matrices flagged by sign flips, by permutations and by the iid edges, against binomial quantiles, for each
checkpoint and pooled.

    python benchmarks/evidence_random_initialisation.py [--seeds 20] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from scipy.stats import binom
from transformers import LlamaConfig, LlamaForCausalLM

import lmscope
from lmscope.runs.benchmarks.fingerprint import fingerprint

DRAWS = 19
RATE = 0.01
CHANCE = {"sign_flip": 1 / (DRAWS + 1), "permutation": 1 / (DRAWS + 1), "iid": RATE}
CONFIG = {
    "hidden_size": 512,
    "intermediate_size": 1376,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 4000,
}


def flagged(seed: int, dtype: torch.dtype) -> tuple[int, dict[str, int]]:
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(seed)
        LlamaForCausalLM(LlamaConfig(**CONFIG)).to(dtype).save_pretrained(Path(folder) / "model")
        run = lmscope.spectra(
            Path(folder) / "model",
            out=Path(folder) / "run",
            draws=DRAWS,
            false_positive_rate=RATE,
            progress=False,
        )
        table = run.to_pandas("spectra")
    counts = {
        "sign_flip": table["learnt"] > 0,
        "permutation": table["n_above_permutation"] > 0,
        "iid": table["n_above"] + table["n_below"] > 0,
    }
    return len(table), {null: int(hits.sum()) for null, hits in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/random_initialisation.json"))
    arguments = parser.parse_args()
    result: dict[str, object] = {
        "machine": fingerprint({"torch": {"version": torch.__version__}}, source=Path(__file__).parents[1]),
        "config": CONFIG,
        "draws": DRAWS,
        "rate": RATE,
    }
    for dtype in (torch.bfloat16, torch.float32):
        name = str(dtype).removeprefix("torch.")
        runs = [flagged(seed, dtype) for seed in range(arguments.seeds)]
        matrices = runs[0][0]
        total = matrices * len(runs)
        result[name] = {
            null: {
                "flagged_per_seed": [counts[null] for _, counts in runs],
                "matrices_per_checkpoint": matrices,
                "quantile_99_per_checkpoint": int(binom.ppf(0.99, matrices, chance)),
                "checkpoints_above_it": sum(
                    counts[null] > int(binom.ppf(0.99, matrices, chance)) for _, counts in runs
                ),
                "flagged_pooled": sum(counts[null] for _, counts in runs),
                "interval_99_9_pooled": [int(bound) for bound in binom.interval(0.999, total, chance)],
            }
            for null, chance in CHANCE.items()
        }
        print(name, json.dumps(result[name], indent=1))
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
