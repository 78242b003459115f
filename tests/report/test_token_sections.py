"""The sections of the token analyses: what they show, in a browser too."""

from __future__ import annotations

import csv
import io
import shlex
import subprocess
import sys
from html import unescape
from pathlib import Path

import numpy as np
import pytest

import lmscope
from lmscope.report import Records, build
from lmscope.report.plots import figures_of, plot
from lmscope.report.sections import entropy_law
from lmscope.report.token_positions import MOST_POSITIONS, shown_positions
from lmscope.report.token_text import alone, in_text
from lmscope.report.token_words import token_sentences

from ..browsing import Watched
from ..synthetic_tokens import KS, METHODS, write_tokens_run

SIZES = (120_000, 400_000, 1_200_000, 3_900_000)


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens_run(tmp_path_factory.mktemp("tokens") / "causal", sizes=SIZES)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without attention weights as well, and without the untrained twin."""
    folder = tmp_path_factory.mktemp("tokens") / "encoder"
    return write_tokens_run(folder, encoder=True, attention=False, twin=False)


def test_figures_hold_what_the_records_say(causal: Path) -> None:
    run, records = lmscope.open_run(causal), Records(causal)
    names = ["tokens", "selectors", "entropy", "entropy_law", "text_distances"]
    assert list(figures_of(records)) == names
    rows = run.table("positions").to_pylist()
    row = rows[7]
    key = f"{row['text']}-{row['window']}-{row['position']}"
    left, right = run.plot("tokens", key).data
    tokens = run.table("passages").to_pylist()[row["text"]]["tokens"]
    assert left.y[0] == f"{row['lasso_order'][0]} {alone(tokens[row['lasso_order'][0]])}"
    assert list(left.x) == pytest.approx([a / row["lasso_alphas"][0] for a in row["lasso_alphas"][:12]])
    before = np.array(row["attention"][:-1])
    assert list(right.x) == pytest.approx(np.sort(before)[:-13:-1])
    assert [int(name.split(" ")[0]) for name in right.y] == np.argsort(-before)[:12].tolist()

    for state, measure in (
        ("kl_all_layers:all", "kl_all_layers"),
        ("ridge_residual:spread", "ridge_residual"),
    ):
        chart = run.plot("selectors", state)
        lines = {trace.name: trace for trace in chart.data if trace.name and trace.visible}
        of = [r for r in run.table("selection").to_pylist() if r["method"] == "lasso"]
        means = [np.mean([r[measure] for r in of if r["k"] == k]) for k in KS]
        assert list(lines["Lasso"].x) == list(KS)
        assert list(lines["Lasso"].y) == pytest.approx(means)
        assert ("all but Lasso&#x27;s" in lines) is state.endswith("spread")
        assert len(lines) == (5 if state.endswith("spread") else len(METHODS) - 2)

    entropies = run.table("entropy").to_pylist()
    biggest = [row for row in entropies if row["parameters"] == SIZES[-1]]
    lines = {trace.name: trace for trace in run.plot("entropy", "normalized").data if trace.name}
    assert list(lines["prose-3900000"].y) == [row["normalized"] for row in biggest]
    assert lines["cap"].visible
    spread = [trace for trace in run.plot("entropy", "mean_diff_erank").data if trace.visible is not False]
    assert list(spread[-3].y) == [row["mean_diff_erank_low"] for row in biggest]
    assert list(spread[-1].y) == [row["mean_diff_erank"] for row in biggest]

    points, power, with_constant = run.plot("entropy_law").data
    last = {row["parameters"]: row for row in entropies if row["layer"] == row["layers"]}
    assert list(points.x) == list(SIZES)
    assert list(points.y) == [last[size]["normalized"] / last[size]["iid_normalized"] for size in SIZES]
    law = {row["form"]: row for row in run.table("entropy_law").to_pylist()}
    for curve, fit in ((power, law["power"]), (with_constant, law["power_offset"])):
        at = np.array(curve.x)
        assert list(curve.y) == pytest.approx(
            fit["coefficient"] * at ** fit["exponent"] + fit["offset"], rel=1e-5
        )

    (pair,) = [r for r in run.table("distances").to_pylist() if (r["text_x"], r["text_y"]) == (1, 3)]
    shown = run.plot("text_distances", "Log-determinant").data[0]
    assert shown.z[1][3] == shown.z[3][1] == pair["log_det"]
    assert shown.z[2][2] is None


def test_an_encoder_without_attention_shows_residuals_and_says_what_is_missing(encoder: Path) -> None:
    figure = figures_of(Records(encoder))["selectors"]
    assert {key.split(":")[0] for key in figure.states} == {"ridge_residual", "information_gain", "cosine"}
    names = [trace.get("name") for trace in figure.data if trace.get("name")]
    assert not any("attention" in name for name in names)
    page = build(encoder).read_text(encoding="utf-8")
    assert "an encoder predicts no next token" in page
    assert "the smallest ridge residual (own ground of Lasso and matching pursuit) is left by" in page
    chart = plot(Records(encoder), "tokens")
    assert len(chart.data[1].x) == 0
    assert chart.layout.annotations[0].text == "no attention weights"
    html = figures_of(Records(encoder))["tokens"].variant(figures_of(Records(encoder))["tokens"].first).html
    assert "a recurrent model has no attention weights" in html
    assert "KL" not in html
    entropy = figures_of(Records(encoder))["entropy"]
    assert "diff_erank" not in entropy.states
    assert "mean_normalized" in entropy.states


def test_a_refused_law_is_told_in_words(tmp_path: Path) -> None:
    reason = "3.9 tokens per dimension: at least 8 are needed"
    folder = write_tokens_run(tmp_path / "run", sizes=SIZES, law=reason)
    page = build(folder).read_text(encoding="utf-8")
    section = page.partition('<section id="section-entropy_law">')[2].partition("</section>")[0]
    assert f"No law was fitted: {reason}" in section
    assert "AICc:" in section
    assert "<table" not in section
    (points,) = plot(Records(folder), "entropy_law").data
    assert len(points.x) == len(SIZES)


def test_a_page_holds_some_positions_and_says_of_how_many(tmp_path: Path) -> None:
    folder = write_tokens_run(tmp_path / "run", texts=12, positions=6)
    positions = shown_positions(Records(folder))
    assert len(positions) == MOST_POSITIONS
    texts = sorted({position.row["text"] for position in positions})
    assert texts == [0, 2, 4, 7, 9]
    assert "30 of 72 sampled positions of 5 passages" in build(folder).read_text(encoding="utf-8")


def test_a_run_without_tokens_has_no_such_sections(tmp_path: Path) -> None:
    folder = write_tokens_run(tmp_path / "run", texts=1)
    run = lmscope.open_run(folder)
    assert "text_distances" not in figures_of(Records(folder))
    assert "entropy_law" not in figures_of(Records(folder))
    with pytest.raises(ValueError, match="no figure 'entropy_law'"):
        run.plot("entropy_law")


def test_the_command_at_the_foot_is_taken_by_the_verb(causal: Path, tmp_path: Path) -> None:
    page = unescape(build(causal).read_text(encoding="utf-8"))
    command, report = page.partition("<pre><code>")[2].splitlines()[:2]
    assert command == (
        "lmscope tokens models/tiny-prose models/prose-400000 models/prose-1200000 models/prose-3900000 "
        "--text notes.txt --text 'more notes.txt' --split paragraph --layers 0,2 "
        "--positions 20 --min-context 12 --ridge 0.01 --divergence --dtype float32 --special drop "
        "--epsilon2 0.5 --center --no-normalize-rows --untrained --k 1,2,4,8 --seed 3 -o RUN"
    )
    assert report == "lmscope report RUN"
    for name in ("notes.txt", "more notes.txt"):
        (tmp_path / name).write_text("words", encoding="utf-8")
    words = [sys.executable, "-m", "lmscope", *shlex.split(command)[1:]]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr  # the options are right; there is no such checkpoint


@pytest.mark.parametrize(
    ("token", "strip", "label"),
    [
        (" storm", " storm", "␣storm"),
        ("\n\n", "↵↵", "↵↵"),
        ("  ", "␣␣", "␣␣"),
        ("\u200b", "\\u200b", "\\u200b"),
        ("\t}", "⇥}", "⇥}"),
        ("", "∅", "∅"),
        ("incomprehensibilities", "incomprehensibilities", "incomprehensibi…"),
    ],
)
def test_white_space_and_invisible_characters_are_seen(token: str, strip: str, label: str) -> None:
    assert (in_text(token), alone(token)) == (strip, label)


def marked(watched: Watched, style: str, value: str) -> list[str]:
    """Words of the strip's tokens that have a style."""
    return list(
        watched.page.evaluate(
            "([style, value]) => [...document.querySelectorAll('[data-html=tokens] .strip > :not(br)')]"
            ".map((token, place) => [place, getComputedStyle(token)[style]])"
            ".filter(([, found]) => found.includes(value)).map(([place]) => place)",
            [style, value],
        )
    )


@pytest.mark.browser
def test_choosing_position_k_and_selector_moves_the_marks(causal: Path, watched: Watched) -> None:
    watched.open(build(causal))
    rows = lmscope.open_run(causal).table("selection").to_pylist()

    def chosen(key: str, method: str, k: int) -> list[int]:
        place = [int(part) for part in key.split("-")]
        (row,) = [
            row
            for row in rows
            if [row["text"], row["window"], row["position"]] == place
            and (row["method"], row["k"]) == (method, k)
        ]
        return list(row["selected"])

    blue, orange = "rgba(59, 139, 200", "rgb(213, 94, 0)"
    select = watched.page.locator("select[data-switch=tokens]")
    first = select.input_value()
    assert marked(watched, "backgroundColor", blue) == chosen(first, "lasso", 8)
    assert marked(watched, "boxShadow", orange) == chosen(first, "attention", 8)
    watched.page.check("#tokens-k-2")
    watched.page.select_option("select:has(option[value=m1])", label="most recent")
    assert marked(watched, "backgroundColor", blue) == chosen(first, "lasso", 2)
    assert marked(watched, "boxShadow", orange) == chosen(first, "recent", 2)
    seen = watched.page.locator("#tokens-scores tbody tr:visible")
    assert seen.count() == len(METHODS)
    assert set(seen.locator("td:nth-child(2)").all_inner_texts()) == {"2"}

    # A token that was sampled too: a click shows it, and the page stays where it is.
    other = watched.page.locator("[data-html=tokens] .strip button").last
    key = other.get_attribute("data-key") or ""
    other.scroll_into_view_if_needed()
    top = watched.page.evaluate("scrollY")
    other.click()
    assert select.input_value() == key != first
    assert watched.page.evaluate("scrollY") == top
    assert marked(watched, "backgroundColor", blue) == chosen(key, "lasso", 2)
    place = key.split("-")[2]
    assert f"token {place} " in watched.page.inner_text("[data-title=tokens]")
    watched.page.click("[data-step='-1'][data-of=tokens]")
    assert select.input_value() != key
    assert watched.page.locator("[data-html=tokens] img, [data-html=tokens] b").count() == 0
    assert watched.complaints == []
    assert watched.outside() == []


@pytest.mark.browser
def test_switches_change_the_charts(causal: Path, watched: Watched) -> None:
    watched.open(build(causal))
    scores, lines = (watched.page.locator(f"select[data-part=selectors] >> nth={at}") for at in (0, 1))
    shown = "plot.data.filter((line) => line.name && line.visible !== false).map((line) => line.name)"
    assert len(watched.plot("selectors", shown)) == len(METHODS) - 2
    before = watched.plot("selectors", "plot.data[2].y")
    scores.select_option("ridge_residual")
    assert watched.plot("selectors", "plot.data[2].y") != before
    assert "own ground of Lasso" in watched.page.inner_text("[data-html=selectors]")
    lines.select_option("spread")
    assert watched.plot("selectors", shown) == [
        *("Lasso", "attention", "random", "all but Lasso&#x27;s", "all earlier tokens")
    ]
    assert (
        watched.page.locator("[data-html=selectors] tbody tr").count() == 7
    )  # two of them shares of what all explain
    for figure, state in (("entropy", "mean_effective_rank"), ("text_distances", "frobenius")):
        value = {"entropy": "plot.data[2].y", "text_distances": "plot.data[0].z"}[figure]
        before = watched.plot(figure, value)
        watched.page.select_option(f"select[data-switch={figure}]", state)
        assert watched.plot(figure, value) != before
    assert watched.complaints == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [800, 1280])
def test_nothing_is_wider_than_the_window(causal: Path, watched: Watched, width: int) -> None:
    watched.page.set_viewport_size({"width": width, "height": 900})
    watched.open(build(causal))
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
    # The labels of the right-hand bars stay clear of the left-hand ones.
    overlap = watched.plot(
        "tokens",
        "Math.max(...[...plot.querySelectorAll('.bars path')].slice(0, 12)"
        ".map((bar) => bar.getBoundingClientRect().right))"
        " - Math.min(...[...plot.querySelectorAll('.y2tick text')]"
        ".map((label) => label.getBoundingClientRect().left))",
    )
    assert overlap < 0
    assert watched.complaints == []


def saved(watched: Watched, what: str) -> tuple[str, list[dict[str, str]]]:
    with watched.page.expect_download() as download:
        watched.page.click(f"[data-save={what}]")
    text = Path(download.value.path()).read_bytes().decode("utf-8")
    return download.value.suggested_filename, list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.browser
def test_data_of_every_chart_and_table(causal: Path, watched: Watched) -> None:
    watched.open(build(causal))
    run = lmscope.open_run(causal)
    position = run.table("positions").to_pylist()[0]
    name, lines = saved(watched, "tokens")
    assert name == f"tiny-prose-tokens-0-0-{position['position']}.csv"
    assert [line["ranking"] for line in lines] == [
        *["order of entry into the Lasso"] * 12,
        *["attention, last block"] * 12,
    ]
    assert lines[0]["token"].startswith(str(position["lasso_order"][0]))
    name, lines = saved(watched, "tokens-scores")
    assert name == f"tiny-prose-tokens-scores-0-0-{position['position']}.csv"
    assert len(lines) == len(METHODS) * len(KS)
    rows = {(row["method"], row["k"]): row for row in run.table("selection").slice(0, len(lines)).to_pylist()}
    for line in lines:
        if line["Selector"] == "Lasso":
            row = rows["lasso", int(line["k"])]
            assert float(line["KL, others deleted"]) == pytest.approx(row["kl_deleted"], rel=1e-5)

    name, lines = saved(watched, "selectors")
    assert name.startswith("tiny-prose-selectors-kl_deleted")
    assert len(lines) == (len(METHODS) - 2) * len(KS)
    assert {line["positions"] for line in lines} == {"20"}
    assert all(
        float(line["low"]) < float(line["KL, others deleted: every selector"]) < float(line["high"])
        for line in lines
    )

    name, lines = saved(watched, "entropy")
    entropies = run.table("entropy").to_pylist()
    assert name == "tiny-prose-entropy-normalized.csv"
    assert [float(line["Normalized entropy"]) for line in lines] == [row["normalized"] for row in entropies]
    assert [float(line["random rows"]) for line in lines] == [row["iid_normalized"] for row in entropies]
    assert len(saved(watched, "entropy-table")[1]) == len(entropies)
    _, lines = saved(watched, "entropy_law")
    assert [line["what"] for line in lines].count("checkpoint") == len(SIZES)
    _, lines = saved(watched, "text_distances")
    assert len(lines) == len(run.table("distances"))
    assert watched.complaints == []


def test_few_passages_give_no_verdict_and_no_interval_in_the_header(tmp_path: Path) -> None:
    caveat = "they tell no selectors apart"
    few = token_sentences(Records(write_tokens_run(tmp_path / "few", texts=3)))[1]
    assert f"The intervals take 3 passages as independent: from fewer than 5 {caveat}" in few
    assert "95 %" not in few
    assert "Position by position" not in few
    one = write_tokens_run(tmp_path / "one", texts=1)
    assert "All positions are of one passage and share its text" in token_sentences(Records(one))[1]
    assert build(one).read_text(encoding="utf-8").count("All positions are of one passage") > 1
    many = token_sentences(Records(write_tokens_run(tmp_path / "many", texts=12)))[-2]
    assert "Position by position, Lasso's mean less that of attention " in many
    assert "and attention without sinks " in many
    assert "the best of 9 selectors" in many
    assert "as independent" not in many


def test_positions_that_could_not_be_had_are_told(tmp_path: Path) -> None:
    short = token_sentences(Records(write_tokens_run(tmp_path / "run", texts=2, positions=3)))
    assert short[0] == (
        "6 of 20 positions: no more tokens have 12 before them; lower --min-context or give more text."
    )


def test_the_form_that_was_not_fitted_is_named_and_has_no_constant(causal: Path) -> None:
    reason = "these models cannot tell it from a power law"
    rows = [{"form": "power", "refused": None}, {"form": "power_offset", "refused": reason}]
    assert entropy_law._refused(rows) == [("Power law and a constant: not", reason)]
    page = build(causal).read_text(encoding="utf-8")
    section = page.partition('<section id="section-entropy_law">')[2].partition("</section>")[0]
    power = section.partition("<td>power law<")[2].partition("</tr>")[0]
    assert '<td class="n">–' in power
    figure = figures_of(Records(causal))["entropy_law"]
    assert figure.layout["xaxis"]["ticktext"] == ["100k", "200k", "500k", "1M", "2M", "5M"]
