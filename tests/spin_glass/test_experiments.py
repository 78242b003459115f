"""Every experiment gives the rows that its table has, and these show what they are to show."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise, product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lmscope import spin_glass as sg
from lmscope.results.columns import schema_of
from lmscope.results.icl_columns import ICL_COLUMNS
from lmscope.spin_glass.experiments import EXPERIMENTS, SINGULAR
from lmscope.spin_glass.experiments.growth import growing_fields
from lmscope.spin_glass.experiments.settings import around_peak

PRESETS = ("seconds", "minutes", "paper")
Row = dict[str, Any]


def cells(experiment: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    names = EXPERIMENTS[experiment].CELLS
    return [
        dict(zip([SINGULAR[name] for name in names], values, strict=True))
        for values in product(*(settings[name] for name in names))
    ]


def run(experiment: str, cell: Mapping[str, Any], preset: str = "seconds", **settings: Any) -> list[Row]:
    known = EXPERIMENTS[experiment]
    asked = {**known.PRESETS[preset], **settings}
    known.check(asked)
    shares: list[float] = []
    rows = known.rows(asked, cell, device="cpu", advance=shares.append)
    assert all(before <= after + 1e-12 for before, after in pairwise([0.0, *shares]))
    assert not shares or shares[-1] == pytest.approx(1)
    return rows


def mean_over(rows: Iterable[Row], value: str, *by: str) -> dict[Any, float]:
    found = defaultdict(list)
    for row in rows:
        found[tuple(row[name] for name in by) if len(by) > 1 else row[by[0]]].append(row[value])
    return {key: float(np.mean(values)) for key, values in found.items()}


def test_every_table_has_its_experiment() -> None:
    assert set(EXPERIMENTS) == set(ICL_COLUMNS)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_presets_can_be(experiment: str) -> None:
    known = EXPERIMENTS[experiment]
    assert tuple(known.PRESETS) == PRESETS
    assert known.TITLE
    assert "\n" not in known.TITLE
    for settings in known.PRESETS.values():
        assert json.loads(json.dumps(settings)) == settings
        assert set(known.CELLS) < set(settings)
        assert set(settings) == set(known.PRESETS["seconds"])
        assert settings["seeds"] >= 3
        known.check(settings)


@pytest.mark.parametrize(("preset", "most"), [("seconds", 30), ("minutes", 600)])
def test_presets_take_no_longer_than_they_are_called(preset: str, most: float) -> None:
    total = 0.0
    for name, known in EXPERIMENTS.items():
        settings = known.PRESETS[preset]
        each = [known.seconds(settings, {**cell, "seed": 0}) for cell in cells(name, settings)]
        assert min(each) > 0
        total += sum(each) * settings["seeds"]
    assert total <= most


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_rows_are_those_of_the_table(experiment: str) -> None:
    """The last cell: of a transformer, of low rank, of features; twice the same."""
    settings = EXPERIMENTS[experiment].PRESETS["seconds"]
    cell = {**cells(experiment, settings)[-1], "seed": 1}
    rows = run(experiment, cell)
    columns = {
        name: column for name, column in ICL_COLUMNS[experiment].items() if name not in ("seed", "seconds")
    }
    for row in rows:
        assert set(row) == set(columns)
        for name in set(row) & set(cell):
            assert row[name] == cell[name]
        for name, one in columns.items():
            assert one.nullable or row[name] is not None, name
    pa.Table.from_pylist(rows, schema=schema_of(columns))
    assert json.dumps(run(experiment, cell)) == json.dumps(rows)


@pytest.mark.parametrize(
    ("experiment", "settings", "told"),
    [
        ("phase_map", {"tasks": [0]}, "tasks must be a whole number of at least 1, got 0"),
        ("phase_map", {"prompt_lengths": [0]}, "prompt_lengths must be a whole number of at least 1"),
        ("phase_map", {"prompt_lengths": []}, "prompt_lengths is an empty list"),
        ("phase_map", {"regularization": [-0.1]}, "regularization must be finite and not negative, got -0.1"),
        ("phase_map", {"dimensions": [3000]}, "dimension 3000 would take .* GB, and .* GB are free"),
        ("emergence", {"inverse_temperature": -1.0}, "inverse_temperature must be positive and finite"),
        ("emergence", {"regularization": [0.0]}, "regularization must be positive here, got 0"),
        ("emergence", {"replicas": 1}, "replicas must be at least 2"),
        ("amp", {"regularization": [0.0]}, "regularization must be positive here, got 0"),
        ("amp", {"damping": 1.0}, "damping must be at least 0 and below 1"),
        ("landscape", {"samples": 10**12}, "samples: .* would take"),
        ("correlated", {"correlated": "labels"}, "correlated must be of tokens, coordinates, got labels"),
        ("correlated", {"correlations": [1.5]}, "correlations must lie between 0 and 1, got 1.5"),
        ("coupling_spectrum", {"kinds": ["words"]}, "kinds must be of tokens, features, got words"),
        ("coupling_spectrum", {"token_ratios": [10**9]}, "token_ratios: prompts of 50000000000 tokens would"),
        ("diversity", {"teachers": ["kind"]}, "teachers must be of dense, sparse, low_rank, got kind"),
        ("diversity", {"teacher_size": 9}, "teacher_size must be at most the dimension, 8, got 9"),
        ("diversity", {"tasks": [500]}, "at most the number of tasks, 500, .* got 1000: give more tasks, or"),
        ("couplings", {"dimensions": [1]}, "dimensions must be at least 2"),
        ("architectures", {"models": ["rnn"]}, "models must be of ground_state, .*, got rnn"),
        ("architectures", {"heads": 3}, "width must be a multiple of heads, 3, got 16"),
        ("architectures", {"tasks": [10**12]}, "tasks: 1000000000000 prompts would take"),
    ],
)
def test_settings_that_cannot_be_are_named(experiment: str, settings: Row, told: str) -> None:
    known = EXPERIMENTS[experiment]
    with pytest.raises(ValueError, match=told):
        known.check({**known.PRESETS["seconds"], **settings})


def test_fields_grow_as_if_drawn_anew() -> None:
    tasks = sg.make_tasks(tasks=1, dimension=4, prompt_length=6, draw="statistics")
    counts = [1, 5, 64, 65, 200]
    grown = list(growing_fields(tasks, counts))
    assert [form.tasks for form in grown] == counts
    for form in grown:
        whole = sg.fields(tasks.first(form.tasks))
        np.testing.assert_allclose(form.gram, whole.gram, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(form.field, whole.field, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dimension", [1, 3, 20])
def test_grids_of_tasks_hold_the_peak_and_twice_it(dimension: int) -> None:
    spins = dimension * (dimension + 1)
    counts = around_peak(dimension)
    assert {spins, 2 * spins} <= set(counts)
    for before, after in pairwise([count for count in counts if count >= 0.5 * spins]):
        assert after <= max(1.05 * before, before + 1)


def test_the_loss_peaks_where_the_ground_state_becomes_unique() -> None:
    """D = 8 over three seeds: the peak is at D(D+1), at least five times the loss at twice as many tasks, and
    gone with regularization, which makes the loss fall over it and on."""
    rows = [
        row
        for seed in range(3)
        for row in run("phase_map", {"dimension": 8, "prompt_length": 100, "seed": seed})
    ]
    plain = mean_over([row for row in rows if row["regularization"] == 0], "loss", "tasks")
    counts = sorted(plain)
    highest = counts.index(max(plain, key=lambda count: plain[count]))
    assert abs(highest - counts.index(72)) <= 1
    assert plain[counts[highest]] >= 5 * plain[144]
    held = mean_over([row for row in rows if row["regularization"] == 0.01], "loss", "tasks")
    over = [held[count] for count in counts if 36 <= count <= 144]
    assert all(after < 1.02 * before for before, after in pairwise(over))
    assert max(over) == over[0]


def test_the_paper_s_phase_map_has_its_peak_too() -> None:
    """D = 20: one seed, N = 100; regularization .01 takes the peak away (Fig. S1)."""
    rows = run("phase_map", {"dimension": 20, "prompt_length": 100, "seed": 3}, "minutes")
    plain = mean_over([row for row in rows if row["regularization"] == 0], "loss", "tasks")
    counts = sorted(plain)
    highest = counts.index(max(plain, key=lambda count: plain[count]))
    assert abs(highest - counts.index(420)) <= 1
    assert max(plain.values()) >= 5 * plain[840]
    assert plain[840] == pytest.approx(0.39, abs=0.04)
    held = mean_over([row for row in rows if row["regularization"] == 0.01], "loss", "tasks")
    assert all(after < 1.02 * before for before, after in pairwise([held[count] for count in counts]))
    assert all(row["best_loss"] == pytest.approx(21 / 121) for row in rows)
    assert all(
        row["training_loss"] < 1e-6 for row in rows if row["tasks"] < 420 and not row["regularization"]
    )


def test_zero_modes_are_those_of_the_formula() -> None:
    """Fig. S7's D = 10 and 20 (papers' ratios), and that uniqueness does not depend on the prompt length."""
    published = {(10, 25): 0.7934, (10, 100): 0.1736, (10, 200): 0.0909, (20, 100): 0.7732, (20, 500): 0.0476}
    for dimension, length in ((10, 100), (20, 100), (10, 1)):
        counts = [count for size, count in published if size == dimension]
        for row in run(
            "emergence", {"dimension": dimension, "prompt_length": length, "seed": 4}, tasks=[*counts]
        ):
            assert row["zero_mode_ratio"] == row["expected_ratio"]
            assert row["zero_mode_ratio"] == pytest.approx(published[dimension, row["tasks"]], abs=5e-5)
            assert row["unique"] == (row["tasks"] >= dimension * (dimension + 1))


def test_the_spread_of_replicas_bends_where_the_ground_state_becomes_unique() -> None:
    """Within one grid point, for any prompt length, exact and sampled; replicas agree beyond."""
    for length, seed in product((2, 100), range(2)):
        rows = run("emergence", {"dimension": 10, "prompt_length": length, "seed": seed}, "minutes")
        counts = [row["tasks"] for row in rows]
        around = counts.index(110)
        for spread in ("spread", "spread_sampled"):
            where = sg.bend(counts, [row[spread] for row in rows])
            assert counts[around - 1] <= where <= counts[around + 1]
            if spread == "spread":
                assert {row["bend"] for row in rows} == {where}
        for row in rows:
            # 20 replicas of at least some effective directions: five standard errors.
            free = max(row["zero_modes"] - 11, 5)
            assert row["spread_sampled"] == pytest.approx(row["spread"], rel=5 * np.sqrt(2 / (20 * free)))
        if length == 100:
            # Of one basin replicas find the same weights, of many different ones.
            assert all(row["overlap"] < 0.2 for row in rows if row["tasks"] <= 64)
            assert all(row["overlap"] > 0.8 for row in rows if row["tasks"] >= 220)


def test_message_passing_is_the_ground_state_where_it_converges() -> None:
    """With the Onsager term to 1e-5, and not without; few tasks diverge, and say so."""
    rows = run("amp", {"dimension": 6, "prompt_length": 100, "seed": 2})
    for row in rows:
        assert row["converged"] == (row["reason"] == "")
        assert not (row["converged"] and row["diverged"])
        assert (row["mean_error"] is None) == (not row["converged"])
        assert len(row["changes"]) == row["steps"]
        if row["converged"] and row["onsager"]:
            assert row["mean_error"] < 1e-5
            assert row["loss"] == pytest.approx(row["ridge_loss"], rel=1e-4)
        if row["converged"] and not row["onsager"]:
            assert row["mean_error"] > 1e-4
    assert all(row["diverged"] for row in rows if row["tasks"] <= 42 and row["regularization"] <= 0.1)
    assert all(row["converged"] for row in rows if row["tasks"] >= 1344)
    # Divergence is lost with regularization, for the same tasks.
    few = {row["regularization"]: row["converged"] for row in rows if row["tasks"] == 84 and row["onsager"]}
    assert not few[0.001]
    assert few[1.0]
    assert list(few.values()) == sorted(few.values())
    most = [row for row in rows if row["tasks"] == 5376 and row["onsager"]]
    assert all(row["variance_error"] < 3e-3 for row in most)


def test_replicas_of_few_tasks_come_to_rest_apart_of_many_in_one_point() -> None:
    """Fig. 3 without regularization: equal energies at P = 10, far apart; at P = 1000 one basin."""
    rows = run("landscape", {"dimension": 10, "prompt_length": 50, "seed": 5})
    few, many = (
        next(row for row in rows if row["tasks"] == tasks and row["regularization"] == 0)
        for tasks in (10, 1000)
    )
    assert few["zero_modes"] == 111
    assert many["zero_modes"] == 11
    for row in (few, many):
        np.testing.assert_allclose(row["relaxed_energy"], row["ground_energy"], atol=1e-9)
        assert min(row["energy"]) > row["ground_energy"]
        grid = np.array(row["grid"]).reshape(len(row["axes_y"]), len(row["axes_x"]))
        assert grid.min() == pytest.approx(row["ground_energy"], abs=1e-9)
    assert few["relaxed_distance"] == pytest.approx(np.sqrt(100 / 110), abs=0.05)
    assert many["relaxed_distance"] < 1e-6
    assert few["relaxed_overlap"] < 0.3
    assert many["relaxed_overlap"] == pytest.approx(1, abs=1e-9)


# By N: published test losses of message passing without the Onsager term and of training, means of 50 repeats
# with 1000 test tasks, and the standard deviation of one: told for 20 and 200, in between for 100.
PUBLISHED = {20: (0.5343, 0.5364, 0.03), 100: (0.1923, 0.1885, 0.01), 200: (0.1128, 0.1057, 0.005)}


def test_training_is_the_ground_state_of_half_its_weight_decay() -> None:
    """Fig. 4b at its own settings (D = 20, P = 10000, 5000 epochs): the published losses within three of
    their standard errors; Adam within 1e-4 of the exact ground state."""
    for length, (passing, trained, deviation) in PUBLISHED.items():
        rows = [
            row
            for seed in range(2)
            for row in run(
                "amp_vs_training",
                {"dimension": 20, "prompt_length": length, "tasks": 10000, "seed": seed},
                "minutes",
            )
        ]
        assert {row["reason"] for row in rows} == {""}
        loss = mean_over(rows, "loss", "solver", "regularization")
        margin = 3 * deviation / np.sqrt(50)
        assert loss["amp_without_onsager", 0.01] == pytest.approx(passing, abs=margin)
        assert loss["adam", 0.005] == pytest.approx(trained, abs=margin)
        assert loss["adam", 0.005] == pytest.approx(loss["ground_state", 0.005], abs=1e-4)
        assert loss["amp", 0.01] == pytest.approx(loss["ground_state", 0.01], abs=1e-5)
        assert loss["population", 0.0] == pytest.approx(21 / (length + 21))


def of_correlation(correlation: float, **settings: Any) -> Row:
    cell = {"dimension": 20, "prompt_length": 200, "tasks": 10000, "correlation": correlation, "seed": 0}
    rows = run("correlated", cell, "minutes", epochs=500, learning_rate=0.01, **settings)
    return {(row["solver"], row["regularization"]): row for row in rows}


def test_correlation_of_tokens_makes_the_loss_rise_and_then_fall() -> None:
    """Fig. S4, at its sizes. Message passing and training agree within a few percent where the former
    converges; from a correlation between .2 and .25 on it diverges, and says so."""
    found = {correlation: of_correlation(correlation) for correlation in (0.05, 0.2, 0.5, 0.95)}
    loss = {correlation: solved["ground_state", 0.01]["loss"] for correlation, solved in found.items()}
    assert loss[0.05] < loss[0.2] > loss[0.5] > loss[0.95]
    assert loss[0.95] < 0.15
    for correlation, solved in found.items():
        passing, trained = solved["amp", 0.01], solved["adam", 0.005]["loss"]
        assert trained == pytest.approx(solved["ground_state", 0.005]["loss"], rel=0.02)
        assert passing["correlated"] == "tokens"
        if correlation > 0.2:
            assert passing["loss"] is None
            assert (
                "couplings that stay strong with any number of tasks (correlated tokens" in passing["reason"]
            )
            continue
        assert passing["converged"]
        assert passing["loss"] == pytest.approx(loss[correlation], abs=1e-5)
        assert passing["loss"] == pytest.approx(trained, rel=0.06)


def test_correlation_of_coordinates_leaves_nearly_no_loss() -> None:
    """One direction holds nearly all of the variance, and a prompt shows it."""
    loss = {
        correlation: of_correlation(correlation, correlated="coordinates")["ground_state", 0.01]["loss"]
        for correlation in (0.05, 0.95)
    }
    assert loss[0.95] < 0.07 < loss[0.05]


def test_tokens_follow_the_marchenko_pastur_law_features_do_not() -> None:
    """Fig. S5: at the stated rate of 1 % 6 flagged of 120 have a probability below 2e-3. Of the features the
    label row stands above, D values of it."""
    flagged = 0
    for seed in range(40):
        for row in run("coupling_spectrum", {"kind": "tokens", "seed": seed}, token_ratios=[1, 2, 4]):
            assert len(row["values"]) == 50
            assert row["values"] == sorted(row["values"], reverse=True)
            assert row["label_outliers"] is None
            flagged += row["p_value"] <= 0.01
    assert flagged < 6
    for row in run("coupling_spectrum", {"kind": "features", "seed": 0}, tasks=[4200]):
        assert len(row["values"]) == 42
        assert row["n_above"] >= row["label_outliers"] == 6


def test_few_teachers_are_memorised_many_are_learnt_in_context() -> None:
    rows = [
        {**row, "seed": seed}
        for teacher, number, seed in product(("dense", "sparse", "low_rank"), (1, 1000), range(2))
        for row in run(
            "diversity",
            {
                "dimension": 8,
                "prompt_length": 40,
                "tasks": 1000,
                "teacher": teacher,
                "distinct_teachers": number,
                "seed": seed,
            },
        )
        if row["solver"] == "ground_state"
    ]
    seen, unseen, isotropic = (
        mean_over(rows, loss, "teacher", "distinct_teachers")
        for loss in ("loss_seen", "loss_unseen", "loss_isotropic")
    )
    for teacher in ("dense", "sparse", "low_rank"):
        assert seen[teacher, 1] < 0.1 * unseen[teacher, 1]
        assert seen[teacher, 1000] == pytest.approx(unseen[teacher, 1000], rel=0.1)
    # Weights for one subspace fail outside it; those for sparse teachers, whose directions are all, do not.
    assert isotropic["low_rank", 1000] > 5 * unseen["low_rank", 1000]
    assert isotropic["sparse", 1000] == pytest.approx(unseen["sparse", 1000], rel=0.1)
    for row in rows:
        form = sg.fields(_drawn(row))
        weights = sg.ground_state(form, regularization=0.005).weights
        assert row["distance_w11"] == pytest.approx(np.mean((weights[:8, :8] - np.eye(8)) ** 2))
        assert row["distance_w21"] == pytest.approx(np.mean(weights[8, :8] ** 2))
    label = mean_over(rows, "cross_task_w21", "distinct_teachers")
    assert label[1000] < 0.01 * label[1]


def _drawn(row: Mapping[str, Any]) -> sg.Tasks:
    return sg.make_tasks(
        **{name: row[name] for name in ("dimension", "prompt_length", "tasks", "teacher", "seed")},
        distinct_teachers=row["distinct_teachers"],
        teacher_size=None if row["teacher"] == "dense" else 2,
    )


def test_training_that_stops_too_early_says_so() -> None:
    sizes = {"dimension": 4, "prompt_length": 12, "tasks": 100, "seed": 0}
    for epochs, there in ((5, False), (600, True)):
        exact, trained = run(
            "diversity",
            {**sizes, "teacher": "dense", "distinct_teachers": 100},
            epochs=epochs,
            learning_rate=0.03,
            distinct_teachers=[100],
        )
        assert exact["converged"] is None
        assert trained["converged"] is there
        assert (trained["gradient"] <= 1e-3) is there
        (model,) = run("architectures", {**sizes, "model": "merged"}, epochs=epochs, learning_rate=0.03)
        assert model["converged"] is there
        assert (model["gradient"] <= 1e-3) is there


def test_models_and_ground_state_are_held_to_the_same_fresh_tasks() -> None:
    """Ten of them: what these add to both losses is gone from the ratio."""
    sizes = {"dimension": 4, "prompt_length": 12, "tasks": 100, "seed": 0}
    settings = {"epochs": 1000, "learning_rate": 0.03, "test_tasks": 10}
    (ground,) = run("architectures", {**sizes, "model": "ground_state"}, **settings)
    (merged,) = run("architectures", {**sizes, "model": "merged"}, **settings)
    assert ground["loss"] == ground["ground_loss"] == merged["ground_loss"]
    assert ground["loss_low"] < ground["loss"] < ground["loss_high"]
    assert merged["loss"] == pytest.approx(merged["ground_loss"], rel=1e-3)
    assert merged["ground_unique"]
    (few,) = run("architectures", {**sizes, "tasks": 10, "model": "ground_state"}, weight_decay=0.0)
    assert not few["ground_unique"]


def test_divergences_stand_beside_those_of_equal_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    from lmscope.spin_glass.experiments import couplings

    seeds: list[int] = []

    def watched(*, seed: int, **more: Any) -> sg.Tasks:
        seeds.append(seed)
        return sg.make_tasks(seed=seed, **more)

    monkeypatch.setattr(couplings, "make_tasks", watched)
    settings = {"prompt_lengths": [5, 50], "sets": 60}
    rows = run("couplings", {"dimension": 4, "tasks": 200, "seed": 0}, **settings)
    found = {(row["prompt_length"], row["block"]): row for row in rows}
    for block in "ABCDE":
        assert found[50, block]["divergence"] is found[50, block]["divergence_null"] is None
        # 60 sets twice, over at most a hundred bins, whose entries hang together.
        assert 0 < found[5, block]["divergence_null"] < 0.25
    assert found[5, "C"]["divergence"] > 5 * found[5, "C"]["divergence_null"]
    # Both lengths, and the first again, all with seeds of their own, which 32 bits do not hold.
    assert len(set(seeds)) == len(seeds) == 3 * 60
    assert max(seeds) > 2**60


def test_linear_attention_trains_to_the_ground_state_softmax_does_worse() -> None:
    """Fig. S8 at a small size, three seeds."""
    found: dict[str, list[float]] = {}
    ground = []
    for model, seed in product(("merged", "separate", "multi_head", "softmax"), range(3)):
        (row,) = run(
            "architectures",
            {"dimension": 6, "prompt_length": 30, "tasks": 600, "model": model, "seed": seed},
        )
        assert row["loss_low"] < row["loss"] < row["loss_high"]
        assert len(row["steps"]) == len(row["losses"]) == len(row["test_losses"])
        assert row["losses"][-1] < row["losses"][0]
        found.setdefault(model, []).append(row["loss"])
        ground.append(row["ground_loss"])
    for model in ("merged", "separate", "multi_head"):
        assert np.mean(found[model]) == pytest.approx(np.mean(ground), rel=0.1)
    assert min(found["softmax"]) > 1.5 * max(ground)
