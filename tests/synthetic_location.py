"""Records as `lmscope localize` writes them, of matrices with planted ends; no model is run."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import lmscope
from lmscope.analyses.slices import slice_scores
from lmscope.results import RunFolder, record_key

from .synthetic_runs import ledger_row

IDENTITY = "10" * 32
VERSION = "0.1.0"
SLICES = 10
ROLES = ("query", "key", "value", "attention_output", "up", "down")
SHAPES = {"up": (96, 64), "down": (64, 96), "gate": (96, 64)}
PLANTED = {"query": (5, 5), "key": (4, 0), "up": (3, 6), "down": (0, 4), "gate": (2, 2)}
"""Role -> singular vectors of the largest and of the smallest values that are not random."""
_TOKENS, _TOP = 900, 6
_SETTINGS = {"texts": "13eb54e926314116", "slices": SLICES, "seed": 3}


def write_location_run(
    folder: Path,
    *,
    layers: int = 2,
    roles: tuple[str, ...] = ROLES,
    steps: tuple[int | None, ...] = (None,),
    experts: int = 0,
    apart: bool = False,
    twin: bool = True,
    overlaps: bool = True,
    lesions: bool = True,
    each: tuple[str, ...] = (),
    intervals: bool = True,
    draws: int = 2,
    maps: int = 0,
    tokens: int = _TOKENS,
    dtype: str = "float32",
    warning: str = "",
    levels: float = 32.0,
    prefix: str = "model.layers",
    claims: bool = True,
) -> Path:
    """A run folder, the last of ``steps`` its own checkpoint; ``each`` names roles whose matrices are
    lesioned one by one, ``maps`` how many matrices have their whole map, ``{}`` in the warning stands for a
    number that differs between matrices."""
    places = [(role, layer, None) for layer in range(layers) for role in roles]
    places += [("gate", layer, expert) for layer in range(layers) for expert in range(experts)]
    if apart:
        places.append(("pooler", None, None))
    tables: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("vectors", "overlap", "overlap_map", "lesions", "slices", "claims")
    }
    for place, step in enumerate(steps):
        own = place == len(steps) - 1
        checkpoint = {
            "checkpoint": "tiny-located" if step is None else f"step-{step:05}",
            "identity": IDENTITY if own else f"{place + 1:02x}" * 32,
            "step": step,
        }
        strength = 1.0 if step is None else place / max(1, len(steps) - 1)
        for at, (role, layer, expert) in enumerate(places):
            middle = "" if expert is None else f"experts.{expert}."
            name = f"{prefix}.{layer}.{middle}{role}.weight" if layer is not None else f"model.{role}.weight"
            of = {**checkpoint, "name": name, "role": role, "layer": layer, "expert": expert}
            found = _matrix(role, at, strength, tokens)
            vectors = {**found["vectors"], "dtype": dtype, "levels": levels}
            vectors["warning"] = warning.format(12 + at)
            if not twin:
                vectors |= {key: None for key in vectors if key.startswith("untrained")}
            tables["vectors"].append({**of, **vectors})
            if overlaps:
                overlap = dict(found["overlap"])
                if not twin:
                    overlap |= {key: None for key in overlap if key.startswith("untrained")}
                tables["overlap"].append({**of, **overlap})
            unknown = {} if overlaps else dict.fromkeys(("overlap_excess", "top_share", "principal"))
            tables["slices"] += [{**of, **row, **unknown} for row in found["slices"]]
            if own and at < maps:
                tables["overlap_map"].append({**of, **found["map"]})
        if lesions:
            for role in dict.fromkeys(role for role, _, _ in places):
                rows = _lesions(role, None, strength, draws, intervals)
                target = {"target": role, "target_kind": "role", "role": role, "layer": None, "expert": None}
                of = {**checkpoint, **target, "matrices": layers, "of_matrices": layers}
                tables["lesions"] += [{**of, **row} for row in rows]
            for row in tables["vectors"]:
                if own and row["role"] in each and row["identity"] == IDENTITY:
                    target = {key: row[key] for key in ("role", "layer", "expert")}
                    target |= {
                        "target": row["name"],
                        "target_kind": "matrix",
                        "matrices": 1,
                        "of_matrices": 1,
                    }
                    rows = _lesions(row["role"], row["layer"], strength, draws, intervals)
                    tables["lesions"] += [{**checkpoint, **target, **one} for one in rows]
        if claims and own:
            tables["claims"] = [{**checkpoint, **row} for row in _CLAIMS]
    return _write(folder, {name: rows for name, rows in tables.items() if rows})


def _write(folder: Path, tables: dict[str, list[dict[str, Any]]]) -> Path:
    run = RunFolder.create(folder, IDENTITY)
    own = [row for row in tables["vectors"] if row["identity"] == IDENTITY]
    with run.lock():
        run.write_manifest(
            checkpoint={
                "name": own[0]["checkpoint"],
                "path": f"models/{own[0]['checkpoint']}",
                "identity": IDENTITY,
                "model_type": "llama",
            },
            settings=dict.fromkeys(tables, _SETTINGS),
            lmscope_version=VERSION,
            device="cpu",
            isa="avx2",
            machine={"system": "Linux", "cpus": 2},
            asked={
                "localize": {
                    "text": ["more notes.txt"],
                    "split": "paragraph",
                    "include": [],
                    "layers": [],
                    "roles": ["key", "query"],
                    "only_slices": [1, 10],
                    "controls": False,
                    "maps": ["*.0.*", "*up*"],
                    "labelled": None,
                    "checkpoints": [
                        {"name": label, "path": f"models/{label}", "identity": identity}
                        for identity, label in {
                            row["identity"]: row["checkpoint"] for row in tables["vectors"]
                        }.items()
                    ],
                }
            },
        )
        run.write_ledger(
            [
                ledger_row(
                    *(row["name"], row["role"], row["layer"], (row["rows"], row["columns"])),
                    *("analysed", ""),
                    expert=row["expert"],
                )
                for row in own
            ]
        )
        for name, rows in tables.items():
            by_key: dict[tuple[str, str], list[dict[str, Any]]] = {}
            for row in rows:
                key = row["identity"], str(row.get("name", row.get("target", "all")))
                by_key.setdefault(key, []).append(row)
            for (identity, key), some in by_key.items():
                run.write(name, record_key(IDENTITY, identity + key, name, _SETTINGS, VERSION), *some)
    return folder


@cache
def _matrix(role: str, seed: int, strength: float, tokens: int) -> dict[str, Any]:
    """Records of one matrix: noise whose first and last singular vectors are replaced by planted ones."""
    random = np.random.default_rng([seed, 11])
    rows, columns = SHAPES.get(role, (64, 64))
    noise = random.standard_normal((rows, columns)) * 0.02
    untrained = random.standard_normal((rows, columns)) * 0.02
    inputs = _directions(columns, random)
    planted = tuple(round(strength * number) for number in PLANTED.get(role, (0, 0)))
    left, values, right = np.linalg.svd(noise, full_matrices=False)
    right = _planted(right.T, inputs, planted)
    left = _planted(left, _directions(rows, random), planted)
    values = values * np.concatenate(
        [
            np.linspace(1.3 + strength, 1.2, planted[0]),
            np.ones(len(values) - sum(planted)),
            np.linspace(0.8, 0.3, planted[1]),
        ]
    )
    values = np.sort(values)[::-1]
    twin_left, twin_values, twin_right = np.linalg.svd(untrained, full_matrices=False)
    twin_inputs = np.linalg.qr(random.standard_normal((columns, columns)))[0]
    law = lmscope.fit_marchenko_pastur(values, (rows, columns))
    test = {"right": lmscope.porter_thomas(right), "left": lmscope.porter_thomas(left)}
    twin = {"right": lmscope.porter_thomas(twin_right.T), "left": lmscope.porter_thomas(twin_left)}
    overlap = lmscope.activation_overlap(right, inputs, top=_TOP)
    twin_overlap = lmscope.activation_overlap(twin_right.T, twin_inputs, top=_TOP)
    scores = slice_scores(
        values,
        (rows, columns),
        scale=law.scale,
        lower_edge=law.lower_edge,
        upper_edge=law.upper_edge,
        deviation_right=test["right"].deviation,
        deviation_left=test["left"].deviation,
        overlap=overlap.overlap,
        null_location=overlap.null_location,
        top_share=overlap.top_share,
        slices=SLICES,
    )
    vectors: dict[str, Any] = {
        "rows": rows,
        "columns": columns,
        "singular_values": values,
        "residual": 3e-15,
        "orthogonality": 8e-16,
        "method": "gram",
        "scale": law.scale,
        "lower_edge": law.lower_edge,
        "upper_edge": law.upper_edge,
        "n_below": law.n_below,
        "n_above": law.n_above,
        "mp_reason": "",
        "windowed_low": test["right"].windowed_low,
        "windowed_high": test["right"].windowed_high,
        "window": 15,
        "draws": test["right"].draws,
        "untrained_singular_values": twin_values,
        "seconds": 0.1,
    }
    for side in ("right", "left"):
        vectors |= {
            f"p_{side}": test[side].p_value,
            f"deviation_{side}": test[side].deviation,
            f"windowed_{side}": test[side].windowed,
            f"untrained_p_{side}": twin[side].p_value,
            f"untrained_windowed_{side}": twin[side].windowed,
        }
    return {
        "vectors": vectors,
        "overlap": {
            "rows": rows,
            "columns": columns,
            "tokens": tokens,
            "effective_sample": tokens * 0.4,
            "covariance_rank": min(tokens - 1, columns),
            "centered": True,
            "variances": np.geomspace(10, 0.01, columns),
            "overlap": overlap.overlap,
            "overlap_index": overlap.index,
            "p_value": np.full(len(values), 0.5),
            "null_location": overlap.null_location,
            "null_low": overlap.null_low,
            "null_high": overlap.null_high,
            "false_positive_rate": overlap.false_positive_rate,
            "signed": False,
            "top": _TOP,
            "top_share": overlap.top_share,
            "top_location": overlap.top_location,
            "top_low": overlap.top_low,
            "top_high": overlap.top_high,
            "untrained_overlap": twin_overlap.overlap,
            "untrained_top_share": twin_overlap.top_share,
            "seconds": 0.1,
        },
        "map": {
            "shape": [len(values), columns],
            "values": lmscope.overlap_map(right, inputs).astype(np.float32).ravel(),
        },
        "slices": [
            {
                **{name: getattr(one, name) for name in ("slice", "slices", "first_rank", "last_rank")},
                **{name: getattr(one, name) for name in ("energy_share", "overlap_excess", "top_share")},
                **{name: getattr(one, name) for name in ("vector_deviation", "value_deviation", "outside")},
                "principal": float(
                    np.mean(
                        lmscope.principal_cosines(
                            right[:, one.first_rank : one.last_rank + 1], inputs[:, :_TOP]
                        )
                        ** 2
                    )
                ),
                **{name: getattr(one, name) for name in ("value_noise_sd", "value_noise_draws")},
            }
            for one in scores
        ],
    }


def _directions(length: int, random: np.random.Generator) -> np.ndarray:
    """An orthonormal basis whose first columns have a few entries each: unlike random directions."""
    few = 12
    first = np.zeros((length, few))
    for column in range(few):
        first[5 * column : 5 * column + 5, column] = random.standard_normal(5)
    first /= np.linalg.norm(first, axis=0)
    basis = np.linalg.qr(np.hstack([first, random.standard_normal((length, length - few))]))[0]
    return np.asarray(basis * np.sign(np.sum(basis[:, :1] * first[:, :1])))


def _planted(vectors: np.ndarray, directions: np.ndarray, planted: tuple[int, ...]) -> np.ndarray:
    """The vectors, the first and last of them replaced by directions, orthonormal again."""
    first, last = planted
    bulk = vectors[:, first : vectors.shape[1] - last]
    ends = directions[:, : first + last]
    bulk = np.linalg.qr(bulk - ends @ (ends.T @ bulk))[0]
    return np.hstack([ends[:, :first], bulk, ends[:, first:]])


_BEND = {
    "query": (0.0, 1.0),
    "key": (0.0, 0.8),
    "value": (0.0, 0.3),
    "attention_output": (0.0, 0.05),
    "up": (0.4, 0.5),
    "down": (0.3, 0.6),
    "gate": (0.2, 0.4),
}


def _lesions(
    role: str, layer: int | None, strength: float, draws: int, intervals: bool
) -> list[dict[str, Any]]:
    """Curves of two measures over slices; the smallest ones hurt where the role's first number is not 0."""
    random = np.random.default_rng(list(f"{role}{layer}".encode()))
    low, high = (strength * number * (1 if layer is None else 0.3) for number in _BEND.get(role, (0.0, 0.1)))
    rows = []
    for place in range(1, SLICES + 1):
        energy = 0.0008 * (0.32 / 0.0008) ** ((place - 1) / (SLICES - 1))
        for kind in ("lesion", "random_size", "random_energy"):
            for draw in range(1 if kind == "lesion" else draws):
                impact = {
                    "lesion": low * math.exp(1 - place) + high * energy * 3,
                    "random_size": 0.15 * strength,
                    "random_energy": 1.5 * energy * strength,
                }[kind] + 0.002 * random.standard_normal()
                removed = 0.1 if kind == "random_size" else energy
                for measure, unit, scale, base in (
                    ("loss", "nats per token", 1.0, 3.2),
                    ("retrieval_rank", "rank", 20.0, 4.0),
                ):
                    harm = scale * impact
                    ends = (harm - 0.01 * scale, harm + 0.012 * scale) if intervals else (None, None)
                    rows.append(
                        {
                            "slice": place,
                            "slices": SLICES,
                            "kind": kind,
                            "draw": draw,
                            "directions": 13,
                            "removed_energy": removed,
                            "rounding": 1e-12,
                            "measure": measure,
                            "unit": unit,
                            "value": base + harm,
                            "baseline": base,
                            "impact": harm,
                            "impact_low": ends[0],
                            "impact_high": ends[1],
                            "per_energy": harm / removed,
                            "units": 32 if intervals else 1,
                            "seconds": 0.5,
                        }
                    )
    return rows


def _claim(claim: str, against: str, value: float | None, low: Any, high: Any, p: Any, **more: Any) -> Any:
    share = claim == "consistent"
    return {
        "claim": claim,
        "score": "vector_deviation",
        "against": against,
        "statistic": "share of variance" if share else "rank correlation",
        "value": value,
        "low": low,
        "high": high,
        "shared": None,
        "beyond_low": None,
        "beyond_high": None,
        "p_value": p,
        "points": 120,
        "point": "matrix and slice",
        "reason": "",
        **more,
    }


def _beyond(shared: float, low: float, high: float) -> dict[str, float]:
    return {"shared": shared, "beyond_low": low, "beyond_high": high}


_CLAIMS = [
    _claim("consistent", "role", 0.61, None, None, 0.001, point="matrix", points=12),
    _claim("consistent", "layer", 0.06, None, None, 0.41, point="matrix", points=12),
    _claim("same_in_both", "<i>another</i> model", 0.77, None, None, 0.06, point="role", points=6),
    _claim("diagnostic", "overlap_excess", 0.58, 0.31, 0.77, 0.001, **_beyond(0.2, 0.11, 0.65)),
    _claim(
        "diagnostic", "per_energy: loss", 0.08, -0.2, 0.33, 0.5, score="value_deviation", **_beyond(0, -1, 1)
    ),
    _claim(
        "diagnostic", "per_energy: retrieval_rank", None, None, None, None, points=4, reason="four <points>"
    ),
    _claim("beyond_roles", "overlap_excess", 0.4, 0.3, 0.5, 0.001, **_beyond(0.3, 0.05, 0.15)),
]
