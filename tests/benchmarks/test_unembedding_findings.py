"""What the evidence of `unembedding` keeps, from records with planted figures."""

from __future__ import annotations

import json
import math
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lmscope.results.unembedding_columns import UNEMBEDDING_COLUMNS
from lmscope.runs.unembedding_summary import summarise_unembedding

FINDINGS = "unembedding_findings"

Row = dict[str, Any]


def row(table: str, **given: Any) -> Row:
    """A record whose other columns are null."""
    columns = UNEMBEDDING_COLUMNS[table]
    assert set(given) <= set(columns)
    return {**dict.fromkeys(columns), "checkpoint": "model", "series": "model", "reason": "", **given}


def steered(token: int, factor: float, error: float | None, **given: Any) -> Row:
    whole = {
        "token": token,
        "token_text": f"t{token}",
        "count": 10 + token,
        "allocation": "minimum_norm",
        "calibrated": True,
        "control": "",
        "together": False,
        "text": "held_out",
        "factor": factor,
        "log_error": error,
        "reason": "past saturation" if error is None else "",
    }
    if error is not None:
        realised = factor * math.exp(error)
        whole |= {
            "realised": realised,
            "realised_low": realised * 0.9,
            "realised_high": realised * 1.1,
            "before": 1e-4,
            "js": 1e-5 * (1 + token),
            "others": -1e-6,
            "others_worst": -1e-3 * token,
            "edit_norm": 0.5,
        }
    return row("steering", **{**whole, **given})


def test_steering_is_told_by_aim_and_by_factor(findings: ModuleType) -> None:
    near = [steered(token, factor, 0.01 * token) for token in range(21) for factor in (0.5, 2)]
    far = [steered(token, 20, -0.05 * token) for token in range(20)] + [steered(20, 20, None)]
    control = [steered(token, 2, -1.4, control="wrong_sign") for token in range(21)]
    found = findings.steering([*far, *control, *near], "minimum_norm", calibrated=True)
    tokens = {one["token"]: one for one in found["tokens"]}
    assert set(tokens) == set(range(21))
    assert tokens[20]["text"] == "t20"
    # Not that of the control.
    assert tokens[20]["realised"]["held_out"]["2"][0] == pytest.approx(2 * math.exp(0.2))
    assert tokens[20]["realised"]["held_out"]["20"] == [None, None, None]
    assert list(tokens[3]["realised"]["held_out"]) == ["0.5", "2", "20"]
    assert tokens[20]["before"] == {"held_out": 1e-4}

    aims = {(one["control"], one["factors"]): one for one in found["aims"]}
    assert set(aims) == {("", "from 0.5 to 2"), ("", "beyond"), ("wrong_sign", "from 0.5 to 2")}
    close = aims["", "from 0.5 to 2"]
    assert (close["tokens"], close["not_reached"], close["met"]) == (21, 0, True)
    assert close["median"] == pytest.approx(0.10)
    assert close["quartiles"] == pytest.approx([0.05, 0.15])
    assert close["share_within_aim"] == pytest.approx(16 / 21)
    low, high = close["median_interval"]
    # Order statistics of 21 tokens: the binomial interval of the median is the 6th to the 16th value.
    assert (low, high) == (pytest.approx(0.05, abs=0.011), pytest.approx(0.15, abs=0.011))
    # |ln 1.1| and |ln 0.9| bound the errors whose interval holds the factor.
    assert close["share_whose_interval_holds_the_factor"] == pytest.approx(11 / 21)

    beyond = aims["", "beyond"]
    assert (beyond["tokens"], beyond["not_reached"]) == (21, 1)
    assert beyond["reasons"] == {"past saturation": 1}
    assert beyond["median"] == pytest.approx(0.475)
    assert beyond["median_signed"] == pytest.approx(-0.475)
    assert not beyond["met"]
    # The token that could not be steered has not met its aim.
    assert beyond["share_within_aim"] == pytest.approx(9 / 21)
    assert not aims["wrong_sign", "from 0.5 to 2"]["met"]

    factors = {(one["control"], one["factor"]): one for one in found["factors"]}
    assert factors["", 20]["aim"] == 0.4
    assert factors["", 2]["aim"] == 0.15
    assert factors["", 2]["largest_js"] == pytest.approx(21e-5)
    assert factors["", 2]["others_worst"] == pytest.approx(-0.02)
    assert factors["", 0.5]["median_realised"] == pytest.approx(0.5 * math.exp(0.1))
    json.dumps(found, allow_nan=False)


def test_a_factor_that_no_token_reaches(findings: ModuleType) -> None:
    found = findings.steering([steered(token, 20, None) for token in range(3)], "minimum_norm", True)
    assert found["aims"][0]["median"] is None
    assert not found["aims"][0]["met"]
    assert found["factors"][0]["not_reached"] == 3
    json.dumps(found, allow_nan=False)


def test_what_is_refused_counts_on_every_text(findings: ModuleType) -> None:
    refused = [steered(token, 20, None, text="fit") for token in range(3)]
    done = [steered(token, 20, 0.1, text=text) for token in range(3, 10) for text in ("fit", "held_out")]
    told = findings.steering([*refused, *done], "minimum_norm", True)
    found = {one["text"]: one for one in told["aims"]}
    for text in ("fit", "held_out"):
        assert (found[text]["tokens"], found[text]["not_reached"]) == (10, 3)
        assert found[text]["share_within_aim"] == pytest.approx(0.7)


def test_the_interval_of_a_median_covers(findings: ModuleType) -> None:
    """Tokens with factors of like errors: drawing tokens covers, drawing every error by itself would not."""
    generator = np.random.default_rng(5)
    trials = 120
    covered = dependent = 0
    for trial in range(trials):
        values = np.repeat(generator.exponential(size=(40, 1)), 4, axis=1)
        _, low, high = findings.median_interval(values, trial)
        covered += low <= math.log(2) <= high
        _, low, high = findings.median_interval(values.reshape(-1, 1), trial)
        dependent += low <= math.log(2) <= high
    assert 0.90 <= covered / trials <= 0.99
    assert dependent / trials < 0.8


def test_fits_stand_beside_their_controls(findings: ModuleType) -> None:
    shared = {"target": "probability", "scope": "all", "tokens": 1000, "dimensions": 8}
    rows = [
        row("encoding", **shared, control="", draw=0, r2=0.9, adjusted_r2=0.89, cosine=0.95),
        *(
            row(
                "encoding",
                **shared,
                control="shuffled",
                draw=draw,
                r2=0.01 * draw,
                adjusted_r2=0.02 * draw - 0.01,
            )
            for draw in range(3)
        ),
        row("encoding", **shared, control="untrained", draw=0, reason="no fit"),
    ]
    own, shuffled, untrained = findings.encoding(rows)
    assert (own["r2"], own["cosine"], own["draws"]) == (0.9, 0.95, 1)
    assert shuffled["draws"] == 3
    assert shuffled["adjusted_r2"] == pytest.approx(0.01)
    assert shuffled["adjusted_r2_of_draws"] == pytest.approx([-0.01, 0.03])
    assert (untrained["r2"], untrained["adjusted_r2_of_draws"], untrained["reason"]) == (None, None, "no fit")

    sizes = [
        row("vocabulary_size", size=size, draw=draw, r2=0.5, adjusted_r2=size / 1000 + draw / 100, cosine=0.9)
        for size in (400, 100)
        for draw in (0, 1)
    ]
    assert [one["size"] for one in findings.sizes(sizes)] == [100, 400]
    assert findings.sizes(sizes)[0]["adjusted_r2"] == pytest.approx(0.105)

    slope = row(
        "slope", basis="coordinates", contribution=[3.0, 0.0, 1.0], participation=1.2, gini=0.5, ninety=1
    )
    assert findings.sparsity([slope])["coordinates"] == {
        "dimensions": 3,
        "participation": 1.2,
        "gini": 0.5,
        "ninety": 1,
        "largest_share": pytest.approx(0.9),
    }


def removed(order: str, share: float, js: float, draw: int = 0) -> Row:
    return row(
        "removal",
        order=order,
        draw=draw,
        share=share,
        dimensions=round(64 * share),
        fill="zero",
        js=js,
        js_low=js * 0.9,
        js_high=js * 1.1,
        kl=4 * js,
        loss=3 + math.log(1 + js),
        baseline_loss=3.0,
        same_top=1 - js,
        positions=512,
    )


def test_removal_says_what_can_go(findings: ModuleType) -> None:
    rows = [
        *(
            removed("least", share, js)
            for share, js in ((0.3, 0.02), (0.1, 0.002), (0.2, 0.009), (0.4, 0.008))
        ),
        *(removed("random", 0.1, js, draw) for draw, js in enumerate((0.005, 0.012))),
        removed("most", 0.1, 0.3),
    ]
    found = findings.removal(rows)
    least = found["least"]
    assert [point["share"] for point in least["curve"]] == [0.1, 0.2, 0.3, 0.4]
    # Behind a point beyond the limit the curve does not count, even where it falls again.
    assert least["largest_share_within"] == {"0.01": 0.2}
    assert least["curve"][0]["js_interval"] == pytest.approx([0.0018, 0.0022])
    assert least["curve"][0]["perplexity_ratio"] == pytest.approx(1.002)
    # Every draw has to be within it.
    assert found["random"]["largest_share_within"] == {"0.01": 0.0}
    assert found["random"]["curve"][0]["js_of_draws"] == [0.005, 0.012]
    assert found["random"]["curve"][0]["js_interval"] is None
    assert found["random"]["draws"] == 2
    assert found["most"]["largest_share_within"] == {"0.01": 0.0}

    mask = row(
        "mask", fill="zero", limit=0.01, share=0.2, dimensions_removed=13, js=0.009, file="mask.safetensors"
    )
    assert findings.masks([mask])[0]["dimensions_removed"] == 13
    continued = row("generations", kind="least", share=0.2, examples=["one", "two"], same_tokens=0.75)
    assert findings.generations([continued])[0]["example"] == "one"
    head = row("heads", vocabulary=1000, final_norm_gain=[1.0] * 8)
    assert findings.heads([head])[0]["vocabulary"] == 1000
    json.dumps([found, findings.generations([continued]), findings.heads([head])], allow_nan=False)


def training(series: str, r2_at: float, loss_at: float) -> list[Row]:
    """R2 and loss go their way in one jump between two steps, of which 90 % is at the given step."""
    steps = [0, 1, 3, 7, 15, 31, 63]

    def curve(at: float) -> list[float]:
        logs = [math.log2(step + 1) - math.log2(at + 1) for step in steps]
        return [min(1.0, max(0.0, 0.9 + log)) for log in logs]

    return [
        row(
            "dynamics",
            series=series,
            step=step,
            frequency_r2=0.8 * r2,
            frequency_adjusted_r2=0.7 * r2,
            loss=7 - 3 * loss,
        )
        for step, r2, loss in zip(steps, curve(r2_at), curve(loss_at), strict=True)
    ]


def test_dynamics_over_seeds(findings: ModuleType) -> None:
    def told(rows: list[Row]) -> Row:
        tables = {name: pa.table({}) for name in UNEMBEDDING_COLUMNS}
        summary = summarise_unembedding({**tables, "dynamics": pa.Table.from_pylist(rows)}, {})
        found: Row = findings.dynamics(rows, summary.courses, summary.apart)
        json.dumps(found, allow_nan=False)
        return found

    rows = [*training("one", 3, 15), *training("two", 3, 31), *training("three", 7, 31)]
    found = told(rows)
    assert [one["series"] for one in found["trainings"]] == ["one", "two", "three"]
    for name, steps in (("r2_step", [3, 3, 7]), ("loss_step", [15, 31, 31])):
        of = [one[name] for one in found["trainings"]]
        assert [one["step"] for one in of] == pytest.approx(steps)
        assert all(one["after"] <= one["step"] <= one["by"] for one in of)
    assert [step["loss"] for step in found["trainings"][1]["steps"]] == [row["loss"] for row in rows[7:14]]
    apart = found["loss_after_r2"]
    assert apart["trainings"] == 3
    # log2 of 16 / 4, 32 / 4 and 32 / 8; each step lies between checkpoints that are a doubling apart.
    assert apart["doublings"] == pytest.approx(7 / 3)
    half = 4.30265 / 3
    assert apart["low"] < 7 / 3 - half < 7 / 3 + half < apart["high"]
    assert apart["most"] - apart["least"] == pytest.approx(2)

    alone = told(training("one", 3, 15))["loss_after_r2"]
    assert (alone["doublings"], alone["low"], alone["order"]) == (pytest.approx(2), None, "later")
    assert told([{**one, "frequency_adjusted_r2": None} for one in rows])["loss_after_r2"] is None
