"""What each experiment of `icl` found, over its seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lmscope.report.icl_rows import Band, Point, band, band_of, points_of

Row: TypeAlias = dict[str, Any]

SIZES = ("dimension", "prompt_length", "tasks")

_SOLVERS = ("population", "ground_state", "amp", "amp_without_onsager", "adam")


@dataclass(frozen=True)
class Finding:
    """What was found under the settings `of`, by name; `bands` are means over seeds with 95 % intervals."""

    of: dict[str, Any]
    numbers: dict[str, float | None]
    bands: dict[str, Band | None]


def emergence(rows: Sequence[Row]) -> Iterator[Finding]:
    """From how many tasks on the ground state is unique in every seed, zero modes beside their formula, and
    where the spread of replicas bends, and the spread at half and at twice D(D+1) tasks, or at the tasks
    nearest to these."""
    for of, own in _groups(rows, "dimension", "prompt_length", "regularization"):
        spins = _spins(of)
        spread = points_of(own, "tasks", "spread", logarithmic=True)
        few, many = _nearest(spread, spins / 2), _nearest(spread, 2 * spins)
        known = [row for row in own if row["zero_mode_ratio"] is not None]
        sampled = [row for row in own if row["spread"] and row["spread_sampled"] is not None]
        yield Finding(
            of,
            {
                "spins": spins,
                "unique_from": _all_from(own, "unique"),
                "formula_error": _largest(
                    abs(row["zero_mode_ratio"] - row["expected_ratio"]) for row in known
                ),
                "few_tasks": None if few is None else few.x,
                "many_tasks": None if many is None else many.x,
                "sampled_error": _largest(abs(row["spread_sampled"] / row["spread"] - 1) for row in sampled),
            },
            {
                "spread_few": None if few is None else few.band,
                "spread_many": None if many is None else many.band,
                # All rows of a seed have the same one.
                **_over({row["seed"]: row for row in own}.values(), "bend"),
            },
        )


def phase_map(rows: Sequence[Row]) -> Iterator[Finding]:
    """Where the geometric mean of the loss over seeds is largest, and how it falls behind; `rise` is the
    largest factor by which it grows with more tasks, 1 where it falls throughout."""
    for of, own in _groups(rows, "dimension", "prompt_length", "regularization"):
        points = points_of(own, "tasks", "loss", logarithmic=True)
        if not points:
            continue
        peak, behind = max(points, key=lambda one: one.band.mean), _nearest(points, 2 * _spins(of))
        assert behind is not None
        yield Finding(
            of,
            {
                "spins": _spins(of),
                "peak_tasks": peak.x,
                "behind_tasks": behind.x,
                "rise": _rise(points),
                "best_loss": own[0]["best_loss"],
            },
            {
                "peak_loss": peak.band,
                "behind_loss": behind.band,
                "fall": _paired(peak.rows, behind.rows, "loss", ratio=True),
            },
        )


def landscape(rows: Sequence[Row]) -> Iterator[Finding]:
    """Directions that the tasks leave free, and how alike replicas are after the descent."""
    for of, own in _groups(rows, *SIZES, "regularization"):
        names = ("zero_modes", "ground_energy", "relaxed_overlap", "relaxed_distance")
        yield Finding(of, {}, _over(own, *names))


def amp(rows: Sequence[Row]) -> Iterator[Finding]:
    """From how many tasks on message passing converges in every seed, and its largest errors where it does,
    and those at the largest number of tasks; `diverges_to` is the largest one with a seed that diverges."""
    for of, own in _groups(rows, "dimension", "prompt_length", "regularization", "onsager"):
        came = [row for row in own if row["converged"]]
        most = max(row["tasks"] for row in own)
        last = [row for row in came if row["tasks"] == most]
        yield Finding(
            of,
            {
                "runs": len(own),
                "converged": len(came),
                "converges_from": _all_from(own, "converged"),
                "diverges_to": _largest(row["tasks"] for row in own if row["diverged"]),
                "mean_error": _largest_known(came, "mean_error"),
                "variance_error": _largest_known(came, "variance_error"),
                "most_tasks": most,
                "mean_error_most": _largest_known(last, "mean_error"),
                "variance_error_most": _largest_known(last, "variance_error"),
            },
            {},
        )


def amp_vs_training(rows: Sequence[Row]) -> Iterator[Finding]:
    return _solvers(rows, *SIZES)


def correlated(rows: Sequence[Row]) -> Iterator[Finding]:
    return _solvers(rows, "correlated", *SIZES, "correlation")


def _solvers(rows: Sequence[Row], *columns: str) -> Iterator[Finding]:
    """Loss of every solver, and by how much it exceeds that of the exact ground state of the same tasks and
    regularization: the mean over pairs of one seed, and its interval."""
    for sizes, same in _groups(rows, *columns):
        exact = [row for row in same if row["solver"] == "ground_state"]
        same = sorted(same, key=lambda row: _SOLVERS.index(row["solver"]))
        for of, own in _groups(same, "solver", "regularization"):
            twins = [row for row in exact if row["regularization"] == of["regularization"]]
            held = of["solver"] not in ("ground_state", "population")
            yield Finding(
                {**sizes, **of},
                _rest(own),
                {
                    **_over(own, "loss", "contrast", "diagonal"),
                    "excess": _paired(own, twins, "loss") if held else None,
                },
            )


def couplings(rows: Sequence[Row]) -> Iterator[Finding]:
    """Mean and standard deviation of fields and couplings by block; `change` is by how much the divergence to
    the next prompt length, `next_length`, exceeds that of equal distributions."""
    for of, own in _groups(rows, "kind", "block", *SIZES):
        longer = [
            row["prompt_length"]
            for row in rows
            if all(row[name] == of[name] for name in ("dimension", "tasks"))
            and row["prompt_length"] > of["prompt_length"]
        ]
        change = [
            row["divergence"] - row["divergence_null"]
            for row in own
            if None not in (row["divergence"], row["divergence_null"])
        ]
        yield Finding(
            of,
            {"next_length": min(longer, default=None)},
            {
                **_over(own, "mean", "sd", "divergence", "divergence_null"),
                "change": band(change) if change else None,
            },
        )


def coupling_spectrum(rows: Sequence[Row]) -> Iterator[Finding]:
    """Eigenvalues outside the Marchenko-Pastur edges; `refuted`: seeds whose outermost ones iid noise has
    with a probability of 1 % at most, of `fitted` that have such a p-value."""
    for of, own in _groups(rows, "kind", *SIZES):
        fitted = [row for row in own if row["p_value"] is not None]
        yield Finding(
            of,
            {
                "eigenvalues": max(len(row["values"]) for row in own),
                "fitted": len(fitted),
                "refuted": sum(row["p_value"] <= 0.01 for row in fitted),
            },
            _over(own, "n_below", "n_above", "label_outliers", "ks"),
        )


def architectures(rows: Sequence[Row]) -> Iterator[Finding]:
    """Loss of every model on unseen tasks, and its ratio to that of the ground state on the same ones: the
    geometric mean over seeds, as losses spread over decades near D(D+1) tasks. `unique`: seeds whose ground
    state is the only one."""
    for of, own in _groups(rows, *SIZES, "model"):
        ratios = [row["loss"] / row["ground_loss"] for row in own if row["loss"] is not None]
        yield Finding(
            of,
            {
                "parameters": own[0]["parameters"],
                "epochs": own[0]["epochs"],
                "unique": sum(row["ground_unique"] for row in own),
                **_rest(own),
            },
            {
                **_over(own, "loss", "training_loss"),
                "ratio": (
                    band(ratios, logarithmic=True) if ratios and of["model"] != "ground_state" else None
                ),
            },
        )


def diversity(rows: Sequence[Row]) -> Iterator[Finding]:
    """Losses on seen, unseen and dense teachers by the number of distinct ones."""
    for of, own in _groups(rows, "teacher", *SIZES, "solver", "distinct_teachers"):
        names = (
            "loss_seen",
            "loss_unseen",
            "loss_isotropic",
            "training_loss",
            "distance_w11",
            "distance_w21",
            "cross_task_w11",
            "cross_task_w21",
        )
        yield Finding(of, _rest(own), _over(own, *names))


FINDINGS: Mapping[str, Callable[[Sequence[Row]], Iterable[Finding]]] = {
    "emergence": emergence,
    "phase_map": phase_map,
    "landscape": landscape,
    "amp": amp,
    "amp_vs_training": amp_vs_training,
    "correlated": correlated,
    "couplings": couplings,
    "coupling_spectrum": coupling_spectrum,
    "architectures": architectures,
    "diversity": diversity,
}
"""Experiment -> what reduces its rows."""


def _groups(rows: Iterable[Row], *columns: str) -> Iterator[tuple[dict[str, Any], list[Row]]]:
    """Rows that agree in these columns, in the order of the first of each."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[column] for column in columns), []).append(row)
    for values, own in found.items():
        yield dict(zip(columns, values, strict=True)), own


def _rest(rows: Sequence[Row]) -> dict[str, float | None]:
    """`at_rest`: runs that came to rest, of `runs`; None where there is nothing to iterate."""
    known = [row["converged"] for row in rows if row["converged"] is not None]
    return {"runs": len(rows), "at_rest": sum(known) if known else None}


def _spins(of: Mapping[str, Any]) -> int:
    """Weights that enter: as many independent tasks leave one ground state."""
    return int(of["dimension"] * (of["dimension"] + 1))


def _over(rows: Iterable[Row], *columns: str) -> dict[str, Band | None]:
    """Means over seeds, of those that have the number."""
    rows = list(rows)
    return {column: band_of(rows, column) for column in columns}


def _paired(own: Sequence[Row], others: Sequence[Row], column: str, *, ratio: bool = False) -> Band | None:
    """Over the seeds of both: own - other, or the geometric mean of own / other."""
    other = {row["seed"]: row[column] for row in others if row[column] is not None}
    both = [(row[column], other[row["seed"]]) for row in own if row["seed"] in other]
    both = [(one, two) for one, two in both if one is not None]
    if not both:
        return None
    if ratio:
        return band([one / two for one, two in both], logarithmic=True)
    return band([one - two for one, two in both])


def _nearest(points: Sequence[Point], tasks: float) -> Point | None:
    return min(points, key=lambda one: abs(math.log(one.x / tasks)), default=None)


def _rise(points: Sequence[Point]) -> float:
    least, most = math.inf, 1.0
    for one in points:
        least = min(least, one.band.mean)
        most = max(most, one.band.mean / least)
    return most


def _all_from(rows: Sequence[Row], column: str) -> int | None:
    """The least number of tasks from which on the flag is true in every row; None where it is not at last."""
    counts = sorted({row["tasks"] for row in rows})
    wrong = [row["tasks"] for row in rows if not row[column]]
    return next((one for one in counts if not wrong or one > max(wrong)), None)


def _largest(values: Iterable[float]) -> float | None:
    return max(values, default=None)


def _largest_known(rows: Iterable[Row], column: str) -> float | None:
    return _largest(row[column] for row in rows if row[column] is not None)
