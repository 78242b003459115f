"""What `icl` says of its experiments: every one of them, and never more than the rows show."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import lmscope
from lmscope.results import ICL_ANALYSES, SCHEMAS
from lmscope.runs import icl_words
from lmscope.runs.icl_findings import FINDINGS
from lmscope.runs.icl_sentences import SENTENCES

Rows = list[dict[str, Any]]

SIZES = {"dimension": 4, "prompt_length": 12}


def said(experiment: str, rows: Rows) -> list[str]:
    return list(SENTENCES[experiment](list(FINDINGS[experiment](rows))))


def test_every_experiment_runs_fits_its_table_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = lmscope.icl(out=tmp_path / "run", dimension=4, seeds=1, progress=False)
    summary = run.icl()
    assert summary.failures == ()
    assert summary.findings.keys() == ICL_ANALYSES
    for name in ICL_ANALYSES:
        assert run.table(name).schema == SCHEMAS[name]
        assert run.table(name).num_rows > 0
    tables = list(icl_words.tables(summary))
    assert len(tables) == len(ICL_ANALYSES)
    for title, columns, rows in tables:
        assert title.endswith("1 seed)")
        assert rows
        assert all(len(row) == len(columns) for row in rows)
        # Of one seed there is no interval over seeds.
        assert not [cell for row in rows for cell in row if " to " in cell]
    assert "(a to b)" not in dict(icl_words.legend(summary))
    assert all(text.endswith(".") for text in icl_words.sentences(summary))


def phase_rows(losses: dict[int, Iterable[float]], regularization: float) -> Rows:
    shared = {**SIZES, "regularization": regularization, "best_loss": 0.3}
    return [
        {**shared, "tasks": tasks, "seed": seed, "loss": loss}
        for tasks, own in losses.items()
        for seed, loss in enumerate(own)
    ]


def test_a_peak_is_told_with_its_place_and_the_fall_behind_it() -> None:
    peaked = phase_rows({10: (1.0, 1.0), 20: (8.0, 18.0), 40: (0.8, 1.2)}, 0.0)
    flat = phase_rows({10: (1.0, 1.0), 20: (0.9, 0.9), 40: (0.5, 0.5)}, 0.01)
    no_peak, peak = sorted(said("phase_map", [*peaked, *flat]), key=lambda text: "no peak" not in text)
    assert no_peak == "λ₀ = 0.01: no peak: with more tasks the mean loss grows nowhere by more than 0 %."
    # sqrt(10 * 15) of the two seeds, whose ratios are 10 and 15; 12 = sqrt(8 * 18).
    assert (
        "D = 4: the mean loss is largest at P = 20; D(D+1) = 20; it is there at least 12.2 (0.932 to" in peak
    )
    assert "that at P = 40 (least at N = 12); with more tasks it grows by a factor of up to 12." in peak


def test_peaks_are_told_by_prompt_length_and_where_there_is_none() -> None:
    peaked = phase_rows({10: (1.0, 1.0), 20: (8.0, 18.0), 40: (0.8, 1.2)}, 0.0)
    earlier = phase_rows({10: (9.0, 9.0), 20: (1.0, 1.0), 40: (1.2, 1.2)}, 0.0)
    flat = phase_rows({10: (1.0, 1.0), 20: (0.9, 0.9), 40: (0.5, 0.5)}, 0.0)
    lengths = {12: peaked, 24: earlier, 48: flat}
    (told,) = said(
        "phase_map",
        [{**row, "prompt_length": length} for length, rows in lengths.items() for row in rows],
    )
    assert "the mean loss is largest at P = 10 (N = 24) and P = 20 (N = 12); D(D+1) = 20" in told
    assert told.endswith("; no peak at N = 48.")


def solved(solver: str, losses: Iterable[float | None]) -> Rows:
    rest = {"regularization": 0.005, "contrast": 0.9, "diagonal": 0.8}
    iterates = solver not in ("ground_state", "population")
    return [
        {
            **SIZES,
            "tasks": 100,
            "solver": solver,
            "seed": seed,
            "loss": loss,
            "converged": loss is not None if iterates else None,
            **rest,
        }
        for seed, loss in enumerate(losses)
    ]


def test_training_is_told_by_its_difference_seed_by_seed() -> None:
    rows = [
        *solved("ground_state", (0.2, 0.4, 0.6)),
        *solved("adam", (0.31, 0.5, 0.69)),
        *solved("amp", (0.2 + 1e-9, 0.4, 0.6)),
        *solved("amp_without_onsager", (None, None, None)),
    ]
    of = "minus that of the ground state of the same tasks: "
    assert said("amp_vs_training", rows) == [
        f"Loss of AMP {of}less than 1e-06 in size, of 1 setting.",
        "Loss of AMP without Onsager term: none, it came to no end in any run.",
        f"Loss of Adam {of}0.1 (0.0752 to 0.125) where it is largest, of 1 setting; the 95 % "
        "interval leaves out 0 in 1 of them.",
    ]
    wide = [*solved("ground_state", (0.2, 0.4)), *solved("adam", (0.1, 0.6))]
    (text,) = said("amp_vs_training", wide)
    assert text.endswith("leaves out 0 in 0 of them.")
    assert "leaves out" not in said("amp_vs_training", [row for row in wide if row["seed"] == 0])[0]


def test_the_terminal_has_the_means_of_the_page() -> None:
    rows = solved("ground_state", (0.01, 1.0, 4.0))
    (found,) = FINDINGS["amp_vs_training"](rows)
    loss = found.bands["loss"]
    assert loss is not None
    assert loss.low is not None
    assert loss.mean == pytest.approx(0.04 ** (1 / 3))
    assert loss.low > 0
    with_zero = [*rows, *({**row, "seed": 3, "loss": 0.0} for row in rows[:1])]
    (found,) = FINDINGS["amp_vs_training"](with_zero)
    loss = found.bands["loss"]
    assert loss is not None
    assert (loss.mean, loss.low, loss.seeds) == (0, None, 4)


def test_runs_of_training_without_an_end_are_told_of() -> None:
    rows = [
        *solved("ground_state", (0.2, 0.4)),
        *({**row, "converged": row["seed"] == 0} for row in solved("adam", (0.3, 0.6))),
    ]
    (text,) = said("amp_vs_training", rows)
    assert text.endswith("; Adam had not come to rest in 1 of 2 runs.")


def test_a_descent_before_the_regularization_acts_is_told_as_such() -> None:
    shared = {**SIZES, "seed": 0, "ground_energy": -0.3, "relaxed_distance": 0.5, "relaxed_overlap": 0.2}
    for level, modes in ((0.01, 15), (0.01, 5), (0.0, 15)):
        rows = [{**shared, "tasks": 100, "regularization": level, "zero_modes": modes}]
        (text,) = said("landscape", rows)
        assert ("stopped on the floor of the valley" in text) == (level > 0 and modes > 5)


def passed(onsager: bool, tasks: int, converged: bool) -> dict[str, Any]:
    return {
        **SIZES,
        "tasks": tasks,
        "regularization": 0.01,
        "onsager": onsager,
        "seed": 0,
        "converged": converged,
        "diverged": not converged,
        "mean_error": 1e-9 if converged else None,
        "variance_error": 1 / tasks if converged else None,
    }


def test_where_message_passing_diverges_is_told() -> None:
    rows = [
        passed(True, 10, False),
        passed(True, 100, True),
        passed(True, 1000, True),
        passed(False, 10, False),
    ]
    assert said("amp", rows) == [
        "Message passing with the Onsager term converges in 2 of 3 runs: means are up to 1.0e-09 off the "
        "exact ground state; at P = 1\u202f000, the most, 1.0e-09, and variances up to 0.1 % off the exact "
        "ones.",
        "Message passing without the Onsager term converges nowhere.",
        "It diverges for few tasks: with the most tasks at λ₀ = 0.01, P = 10 (D = 4, "
        "N = 12, with the Onsager term).",
    ]


def test_a_model_is_called_worse_only_where_its_interval_says_so() -> None:
    def rows(model: str, losses: Iterable[float], **more: Any) -> Rows:
        known = {"parameters": 25, "epochs": 30, "training_loss": 0.1, "ground_loss": 0.2}
        known |= {"ground_unique": True, "converged": True}
        return [
            {**SIZES, "tasks": 100, "model": model, "seed": seed, "loss": loss, **known, **more}
            for seed, loss in enumerate(losses)
        ]

    told = said(
        "architectures",
        [*rows("softmax", (0.5, 0.51, 0.52)), *rows("merged", (0.1, 0.2, 0.4)), *rows("full", (0.9,))],
    )
    begins = [text.partition(": ")[0] for text in told]
    assert begins == ["Softmax attention, P = 100 (30 passes in batches)", "Linear, merged weights, P = 100"]
    assert told[0].endswith(
        "the loss on unseen tasks is higher than the ground state's: 2.55 (2.43 to 2.68) times it."
    )
    assert "is not shown to differ from the ground state's" in told[1]
    (lower,) = said("architectures", rows("full", (0.1, 0.11, 0.12), converged=False))
    assert "is lower than the ground state's: 0.548 (" in lower
    assert lower.endswith(" times it; training had not come to rest in 3 of 3 runs.")
    (many,) = said("architectures", rows("merged", (0.5, 0.51, 0.52), ground_unique=False))
    assert "times that of the minimum-norm ground state, one of many here." in many
    assert "higher" not in many


def test_couplings_change_only_where_they_differ_by_more_than_chance() -> None:
    def rows(block: str, length: int, divergence: float | None, chance: float | None) -> Rows:
        known = {"kind": "field", "block": block, "dimension": 4, "prompt_length": length, "tasks": 100}
        rest = {"mean": 0.0, "sd": 0.1}
        return [
            {
                **known,
                **rest,
                "seed": seed,
                "divergence": None if divergence is None else divergence * (1 + 0.01 * seed),
                "divergence_null": None if chance is None else chance * (1 - 0.01 * seed),
            }
            for seed in range(3)
        ]

    told = said(
        "couplings",
        [
            *rows("A", 10, 0.03, 0.004),
            *rows("B", 10, 0.10, 0.101),
            *rows("A", 20, None, None),
            *rows("B", 20, None, None),
        ],
    )
    assert told == [
        "Fields and couplings, D = 4, P = 100, N = 10 against 20: block A differs by more than chance; of "
        "block B no change is shown."
    ]


def test_a_ground_state_that_is_never_unique_is_told() -> None:
    rows = [
        {
            **SIZES,
            "tasks": tasks,
            "regularization": 0.01,
            "seed": 0,
            "unique": False,
            "zero_mode_ratio": 1 - tasks / 25,
            "expected_ratio": 1 - tasks / 25,
            "bend": None,
            "spread": 1.0,
            "spread_sampled": 1.1,
        }
        for tasks in (5, 10)
    ]
    assert said("emergence", rows) == [
        "Zero modes: their share is exactly 1 - min(P, D(D+1)) / (D+1)², as of independent tasks.",
        "D = 4: the ground state is unique in every seed at no P looked at; D(D+1) = 20.",
    ]
