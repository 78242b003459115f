"""What evidence_unembedding_real.py keeps of a run of `lmscope unembedding`: plain functions of records."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.analyses.training_dynamics import StepsApart
from lmscope.runs.unembedding_summary import Course

Row = Mapping[str, Any]
Found = dict[str, Any]

NEAR, FAR = "from 0.5 to 2", "beyond"
AIMS = {NEAR: 0.15, FAR: 0.4}
"""Of the median |ln(realised / asked)|, by factor asked."""
DRAWS = 2000
CONFIDENCE = 0.95


def heads(rows: Iterable[Row]) -> list[Found]:
    """Without the gain of the final norm, which is as long as a state."""
    left_out = {"identity", "final_norm_gain"}
    return [{name: value for name, value in row.items() if name not in left_out} for row in rows]


def encoding(rows: Iterable[Row]) -> list[Found]:
    """By target, scope and control: means over draws, and the smallest and the largest adjusted R2."""
    return [
        {
            "target": target,
            "scope": scope,
            "control": control,
            "draws": len(own),
            **{name: own[0][name] for name in ("tokens", "dimensions", "reason")},
            **{name: _mean(own, name) for name in _FIT},
            "adjusted_r2_of_draws": _ends(own, "adjusted_r2"),
        }
        for (target, scope, control), own in _by(rows, "target", "scope", "control").items()
    ]


_FIT = ("r2", "adjusted_r2", "cosine", "condition", "ridge", "residual_sd")


def sparsity(rows: Iterable[Row]) -> dict[str, Found]:
    """By basis: how few coordinates carry the fit."""
    found = {}
    for row in rows:
        squares = np.square(np.asarray(row["contribution"], np.float64))
        found[row["basis"]] = {
            "dimensions": squares.size,
            **{name: row[name] for name in ("participation", "gini", "ninety")},
            "largest_share": float(squares.max() / squares.sum()),
        }
    return found


def sizes(rows: Iterable[Row]) -> list[Found]:
    return [
        {
            "size": size,
            "draws": len(own),
            **{name: _mean(own, name) for name in ("r2", "adjusted_r2", "cosine")},
            "adjusted_r2_of_draws": _ends(own, "adjusted_r2"),
        }
        for size, own in sorted(_by(rows, "size").items())
    ]


def steering(rows: Iterable[Row], allocation: str, calibrated: bool, *, seed: int = 0) -> Found:
    """By allocation, calibration, control and text how well tokens were steered: "aims" over all factors of
    an aim, "factors" for each alone. "tokens" has each of them, steered in the way that is named: what was
    realised of every factor, with its interval."""
    rows = _on_every_text(row for row in rows if not row["together"])
    way = (allocation, calibrated, "")
    shown = _by(_by(rows, *_GROUP[:3]).get(way, []), "token")
    found: Found = {"tokens": [_token(own) for own in shown.values()], "aims": [], "factors": []}
    for key, of_group in sorted(_by(rows, *_GROUP).items()):
        group = dict(zip(_GROUP, key, strict=True))
        for name, limit in AIMS.items():
            if own := [row for row in of_group if _aim(row["factor"]) == name]:
                found["aims"].append({**group, "factors": name, **_errors(own, limit, seed)})
        for factor, own in sorted(_by(of_group, "factor").items()):
            errors = _errors(own, AIMS[_aim(factor)], seed)
            found["factors"].append({**group, "factor": factor, **errors, **_effects(own)})
    return found


_GROUP = ("allocation", "calibrated", "control", "text")


def removal(rows: Iterable[Row], limits: Sequence[float] = (0.01,)) -> dict[str, Found]:
    """By order: the curve, and the largest of its shares up to which the divergence of every draw stays
    within each limit."""
    found = {}
    for order, own in _by(rows, "order").items():
        curve = [_point(points) for _, points in sorted(_by(own, "share").items())]
        found[order] = {
            "draws": len({row["draw"] for row in own}),
            "positions": own[0]["positions"],
            "fill": own[0]["fill"],
            "largest_share_within": {str(limit): _share_within(curve, limit) for limit in limits},
            "curve": curve,
        }
    return found


def masks(rows: Iterable[Row]) -> list[Found]:
    """Removable sets as they were proposed."""
    ends = tuple(f"{name}_{end}" for name in ("checked", "other") for end in ("js", "low", "high"))
    kept = ("fill", "limit", "share", "dimensions_removed", "js", "js_low", "js_high", *ends)
    return [{name: row[name] for name in kept} for row in rows]


def generations(rows: Iterable[Row]) -> list[Found]:
    """With one continuation of each as an example."""
    left_out = {"checkpoint", "identity", "step", "series", "examples"}
    return [
        {
            **{name: value for name, value in row.items() if name not in left_out},
            "example": next(iter(row["examples"]), None),
        }
        for row in rows
    ]


def dynamics(rows: Iterable[Row], courses: Iterable[Course], apart: StepsApart | None) -> Found:
    """By training its steps, and where R2 is at 90 % of its last value and the loss at 90 % of its drop; over
    trainings, by how many doublings of the steps the loss is there later. ``courses`` and ``apart`` are of
    the run's summary."""
    of_series = _by(rows, "series")
    return {
        "trainings": [
            {
                **asdict(course),
                "apart": _doublings(course.apart),
                "steps": [{name: row[name] for name in _OF_STEPS} for row in of_series[course.series]],
            }
            for course in courses
        ],
        "loss_after_r2": _doublings(apart),
    }


def _doublings(apart: StepsApart | None) -> Found | None:
    """One training has no interval."""
    if apart is None:
        return None
    ends = (None, None) if math.isnan(apart.low) else (apart.low, apart.high)
    return {**asdict(apart), "low": ends[0], "high": ends[1]}


_OF_STEPS = (
    "step",
    "loss",
    "frequency_r2",
    "frequency_adjusted_r2",
    "probability_r2",
    "probability_adjusted_r2",
    "cosine",
    "head_distance",
    "parameter_distance",
)


def median_interval(values: npt.NDArray[np.float64], seed: int) -> tuple[float, float, float]:
    """Median of all ``values`` (tokens x factors, NaN where there is none) and the ends of its percentile
    interval over tokens drawn again with all of theirs."""
    drawn = np.random.default_rng(seed).integers(len(values), size=(DRAWS, len(values)))
    medians = np.nanmedian(values[drawn].reshape(DRAWS, -1), axis=1)
    low, high = np.quantile(medians, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return float(np.nanmedian(values)), float(low), float(high)


def _on_every_text(rows: Iterable[Row]) -> list[Row]:
    """What could not be steered is recorded once, and counts for every text."""
    rows = list(rows)
    done = [row for row in rows if not row["reason"]]
    texts = sorted({row["text"] for row in rows})
    refused = {tuple(row[name] for name in _ASKED): row for row in rows if row["reason"]}
    return [*done, *({**row, "text": text} for row in refused.values() for text in texts)]


_ASKED = ("checkpoint", "token", "factor", "allocation", "calibrated", "control")


def _token(rows: Sequence[Row]) -> Found:
    realised: Found = {}
    for row in sorted(rows, key=lambda row: row["factor"]):
        interval = [row[name] for name in ("realised", "realised_low", "realised_high")]
        realised.setdefault(row["text"], {})[f"{row['factor']:g}"] = interval
    return {
        "token": rows[0]["token"],
        "text": rows[0]["token_text"],
        "count": rows[0]["count"],
        "before": {row["text"]: row["before"] for row in rows if row["before"] is not None},
        "realised": realised,
    }


def _aim(factor: float) -> str:
    return NEAR if 0.5 <= factor <= 2 else FAR


def _errors(rows: Sequence[Row], limit: float, seed: int) -> Found:
    """Of |ln(realised / asked)|. A factor that could not be reached has not met its aim, and is in no
    quartile; a token without any reached one is not drawn."""
    done = [row for row in rows if row["log_error"] is not None]
    found: Found = {
        "tokens": len({row["token"] for row in rows}),
        "aim": limit,
        "not_reached": len(rows) - len(done),
        "reasons": dict(Counter(row["reason"] for row in rows if row["reason"])),
    }
    if not done:
        return {**found, "median": None, "met": False}
    of_token = list(_by(done, "token").values())
    errors = np.full((len(of_token), max(map(len, of_token))), np.nan)
    for place, own in enumerate(of_token):
        errors[place, : len(own)] = [abs(row["log_error"]) for row in own]
    median, low, high = median_interval(errors, seed)
    quartiles = np.nanquantile(errors, (0.25, 0.75))
    inside = [row["realised_low"] <= row["factor"] <= row["realised_high"] for row in _with_interval(rows)]
    return {
        **found,
        "median": median,
        "median_interval": [low, high],
        "quartiles": [float(one) for one in quartiles],
        "median_signed": float(np.median([row["log_error"] for row in done])),
        "share_within_aim": float((errors <= limit).sum() / len(rows)),
        "share_whose_interval_holds_the_factor": float(np.mean(inside)) if inside else None,
        "met": median <= limit,
    }


def _with_interval(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row["realised_low"] is not None]


def _effects(rows: Sequence[Row]) -> Found:
    """On the token and on the rest of the distribution."""
    done = [row for row in rows if row["log_error"] is not None]
    if not done:
        return {}
    return {
        "median_realised": _median(done, "realised"),
        "median_edit_norm": _median(done, "edit_norm"),
        "median_js": _median(done, "js"),
        "largest_js": max(row["js"] for row in done),
        "median_others": _median(done, "others"),
        "others_worst": max((row["others_worst"] for row in done), key=abs),
    }


def _point(rows: Sequence[Row]) -> Found:
    """Of one draw with its interval over windows, of several with their ends."""
    one = rows[0]
    alone = len(rows) == 1
    return {
        **{name: one[name] for name in ("share", "dimensions")},
        "js": _mean(rows, "js"),
        "js_interval": [one["js_low"], one["js_high"]] if alone else None,
        "js_of_draws": None if alone else _ends(rows, "js"),
        "kl": _mean(rows, "kl"),
        "perplexity_ratio": math.exp(float(np.mean([row["loss"] - row["baseline_loss"] for row in rows]))),
        "same_top": _mean(rows, "same_top"),
    }


def _share_within(curve: Iterable[Found], limit: float) -> float:
    share = 0.0
    for point in curve:
        worst = point["js"] if point["js_of_draws"] is None else point["js_of_draws"][1]
        if worst > limit:
            break
        share = point["share"]
    return share


def _by(rows: Iterable[Row], *columns: str) -> dict[Any, list[Row]]:
    found: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        key = tuple(row[column] for column in columns)
        found[key[0] if len(columns) == 1 else key].append(row)
    return dict(found)


def _known(rows: Iterable[Row], column: str) -> list[float]:
    return [row[column] for row in rows if row[column] is not None]


def _mean(rows: Iterable[Row], column: str) -> float | None:
    known = _known(rows, column)
    return float(np.mean(known)) if known else None


def _median(rows: Iterable[Row], column: str) -> float | None:
    known = _known(rows, column)
    return float(np.median(known)) if known else None


def _ends(rows: Iterable[Row], column: str) -> list[float] | None:
    known = _known(rows, column)
    return [min(known), max(known)] if known else None
