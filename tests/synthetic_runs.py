"""Records of a checkpoint with the shapes of Llama-3-70B, without matrices: spectra drawn, not computed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from lmscope.results import RunFolder, record_key

IDENTITY = "70" * 32
SETTINGS = {
    "nulls": ["iid", "permutation", "sign_flip"],
    "draws": 19,
    "seed": 0,
    "false_positive_rate": 0.01,
}
SHAPES = {
    "self_attn.q_proj": ("query", (8192, 8192)),
    "self_attn.k_proj": ("key", (1024, 8192)),
    "self_attn.v_proj": ("value", (1024, 8192)),
    "self_attn.o_proj": ("attention_output", (8192, 8192)),
    "mlp.gate_proj": ("gate", (28672, 8192)),
    "mlp.up_proj": ("up", (28672, 8192)),
    "mlp.down_proj": ("down", (8192, 28672)),
}
_SCALE = 0.02


def ledger_row(
    name: str,
    role: str,
    layer: int | None,
    shape: tuple[int, ...],
    status: str,
    reason: str,
    *,
    expert: int | None = None,
) -> dict[str, Any]:
    """One row of a ledger of bfloat16 tensors that are not tied."""
    return {
        "name": name,
        "role": role,
        "layer": layer,
        "expert": expert,
        "shape": list(shape),
        "dtype": "bfloat16",
        "elements": math.prod(shape),
        "status": status,
        "reason": reason,
        "tied_to": None,
    }


def write_run_folder(
    folder: Path,
    identity: str,
    model: str,
    settings: dict[str, Any],
    ledger: list[dict[str, Any]],
    records: list[dict[str, Any]],
) -> Path:
    """What a run of `spectra` on a Llama leaves: manifest, ledger and the records."""
    run = RunFolder.create(folder, identity)
    with run.lock():
        run.write_manifest(
            checkpoint={
                "name": model,
                "path": f"models/{model}",
                "identity": identity,
                "model_type": "llama",
            },
            settings={"spectra": settings},
            lmscope_version="0.1.0",
            device="cpu",
            isa="avx2",
            machine={"system": "Linux", "cpus": 2},
        )
        run.write_ledger(ledger)
        for record in records:
            run.write("spectra", record_key(identity, record["name"], "spectra", settings, "0.1.0"), record)
    return folder


def write_70b_run(folder: Path, *, layers: int = 80, smaller_by: int = 1) -> Path:
    """A run folder with 7 matrices in each layer and two embeddings, sides divided by ``smaller_by``."""
    ledger, records = [], []
    places = [("model.embed_tokens.weight", "token_embedding", None, (128256, 8192))]
    for layer in range(layers):
        for name, (role, shape) in SHAPES.items():
            places.append((f"model.layers.{layer}.{name}.weight", role, layer, shape))
        for norm in ("input_layernorm", "post_attention_layernorm"):
            places.append((f"model.layers.{layer}.{norm}.weight", "norm", layer, (8192,)))
    places.append(("lm_head.weight", "unembedding", None, (128256, 8192)))
    for name, role, layer, whole in places:
        shape = tuple(side // smaller_by for side in whole)
        analysed = len(shape) == 2
        status, reason = ("analysed", "") if analysed else ("skipped", "vector: only matrices are analysed")
        ledger.append(ledger_row(name, role, layer, shape, status, reason))
        if analysed:
            records.append(_record(name, role, layer, shape, layers))
    return write_run_folder(folder, IDENTITY, "synthetic-70b", SETTINGS, ledger, records)


def _record(name: str, role: str, layer: int | None, shape: tuple[int, int], layers: int) -> dict[str, Any]:
    """A Marchenko-Pastur bulk, spikes above all nulls and values between the edges, more with depth."""
    random = np.random.default_rng(list(name.encode()))
    smaller, larger = sorted(shape)
    lower, upper = (
        _SCALE * (math.sqrt(larger) - math.sqrt(smaller)),
        _SCALE * (math.sqrt(larger) + math.sqrt(smaller)),
    )
    depth = 0.5 if layer is None else layer / layers
    learnt = random.integers(0, 1 + smaller // 200 + int(20 * depth))
    between = random.integers(0, 1 + smaller // 100)
    bulk = np.sort(_quantiles(smaller - learnt - between, lower, upper, smaller, larger))[::-1]
    sign_flip, permutation, edge = upper * 1.6, upper * 1.2, upper * 1.01
    spikes = np.sort(sign_flip * (1.001 + random.pareto(4, learnt)))[::-1]
    others = np.sort(random.uniform(edge * 1.0001, sign_flip * 0.999, between))[::-1]
    values = np.concatenate([spikes, others, bulk])
    energy = values**2 / np.sum(values**2)
    entropy = float(-np.sum(energy * np.log(energy)))
    norm = float(np.sum(values**2))
    above = int(learnt + between)
    return {
        "name": name,
        "role": role,
        "layer": layer,
        "expert": None,
        "rows": shape[0],
        "columns": shape[1],
        "dtype": "bfloat16",
        "N": larger,
        "M": smaller,
        "Q": larger / smaller,
        "singular_values": values,
        "bounds": np.full(smaller, 1e-12),
        "method": "gram",
        "sv_max": float(values[0]),
        "sv_min": float(values[-1]),
        "norm": norm,
        "log_norm": math.log10(norm),
        "spectral_norm": float(values[0] ** 2),
        "log_spectral_norm": math.log10(values[0] ** 2),
        "stable_rank": norm / float(values[0] ** 2),
        "entropy": entropy / math.log(smaller),
        "effective_rank": math.exp(entropy),
        "scale": _SCALE,
        "lower_edge": lower * 0.99,
        "upper_edge": edge,
        "n_below": 0,
        "n_above": above,
        "mp_p_value": 1e-4 if above else 0.5,
        "ks": above / smaller + 0.01,
        "ks_p_value": 0.01,
        "mp_reason": "",
        "permutation_edge": permutation,
        "n_above_permutation": int(np.sum(values > permutation)),
        "permutation_p_value": 0.05 if values[0] > permutation else 0.6,
        "sign_flip_edge": sign_flip,
        "learnt": int(learnt),
        "sign_flip_p_value": 0.05 if learnt else 0.6,
        "kurtosis": 3.0 + depth,
        "row_variance_spread": 0.3,
        "column_variance_spread": 0.2,
        "row_p_value": 1e-12,
        "column_p_value": 1e-12,
        "iid_p_value": 1e-12,
        "warning": "row variances differ (spread 0.3, p < 1e-12): the iid edge is not calibrated here",
        "seconds": 30.0,
    }


def _quantiles(count: int, lower: float, upper: float, smaller: int, larger: int) -> np.ndarray:
    """Values at evenly spaced quantiles of the Marchenko-Pastur law of singular values."""
    x = np.linspace(lower, upper, 4096)[1:-1]
    density = np.sqrt((upper**2 - x**2) * (x**2 - lower**2)) / x
    total = np.cumsum(density)
    return np.interp((np.arange(count) + 0.5) / count, total / total[-1], x)
