"""The sections of `unembedding`: what they show, in a browser too."""

from __future__ import annotations

import csv
import inspect
import io
import json
import math
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects
import pytest

import lmscope
from lmscope.analyses.training_dynamics import reached
from lmscope.report import Records, build
from lmscope.report.density import density
from lmscope.report.dynamics_rows import dynamics_sentences
from lmscope.report.encoding_fits import fits, said
from lmscope.report.page import state_files
from lmscope.report.plots import as_plotly, figures_of, plot
from lmscope.report.removable_set import check_sentence
from lmscope.report.sections import section_of
from lmscope.report.steering_rows import factor_words
from lmscope.report.unembedding_claims import untrained_claim
from lmscope.report.unembedding_rows import checkpoints, series
from lmscope.report.unembedding_words import unembedding_sentences
from lmscope.runs.unembedding import unembedding

from ..browsing import Watched
from ..synthetic_unembedding import DIMENSIONS, FACTORS, STEPS, VOCABULARY, write_unembedding_run

KEYS = ["encoding", "vocabulary_size", "slope", "steering", "removal"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_unembedding_run(tmp_path_factory.mktemp("unembedding") / "plain")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trainings of six steps, both ways of removal, a limit that nothing keeps."""
    folder = tmp_path_factory.mktemp("unembedding") / "trained"
    return write_unembedding_run(
        folder,
        models=("seed-0", "seed-1"),
        steps=STEPS,
        tokens=3,
        fills=("zero", "mean"),
        limit=1e-9,
        softcap=30.0,
    )


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fit alone."""
    folder = tmp_path_factory.mktemp("unembedding") / "bare"
    return write_unembedding_run(folder, steering=False, removal=False, generations=False, controls=False)


def rows_of(folder: Path, table: str, **wanted: Any) -> list[dict[str, Any]]:
    rows = lmscope.open_run(folder).table(table).to_pylist()
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_every_state_of_every_figure_is_a_plotly_figure(plain: Path, trained: Path) -> None:
    # Views x texts x calibrations x allocations of the steering, and so on; of two checkpoints twice.
    expected = {"encoding": 3, "vocabulary_size": 3, "slope": 2, "steering": 2 * 3 * 2 * 2, "removal": 4}
    for folder, times in ((plain, 1), (trained, 2)):
        figures = figures_of(Records(folder))
        wanted = {key: times * number for key, number in expected.items()}
        if folder == trained:
            wanted |= {"removal": 2 * 2 * 4, "dynamics": 1 + 8}
        assert {key: len(figure.states) for key, figure in figures.items()} == wanted
        for figure in figures.values():
            assert len(set(state_files(figure).values())) == len(figure.states)
            for key in figure.states:
                variant = figure.variant(key)
                assert len(variant.data) == len(figure.data)
                plotly.graph_objects.Figure(as_plotly("model", figure, key))
                json.dumps(vars(variant), allow_nan=False)


def test_sections_without_records_are_not_there(bare: Path, plain: Path) -> None:
    assert list(figures_of(Records(bare))) == KEYS[:3]
    assert list(figures_of(Records(plain))) == KEYS
    page = build(bare).read_text(encoding="utf-8")
    for key in ("steering", "removal", "dynamics"):
        assert f'id="section-{key}"' not in page
    assert "Shuffled rows" in page  # the column stands, with dashes
    assert "No spectra have been computed" not in page


def test_every_token_is_in_the_grid(plain: Path) -> None:
    (values,) = rows_of(plain, "token_values")
    for view, x, y in (
        ("fitted", values["log_probability"], values["fitted"]),
        ("concentration", values["log_probability"], values["logit_sd"]),
        (
            "residual",
            np.log10(1 + np.array(values["count"])),
            np.subtract(values["log_probability"], values["fitted"]),
        ),
    ):
        chart = plot(Records(plain), "encoding", f"{view}:0").data[0]
        counts = np.array(chart.customdata)
        assert counts.sum() == VOCABULARY
        np.testing.assert_allclose(np.asarray(chart.z)[counts > 0], np.log10(counts[counts > 0]), rtol=1e-6)
        assert np.isnan(np.asarray(chart.z)[counts == 0]).all()
        # One token's cell, at both ends of each axis.
        for values_of, start, step in ((x, chart.x0, chart.dx), (y, chart.y0, chart.dy)):
            assert start - step / 2 <= min(values_of) + 1e-6
            assert start + (len(counts) - 0.5) * step >= max(values_of) - 1e-6
    lines = figures_of(Records(plain))["encoding"].variant("fitted:0").parts[0]
    assert sum(lines[3]) == VOCABULARY
    assert len(lines[1]) == len(lines[2]) == len(lines[3])


def test_density_counts_finite_points_only() -> None:
    grid = density(np.array([0.0, 1.0, np.nan, 2.0]), np.array([5.0, np.inf, 1.0, 5.0]), square=True)
    assert grid.counts.sum() == 2
    assert grid.x == grid.y == (0.0, 5.0 / 96)
    assert grid.lines() == [[0.0, pytest.approx(38 * 5 / 96, rel=1e-4)], [pytest.approx(4.9479)] * 2, [1, 1]]
    alike = density(np.ones(3), np.arange(3.0))
    assert alike.x[0] == 0.5
    with pytest.raises(ValueError, match="none of the points is finite"):
        density(np.array([np.nan]), np.array([1.0]))


def test_a_quarter_million_tokens_stay_small() -> None:
    random = np.random.default_rng(0)
    actual = -12 + 2 * random.standard_normal(262144)
    grid = density(actual, actual + 0.4 * random.standard_normal(262144), square=True)
    assert grid.counts.sum() == 262144
    assert len(json.dumps([grid.trace(), grid.lines()])) < 150_000


def test_the_fits_stand_beside_their_controls(plain: Path, bare: Path) -> None:
    rows = rows_of(plain, "encoding", target="probability", scope="all")
    (fit,) = [row for row in rows if row["control"] == ""]
    shuffled = [row["adjusted_r2"] for row in rows if row["control"] == "shuffled"]
    assert len(shuffled) == 3
    assert abs(np.mean(shuffled)) < 0.02 < 0.9 < fit["adjusted_r2"]
    first, *others = fits(Records(plain).rows("encoding"))
    assert (first.name, first.row["r2"]) == ("all tokens", fit["r2"])
    assert first.shuffled == f"{min(shuffled):.2g} to {max(shuffled):.2g}"
    assert [one.untrained for one in others] == ["–"] * len(others)
    html = unescape(figures_of(Records(plain))["encoding"].variant("fitted:0").html)
    assert f"{fit['r2']:.4g}" in html
    assert "tokens without a count have no log frequency" in html
    assert all(one.shuffled == one.untrained == "–" for one in fits(Records(bare).rows("encoding")))


def test_an_identity_is_called_one_only_without_a_cap(plain: Path, trained: Path) -> None:
    found = fits(Records(plain).rows("encoding"))
    (linear,) = [one for one in found if one.row["target"] == "mean_log"]
    assert linear.row["r2"] == pytest.approx(1.0, abs=1e-12)
    assert "R² = 1 there is an identity" in " ".join(said(found, softcap=None))
    assert said(found, softcap=30.0) == []
    assert "is an identity" in figures_of(Records(plain))["encoding"].variant("fitted:0").html
    assert "is an identity" not in figures_of(Records(trained))["encoding"].variant("fitted:0").html


def test_a_ridge_is_told(plain: Path) -> None:
    rows = [dict(row) for row in Records(plain).rows("encoding")]
    rows[0]["ridge"] = 1e-6
    (told,) = said(fits(rows), softcap=30.0)
    assert told.startswith("1 fit had nearly dependent coordinates and took a ridge")


def test_the_tokens_missed_most_are_named(plain: Path) -> None:
    (values,) = rows_of(plain, "token_values")
    residual = np.subtract(values["log_probability"], values["fitted"])
    html = unescape(figures_of(Records(plain))["encoding"].variant("fitted:0").html)
    table = html.partition("misses most")[2]
    named = re.findall(r"<td>␣w<b>(\d+) \((\d+)\)<td", table)
    assert all(text == token for text, token in named)
    falling = np.argsort(-residual)
    assert [int(token) for _, token in named] == [*falling[:6], *falling[-6:]]


def test_sizes_are_the_records(plain: Path) -> None:
    rows = rows_of(plain, "vocabulary_size")
    chart = plot(Records(plain), "vocabulary_size", "adjusted_r2:0")
    assert list(chart.data[0].x) == [row["size"] for row in rows]
    assert list(chart.data[0].y) == [row["adjusted_r2"] for row in rows]
    small = [row["adjusted_r2"] for row in rows if row["size"] == 64]
    assert len(small) == 3
    assert chart.data[1].y[0] == pytest.approx(np.mean(small))
    assert list(chart.data[1].x) == sorted({row["size"] for row in rows})
    assert VOCABULARY in chart.layout.xaxis.tickvals


@pytest.mark.parametrize("basis", ["coordinates", "components"])
def test_the_slope_in_falling_order_beside_chance(plain: Path, basis: str) -> None:
    (row,) = rows_of(plain, "slope", basis=basis)
    contribution = np.array(row["contribution"])
    by_mean, chance, found, chance_share, even, share = plot(Records(plain), "slope", f"{basis}:0").data
    order = np.argsort(-contribution)
    np.testing.assert_allclose(np.asarray(found.y), contribution[order], rtol=1e-6)
    assert list(found.customdata) == list(order)
    expected = np.abs(np.multiply(row["mean_hidden"], row["spread"]))[order]
    np.testing.assert_allclose(np.asarray(by_mean.y), expected, rtol=1e-6)
    # The share passes 90 % at the record's count.
    ninety = row["ninety"]
    assert share.y[ninety - 1] >= 0.9 > (share.y[ninety - 2] if ninety > 1 else 0)
    squares = np.sum(np.asarray(chance.y, dtype=float) ** 2)
    assert squares == pytest.approx(np.sum(contribution**2), rel=1e-5)
    assert chance_share.y[ninety - 1] < 0.9
    assert (list(even.x), list(even.y)) == ([0, DIMENSIONS], [0, 1])


def test_the_chance_of_a_slope_is_a_gaussian_one() -> None:
    from lmscope.report.sections.slope import _gaussian

    drawn = np.random.default_rng(1).standard_normal((400, 640))
    sizes = np.sort(np.abs(drawn), axis=1)[:, ::-1]
    sizes /= np.sqrt(np.sum(sizes**2, axis=1, keepdims=True))
    np.testing.assert_allclose(_gaussian(np.full(640, 640**-0.5)), sizes.mean(axis=0), atol=0.004)


def test_steering_points_are_the_records(plain: Path) -> None:
    same = {"allocation": "minimum_norm", "calibrated": False, "text": "held_out"}
    rows = [row for row in rows_of(plain, "steering", control="", **same) if row["realised"] is not None]
    chart = plot(Records(plain), "steering", "realised:held_out:no:minimum_norm:0")
    line, points, medians, wrong, random = chart.data
    assert list(line.x) == list(line.y) == list(FACTORS)
    assert len(points.y) == len(rows) == 12 * len(FACTORS)
    known = {(row["factor"], row["token"]): row for row in rows}
    for asked, x in zip((facts[1] for facts in points.customdata), points.x, strict=True):
        factor = next(one for one in FACTORS if factor_words(one) == asked)
        assert abs(math.log(x / factor)) < 0.14
    realised = sorted(row["realised"] for row in known.values())
    np.testing.assert_allclose(sorted(points.y), realised, rtol=1e-4)
    for at, factor in enumerate(FACTORS):
        of = [row["realised"] for row in rows if row["factor"] == factor]
        low, middle, high = np.quantile(of, [0.25, 0.5, 0.75])
        assert medians.y[at] == pytest.approx(middle, rel=1e-4)
        assert medians.y[at] - medians.error_y.arrayminus[at] == pytest.approx(low, rel=1e-3)
        assert medians.y[at] + medians.error_y.array[at] == pytest.approx(high, rel=1e-3)
    # The controls fail: the wrong sign does the contrary, a random direction hardly anything of it.
    np.testing.assert_allclose(np.multiply(wrong.y, FACTORS), 1.0, rtol=0.4)
    assert max(abs(np.log(random.y))) < 1.5
    assert all("<b>" not in facts[0] for facts in points.customdata)


def test_steering_says_whose_controls_and_what_was_refused(plain: Path) -> None:
    figure = figures_of(Records(plain))["steering"]
    assert figure.first == "realised:held_out:yes:even:0"
    solved = unescape(figure.variant(figure.first).html)
    assert "The controls were run with steps by the fit alone only." in solved
    plainly = unescape(figure.variant("realised:fit:no:even:0").html)
    assert "The controls were run" not in plainly
    # One row of the first allocation and calibration was refused.
    refused = [row for row in rows_of(plain, "steering") if row["reason"]]
    assert {(row["allocation"], row["calibrated"]) for row in refused} == {("minimum_norm", True)}
    told = unescape(figure.variant("realised:fit:yes:minimum_norm:0").html)
    assert "1 of 73 factors could not be asked: a factor of 20 asks for a mean probability of 1.3" in told
    assert figure.absent.label == "Not measured"


def test_the_table_of_steering_counts_in_logarithms(plain: Path) -> None:
    rows = rows_of(
        plain, "steering", control="", allocation="even", calibrated=False, text="other", factor=20.0
    )
    error = float(np.median([abs(math.log(row["realised"] / 20)) for row in rows]))
    assert error == pytest.approx(float(np.median([abs(row["log_error"]) for row in rows])))
    html = figures_of(Records(plain))["steering"].variant("realised:other:no:even:0").html
    last = html.rpartition("× 20")[2]
    cells = re.findall(r'<td class="n">([^<\n]*)', last)
    assert cells[0] == "12"
    assert float(cells[3]) == pytest.approx(error, rel=0.06)
    assert float(cells[6]) == pytest.approx(math.log(20), rel=0.06)


def test_runs_without_controls_say_so(tmp_path: Path) -> None:
    folder = write_unembedding_run(
        tmp_path / "run", controls=False, tokens=1, texts=("fit",), removal=False, generations=False
    )
    figure = figures_of(Records(folder))["steering"]
    assert figure.first == "realised:fit:yes:even:0"
    variant = figure.variant(figure.first)
    assert "No controls were run" in variant.html
    assert [trace["visible"] for trace in variant.data[3:]] == [False, False]


def test_removal_curves_and_band(plain: Path) -> None:
    rows = rows_of(plain, "removal")
    low, high, mean, least, most, proposed = plot(Records(plain), "removal", "js:0").data
    for trace, order in ((least, "least"), (most, "most")):
        of = [row for row in rows if row["order"] == order]
        assert list(trace.y) == [row["js"] for row in of]
        assert trace.y[0] + trace.error_y.array[0] == pytest.approx(of[0]["js_high"])
    for at, share in enumerate(mean.x):
        drawn = [row["js"] for row in rows if (row["order"], row["share"]) == ("random", share)]
        assert len(drawn) == 3
        assert (low.y[at], high.y[at]) == (min(drawn), max(drawn))
        assert mean.y[at] == pytest.approx(np.mean(drawn))
    (mask,) = rows_of(plain, "mask")
    assert (proposed.x[0], proposed.y[0]) == (mask["share"], mask["js"])
    variant = figures_of(Records(plain))["removal"].variant("js:0")
    assert variant.layout["shapes"][0]["y0"] == mask["limit"]
    assert f"({mask['dimensions_removed']} of {DIMENSIONS}), least contribution first" in variant.html
    assert "On windows that it was not chosen on the divergence is" in variant.html
    assert "on other text the divergence is" in variant.html


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((0.008, 0.007, 0.009), "within the limit"),
        ((0.009, 0.007, 0.011), "not told apart from the limit"),
        ((0.02, 0.015, 0.03), "above the limit"),
        ((0.02, None, None), "above the limit, unproven"),
        ((0.008, None, None), "within the limit, unproven"),
    ],
)
def test_a_set_is_within_its_limit_only_where_the_interval_is(
    found: tuple[float | None, ...], said: str
) -> None:
    assert check_sentence(0.01, found, (None, None, None)).endswith(f": {said}.")


def test_removal_by_its_other_measures(plain: Path) -> None:
    rows = rows_of(plain, "removal")
    loss = plot(Records(plain), "removal", "loss:0")
    assert loss.layout.shapes[0].y0 == rows[0]["baseline_loss"]
    assert loss.layout.yaxis.type == "linear"
    top = plot(Records(plain), "removal", "same_top:0")
    assert list(top.data[3].y) == [row["same_top"] for row in rows if row["order"] == "least"]


def test_no_removable_set_is_told(trained: Path) -> None:
    figure = figures_of(Records(trained))["removal"]
    assert next(iter(figure.states.values())).startswith("Jensen–Shannon divergence, seed-0/step-01000: ")
    variant = figure.variant("js:0")
    assert "No set of coordinates, least contribution first, stays within" in variant.html
    assert variant.data[-1]["visible"] is False
    assert "set to their mean" in figure.states["js:1"]


def test_generations_are_words_not_markup(plain: Path) -> None:
    html = figures_of(Records(plain))["removal"].variant("js:0").html
    assert "&lt;i&gt;odd&lt;/i&gt; text" in html
    assert "<i>odd" not in html
    (of_token,) = rows_of(plain, "generations", kind="steered")
    named = f"␣w&lt;b&gt;{of_token['token']} ({of_token['token']}) × 5 (minimum norm)"
    assert html.index("untouched") < html.index(named)
    assert "without 20 % of the coordinates (least contribution)" in html
    assert "MAUVE: 8 continuations are too few." in html
    assert "the others are compared" not in html
    (steered,) = rows_of(plain, "generations", kind="steered")
    assert f"{100 * steered['token_share']:.0f} %" in html


def test_dynamics_go_from_the_first_to_the_last(trained: Path) -> None:
    records = Records(trained)
    trainings = series(records.rows("dynamics"))
    assert list(trainings) == ["seed-0", "seed-1"]
    rows = trainings["seed-0"]
    chart = plot(records, "dynamics", "progress")
    drawn = [trace for trace in chart.data if trace.visible]
    assert len(drawn) == 2 * 5 + 1
    for trace in drawn[:-1]:
        assert (trace.y[0], trace.y[-1]) == (0, 1)
        assert list(trace.x) == [step + 1 for step in STEPS]
    losses = [row["loss"] for row in rows]
    np.testing.assert_allclose(drawn[2].y, (np.array(losses) - losses[0]) / (losses[-1] - losses[0]))
    stars = drawn[-1]
    loss_at = reached(STEPS, losses)
    assert loss_at is not None
    assert (stars.x[2] - 1, stars.y[2]) == (pytest.approx(loss_at.step), pytest.approx(0.9))
    r2 = [row["frequency_adjusted_r2"] for row in rows]
    r2_at = reached(STEPS, r2, of="last")
    assert r2_at is not None
    made = (0.9 * r2[-1] - r2[0]) / (r2[-1] - r2[0])
    assert (stars.x[0] - 1, stars.y[0]) == (pytest.approx(r2_at.step), pytest.approx(made))
    by_itself = plot(records, "dynamics", "loss")
    lines = [trace for trace in by_itself.data if trace.visible]
    assert [trace.name for trace in lines[:2]] == ["seed-0", "seed-1"]
    assert list(lines[0].y) == losses
    assert lines[2].y[0] == pytest.approx(losses[0] + 0.9 * (losses[-1] - losses[0]))


def test_what_the_dynamics_say(trained: Path) -> None:
    trainings = series(Records(trained).rows("dynamics"))
    *each, apart = dynamics_sentences(trainings)
    assert [text.partition(":")[0] for text in each] == ["seed-0", "seed-1"]
    # Two trainings, and checkpoints more than a doubling apart, order nothing.
    assert apart.startswith("Whether R² of frequency had 90 % of its last value before the loss")
    assert "over 2 trainings and every place between the checkpoints" in apart
    one = dynamics_sentences({"seed-0": trainings["seed-0"]})
    assert one[-1].startswith(
        "R² of frequency had 90 % of its last value before the loss had 90 % of its drop"
    )
    assert "in one training; another seed may order them otherwise" in one[-1]
    flat = [{**row, "loss": 5.0} for row in trainings["seed-0"]]
    assert dynamics_sentences({"flat": flat}) == []


def test_steps_within_the_first_checkpoints_have_no_order() -> None:
    """Both cross between steps 0 and 50, wherever interpolation puts them."""
    steps, r2, loss = (0, 50, 100, 150), (0.0, 0.62, 0.64, 0.64), (9.0, 4.0, 3.7, 3.6)
    rows = [
        {"step": step, "frequency_adjusted_r2": one, "loss": other}
        for step, one, other in zip(steps, r2, loss, strict=True)
    ]
    trainings = {f"seed-{seed}": rows for seed in range(4)}
    *each, apart = dynamics_sentences(trainings)
    assert each[0] == (
        "seed-0: 90 % of the final adjusted R² of frequency at step ≤ 50, 90 % of the drop of the loss at "
        "step ≤ 50."
    )
    assert "is not known" in apart
    assert "no checkpoint lies between the two" in dynamics_sentences({"seed-0": rows})[-1]
    early = [{**row, "frequency_adjusted_r2": 0.6} for row in rows]
    assert "at or before the first checkpoint (step 0)" in dynamics_sentences({"seed-0": early})[0]


def test_only_the_last_step_is_shown_by_itself(trained: Path) -> None:
    records = Records(trained)
    assert [one.label for one in checkpoints(records, "heads")] == ["seed-0/step-01000", "seed-1/step-01000"]
    assert records.title == "seed-0/step-01000"
    assert section_of(records, "encoding").values["of"] == {
        "0": "seed-0/step-01000",
        "1": "seed-1/step-01000",
    }


def test_the_header_says_what_was_found(plain: Path, trained: Path) -> None:
    fit, steered, removed = unembedding_sentences(Records(plain))
    assert fit.startswith("A linear function of the output embedding's rows explains 99.9 % of the variance")
    assert "with shuffled rows and 0.957 in the untrained model)" in fit
    assert "The untrained model fits nearly as well (0.957): its own probabilities are nearly linear" in fit
    assert "4 of 32 coordinates and" in fit
    assert (
        "Steering of 12 tokens by factors from 0.05 to 20 (even, calibrated), measured on held-out" in steered
    )
    assert "(wrong sign 1.4 from 1/2 to 2 and" in steered
    assert ". Not calibrated: " in steered
    assert removed.startswith(
        "20 % of the coordinates (6 of 32), least contribution first, can be set to zero"
    )
    assert "on the held-out windows that the set was chosen on (" in removed
    assert ", upper end of its 95 % interval " in removed
    told = unembedding_sentences(Records(trained))
    assert all(text.startswith("In seed-0/step-01000: ") for text in told[:3])
    assert "no set of coordinates, least contribution first, stays within" in told[2]
    assert told[-1].startswith("Whether R² of frequency")
    head = unescape(build(plain).read_text(encoding="utf-8")).partition("<h1>")[2].partition("<section")[0]
    assert fit in head


def test_the_call_at_the_foot_is_one_of_the_verb(plain: Path) -> None:
    page = unescape(build(plain).read_text(encoding="utf-8"))
    code = page.partition("<pre><code>")[2].partition("</code>")[0]
    assert code.startswith("lmscope unembedding models/tiny-head --text 'more notes.txt' --split paragraph")
    assert "Settings of unembedding" in page
    assert "Settings of heads" not in page
    names = re.findall(r"^    (\w+)=", code.partition("# or from Python")[2], re.MULTILINE)
    assert {"text", "split", "positions", "seed", "out"} <= set(names)
    assert set(names) <= set(inspect.signature(unembedding).parameters)


def test_the_foot_says_which_steps_the_tables_are_of(trained: Path, plain: Path) -> None:
    page = unescape(build(trained).read_text(encoding="utf-8"))
    for name in ("seed-0", "seed-1"):
        told = f"{len(STEPS)} checkpoints, step-00000 to step-01000; tables are of the last"
        assert f"<dt>{name}</dt><dd>{told}</dd>" in page
    assert "tables are of the last" not in build(plain).read_text(encoding="utf-8")


def test_tables_name_their_text(plain: Path) -> None:
    names = {(one.target, one.name) for one in fits(Records(plain).rows("encoding"))}
    assert ("Log of the mean probability", "next tokens of the fitting text") in names
    assert ("Log frequency in the frequency text", "tokens that it lacks") in names
    html = unescape(figures_of(Records(plain))["encoding"].variant("fitted:0").html)
    assert "The frequency text is the whole text, with the part that is held out" in html
    assert "For the mean probability the untrained model is no null" in html


def test_the_untrained_model_has_one_rule() -> None:
    assert untrained_claim(1.0, 0.89) == untrained_claim(-0.1, 0.0) == untrained_claim(None, 0.9) == ""
    assert untrained_claim(1.0, 0.9).startswith("The untrained model fits nearly as well (0.9):")
    assert untrained_claim(0.944, 0.994).startswith("The untrained model fits as well (0.994):")


MakeRun = Callable[..., Path]


def test_a_run_without_unembedding_has_none_of_it(make_run: MakeRun) -> None:
    page = build(make_run(layers=1)).read_text(encoding="utf-8")
    for key in (*KEYS, "dynamics"):
        assert f'id="section-{key}"' not in page


def saved(watched: Watched, what: str) -> list[dict[str, str]]:
    with watched.page.expect_download() as download:
        watched.page.click(f"[data-save={what}]")
    text = Path(download.value.path()).read_bytes().decode("utf-8")
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.browser
def test_switches_and_data(trained: Path, watched: Watched) -> None:
    watched.open(build(trained))
    page = watched.page
    page.select_option("select[data-part=encoding] >> nth=0", "residual")
    page.select_option("select[data-part=encoding] >> nth=1", "1")
    assert watched.plot("encoding", "plot.layout.yaxis.title.text") == "actual - fitted (nats)"
    assert sum(int(line["tokens"]) for line in saved(watched, "encoding")) == VOCABULARY
    for place, value in enumerate(("js", "fit", "no", "minimum_norm", "1")):
        page.select_option(f"select[data-part=steering] >> nth={place}", value)
    lines = saved(watched, "steering")
    rows = rows_of(
        trained,
        "steering",
        checkpoint="seed-1/step-01000",
        control="",
        text="fit",
        calibrated=False,
        allocation="minimum_norm",
    )
    tokens = [line for line in lines if line["what"] == "token"]
    assert [int(line["token"]) for line in tokens] == [row["token"] for row in rows]
    np.testing.assert_allclose([float(one["value"]) for one in tokens], [r["js"] for r in rows], rtol=1e-4)
    assert {line["what"] for line in lines} >= {"wrong sign: median and quartiles", "median and quartiles"}
    page.select_option("select[data-part=removal] >> nth=0", "loss")
    page.select_option("select[data-part=removal] >> nth=1", "3")
    removed = saved(watched, "removal")
    assert len(removed) == len(rows_of(trained, "removal", checkpoint="seed-1/step-01000", fill="mean"))
    page.select_option("select[data-part=dynamics]", "loss")
    assert len(saved(watched, "dynamics")) == 2 * len(STEPS) + 2
    page.select_option("select[data-part=slope] >> nth=0", "components")
    ranks = [line for line in saved(watched, "slope") if line["what"] == "contribution"]
    assert [int(line["rank"]) for line in ranks] == list(range(1, DIMENSIONS + 1))
    page.focus("select[data-part=vocabulary_size] >> nth=0")
    page.keyboard.press("ArrowDown")
    assert watched.plot("vocabulary_size", "plot.layout.yaxis.title.text") == "R²"
    assert page.locator("main i").count() == page.locator("main b b").count() == 0
    assert watched.complaints == []
    assert watched.outside() == []


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1280, "light")])
def test_fits_the_window(trained: Path, watched: Watched, width: int, scheme: Any) -> None:
    watched.page.emulate_media(color_scheme=scheme)
    watched.page.set_viewport_size({"width": width, "height": 900})
    watched.open(build(trained))
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
    assert watched.complaints == []
