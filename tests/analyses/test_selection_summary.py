"""Selectors compared over positions: means and pairs by hand, intervals, information that is spread."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lmscope.analyses.selection_scores import score_selections
from lmscope.analyses.selection_summary import SelectionSummary, distributed_information, summarise_selection
from lmscope.analyses.token_selection import CURVES, select_tokens

Rows = list[dict[str, Any]]


def row(
    text: int, position: int, method: str, residual: float | None, *, window: int = 0, **more: Any
) -> dict[str, Any]:
    one = {"text": text, "window": window, "position": position, "method": method, "k": 1}
    return {**one, "ridge_residual": residual, **more}


def only(found: list[SelectionSummary], method: str, score: str = "ridge_residual") -> SelectionSummary:
    (one,) = [one for one in found if (one.method, one.score) == (method, score)]
    return one


def test_means_and_pairs_are_those_of_the_positions_that_have_both() -> None:
    rows = [
        row(0, 3, "lasso", 0.1, kl_deleted=1.0),
        row(0, 5, "lasso", 0.3, kl_deleted=None),
        row(1, 3, "lasso", 0.2, kl_deleted=3.0),
        row(0, 3, "attention", 0.4, kl_deleted=1.5),
        row(1, 3, "attention", 0.6, kl_deleted=math.nan),
        row(0, 3, "random", 0.9),
        row(0, 5, "random", 0.5),
    ]
    found = summarise_selection(rows)
    lasso, attention, random = (only(found, method) for method in ("lasso", "attention", "random"))
    assert (lasso.mean, lasso.positions, lasso.clusters) == (pytest.approx(0.2), 3, 2)
    assert lasso.minus_lasso == lasso.minus_lasso_low == lasso.minus_lasso_high == 0
    assert lasso.minus_attention == pytest.approx(-0.35)
    assert attention.minus_lasso == pytest.approx(0.35)
    assert attention.positions == 2
    assert random.minus_lasso == pytest.approx((0.8 + 0.2) / 2)
    assert random.minus_attention == pytest.approx(0.5)
    deleted = only(found, "lasso", "kl_deleted")
    assert (deleted.mean, deleted.positions) == (2, 2)
    assert only(found, "attention", "kl_deleted").minus_lasso == pytest.approx(0.5)
    assert not [one for one in found if one.score in ("cosine", "kl_last_layer")]
    assert not [one for one in found if (one.method, one.score) == ("random", "kl_deleted")]


def passages(seed: int, *, texts: int = 40, windows: int = 2, positions: int = 3) -> Rows:
    """Scores whose noise is shared within a text, of paired differences too; the truth is 0.5 for both
    methods."""
    rng = np.random.default_rng([seed, texts])
    rows = []
    for text in range(texts):
        level, apart = 0.5 + rng.standard_normal(), 0.05 * rng.standard_normal()
        for window in range(windows):
            for position in range(positions):
                for method, more in (("lasso", 0.0), ("attention", apart)):
                    score = level + more + 0.1 * rng.standard_normal()
                    rows.append(row(text, position, method, score, window=window))
    return rows


@pytest.mark.parametrize(("texts", "windows"), [(3, 1), (5, 2), (10, 2), (40, 2)])
def test_intervals_cover_where_texts_share_their_noise(texts: int, windows: int) -> None:
    covered = paired = 0
    widths = np.zeros(2)
    repeats = 100
    for seed in range(repeats):
        found = summarise_selection(passages(seed, texts=texts, windows=windows))
        lasso, attention = only(found, "lasso"), only(found, "attention")
        assert (lasso.clusters, lasso.clustered_by) == (texts, "texts" if texts >= 5 else "passages")
        covered += lasso.low <= 0.5 <= lasso.high
        paired += attention.minus_lasso_low <= 0 <= attention.minus_lasso_high
        widths += lasso.high - lasso.low, attention.minus_lasso_high - attention.minus_lasso_low
    # The noise of the texts drops out of pairs.
    assert widths[1] < widths[0] / 4
    # 95 % nominal: three standard errors of 100 trials are 6.5 points.
    assert 0.885 * repeats <= covered < repeats
    assert 0.885 * repeats <= paired < repeats


def test_fewer_than_five_texts_are_taken_by_their_windows() -> None:
    found = only(summarise_selection(passages(0, texts=4, windows=3)), "lasso")
    assert (found.clusters, found.clustered_by) == (12, "passages")
    found = only(summarise_selection(passages(0, texts=5, windows=3)), "lasso")
    assert (found.clusters, found.clustered_by) == (5, "texts")


def test_the_interval_is_students_of_the_means_of_equal_texts() -> None:
    rows = passages(0, texts=6)
    found = only(summarise_selection(rows, confidence=0.9), "lasso")
    means = [
        np.mean([one["ridge_residual"] for one in rows if (one["text"], one["method"]) == (text, "lasso")])
        for text in range(6)
    ]
    expected = stats.ttest_1samp(means, 0).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-12)


def test_texts_that_lack_a_score_do_not_count() -> None:
    rows = passages(0, texts=6)
    bare = [one | {"ridge_residual": None} if one["text"] == 5 else one for one in rows]
    found, expected = (
        only(summarise_selection(some), "lasso") for some in (bare, [r for r in rows if r["text"] < 5])
    )
    assert (found.clusters, found.low, found.high) == (5, expected.low, expected.high)


def test_one_passage_is_taken_position_by_position_and_one_position_has_no_interval() -> None:
    rows = [row(0, position, "lasso", position / 10) for position in range(10)]
    found = only(summarise_selection(rows), "lasso")
    assert (found.clusters, found.clustered_by) == (10, "positions")
    assert found.low < 0.45 < found.high
    single = only(summarise_selection(rows[3:4]), "lasso")
    assert (single.mean, single.clusters) == (pytest.approx(0.3), 1)
    assert math.isnan(single.low)
    assert math.isnan(single.high)
    assert math.isnan(single.minus_attention)
    assert repr(found).startswith("SelectionSummary(lasso, k=1, ridge_residual=0.45 (")
    assert "ridge_residual" in found._repr_html_()


def rows_of(states: Any, text: int, positions: list[int]) -> Rows:
    tokens = len(states)
    attention = np.tril(np.random.default_rng(text).random((1, tokens, tokens)))
    methods = ("lasso", "attention", "random", *CURVES)
    selections = select_tokens(states, positions, ks=[1, 2], attention=attention, methods=methods)
    scores = score_selections(states, selections, ridge=1e-6)
    return [
        row(text, position, method, float(scores.ridge_residual[method][place, column])) | {"k": k}
        for method in methods
        for place, position in enumerate(positions)
        for column, k in enumerate(selections.ks)
    ]


def test_information_that_comes_twice_survives_without_the_lassos_tokens() -> None:
    rng = np.random.default_rng(0)
    rows: Rows = []
    for text in range(6):
        words = rng.standard_normal((4, 32))
        target = words[0] + words[1]
        rows += rows_of(np.vstack([words, words + 1e-3 * rng.standard_normal((4, 32)), target]), text, [8])
    found = distributed_information(rows)
    assert found.kept_share[-1] > 0.99
    assert found.lasso_share[-1] > 0.4
    assert (found.positions, found.clusters, found.ks) == (6, 6, (1, 2))
    assert re.search(r"kept_share=(0.99|1)", repr(found))
    assert "explained without the Lasso" in found._repr_html_()


def test_information_that_comes_once_goes_with_the_lassos_tokens() -> None:
    rng = np.random.default_rng(1)
    rows: Rows = []
    for text in range(6):
        words = np.linalg.qr(rng.standard_normal((32, 8)))[0].T
        rows += rows_of(np.vstack([words, words[2] + 1.5 * words[5]]), text, [8])
    found = distributed_information(rows)
    np.testing.assert_allclose(found.kept_share, [4 / 13, 0], atol=1e-4)
    np.testing.assert_allclose(found.lasso_share, [9 / 13, 1], atol=1e-4)
    assert found.kept_share_low[1] <= found.kept_share[1] <= found.kept_share_high[1]
    np.testing.assert_allclose(found.residual["all_but_lasso"], [9 / 13, 1], atol=1e-4)


def test_wrong_rows_are_named() -> None:
    with pytest.raises(ValueError, match="rows holds none"):
        summarise_selection([])
    with pytest.raises(ValueError, match="rows holds two of text 0, window 0, position 3, method lasso, k=1"):
        summarise_selection([row(0, 3, "lasso", 1.0), row(0, 3, "lasso", 1.0)])
    with pytest.raises(ValueError, match="must hold the ridge_residual of random at k=1 for every"):
        distributed_information([row(0, 3, "lasso", 1.0)])
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1, got 2"):
        summarise_selection([row(0, 3, "lasso", 1.0)], confidence=2)
