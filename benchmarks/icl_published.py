"""Numbers that arXiv 2408.02288 released on in-context learning, and ours beside them: plain functions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import stats

from lmscope import spin_glass as sg
from lmscope.spin_glass.message_passing import amp
from lmscope.spin_glass.training import train

Row = Mapping[str, Any]
Found = dict[str, Any]

DENSITIES: dict[tuple[str, str, int], tuple[float, float]] = {
    ("A", "share", 0): (0.82, 0.01),
    ("A", "sd", 0): (0.02, 0.01),
    ("A", "share", 1): (0.18, 0.01),
    ("A", "mean", 1): (0.2, 0.1),
    ("A", "sd", 1): (0.02, 0.01),
    ("B", "sd", 0): (0.06, 0.01),
    # "3 x N(0, .024^2)": the density of three times the coupling.
    ("C", "sd", 0): (0.008, 0.001 / 3),
    ("D", "sd", 0): (0.027, 0.001),
    ("E", "sd", 0): (0.08, 0.01),
}
"""Fig. 1, D = 5, N = 100, P = 1000: block, what, part of the mixture -> value, unit of its last digit."""

LOSSES = {20: (0.5343, 0.5364), 100: (0.1923, 0.1885), 200: (0.1128, 0.1057)}
"""Fig. 4b, by N: message passing without the Onsager term, Adam; means of 50 repeats with 1000 test tasks."""

RATIOS = {(10, 25): 0.7934, (10, 100): 0.1736, (10, 200): 0.0909, (20, 100): 0.7732, (20, 500): 0.0476}
"""Fig. S7, by dimension and tasks."""


def beside(
    figure: str, what: str, published: float, values: Sequence[float], *, repeats: int = 1, digit: float = 0.0
) -> Found:
    """Ours, one value a seed, beside a published mean of ``repeats``, given to units of ``digit``.

    Within three standard deviations of a single repeat, half a digit allowed; ``standard_errors`` is the
    distance beyond that half digit in units of the error of the difference of the two means.
    """
    ours, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    apart = max(abs(ours - published) - digit / 2, 0.0)
    error = sd * math.sqrt(1 / len(values) + 1 / repeats)
    return {
        "figure": figure,
        "what": what,
        "published": published,
        "ours": ours,
        "sd": sd,
        "seeds": len(values),
        "within_three_sd": apart <= 3 * sd,
        "standard_errors": apart / error if error else (0.0 if apart == 0 else math.inf),
    }


def by(rows: Iterable[Row], *names: str) -> dict[Any, list[Row]]:
    found = defaultdict(list)
    for row in rows:
        found[tuple(row[name] for name in names)].append(row)
    return dict(found)


def densities(rows: Sequence[Row]) -> list[Found]:
    """Of the table of couplings: Fig. 1."""
    own = by([row for row in rows if (row["dimension"], row["prompt_length"]) == (5, 100)], "block")
    return [
        beside(
            "1",
            f"{what} of part {part + 1} of block {block}",
            value,
            [row[f"mixture_{what}"][part] for row in own[(block,)]],
            repeats=100_000,
            digit=digit,
        )
        for (block, what, part), (value, digit) in DENSITIES.items()
    ]


def message_passing(seeds: int) -> list[Found]:
    """Fig. 2d,e: the released code's state after 100 steps, D = 10, N = 100, P = 5000. Our free last column
    is exactly 0 and 1 where the code's still moves; ours starts at the prior, as random starts lose a
    variance at the first step for some seeds."""
    means, variances = [], []
    for seed in range(seeds):
        form = sg.fields(
            sg.make_tasks(tasks=5000, dimension=10, prompt_length=100, seed=seed, draw="statistics")
        )
        solved = amp(
            form,
            regularization=0.01,
            inverse_temperature=100.0,
            onsager=False,
            damping=0.9,
            max_steps=100,
        )
        means.append(solved.mean)
        variances.append(solved.variance)
    off = ~np.eye(10, dtype=bool)
    parts: list[tuple[str, float, float, Callable[[int], float]]] = [
        ("mean on the diagonal", 0.858, 0.001, lambda at: np.diag(means[at])[:10].mean()),
        ("mean |mean| off the diagonal", 0.012, 0.001, lambda at: np.abs(means[at][:10, :10][off]).mean()),
        ("mean |mean| of the label row", 0.005, 0.001, lambda at: np.abs(means[at][10, :10]).mean()),
        ("variance of the block", 0.0868, 0.0001, lambda at: variances[at][:10, :10].mean()),
        ("variance of the label row", 0.0083, 0.0001, lambda at: variances[at][10, :10].mean()),
    ]
    return [
        beside("2", f"message passing, {what}", value, [float(of(at)) for at in range(seeds)], digit=digit)
        for what, value, digit, of in parts
    ]


def training(seeds: int) -> list[Found]:
    """Fig. 2a-c: 300 full-batch epochs of Adam at .01, D = 10, N = 100, 200 test tasks."""
    found = []
    for tasks, loss, diagonal in ((10, 2.104, 0.309), (1000, 0.1144, 0.916)):
        losses, diagonals = [], []
        for seed in range(seeds):
            law = sg.make_tasks(
                tasks=tasks,
                dimension=10,
                prompt_length=100,
                seed=seed,
                draw="statistics",
                normalization="columns",
            )
            trained = train(law, learning_rate=0.01, epochs=300, seed=seed)
            assert trained.weights is not None
            (fresh,) = _together(law.unseen(200))
            losses.append(float(np.square(fresh.target - sg.predict(trained.weights, fresh)).mean()))
            diagonals.append(float(np.diag(trained.weights)[:10].mean()))
        digit = 0.001 if tasks == 10 else 0.0001
        found += [
            beside("2", f"Adam, test loss of {tasks} tasks", loss, losses, digit=digit),
            beside("2", f"Adam, diagonal of {tasks} tasks", diagonal, diagonals, digit=0.001),
        ]
    return found


def _together(tasks: sg.Tasks) -> list[sg.Statistics]:
    parts = list(tasks.statistics())
    return [
        sg.Statistics(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("context", "query", "target")
            )
        )
    ]


def losses(rows: Sequence[Row]) -> list[Found]:
    """Of the table of message passing and training: Fig. 4b. Each of our exact losses is given the sampling
    error of 1000 test tasks, as the published ones have it."""
    found = []
    for (length,), own in by(rows, "prompt_length").items():
        if length not in LOSSES:
            continue
        solved = by(own, "solver", "regularization")
        for solver, value in zip(
            (("amp_without_onsager", 0.01), ("adam", 0.005)), LOSSES[length], strict=True
        ):
            values = [row["loss"] + _test_noise(row) for row in solved[solver]]
            found.append(
                beside("4b", f"{solver[0]}, test loss at N = {length}", value, values, repeats=50, digit=1e-4)
            )
    return found


def _test_noise(row: Row) -> float:
    """A test loss over 1000 tasks less its expectation, of weights of the mean diagonal alone: what else
    the solvers' weights have is small beside it."""
    size, length = row["dimension"], row["prompt_length"]
    law = sg.make_tasks(tasks=1, dimension=size, prompt_length=length, seed=row["seed"], draw="statistics")
    weights = np.diag([*[row["diagonal"]] * size, 0.0])
    (fresh,) = _together(law.unseen(1000))
    sampled = float(np.square(fresh.target - sg.predict(weights, fresh)).mean())
    return sampled - float(sg.population(law).loss(weights))


def against_ground_state(rows: Sequence[Row], confidence: float = 0.95) -> list[Found]:
    """Loss of Adam less that of the ground state of half its weight decay, of the same tasks: mean over seeds
    and its t interval; and of the ground state of the nominal regularization."""
    found = []
    for (length,), own in by(rows, "prompt_length").items():
        solved = by(own, "solver", "regularization")
        adam = {row["seed"]: row["loss"] for row in solved["adam", 0.005]}
        for solver, regularization in (("ground_state", 0.005), ("ground_state", 0.01), ("amp", 0.01)):
            differences = [
                adam[row["seed"]] - row["loss"]
                for row in solved[solver, regularization]
                if row["loss"] is not None and adam[row["seed"]] is not None
            ]
            mean, error = np.mean(differences), stats.sem(differences)
            reach = stats.t.ppf((1 + confidence) / 2, len(differences) - 1) * error
            found.append(
                {
                    "prompt_length": length,
                    "adam_minus": solver,
                    "regularization": regularization,
                    "mean": float(mean),
                    "interval": [float(mean - reach), float(mean + reach)],
                    "seeds": len(differences),
                }
            )
    return found


def correlated_tokens(rows: Sequence[Row]) -> Found:
    """Fig. S4, which is known in words: over the correlation the loss first rises, then falls towards 0;
    message passing and training agree within a few percent, in the runs in which the former converged.
    Means over seeds; regularization .01, training with the weight decay of the same number."""
    own = by(
        [row for row in rows if row["correlated"] == "tokens"], "solver", "regularization", "correlation"
    )
    ground = {
        correlation: float(np.mean([row["loss"] for row in same]))
        for (solver, regularization, correlation), same in own.items()
        if (solver, regularization) == ("ground_state", 0.01)
    }
    order = sorted(ground)
    highest = max(order, key=lambda correlation: ground[correlation])
    steps = [(one, ground[two] - ground[one]) for one, two in pairwise(order)]
    points = []
    for correlation in order:
        trained = {row["seed"]: row["loss"] for row in own["adam", 0.005, correlation]}
        passing = own["amp", 0.01, correlation]
        ratios = [row["loss"] / trained[row["seed"]] for row in passing if row["converged"]]
        points.append(
            {
                "correlation": correlation,
                "ground_state_loss": ground[correlation],
                "message_passing_converged": len(ratios),
                "seeds": len(passing),
                "message_passing_over_training": float(np.mean(ratios)) if ratios else None,
            }
        )
    return {
        "figure": "S4",
        "highest_at": highest,
        "rises_before_and_falls_behind": all((step > 0) == (at < highest) for at, step in steps),
        "points": points,
    }


def peaks(rows: Sequence[Row]) -> list[Found]:
    """Of the phase map, means over seeds: where the loss is highest, how high beside twice as many tasks."""
    found = []
    for (dimension, length, regularization), own in by(
        rows, "dimension", "prompt_length", "regularization"
    ).items():
        loss = {
            tasks: float(np.mean([row["loss"] for row in same]))
            for (tasks,), same in by(own, "tasks").items()
        }
        counts, spins = sorted(loss), dimension * (dimension + 1)
        highest = max(loss, key=lambda tasks: loss[tasks])
        near = [tasks for tasks in counts if 0.8 * spins <= tasks <= 1.25 * spins]
        found.append(
            {
                "dimension": dimension,
                "prompt_length": length,
                "regularization": regularization,
                "highest_at": highest,
                "grid_points_from_peak": counts.index(highest) - counts.index(spins),
                "ratio_to_twice_the_tasks": loss[spins] / loss[2 * spins],
                "loss_falls_over_the_peak": all(
                    loss[after] <= loss[before] for before, after in pairwise(near)
                ),
                "seeds": len(by(own, "seed")),
            }
        )
    return found


def bends(rows: Sequence[Row]) -> list[Found]:
    """Of the table of emergence: where the spread of replicas bends, over seeds."""
    found = []
    for (dimension, length), own in by(rows, "dimension", "prompt_length").items():
        for spread in ("spread", "spread_sampled"):
            places = [
                sg.bend([row["tasks"] for row in same], [row[spread] for row in same])
                for same in by(own, "seed").values()
            ]
            found.append(
                {
                    "dimension": dimension,
                    "prompt_length": length,
                    "of": spread,
                    "expected": dimension * (dimension + 1),
                    "mean": float(np.mean(places)),
                    "sd": float(np.std(places, ddof=1)),
                    "seeds": len(places),
                }
            )
    return found


def zero_modes() -> list[Found]:
    """Fig. S7, exact: one set of tasks each."""
    return [
        {
            "figure": "S7",
            "what": f"share of zero modes, D = {dimension}, P = {tasks}",
            "published": value,
            "ours": (ours := sg.zero_mode_ratio(tasks=tasks, dimension=dimension, prompt_length=100)),
            "to_the_last_digit": abs(ours - value) <= 5e-5,
        }
        for (dimension, tasks), value in RATIOS.items()
    ]


def converged(rows: Sequence[Row]) -> Found:
    """Of the table of message passing: the largest errors where it converges, and where it does not."""
    found: Found = {}
    for (onsager,), own in by(rows, "onsager").items():
        there = [row for row in own if row["converged"]]
        found["with_onsager" if onsager else "without_onsager"] = {
            "converged": len(there),
            "diverged": sum(row["diverged"] for row in own),
            "runs": len(own),
            "largest_mean_error": max(row["mean_error"] for row in there),
            "region": [
                {
                    "dimension": dimension,
                    "prompt_length": length,
                    "regularization": regularization,
                    "least_tasks_all_seeds_converge_from": _from(same),
                }
                for (dimension, length, regularization), same in by(
                    own, "dimension", "prompt_length", "regularization"
                ).items()
            ],
        }
    return found


def _from(rows: Sequence[Row]) -> int | None:
    bad = [row["tasks"] for row in rows if not row["converged"]]
    good = [row["tasks"] for row in rows if row["tasks"] > max(bad, default=0)]
    return min(good, default=None)


def contrasts(rows: Sequence[Row]) -> Found:
    """Fig. 4a: of the phase map at regularization 1, steps along which the mean contrast falls."""
    own = [row for row in rows if row["regularization"] == 1]
    mean = {
        key: float(np.mean([row["contrast"] for row in same]))
        for key, same in by(own, "tasks", "prompt_length").items()
    }
    counts, lengths = (sorted({key[at] for key in mean}) for at in (0, 1))
    falls = [
        mean[b] - mean[a]
        for a, b in [
            *(((p, n), (q, n)) for p, q in pairwise(counts) for n in lengths),
            *(((p, n), (p, m)) for p in counts for n, m in pairwise(lengths)),
        ]
    ]
    return {
        "figure": "4a",
        "least": min(mean.values()),
        "most": max(mean.values()),
        "upper_bound": math.sqrt(own[0]["dimension"] / (own[0]["dimension"] + 1)),
        "steps": len(falls),
        "steps_that_fall": sum(step < 0 for step in falls),
        "deepest_fall": min(*falls, 0.0),
    }


def means(rows: Sequence[Row], value: str, *names: str) -> list[Found]:
    """Mean and standard deviation of a column over seeds; cells without a number are left out and counted."""
    found = []
    for key, own in by(rows, *names).items():
        values = [row[value] for row in own if row[value] is not None]
        found.append(
            {
                **dict(zip(names, key, strict=True)),
                "mean": float(np.mean(values)) if values else None,
                "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                "seeds": len(values),
                "without": len(own) - len(values),
            }
        )
    return found
