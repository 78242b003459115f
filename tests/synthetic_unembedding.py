"""Records as `lmscope unembedding` writes them, of a small head with planted structure; no model is run.

States are Gaussian around a sparse mean, so that the log of the mean probability is nearly linear in the
rows; every number of the tables is computed from them by dense numpy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmscope.analyses.token_encoding import Encoding, fit_token_encoding
from lmscope.analyses.training_dynamics import frequency_encoding
from lmscope.analyses.vocabulary_size import encoding_by_size
from lmscope.results import RunFolder, record_key

from .synthetic_runs import ledger_row

Floats = NDArray[np.float64]

IDENTITY = "e0" * 32
VERSION = "0.1.0"
VOCABULARY, DIMENSIONS, POSITIONS = 1500, 32, 240
FACTORS = (0.05, 0.1, 0.5, 2.0, 5.0, 20.0)
STEPS = (0, 10, 30, 100, 300, 1000)
_WINDOWS = 12
_SETTINGS = {"texts": "13eb54e926314116", "positions": POSITIONS, "seed": 3}
_LIMIT = 0.01


@dataclass(frozen=True)
class _Text:
    states: Floats
    targets: NDArray[np.int64]

    def probabilities(self, embedding: Floats) -> Floats:
        return _softmax(self.states @ embedding.T)


def _softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


@cache
def _embedding(seed: int) -> Floats:
    """Rows with a few coordinates of large spread."""
    random = np.random.default_rng([seed, 1])
    return np.asarray(random.standard_normal((VOCABULARY, DIMENSIONS)) * np.geomspace(1.6, 0.5, DIMENSIONS))


@cache
def _text(seed: int, name: str) -> _Text:
    random = np.random.default_rng([seed, 2, len(name)])
    mean = np.zeros(DIMENSIONS)
    mean[[0, 3, 7, 12, 20]] = (0.9, -0.8, 0.7, 0.9, -0.6)
    if name == "other":
        mean = mean + 0.12 * random.standard_normal(DIMENSIONS)
    states = mean + 0.12 * random.standard_normal((POSITIONS, DIMENSIONS))
    chances = _softmax(states @ _embedding(seed).T)
    targets = np.array([random.choice(VOCABULARY, p=row) for row in chances])
    return _Text(states, targets)


def write_unembedding_run(
    folder: Path,
    *,
    models: tuple[str, ...] = ("tiny-head",),
    steps: tuple[int, ...] = (),
    tokens: int = 12,
    texts: tuple[str, ...] = ("fit", "held_out", "other"),
    allocations: tuple[str, ...] = ("minimum_norm", "even"),
    calibrated: tuple[bool, ...] = (True, False),
    controls: bool = True,
    steering: bool = True,
    removal: bool = True,
    generations: bool = True,
    fills: tuple[str, ...] = ("zero",),
    softcap: float | None = None,
    limit: float = _LIMIT,
    token_text: str = " w<b>{}",
) -> Path:
    """A run folder of one checkpoint, of several, or of several trainings with the same ``steps``."""
    tables: dict[str, list[dict[str, Any]]] = {}
    own: dict[str, Any] = {}
    for at, model in enumerate(models):
        of_model = [_checkpoint(model, at, step, len(steps)) for step in steps or (None,)]
        own = own or of_model[-1]
        last = _embedding(at)
        for place, of in enumerate(of_model):
            rows = _of_head(at, last, controls=controls, softcap=softcap)
            if place < len(of_model) - 1:
                rows = {name: rows[name] for name in ("heads", "encoding")}
            else:
                if steering:
                    rows["steering"] = _steering(
                        at, tokens, texts, allocations, calibrated, controls, token_text
                    )
                if removal:
                    rows["removal"] = [row for fill in fills for row in _removal(at, fill)]
                    rows["mask"] = [_mask(rows["removal"], fill, limit) for fill in fills]
                if generations:
                    rows["generations"] = _generations(at)
            for name, some in rows.items():
                tables.setdefault(name, []).extend({**of, **row} for row in some)
        if steps:
            tables.setdefault("dynamics", []).extend(
                {**of, **row} for of, row in zip(of_model, _dynamics(at, steps), strict=True)
            )
    return _write(folder, own, tables)


def _checkpoint(model: str, at: int, step: int | None, steps: int) -> dict[str, Any]:
    if step is None:
        return {"checkpoint": model, "identity": f"{0xE0 + at:02x}" * 32, "step": None, "series": model}
    identity = f"{0xE0 + at:02x}{step:06x}" * 8
    return {"checkpoint": f"{model}/step-{step:05}", "identity": identity, "step": step, "series": model}


@cache
def _log_probability(seed: int) -> Floats:
    return np.log(_text(seed, "fit").probabilities(_embedding(seed)).mean(axis=0))


def _fit(seed: int, **more: Any) -> Encoding:
    return fit_token_encoding(
        _embedding(seed),
        _log_probability(seed),
        hidden_mean=_text(seed, "fit").states.mean(axis=0),
        **more,
    )


def _of_head(
    seed: int, embedding: Floats, *, controls: bool, softcap: float | None
) -> dict[str, list[dict[str, Any]]]:
    text = _text(seed, "fit")
    logits = text.states @ embedding.T
    log_normaliser = np.log(np.exp(logits).sum(axis=1))
    chances = text.probabilities(embedding)
    counts = np.bincount(text.targets, minlength=VOCABULARY)
    spread = logits.std(axis=0)
    fit = _fit(seed)
    head = {
        "vocabulary": VOCABULARY,
        "dimensions": DIMENSIONS,
        "tied": True,
        "scale": 1.0,
        "softcap": softcap,
        "bias": False,
        "final_norm": "model.norm",
        "final_norm_gain": np.ones(DIMENSIONS),
        "positions": POSITIONS,
        "windows": _WINDOWS,
        "texts": 2,
        "loss": float(-np.log(chances[np.arange(POSITIONS), text.targets]).mean()),
        "logit_sd": float(np.median(spread)),
        "logit_sd_high": float(np.quantile(spread, 0.95)),
        "normaliser_mean": float(log_normaliser.mean()),
        "normaliser_sd": float(log_normaliser.std()),
        "seconds": 0.1,
    }
    falling = np.argsort(fit.fitted - fit.log_probability).tolist()
    missed = [*falling[:6], *falling[-6:]]
    values = {
        "log_probability": fit.log_probability,
        "fitted": fit.fitted,
        "mean_log_probability": np.log(chances).mean(axis=0),
        "logit_sd": spread,
        "count": counts,
        "missed": missed,
        "missed_text": [f" w<b>{token}" for token in missed],
    }
    return {
        "heads": [head],
        "encoding": _encoding(seed, counts, controls),
        "token_values": [values],
        "slope": [
            {
                "basis": basis,
                **{name: getattr(part, name) for name in ("slope", "spread", "contribution", "mean_hidden")},
                **{name: getattr(part, name) for name in ("participation", "gini", "ninety")},
            }
            for basis, part in (("coordinates", fit.coordinates), ("components", fit.components))
        ],
        "vocabulary_size": [
            {name: getattr(one, name) for name in ("size", "draw", "r2", "adjusted_r2", "cosine")}
            for one in encoding_by_size(
                embedding,
                fit.log_probability,
                sizes=[64, 128, 256, 512, 1024, VOCABULARY],
                draws=3,
                hidden_mean=text.states.mean(axis=0),
            )
        ],
    }


def _encoding(seed: int, counts: NDArray[np.int64], controls: bool) -> list[dict[str, Any]]:
    scopes: dict[str, Any] = {"all": None, "seen": counts > 0, "unseen": counts == 0}
    rows = [
        _encoding_row(_fit(seed, tokens=tokens), "probability", scope) for scope, tokens in scopes.items()
    ]
    embedding, text = _embedding(seed), _text(seed, "fit")
    mean_log = np.log(text.probabilities(embedding)).mean(axis=0)
    rows.append(_encoding_row(fit_token_encoding(embedding, mean_log), "mean_log", "all"))
    rows.append(
        {
            **dict.fromkeys(rows[0]),
            "target": "frequency",
            "scope": "unseen",
            "control": "",
            "draw": 0,
            "tokens": 0,
            "dimensions": DIMENSIONS,
            "reason": "tokens without a count have no log frequency",
            "seconds": 0.0,
        }
    )
    if controls:
        for draw in range(3):
            fit = _fit(seed, shuffle=draw)
            rows.append(_encoding_row(fit, "probability", "all", control="shuffled", draw=draw))
        random = np.random.default_rng([seed, 5])
        untrained = 0.02 * random.standard_normal(embedding.shape)
        states = random.standard_normal((POSITIONS, DIMENSIONS))
        noise = np.log(_softmax(states @ untrained.T).mean(axis=0))
        fit = fit_token_encoding(untrained, noise, hidden_mean=states.mean(axis=0))
        rows.append(_encoding_row(fit, "probability", "all", control="untrained"))
    return rows


def _encoding_row(
    fit: Encoding, target: str, scope: str, *, control: str = "", draw: int = 0
) -> dict[str, Any]:
    names = ("r2", "adjusted_r2", "intercept", "bias_slope", "cosine", "condition", "ridge")
    return {
        "target": target,
        "scope": scope,
        "control": control,
        "draw": draw,
        "tokens": fit.tokens,
        "dimensions": DIMENSIONS,
        **{name: getattr(fit, name) for name in names},
        "residual_sd": float(np.nanstd(fit.residuals)),
        "reason": "",
        "seconds": 0.1,
    }


def _steering(
    seed: int,
    tokens: int,
    texts: tuple[str, ...],
    allocations: tuple[str, ...],
    calibrated: tuple[bool, ...],
    controls: bool,
    token_text: str,
) -> list[dict[str, Any]]:
    log_probability = _log_probability(seed)
    middle = np.argsort(log_probability)[VOCABULARY // 2 : VOCABULARY // 2 + 20 * tokens : 20]
    counts = np.bincount(_text(seed, "fit").targets, minlength=VOCABULARY)
    rows = []
    for allocation in allocations:
        for solved in calibrated:
            for control in ("", *(("wrong_sign", "random_direction") if controls and not solved else ())):
                direction = _direction(seed, allocation, control)
                for token in map(int, middle):
                    for factor in FACTORS:
                        same = {
                            "token": token,
                            "token_text": token_text.format(token),
                            "count": int(counts[token]),
                            "allocation": allocation,
                            "calibrated": solved,
                            "control": control,
                            "together": False,
                            "factor": factor,
                        }
                        change = _edits(seed, token, factor, direction, solved)
                        rows += [{**same, **_realised(seed, name, token, factor, *change)} for name in texts]
    # Beyond saturation: nothing was done.
    refused = {**rows[0], "token": int(np.argmax(log_probability)), "token_text": token_text.format("top")}
    refused |= dict.fromkeys(_realised(seed, "fit", 0, 2.0, np.zeros(DIMENSIONS), 0.0))
    reason = "a factor of 20 asks for a mean probability of 1.3, and none passes 1"
    return [*rows, *({**refused, "factor": 20.0, "text": name, "reason": reason} for name in texts)]


@cache
def _direction(seed: int, allocation: str, control: str) -> Floats:
    """Of slope 1, so that a step of log r is due to multiply the probability by r."""
    slope = -np.asarray(_fit(seed).slope)
    if control == "random_direction":
        random = np.random.default_rng([seed, 9]).standard_normal(DIMENSIONS)
        return np.asarray(random / np.linalg.norm(random) / np.linalg.norm(slope))
    if allocation == "even":
        states = _text(seed, "fit").states
        direction = np.linalg.solve(np.cov(states.T) + 1e-3 * np.eye(DIMENSIONS), states.mean(axis=0))
    else:
        direction = slope
    sign = -1.0 if control == "wrong_sign" else 1.0
    return np.asarray(sign * direction / (slope @ direction))


def _edits(seed: int, token: int, factor: float, direction: Floats, solved: bool) -> tuple[Floats, float]:
    """The change of the row and its step; solved by bisection on the fitting text."""
    low, high = math.log(factor) - 3, math.log(factor) + 3
    step = math.log(factor)
    while solved and high - low > 1e-6:
        step = 0.5 * (low + high)
        realised = _realised(seed, "fit", token, factor, step * direction, step)["realised"]
        low, high = (step, high) if realised < factor else (low, step)
    return step * direction, step


@cache
def _dense(seed: int, name: str) -> tuple[Floats, Floats]:
    chances = _text(seed, name).probabilities(_embedding(seed))
    return chances, chances.mean(axis=0)


def _realised(seed: int, name: str, token: int, factor: float, change: Floats, step: float) -> dict[str, Any]:
    """By the closed form: only one logit of each position changes."""
    before = _dense(seed, name)[0][:, token]
    raised = np.exp(_text(seed, name).states @ change)
    growth = 1 + before * (raised - 1)
    after = before * raised / growth
    windows = np.arange(POSITIONS) % _WINDOWS
    ratios = [after[windows == one].sum() / before[windows == one].sum() for one in range(_WINDOWS)]
    realised, wide = float(after.sum() / before.sum()), 2.2 * float(np.std(ratios)) / math.sqrt(_WINDOWS)
    middle = np.stack([before, 1 - before]), np.stack([after, 1 - after])
    mean = 0.5 * (middle[0] + middle[1])
    js = 0.5 * sum((side * np.log(side / mean)).sum(axis=0) for side in middle)
    return {
        "text": name,
        "realised": realised,
        "realised_low": max(realised - wide, 1e-6),
        "realised_high": realised + wide,
        "before": float(before.mean()),
        "after": float(after.mean()),
        "log_error": math.log(realised / factor),
        "step_size": step,
        "edit_norm": float(np.linalg.norm(change)),
        "js": float(js.mean()),
        "others": float(-np.log(growth).mean()),
        "others_worst": float(-np.log(growth)[np.argmax(np.abs(np.log(growth)))]),
        "reason": "",
    }


def _removal(seed: int, fill: str) -> list[dict[str, Any]]:
    embedding, text = _embedding(seed), _text(seed, "held_out")
    before = text.probabilities(embedding)
    least = np.argsort(_fit(seed).coordinates.contribution)
    random = np.random.default_rng([seed, 4])
    orders = [("least", 0, least), ("most", 0, least[::-1])]
    orders += [("random", draw, random.permutation(DIMENSIONS)) for draw in range(3)]
    rows = []
    for order, draw, places in orders:
        for share in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9):
            gone = places[: round(share * DIMENSIONS)]
            states = text.states.copy()
            states[:, gone] = 0.0 if fill == "zero" else text.states.mean(axis=0)[gone]
            after = _softmax(states @ embedding.T)
            mean = 0.5 * (before + after)
            js = 0.5 * sum((side * np.log(side / mean)).sum(axis=1) for side in (before, after))
            wide = 2.2 * float(np.std(js)) / math.sqrt(_WINDOWS)
            at = np.arange(POSITIONS), text.targets
            rows.append(
                {
                    "order": order,
                    "draw": draw,
                    "share": share,
                    "dimensions": len(gone),
                    "fill": fill,
                    "js": float(js.mean()),
                    "js_low": float(js.mean()) - 0.3 * wide,
                    "js_high": float(js.mean()) + 0.3 * wide,
                    "kl": float((before * np.log(before / after)).sum(axis=1).mean()),
                    "loss": float(-np.log(after[at]).mean()),
                    "baseline_loss": float(-np.log(before[at]).mean()),
                    "same_top": float(np.mean(before.argmax(axis=1) == after.argmax(axis=1))),
                    "positions": POSITIONS,
                }
            )
    return rows


def _mask(rows: list[dict[str, Any]], fill: str, limit: float) -> dict[str, Any]:
    within = [row for row in rows if (row["order"], row["fill"]) == ("least", fill) and row["js"] <= limit]
    if not within:
        ends = [f"{name}_{end}" for name in ("checked", "other") for end in ("js", "low", "high")]
        nothing = dict.fromkeys(("js", "js_low", "js_high", *ends, "file"))
        return {"fill": fill, "limit": limit, "windows": 16, "share": 0.0, "dimensions_removed": 0, **nothing}
    row = max(within, key=lambda row: row["share"])
    return {
        **{name: row[name] for name in ("fill", "share", "js", "js_low", "js_high")},
        "limit": limit,
        "windows": 16,
        "dimensions_removed": row["dimensions"],
        **{
            f"checked_{end}": 1.2 * row[f]
            for end, f in (("js", "js"), ("low", "js_low"), ("high", "js_high"))
        },
        **{f"other_{end}": 9 * row[f] for end, f in (("js", "js"), ("low", "js_low"), ("high", "js_high"))},
        "file": "masks/tiny-head.safetensors",
    }


def _generations(seed: int) -> list[dict[str, Any]]:
    """Greedy is the same token at every place here, so that continuations are drawn."""
    embedding, text = _embedding(seed), _text(seed, "held_out")
    least = np.argsort(_fit(seed).coordinates.contribution)[: DIMENSIONS // 5]

    def drawn(states: Floats) -> NDArray[np.int64]:
        random = np.random.default_rng([seed, 7])
        return np.array([random.choice(VOCABULARY, p=row) for row in _softmax(states @ embedding.T)])

    fewer = text.states.copy()
    fewer[:, least] = 0.0
    kinds = {"untouched": drawn(text.states), "least": drawn(fewer), "steered": drawn(text.states)}
    token = int(kinds["untouched"][0])
    kinds["steered"][::7] = token
    rows = []
    for kind, new in kinds.items():
        grams = [len({tuple(new[at : at + n]) for at in range(len(new) - n + 1)}) for n in (1, 2, 3)]
        steered = kind == "steered"
        rows.append(
            {
                "kind": kind,
                "share": 0.2 if kind == "least" else None,
                "token": token if steered else None,
                "token_text": f" w<b>{token}" if steered else None,
                "factor": 5.0 if steered else None,
                "allocation": "minimum_norm" if steered else None,
                "prompts": 8,
                "new_tokens": len(new),
                **{f"distinct_{n}": grams[n - 1] / (len(new) - n + 1) for n in (1, 2, 3)},
                "repetition": 1 - grams[0] / len(new),
                "mauve": None,
                "mauve_reason": "the others are compared with it"
                if kind == "untouched"
                else "8 continuations are too few",
                "same_tokens": float(np.mean(new == kinds["untouched"])),
                "token_share": float(np.mean(new == token)) if steered else None,
                "untouched_token_share": float(np.mean(kinds["untouched"] == token)) if steered else None,
                "examples": [" ".join(f"w{one}" for one in new[:20]), "<i>odd</i> text"],
            }
        )
    return rows


def _dynamics(seed: int, steps: tuple[int, ...]) -> list[dict[str, Any]]:
    """The head goes from random rows to the last ones, frequencies before the rest of the loss."""
    text, last = _text(seed, "fit"), _embedding(seed)
    first = np.random.default_rng([seed, 6]).standard_normal(last.shape)
    counts = np.bincount(text.targets, minlength=VOCABULARY)
    rows = []
    for step in steps:
        learnt = -math.expm1(-step / (25.0 * (1 + 0.3 * seed))) if step < steps[-1] else 1.0
        slower = -math.expm1(-step / (150.0 * (1 + 0.2 * seed))) if step < steps[-1] else 1.0
        embedding = learnt * last + (1 - learnt) * first
        frequency = frequency_encoding(embedding, counts)
        chances = text.probabilities(embedding)
        probability = fit_token_encoding(
            embedding, np.log(chances.mean(axis=0)), hidden_mean=text.states.mean(axis=0)
        )
        rows.append(
            {
                "loss": 7.3 - 2.4 * slower,
                "frequency_r2": frequency.r2,
                "frequency_adjusted_r2": frequency.adjusted_r2,
                "probability_r2": probability.r2,
                "probability_adjusted_r2": probability.adjusted_r2,
                "cosine": probability.cosine,
                "head_distance": float(np.linalg.norm(embedding - last) / np.linalg.norm(last)),
                "parameter_distance": 1.2 * (1 - slower**2),
            }
        )
    return rows


def _write(folder: Path, own: dict[str, Any], tables: dict[str, list[dict[str, Any]]]) -> Path:
    identity = own["identity"]
    run = RunFolder.create(folder, identity)
    checkpoints = {row["identity"]: row["checkpoint"] for row in tables["heads"]}
    settings: dict[str, dict[str, Any]] = dict.fromkeys(tables, _SETTINGS)
    settings["dynamics"] = {**_SETTINGS, "checkpoints": list(checkpoints)}
    with run.lock():
        run.write_manifest(
            checkpoint={
                "name": own["checkpoint"],
                "path": f"models/{own['checkpoint']}",
                "identity": identity,
                "model_type": "llama",
            },
            settings=settings,
            lmscope_version=VERSION,
            device="cpu",
            isa="avx2",
            machine={"system": "Linux", "cpus": 2},
            asked={
                "unembedding": {
                    "text": ["more notes.txt"],
                    "split": "paragraph",
                    "checkpoints": [
                        {"name": name, "path": f"models/{name}", "identity": one}
                        for one, name in checkpoints.items()
                    ],
                }
            },
        )
        run.write_ledger(
            [
                ledger_row(
                    "model.embed_tokens.weight",
                    "token_embedding",
                    None,
                    (VOCABULARY, DIMENSIONS),
                    "analysed",
                    "",
                )
            ]
        )
        for name, rows in tables.items():
            for one in checkpoints:
                some = [row for row in rows if row["identity"] == one]
                if some:
                    run.write(
                        name, record_key(identity, f"{one}{name}", name, settings[name], VERSION), *some
                    )
    return folder
