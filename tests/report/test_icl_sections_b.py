"""The page's second half of `icl`: what records of solvers, couplings, teachers and models say is on it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects
import pytest
from scipy import stats

import lmscope
from lmscope.report import Records, build
from lmscope.report.page import state_files
from lmscope.report.plots import as_plotly, figures_of
from lmscope.report.sections import section_of

from ..browsing import Watched
from ..synthetic_icl import write_icl_run

SEEDS = range(4)
LENGTHS = (20, 100, 200)
CORRELATIONS = (0.05, 0.5, 0.95)
BLOCKS = {"A": "field", "B": "field", "C": "coupling", "D": "coupling", "E": "coupling"}
MODELS = ("ground_state", "merged", "softmax", "transformer")
GROUND = {tasks: stats.gmean([100 / tasks + 0.001 * seed for seed in SEEDS]) for tasks in (120, 840)}
KEYS = ["amp_vs_training", "correlated", "coupling_spectrum", "couplings", "diversity", "architectures"]


def sizes(seed: int, length: int = 100, tasks: int = 10000, dimension: int = 20) -> dict[str, Any]:
    return {"seed": seed, "dimension": dimension, "prompt_length": length, "tasks": tasks}


def solved(base: float, seed: int) -> list[dict[str, Any]]:
    """Ground states of two regularizations, AMP without an end in seed 1, Adam 0.01 above its own ground
    state (0.002 more or less by seed), and the limit."""

    def row(solver: str, regularization: float, loss: float | None, **more: Any) -> dict[str, Any]:
        known = loss is not None
        return {
            "solver": solver,
            "regularization": regularization,
            "weight_decay": None,
            "loss": loss,
            "loss_low": None,
            "loss_high": None,
            "contrast": 0.9 if known else None,
            "diagonal": 0.8 if known else None,
            "converged": None,
            **more,
        }

    strong, weak = base * (1 + 0.01 * seed), base * (0.95 + 0.01 * seed)
    lost = {"converged": False, "reason": "a variance is no longer positive"}
    return [
        row("population", 0.0, base * 0.8),
        row("ground_state", 0.01, strong),
        row("ground_state", 0.005, weak),
        row("amp", 0.01, strong, converged=True),
        row("amp_without_onsager", 0.01, None if seed == 1 else strong * 1.1, **(lost if seed == 1 else {})),
        row("adam", 0.005, weak + 0.01 + 0.001 * (-1) ** seed, weight_decay=0.01, converged=True),
    ]


def solver_rows(tasks: tuple[int, ...] = (10000,)) -> list[dict[str, Any]]:
    return [
        {**sizes(seed, length, number), **row}
        for seed in SEEDS
        for length in LENGTHS
        for number in tasks
        for row in solved(21 / (length + 21), seed)
    ]


def correlated_rows() -> list[dict[str, Any]]:
    return [
        {**sizes(seed, 200), "correlated": "tokens", "correlation": c, **row}
        for seed in SEEDS
        for c in CORRELATIONS
        for row in solved(0.4 * (1.02 - c), seed)
    ]


def eigenvalues(rows: int, columns: int, seed: int, scale: float = 1.0) -> np.ndarray:
    noise = scale * np.random.default_rng([seed, rows]).standard_normal((rows, columns))
    return np.linalg.svd(noise, compute_uv=False) ** 2 / rows


def spectrum_row(kind: str, seed: int, length: int, tasks: int) -> dict[str, Any]:
    """Plain noise for tokens; for features six values planted above it, five of them the label row's."""
    dimension = 5 if kind == "features" else 60
    rows, columns = (tasks, 30) if kind == "features" else (length, dimension)
    scale = 0.5 if kind == "features" else 1.0
    bulk = eigenvalues(rows, columns, seed, scale)
    ends = scale**2 * (1 + np.array([-1, 1]) * math.sqrt(columns / rows)) ** 2
    lower, upper = 0.8 * ends[0], 1.2 * ends[1]
    planted = upper * np.array([9, 8.5, 8, 7.5, 7, 1.5]) if kind == "features" else np.zeros(0)
    values = np.concatenate([planted, bulk[len(planted) :]])
    return {
        **sizes(seed, length, tasks, dimension),
        "kind": kind,
        "values": values.tolist(),
        "scale": scale,
        "lower_edge": lower,
        "upper_edge": upper,
        "n_below": 0,
        "n_above": len(planted),
        "ks": 0.03,
        "p_value": 0.002 if kind == "features" else 0.4,
        "label_outliers": 5 if kind == "features" else None,
    }


def spectrum_rows() -> list[dict[str, Any]]:
    return [
        *(spectrum_row("tokens", seed, length, 1) for length in (60, 600) for seed in SEEDS),
        *(spectrum_row("features", seed, 100, tasks) for tasks in (300, 3000) for seed in SEEDS),
    ]


def coupling_rows() -> list[dict[str, Any]]:
    found = []
    for seed in SEEDS:
        for at, length in enumerate(LENGTHS):
            for place, (block, kind) in enumerate(BLOCKS.items()):
                random = np.random.default_rng([seed, length, place])
                values = 0.05 * (1 + 1 / length) * random.standard_normal(4000)
                if block == "A":
                    values[:800] += 0.2
                counts, edges = np.histogram(values, 60)
                mixed = block == "A"
                found.append(
                    {
                        **sizes(seed, length, 1000, 5),
                        "kind": kind,
                        "block": block,
                        "mean": float(values.mean()),
                        "sd": float(values.std()),
                        "edges": edges.tolist(),
                        "counts": counts.astype(float).tolist(),
                        "divergence": None if at == 2 else (1 + place) * 1e-3 / length * (1 + 0.1 * seed),
                        "divergence_null": None if at == 2 else 2e-6 * (1 + 0.1 * seed),
                        "draws": 50,
                        "mixture_share": [0.8, 0.2] if mixed else None,
                        "mixture_mean": [0.0, 0.2] if mixed else None,
                        "mixture_sd": [0.05, 0.05] if mixed else None,
                    }
                )
    return found


def diversity_rows(solvers: tuple[str, ...] = ("ground_state", "adam")) -> list[dict[str, Any]]:
    return [
        {
            **sizes(seed, 40, 1000, 8),
            "distinct_teachers": teachers,
            "teacher": kind,
            "solver": solver,
            "loss_seen": 0.2 + 0.001 * seed,
            "loss_unseen": 0.2 + step / teachers + 0.01 * seed,
            "loss_isotropic": 0.3 + 2 * step / teachers + 0.01 * seed,
            "training_loss": 0.18,
            "distance_w11": step / teachers,
            "distance_w21": 0.1 * step / teachers,
            "cross_task_w11": 0.5 * step / teachers,
            "cross_task_w21": 0.05 * step / teachers,
            "converged": (seed > 0 or teachers > 1) if solver == "adam" else None,
            "gradient": 1e-4 if solver == "adam" else None,
        }
        for step, kind in ((1.0, "dense"), (2.0, "sparse"), (3.0, "low_rank"))
        for seed in SEEDS
        for teachers in (1, 4, 16, 64, 1000)
        for solver in solvers
    ]


def architecture_rows(tasks: tuple[int, ...] = (120, 840)) -> list[dict[str, Any]]:
    steps = [0.0, 100.0, 200.0, 300.0]
    found = []
    for seed in SEEDS:
        for number in tasks:
            ground = 100 / number + 0.001 * seed
            for at, model in enumerate(MODELS):
                trained = model != "ground_state"
                end = ground + 0.05 * at + 0.002 * seed * at
                losses = [end + 0.5 * math.exp(-step / 100) for step in steps]
                found.append(
                    {
                        **sizes(seed, 100, number),
                        "model": model,
                        "parameters": 441 * at,
                        "epochs": 300 if trained else 0,
                        "loss": end,
                        "loss_low": end - 0.01 if trained else None,
                        "loss_high": end + 0.01 if trained else None,
                        "training_loss": 0.5 * end,
                        "steps": steps if trained else [],
                        "losses": [0.5 * loss for loss in losses] if trained else [],
                        "test_losses": losses if trained else [],
                        "contrast": 0.9 if model == "merged" else None,
                        "ground_loss": ground,
                        "ground_unique": number > 420,
                        "converged": model != "softmax" if trained else None,
                        "gradient": 1e-2 if trained else None,
                    }
                )
    return found


def write_experiments(folder: Path, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> Path:
    """A run folder with these rows of each experiment, one record per seed."""

    def of_seed(name: str) -> Callable[[Mapping[str, Any]], list[dict[str, Any]]]:
        return lambda cell: [
            {"seconds": 0.1, "reason": "", **row} for row in tables[name] if row["seed"] == cell["seed"]
        ]

    seeds = {name: {"seed": sorted({row["seed"] for row in rows})} for name, rows in tables.items()}
    return write_icl_run(folder, tables, rows={name: of_seed(name) for name in tables}, lists=seeds)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiments(
        tmp_path_factory.mktemp("experiments") / "run",
        {
            "amp_vs_training": solver_rows(),
            "correlated": correlated_rows(),
            "coupling_spectrum": spectrum_rows(),
            "couplings": coupling_rows(),
            "diversity": diversity_rows(),
            "architectures": architecture_rows(),
        },
    )


def student(values: Any) -> tuple[float, float, float]:
    """Mean and 95 % interval, by scipy."""
    mean = float(np.mean(values))
    low, high = stats.t.interval(0.95, len(values) - 1, mean, stats.sem(values))
    return mean, float(low), float(high)


def geometric(values: Any) -> tuple[float, float, float]:
    """Geometric mean, and the interval of the logarithm."""
    low, mean, high = (math.exp(one) for one in sorted(student(np.log(values))))
    return mean, low, high


def line(folder: Path, key: str, state: str, name: str) -> plotly.graph_objects.Scatter:
    """The line of this name in a state, with ``low`` and ``high`` of the traces before it."""
    data = lmscope.open_run(folder).plot(key, state).data
    (at,) = [at for at, trace in enumerate(data) if trace.name == name and trace.visible is not False]
    return data[at - 2], data[at - 1], data[at]


def words(folder: Path, key: str, state: str) -> str:
    return unescape(re.sub(r"<[^>]+>", " ", figures_of(Records(folder))[key].variant(state).html))


def test_every_state_of_every_figure_is_a_plotly_figure(whole: Path) -> None:
    figures = figures_of(Records(whole))
    assert list(figures) == KEYS
    assert {key: len(figure.states) for key, figure in figures.items()} == {
        "amp_vs_training": 4,
        "correlated": 4,
        "coupling_spectrum": 4,
        "couplings": 5 * (3 + 1),
        "diversity": 2 * (3 + 4 + 2),
        "architectures": 3 * (2 + 1),
    }
    for figure in figures.values():
        assert len(set(state_files(figure).values())) == len(figure.states)
        for key in figure.states:
            variant = figure.variant(key)
            assert len(variant.data) == len(figure.data)
            plotly.graph_objects.Figure(as_plotly("model", figure, key))
            json.dumps(vars(variant), allow_nan=False)
            assert all(len(part) == len(figure.columns) for part in variant.parts)


def test_training_stands_beside_its_own_ground_state_with_an_interval_over_seeds(whole: Path) -> None:
    rows = [row for row in solver_rows() if row["prompt_length"] == 100]
    low, high, mean = line(whole, "amp_vs_training", "loss:D20:P10000", "Adam, λ₀ = 0.005")
    assert list(mean.x) == list(LENGTHS)
    expected = geometric([row["loss"] for row in rows if row["solver"] == "adam"])
    assert (mean.y[1], low.y[1], high.y[1]) == pytest.approx(expected)
    # Seed by seed, from the ground state of half the weight decay, not from the other one.
    low, high, gap = line(whole, "amp_vs_training", "difference:D20:P10000", "Adam, λ₀ = 0.005")
    expected = student([0.011, 0.009, 0.011, 0.009])
    assert (gap.y[1], low.y[1], high.y[1]) == pytest.approx(expected)
    told = words(whole, "amp_vs_training", "difference:D20:P10000")
    assert "Adam, λ₀ = 0.005 less ground state, the mean over 3 prompt lengths: 0.01 (95 % 0.00816 to" in told
    assert "training ends above the ground state" in told
    head = section_of(Records(whole), "header")
    assert head is not None
    assert any(
        one.startswith("Training, D = 20, P = 10\u202f000: Adam, λ₀ = 0.005 less")
        for one in head.values["others"]
    )
    assert "λ₀ = 0.01: 0.01 (95" not in told


def test_an_interval_that_holds_zero_shows_no_difference(tmp_path: Path) -> None:
    rows = [
        {**row, "loss": 0.5 + 0.01 * (-1) ** row["seed"]} for row in solver_rows() if row["solver"] == "adam"
    ]
    rows += [{**row, "loss": 0.5} for row in solver_rows() if row["solver"] == "ground_state"]
    folder = write_experiments(tmp_path / "run", {"amp_vs_training": rows})
    assert "the interval holds 0, so that no difference is shown" in words(
        folder, "amp_vs_training", "loss:D20:P10000"
    )


def test_message_passing_without_an_end_is_left_out_and_told_of(whole: Path) -> None:
    _, _, mean = line(whole, "amp_vs_training", "loss:D20:P10000", "AMP without Onsager term, λ₀ = 0.01")
    rows = [row for row in solver_rows() if row["solver"] == "amp_without_onsager"]
    known = [row["loss"] for row in rows if row["loss"] is not None and row["prompt_length"] == 20]
    assert len(known) == 3
    assert mean.y[0] == pytest.approx(stats.gmean(known))
    assert "3 seeds" in mean.hovertext[0]
    told = words(whole, "amp_vs_training", "loss:D20:P10000")
    assert "did not come to an end in 3 of 12 runs, left out: a variance is no longer positive." in told


def test_a_loss_that_message_passing_left_half_way_is_not_drawn(tmp_path: Path) -> None:
    rows = [{**row, "converged": row["seed"] > 0} for row in solver_rows() if row["solver"] == "amp"]
    folder = write_experiments(tmp_path / "run", {"amp_vs_training": rows})
    _, _, mean = line(folder, "amp_vs_training", "loss:D20:P10000", "AMP")
    assert mean.y[0] == pytest.approx(
        stats.gmean([row["loss"] for row in rows if row["seed"] and row["prompt_length"] == 20])
    )


def test_infinitely_many_tasks_have_no_band(whole: Path) -> None:
    low, high, mean = line(whole, "correlated", "loss:D20:N200:P10000", "infinitely many tasks")
    assert low.visible is False
    assert high.visible is False
    assert list(mean.x) == list(CORRELATIONS)
    assert list(mean.y) == pytest.approx([0.8 * 0.4 * (1.02 - c) for c in CORRELATIONS])


def test_sizes_are_chosen_where_there_are_several(tmp_path: Path) -> None:
    folder = write_experiments(tmp_path / "run", {"amp_vs_training": solver_rows((1000, 10000))})
    figure = figures_of(Records(folder))["amp_vs_training"]
    assert figure.states["loss:D20:P10000"] == "Loss on unseen tasks, D = 20, P = 10\u202f000"
    page = build(folder).read_text(encoding="utf-8")
    assert "Tasks P <select" in page
    assert "Dimension D <select" not in page


def test_tokens_follow_the_law_and_label_values_are_marked(whole: Path) -> None:
    for row in spectrum_rows():
        if row["seed"] != 0:
            continue
        key = f"{row['kind']}-{row['dimension']}-{row['prompt_length']}-{row['tasks']}"
        bars, curve, label, others = lmscope.open_run(whole).plot("coupling_spectrum", key).data
        values = np.array(row["values"])
        ends = bars.x0 + bars.dx * np.array([0, len(bars.y)])
        assert sum(bars.y) == np.sum((values >= ends[0]) & (values <= ends[1]))
        # The curve is a bin's number: at the bars' centres it adds up to all that is no outlier.
        centres = bars.x0 + bars.dx * (np.arange(len(bars.y)) + 0.5)
        expected = np.interp(centres, curve.x, curve.y, left=0, right=0)
        assert expected.sum() == pytest.approx(30 if row["kind"] == "features" else 60, rel=0.05)
        if row["kind"] == "tokens":
            assert (np.abs(np.array(bars.y) - expected) < 5 * np.sqrt(expected + 1)).all()
        assert len(label.x) == (row["label_outliers"] or 0)
        assert len(others.x) == row["n_above"] - (row["label_outliers"] or 0)
        assert sorted([*label.x, *others.x], reverse=True) == pytest.approx(
            values[: row["n_above"]], rel=1e-6
        )


def test_spectra_without_a_fit_say_why(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("scale", "lower_edge", "upper_edge", "n_below", "n_above", "ks", "p_value"))
    row = {**spectrum_row("tokens", 0, 60, 1), **nothing, "reason": "fewer than 16 values"}
    folder = write_experiments(tmp_path / "run", {"coupling_spectrum": [row]})
    key = "tokens-60-60-1"
    assert "1 row without a number: fewer than 16 values." in words(folder, "coupling_spectrum", key)
    _, curve, *_ = lmscope.open_run(folder).plot("coupling_spectrum", key).data
    assert curve.visible is False


def test_histograms_are_densities_with_their_fits(whole: Path) -> None:
    row = next(row for row in coupling_rows() if row["block"] == "A" and row["prompt_length"] == 100)
    bars, gaussian, mixture, *_ = lmscope.open_run(whole).plot("couplings", "A:N100:D5:P1000").data
    assert np.sum(np.array(bars.y) * np.array(bars.width)) == pytest.approx(1)
    assert np.array(bars.y) * np.array(bars.width) * 4000 == pytest.approx(row["counts"])
    x = np.array(mixture.x)
    parts = 0.8 * stats.norm.pdf(x, 0, 0.05) + 0.2 * stats.norm.pdf(x, 0.2, 0.05)
    assert list(mixture.y) == pytest.approx(parts)
    assert list(gaussian.y) == pytest.approx(stats.norm.pdf(x, row["mean"], row["sd"]))
    told = words(whole, "couplings", "A:N100:D5:P1000")
    assert "80 % around 0 ± 0.05; 20 % around 0.2 ± 0.05" in told
    assert lmscope.open_run(whole).plot("couplings", "B:N100:D5:P1000").data[2].visible is False


def test_divergences_are_means_over_seeds_and_end_before_the_last_length(whole: Path) -> None:
    _, _, mean = line(whole, "couplings", "C:divergence:D5:P1000", "C: couplings within the block")
    logs = [math.log(3e-3 / 20 * (1 + 0.1 * seed)) for seed in SEEDS]
    assert list(mean.x) == [20, 100]
    assert mean.y[0] == pytest.approx(math.exp(np.mean(logs)))
    assert "geometric means" in words(whole, "couplings", "C:divergence:D5:P1000")
    _, _, chance = line(whole, "couplings", "C:divergence:D5:P1000", "by chance, of the block chosen")
    assert list(chance.x) == [20, 100]
    expected = math.exp(np.mean([math.log(2e-6 * (1 + 0.1 * seed)) for seed in SEEDS]))
    assert list(chance.y) == pytest.approx([expected] * 2)
    others = lmscope.open_run(whole).plot("couplings", "C:divergence:D5:P1000").data[3:-3]
    assert {trace.name for trace in others if trace.opacity == 1 and trace.name} == {mean.name}


def test_teachers_seen_and_unseen_come_together(whole: Path) -> None:
    state = "sparse:ground_state:D8:N40:P1000"
    for name, column in (
        ("unseen prompts of teachers seen", "loss_seen"),
        ("unseen teachers of the same kind", "loss_unseen"),
        ("unseen dense teachers", "loss_isotropic"),
    ):
        low, high, mean = line(whole, "diversity", state, name)
        rows = [row for row in diversity_rows(("adam",)) if row["teacher"] == "sparse"]
        # The axis is logarithmic: means and intervals are of the logarithms.
        logs = [
            [math.log(row[column]) for row in rows if row["distinct_teachers"] == number]
            for number in (1, 1000)
        ]
        found = [np.exp(student(some)) for some in logs]
        for at, expected in ((0, found[0]), (-1, found[1])):
            assert (mean.y[at], low.y[at], high.y[at]) == pytest.approx(expected)
    assert "Adam had not come to rest in 1 of 20 runs." in words(
        whole, "diversity", "sparse:adam:D8:N40:P1000"
    )
    assert "come to rest" not in words(whole, "diversity", state)
    _, _, mean = line(whole, "diversity", "loss_unseen:adam:D8:N40:P1000", "low-rank teachers")
    assert mean.y[0] == pytest.approx(0.2 + 3 + 0.015, rel=1e-4)
    _, _, mean = line(
        whole, "diversity", "distance:adam:D8:N40:P1000", "sparse teachers: label row, mean W₂₁²"
    )
    assert mean.y[1] == pytest.approx(0.05)


def test_the_distances_of_the_weights_are_not_those_of_the_cross_task_argument(whole: Path) -> None:
    for view, block in (("distance", 2 / 4), ("cross_task", 0.5 * 2 / 4)):
        state = f"{view}:adam:D8:N40:P1000"
        _, _, mean = line(whole, "diversity", state, "sparse teachers: block, mean (W₁₁ − I)²")
        assert mean.y[1] == pytest.approx(block)
    assert "the solver's own weights" in words(whole, "diversity", "distance:adam:D8:N40:P1000")
    assert "the same for every solver, that minimise" in words(
        whole, "diversity", "cross_task:adam:D8:N40:P1000"
    )


def test_runs_without_an_end_are_told_of_where_they_are_in_a_mean(tmp_path: Path) -> None:
    rows = [
        {**row, "converged": row["correlation"] < 0.9} if row["solver"] == "adam" else row
        for row in correlated_rows()
    ]
    folder = write_experiments(tmp_path / "run", {"correlated": rows})
    told = words(folder, "correlated", "loss:D20:N200:P10000")
    assert "; Adam had not come to rest in 4 of 12 runs." in told


def test_chart_and_table_of_models_hold_one_mean(whole: Path) -> None:
    losses = [row["loss"] for row in architecture_rows() if row["model"] == "softmax" and row["tasks"] == 120]
    found = geometric(losses)
    told = words(whole, "architectures", "final:P120:D20:N100")
    assert f"{found[0]:.4g} [{found[1]:.3g}, {found[2]:.3g}]" in told
    _, _, mean = line(whole, "architectures", "test_losses:all:D20:N100", "softmax attention")
    assert mean.y[0] == pytest.approx(found[0])


def test_models_are_held_against_the_ground_state(whole: Path) -> None:
    _, _, mean = line(whole, "architectures", "test_losses:P120:D20:N100", "softmax attention")
    ends = [
        row["test_losses"][-1]
        for row in architecture_rows()
        if row["model"] == "softmax" and row["tasks"] == 120
    ]
    assert mean.x[-1] == 301
    assert mean.y[-1] == pytest.approx(stats.gmean(ends))
    _, _, ground = line(whole, "architectures", "test_losses:P120:D20:N100", "ground state of the same tasks")
    assert ground.y[0] == pytest.approx(GROUND[120])
    final = lmscope.open_run(whole).plot("architectures", "final:P120:D20:N100")
    (dot,) = [trace for trace in final.data if trace.visible is not False and trace.y == ("transformer",)]
    losses = [
        row["loss"] for row in architecture_rows() if row["model"] == "transformer" and row["tasks"] == 120
    ]
    expected = geometric(losses)
    assert dot.x[0] == pytest.approx(expected[0])
    assert dot.x[0] + dot.error_x.array[0] == pytest.approx(expected[2])
    assert dot.x[0] - dot.error_x.arrayminus[0] == pytest.approx(expected[1])
    assert final.layout.shapes[0].x0 == pytest.approx(GROUND[120])
    _, _, over = line(whole, "architectures", "test_losses:all:D20:N100", "ground state of the same tasks")
    assert list(over.x) == [120, 840]
    assert list(over.y) == pytest.approx(list(GROUND.values()))
    told = words(whole, "architectures", "test_losses:P120:D20:N100")
    ratios = np.exp(
        student([math.log(1 + (0.05 * 2 + 0.002 * seed * 2) / (100 / 120 + 0.001 * seed)) for seed in SEEDS])
    )
    assert f"{ratios[0]:.4g} [{ratios[1]:.3g}, {ratios[2]:.3g}]" in told
    # 120 tasks leave many ground states at D = 20; of 840 there is one.
    assert "At P = 120 the ground state is not unique without weight decay" in told
    assert "not unique" not in words(whole, "architectures", "test_losses:P840:D20:N100")
    held = [row for row in architecture_rows() if row["tasks"] == 120 and row["converged"] is not None]
    left = len([row for row in held if not row["converged"]])
    assert f"Training had not come to rest in {left} of {len(held)} runs" in told
    assert f"0 of {left}" in told


def test_one_seed_has_no_bands(tmp_path: Path) -> None:
    tables = {
        "amp_vs_training": solver_rows(),
        "couplings": coupling_rows(),
        "diversity": diversity_rows(),
        "architectures": architecture_rows(),
    }
    folder = write_experiments(
        tmp_path / "run", {name: [row for row in rows if row["seed"] == 0] for name, rows in tables.items()}
    )
    assert set(tables) <= set(figures_of(Records(folder)))
    for figure in figures_of(Records(folder)).values():
        for key in figure.states:
            banded = [
                one
                for one, base in zip(figure.variant(key).data, figure.data, strict=True)
                if base.get("fill") == "tonexty"
            ]
            assert not any(trace["visible"] for trace in banded)
    assert "one seed" in words(folder, "amp_vs_training", "loss:D20:P10000")


def test_experiments_that_were_not_run_have_no_section(tmp_path: Path) -> None:
    folder = write_experiments(tmp_path / "run", {"correlated": correlated_rows()})
    records = Records(folder)
    assert [key for key in KEYS if section_of(records, key) is not None] == ["correlated"]


def test_choices_switch_charts_in_a_browser(whole: Path, watched: Watched) -> None:
    watched.open(build(whole))
    page = watched.page
    assert watched.complaints == []
    assert watched.outside() == []
    for key in KEYS:
        assert page.locator(f"#{key} .main-svg").count() > 0
    page.select_option('[data-part="amp_vs_training"]', "difference")
    assert watched.plot("amp_vs_training", "plot.layout.yaxis.title.text") == "loss less the ground state's"
    page.select_option('select[data-switch="coupling_spectrum"]', "features-5-100-300")
    near = watched.plot("coupling_spectrum", "plot.layout.xaxis.range[1]")
    page.click('button[data-view="all"][data-of="coupling_spectrum"]')
    assert watched.plot("coupling_spectrum", "plot.layout.xaxis.range[1]") > 2 * near
    page.locator('[data-part="architectures"]').nth(1).select_option("all")
    assert watched.plot("architectures", "plot.layout.xaxis.title.text") == "tasks P"
    assert watched.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_legible_on_a_phone(whole: Path, watched: Watched, scheme: Any) -> None:
    watched.page.emulate_media(color_scheme=scheme)
    watched.page.set_viewport_size({"width": 390, "height": 800})
    watched.open(build(whole))
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= 390
    for key in KEYS:
        assert watched.plot(key, "plot._fullLayout._size.w") > 180
        # Annotations end inside the chart.
        ends = watched.plot(
            key, "[...plot.querySelectorAll('.annotation')].map(e => e.getBoundingClientRect())"
        )
        assert all(one["left"] >= 0 and one["right"] <= 390 for one in ends)
    assert watched.complaints == []


@pytest.mark.parametrize(
    ("of", "axis"), [("tokens", "tokens of a prompt"), ("coordinates", "coordinates of a token")]
)
def test_what_is_correlated_is_named(tmp_path: Path, of: str, axis: str) -> None:
    rows = [{**row, "correlated": of} for row in correlated_rows()]
    records = Records(write_experiments(tmp_path / "run", {"correlated": rows}))
    section = section_of(records, "correlated")
    assert section is not None
    assert section.title == f"Correlated {of}"
    assert axis in section.shows
    assert section.figure is not None
    assert section.figure.layout["xaxis"]["title"]["text"] == f"correlation c of two {axis}"
