"""DOCS of orthonormal matrices, where other indices see nothing.

Writes benchmarks/results/similarity_theory.json. Pairs X, Y with orthonormal columns, 64 to 4096 rows and
||X - Y||_F of order sqrt(columns): the identity and a Hadamard matrix, both with all their columns and with
half of them, and Haar matrices likewise. Theory (arXiv 2501.16650): there are such pairs whose score falls
as 1 / sqrt(columns); CKA, CCA, regression and Procrustes stay at constants that depend on columns / rows
alone. Haar pairs score what chance gives, which falls more slowly by the root of a logarithm. Fitted: the
slope of log score over log columns, with its 95 % interval.

Then a Llama whose matrices torch.nn.init.orthogonal_ has filled, through a run: neighbours beside chance,
random signs and a control of Gaussian matrices, and the contrast of every index.

    python benchmarks/evidence_similarity_theory.py [--largest 4096] [--seeds 3] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from scipy import stats
from transformers import LlamaConfig, LlamaForCausalLM

import lmscope
from lmscope.analyses.representation_indices import INDICES, WIDEST, Decomposed
from lmscope.runs.benchmarks.fingerprint import fingerprint

Floats = NDArray[np.float64]

SMALLEST = 64
WIDTHS = {"all columns": 1, "half the columns": 2}
CONFIG = {
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 1000,
}


def hadamard(order: int, columns: int, seed: int) -> tuple[Floats, Floats]:
    return np.eye(order)[:, :columns], scipy.linalg.hadamard(order)[:, :columns] / np.sqrt(order)


def haar(order: int, columns: int, seed: int) -> tuple[Floats, Floats]:
    random = np.random.default_rng([seed, order, columns])
    x, y = (_orthonormal(random.standard_normal((order, columns))) for _ in range(2))
    return x, y


def _orthonormal(gaussian: Floats) -> Floats:
    q, r = np.linalg.qr(gaussian)
    return q * np.sign(np.diag(r))


def pair(x: Floats, y: Floats) -> dict[str, float]:
    found = lmscope.docs(x, y)
    columns = x.shape[1]
    result = {
        "rows": len(x),
        "columns": columns,
        "score": found.score,
        "baseline": found.baseline,
        "distance_over_root_of_columns": float(np.linalg.norm(x - y) / np.sqrt(columns)),
    }
    if columns <= WIDEST:
        first, second = Decomposed(x), Decomposed(y)
        result |= {name: index(first, second) for name, index in INDICES.items()}
    return result


def exponent(pairs: list[dict[str, float]], of: str) -> dict[str, float]:
    """Slope of the logarithm over that of the columns, and its 95 % interval."""
    columns, values = (np.log([one[key] for one in pairs]) for key in ("columns", of))
    fit = stats.linregress(columns, values)
    margin = stats.t.ppf(0.975, len(columns) - 2) * fit.stderr
    return {"slope": float(fit.slope), "low": float(fit.slope - margin), "high": float(fit.slope + margin)}


def orthogonal_model(seed: int, folder: Path) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**CONFIG))
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.orthogonal_(parameter)
    model.save_pretrained(folder / "model")
    run = lmscope.similarity(
        folder / "model",
        out=folder / "run",
        control=True,
        indices="query,down",
        progress=False,
    )
    summary = run.similarity()
    columns = ("neighbours", "baseline", "null", "control", "excess", "gini")
    return {
        "seed": seed,
        "roles": [
            {"role": role.role, **{name: getattr(role, name) for name in columns}, "blocks": len(role.blocks)}
            for role in summary.roles
        ],
        "gini": [asdict(contrast) for contrast in summary.contrasts],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--largest", type=int, default=4096, help="a power of two")
    parser.add_argument("--seeds", type=int, default=3, help="of the orthogonal models")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/similarity_theory.json"))
    arguments = parser.parse_args()
    orders = [SMALLEST * 2**power for power in range((arguments.largest // SMALLEST).bit_length())]
    result: dict[str, Any] = {
        "machine": fingerprint(
            {name: {"version": version(name)} for name in ("numpy", "scipy", "torch", "transformers")},
            source=Path(__file__).parents[1],
        ),
        "pairs": {},
        "config": CONFIG,
        "orthogonal_models": [],
    }
    for make in (hadamard, haar):
        for width, share in WIDTHS.items():
            name = f"{make.__name__}, {width}"
            pairs = [pair(*make(order, order // share, 0)) for order in orders]
            found = {
                "exponent_of_score": exponent(pairs, "score"),
                "exponent_of_baseline": exponent(pairs, "baseline"),
                "pairs": pairs,
            }
            result["pairs"][name] = found
            slope = found["exponent_of_score"]
            print(f"{name}: columns^{slope['slope']:.4f} ({slope['low']:.4f} to {slope['high']:.4f})")
            for one in pairs:
                print("  ", "  ".join(f"{key} {value:.4g}" for key, value in one.items()), flush=True)
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as scratch:
            result["orthogonal_models"].append(orthogonal_model(seed, Path(scratch)))
        for role in result["orthogonal_models"][-1]["roles"]:
            told = ("neighbours", "baseline", "null", "control")
            print(seed, role["role"], *(f"{key} {role[key]:.4f}" for key in told), flush=True)
    exact = result["pairs"]["hadamard, all columns"]
    assert all(abs(one["score"] * np.sqrt(one["columns"]) - 1) < 1e-6 for one in exact["pairs"])
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
