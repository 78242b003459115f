"""Records as `lmscope tokens` writes them, of a model that is drawn and not run: states by numpy."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from lmscope.analyses.entropy_law import fit_entropy_law
from lmscope.results import RunFolder, record_key

from .synthetic_runs import ledger_row

IDENTITY = "7e" * 32
VERSION = "0.1.0"
KS = (1, 2, 4, 8)
DIMENSIONS = 64
METHODS = (
    *("lasso", "attention", "attention_without_sinks", "attention_value_norm", "cosine", "omp"),
    *("recent", "random", "complement", "all_but_lasso", "all"),
)
# How far from the whole prompt's prediction each selector's tokens are left, to begin with.
_KL = {"lasso": 1.6, "attention": 1.1, "attention_without_sinks": 1.2, "attention_value_norm": 1.25}

_SETTINGS: dict[str, dict[str, Any]] = {
    "entropy": {
        "texts": "13eb54e926314116",
        "window": None,
        "dtype": "float32",
        "special": "drop",
        "epsilon2": 0.5,
        "center": True,
        "normalize_rows": False,
        "untrained": True,
        "seed": 3,
    },
    "selection": {
        "texts": "13eb54e926314116",
        "window": None,
        "dtype": "float32",
        "positions": 20,
        "min_context": 12,
        "seed": 3,
        "ks": list(KS),
        "ridge": 0.01,
        "divergence": True,
    },
}

TEXTS = [
    "The harbour lay quiet under a low grey sky. Two boats had come in before the storm, and their crews\n"
    "sat in the tavern by the old wall, drying their coats and telling the harbour master what they had\n"
    "seen beyond the cape: a ship without sails, drifting slowly to the north, and nobody on her deck.\n",
    "A list is a mutable sequence. Its items may be of any type, and the same item may stand in it twice.\n\n"
    "Assigning to a slice replaces these items; deleting a slice removes them. The length of the list\n"
    "changes with both, so that an index taken before may point to another item afterwards.\n",
    "When water freezes it expands, which is why ice floats and why pipes burst in winter. Most liquids\n"
    "shrink instead. The reason is in the crystal: each molecule of ice is held by four others, <b>far</b>\n"
    "enough apart\u200b to leave room between them, and melting lets the molecules fall closer together.\n",
    "She opened the letter twice before she read it. The first line thanked her for the seeds, the second\n"
    "asked for the name of the gardener, and the third, in another hand, said only that the garden had\n"
    "been sold. She folded the letter, put it back into its envelope and looked out at the roses.\n",
]


_SETTINGS["positions"] = {
    name: _SETTINGS["selection"][name]
    for name in ("texts", "window", "dtype", "positions", "min_context", "seed")
}


def write_tokens_run(
    folder: Path,
    *,
    texts: int = 4,
    positions: int = 5,
    encoder: bool = False,
    attention: bool = True,
    sizes: tuple[int, ...] = (1_200_000,),
    law: str | None = None,
    twin: bool = True,
) -> Path:
    """A run folder; ``sizes`` are the checkpoints' parameters, ``law`` why nothing was fitted to them."""
    random = np.random.default_rng(7)
    run = RunFolder.create(folder, IDENTITY)
    passages = [_passage(text) for text in range(texts)]
    records: dict[str, dict[str, list[dict[str, Any]]]] = {
        "entropy": {
            f"{size}:{layer}": [_entropy(index, size, layer, encoder, twin)]
            for index, size in enumerate(sizes)
            for layer in range(_layers(index) + 1)
        },
        "passages": {f"{row['text']}": [row] for row in passages},
        "positions": {},
        "selection": {},
        "distances": {"all": _distances(passages, random)},
    }
    for passage in passages:
        length = len(passage["tokens"])
        places = sorted(random.choice(np.arange(12, length), positions, replace=False).tolist())
        key = str(passage["text"])
        made = [_position(passage, place, encoder, attention, random) for place in places]
        records["positions"][key] = [position for position, _ in made]
        records["selection"][key] = [row for _, rows in made for row in rows]
    if len(sizes) > 1:
        records["entropy_law"] = {"all": _law(sizes, law)}
    settings = {name: _SETTINGS.get(name, {"texts": "13eb54e926314116"}) for name in records}
    with run.lock():
        run.write_manifest(
            checkpoint={
                "name": "tiny-prose",
                "path": "models/tiny-prose",
                "identity": IDENTITY,
                "model_type": "bert" if encoder else "llama",
            },
            settings=settings,
            lmscope_version=VERSION,
            device="cpu",
            isa="avx2",
            machine={"system": "Linux", "cpus": 2},
            asked={
                "tokens": {
                    "text": ["notes.txt", "more notes.txt"],
                    "split": "paragraph",
                    "layers": [0, 2],
                    "checkpoints": [
                        {
                            "name": row["checkpoint"],
                            "path": f"models/{row['checkpoint']}",
                            "identity": row["identity"],
                        }
                        for row in (
                            _entropy(index, size, 0, encoder, twin) for index, size in enumerate(sizes)
                        )
                    ],
                }
            },
        )
        name = "model.layers.0.self_attn.q_proj.weight"
        run.write_ledger([ledger_row(name, "query", 0, (64, 64), "skipped", "not asked for")])
        for analysis, by_key in records.items():
            for key, rows in by_key.items():
                run.write(analysis, record_key(IDENTITY, key, analysis, settings[analysis], VERSION), *rows)
    return folder


def _layers(index: int) -> int:
    return 4 + index


def _passage(text: int) -> dict[str, Any]:
    words = TEXTS[text % len(TEXTS)]
    tokens = ["<s>", *re.findall(r" ?\w{1,6}|\w+| ?[^\w\s]|\n|\u200b| ", words)]
    return {
        "text": text,
        "window": 0,
        "start": 0,
        "snippet": words[:80],
        "ids": [hash_of(token) for token in tokens],
        "tokens": tokens,
        "special": [place == 0 for place in range(len(tokens))],
    }


def hash_of(token: str) -> int:
    return sum(ord(letter) * 31**place for place, letter in enumerate(token)) % 32000


def _states(passage: dict[str, Any]) -> np.ndarray:
    """Unit rows: the token's own direction, and what came shortly before it."""
    own = np.stack(
        [np.random.default_rng(identity).standard_normal(DIMENSIONS) for identity in passage["ids"]]
    )
    mixed = own.copy()
    for place in range(1, len(own)):
        mixed[place] += 0.7 * mixed[place - 1]
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True))


def _residual(
    states: np.ndarray, place: int, chosen: list[int], ridge: float = 0.01
) -> tuple[float, float, float]:
    context, target = states[chosen], states[place]
    weights = np.linalg.solve(context @ context.T + ridge * np.eye(len(chosen)), context @ target)
    fit = context.T @ weights
    residual = float(np.sum((target - fit) ** 2))
    objective = residual + ridge * float(weights @ weights)
    return residual, math.log1p(objective / ridge), float(fit @ target / np.linalg.norm(fit))


def _pursuit(states: np.ndarray, place: int) -> tuple[list[int], list[float]]:
    """Tokens by how much each one takes off the residual, with the correlation at which it enters."""
    order: list[int] = []
    alphas: list[float] = []
    rest = states[place].copy()
    while len(order) < min(place - 1, 16):
        scores = np.abs(states[1:place] @ rest)
        scores[[taken - 1 for taken in order]] = -1
        order.append(1 + int(np.argmax(scores)))
        alphas.append(min([float(scores.max()), *alphas]))
        basis = np.linalg.qr(states[order].T)[0]
        rest = states[place] - basis @ (basis.T @ states[place])
    return order, [alpha / DIMENSIONS for alpha in alphas]


def _position(
    passage: dict[str, Any], place: int, encoder: bool, with_attention: bool, random: np.random.Generator
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    states = _states(passage)
    order, alphas = _pursuit(states, place)
    mass = random.gamma(0.3, size=place + 1) + 0.05
    mass[0] = mass[1:].sum() * 0.9
    mass /= mass.sum()
    likeness = np.abs(states[:place] @ states[place])
    rankings = {
        "lasso": order,
        "attention": np.argsort(-mass[:place]).tolist(),
        "attention_without_sinks": (1 + np.argsort(-mass[1:place])).tolist(),
        "attention_value_norm": (1 + np.argsort(-mass[1:place] * random.uniform(0.5, 2, place - 1))).tolist(),
        "cosine": (1 + np.argsort(-likeness[1:])).tolist(),
        "omp": [order[0], *order[:0:-1][::-1]],
        "recent": list(range(place - 1, 0, -1)),
        "random": (1 + random.permutation(place - 1)).tolist(),
        "complement": [
            one for one in (1 + random.permutation(place - 1)).tolist() if one not in order[: KS[-1]]
        ],
    }
    rows = []
    for method in METHODS:
        if not with_attention and method.startswith("attention"):
            continue
        for k in KS:
            if method in ("all_but_lasso", "all"):
                left_out = order[:k] if method == "all_but_lasso" else []
                chosen = [one for one in range(1, place) if one not in left_out]
            else:
                chosen = rankings[method][:k] or [1]
            residual, gain, cosine = _residual(states, place, chosen)
            kept = max(0.02, _KL.get(method, 2.0) * (1 - len(chosen) / (place + 6)) * math.exp(-0.12 * k))
            noise = random.lognormal(0, 0.5, 3)
            kl = (kept * noise * np.array([0.3, 0.6, 1.0])).tolist()
            if encoder or method == "all":
                kl = [None] * 3
            elif method == "all_but_lasso":
                kl[2] = None
            rows.append(
                {
                    "text": passage["text"],
                    "window": 0,
                    "position": place,
                    "method": method,
                    "k": k,
                    "selected": sorted(chosen),
                    "ridge_residual": residual,
                    "information_gain": gain,
                    "cosine": cosine,
                    "kl_last_layer": kl[0],
                    "kl_all_layers": kl[1],
                    "kl_deleted": kl[2],
                }
            )
    position = {
        "text": passage["text"],
        "window": 0,
        "position": place,
        "token": passage["tokens"][place],
        "loss": None if encoder else float(random.gamma(2, 1.5)),
        "attention": mass.tolist() if with_attention else None,
        "sink_share": float(mass[0]) if with_attention else None,
        "lasso_order": order,
        "lasso_alphas": alphas,
        "left_out": "" if with_attention else "attention: a recurrent model has no attention weights",
    }
    return position, rows


def _entropy(index: int, size: int, layer: int, encoder: bool, twin: bool) -> dict[str, Any]:
    layers = _layers(index)
    width = DIMENSIONS * (index + 1)
    iid = 1 - 0.004 * (index + 1)
    normalized = iid * _ratio(index, size) * (1 + 0.05 * (layers - layer))
    rank = width * normalized * 0.6
    row: dict[str, Any] = {
        "checkpoint": "tiny-prose" if index == 0 else f"prose-{size}",
        "identity": IDENTITY if index == 0 else f"{index:02x}" * 32,
        "model_type": "bert" if encoder else "llama",
        "parameters": size,
        "parameters_without_embedding": size // 2,
        "layer": layer,
        "layers": layers,
        "final_norm": "model.norm" if layer == layers and not encoder else None,
        "texts": 4,
        "passages": 40,
        "tokens": 20_000,
        "dimensions": width,
        "epsilon2": 0.5,
        "centered": True,
        "rows_normalized": True,
        "special_tokens": "drop",
        "normalized": normalized,
        "coding_length": 10_000 * normalized * width,
        "matrix_entropy": math.log(rank),
        "effective_rank": rank,
        "directions": normalized * width * 0.7,
        "cap": 1.0,
        "iid_normalized": iid,
        "iid_effective_rank": width * 0.995,
        "untrained_normalized": iid - 0.08 if twin else None,
        "untrained_effective_rank": width * 0.93 if twin else None,
        "diff_erank": width * 0.93 - rank if twin else None,
    }
    for name, value, spread in (
        ("mean_normalized", normalized * 0.8, 0.01),
        ("mean_effective_rank", rank * 0.7, 1.0),
        ("mean_diff_erank", width * 0.6 - rank * 0.5 if twin else None, 1.5),
        ("conditional_entropy", None if encoder else 5.1 - 0.4 * index, 0.2),
    ):
        row[name] = value
        row[f"{name}_low"] = None if value is None else value - spread
        row[f"{name}_high"] = None if value is None else value + spread
    return row


def _ratio(index: int, size: int) -> float:
    """Of the last layer's entropy to that of random rows: a law, and scatter about it."""
    return 0.6 * (size / 1e6) ** -0.06 * math.exp(0.02 * math.sin(5.0 * index))


def _law(sizes: tuple[int, ...], refused: str | None) -> list[dict[str, Any]]:
    """The law of the last layers' rows."""
    last = [_entropy(index, size, _layers(index), False, True) for index, size in enumerate(sizes)]
    fitted = fit_entropy_law(
        *([row[name] for row in last] for name in ("parameters", "normalized", "iid_normalized")),
        tokens=[row["tokens"] for row in last],
        dimensions=[row["dimensions"] for row in last],
    )
    numbers = ("exponent", "exponent_low", "exponent_high", "coefficient", "offset", "r2", "aic", "aicc")
    rows = []
    for fit in fitted.fits:
        why = refused or fit.refused
        values = {
            name: None if why or math.isinf(getattr(fit, name)) else getattr(fit, name) for name in numbers
        }
        rows.append({"form": fit.form, "layer": -1, **values, "models": fit.models, "refused": why})
    return rows


def _distances(passages: list[dict[str, Any]], random: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    for x in passages:
        for y in passages[x["text"] + 1 :]:
            means = [_states(passage).mean(axis=0) for passage in (x, y)]
            covariances = [np.cov(_states(passage).T) for passage in (x, y)]
            rows.append(
                {
                    "text_x": x["text"],
                    "text_y": y["text"],
                    "snippet_x": x["snippet"],
                    "snippet_y": y["snippet"],
                    "mean": float(np.linalg.norm(means[0] - means[1])),
                    "frobenius": float(np.linalg.norm(covariances[0] - covariances[1])),
                    "bures_wasserstein": float(random.uniform(0.2, 0.4)),
                    "log_det": float(random.uniform(3, 9)),
                }
            )
    return rows
