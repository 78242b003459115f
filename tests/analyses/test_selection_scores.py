"""Scores of chosen tokens against dense linear algebra, and how they move."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.analyses.information_gain import information_gain
from lmscope.analyses.selection_scores import score_selection, score_selections
from lmscope.analyses.token_selection import CURVES, select_tokens, unit_rows

METHODS = ("lasso", "cosine", "random", "recent", *CURVES)


def dense(rows: Any, position: int, chosen: Any, ridge: float) -> tuple[float, float, float]:
    """Objective, squared residual and cosine by least squares on the stacked matrix."""
    design = np.vstack([rows[chosen].T, math.sqrt(ridge) * np.eye(len(chosen))])
    target = np.append(rows[position], np.zeros(len(chosen)))
    weights = np.linalg.lstsq(design, target, rcond=None)[0]
    fitted = rows[chosen].T @ weights
    residual = float(((rows[position] - fitted) ** 2).sum())
    scale = np.linalg.norm(fitted) * np.linalg.norm(rows[position])
    cosine = fitted @ rows[position] / scale if len(chosen) else math.nan
    return residual + ridge * float(weights @ weights), residual, float(cosine)


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("normalize_rows", [False, True])
def test_scores_equal_dense_ridge_regression(normalize_rows: bool, center: bool) -> None:
    switches = {"normalize_rows": normalize_rows, "center": center}
    states = np.random.default_rng(0).standard_normal((30, 12)) + 1
    positions = [29, 4, 17]
    selections = select_tokens(states, positions, ks=[1, 3, 20], methods=METHODS, **switches)
    rows = unit_rows(states, **switches)
    for ridge in (0.01, 0.5):
        found = score_selections(states, selections, ridge=ridge)
        for method in METHODS:
            for place, position in enumerate(positions):
                for column, k in enumerate(selections.ks):
                    chosen = selections.sets[method][place][k]
                    own = (
                        score[method][place, column]
                        for score in (found.ridge_objective, found.ridge_residual, found.cosine)
                    )
                    np.testing.assert_allclose(list(own), dense(rows, position, chosen, ridge), atol=1e-10)
                    gain = information_gain(rows[chosen], rows[position], ridge=ridge).gain
                    assert found.information_gain[method][place, column] == pytest.approx(gain, abs=1e-9)


def test_one_set_is_scored_as_many_are() -> None:
    states = np.random.default_rng(1).standard_normal((10, 6))
    selections = select_tokens(states, [8], ks=[3], methods=["cosine"])
    together = score_selections(states, selections)
    alone = score_selection(states, 8, selections.sets["cosine"][0][3])
    assert alone.ridge_residual == together.ridge_residual["cosine"][0, 0]
    assert alone.information_gain == together.information_gain["cosine"][0, 0]


def test_an_empty_set_leaves_everything() -> None:
    found = score_selection(np.random.default_rng(2).standard_normal((4, 5)), 3, [], ridge=0.1)
    assert found.ridge_residual == found.ridge_objective == pytest.approx(1)
    assert found.information_gain == pytest.approx(math.log(11))
    assert math.isnan(found.cosine)


def test_one_equal_token_leaves_what_the_ridge_takes() -> None:
    states = np.ones((2, 4))
    found = score_selection(states, 1, [0], ridge=0.25)
    # w = 1 / 1.25, residual (1 - w)^2, objective 0.25 w.
    assert found.ridge_residual == pytest.approx(0.04)
    assert found.ridge_objective == pytest.approx(0.2)
    assert found.information_gain == pytest.approx(math.log(1.8))
    assert found.cosine == pytest.approx(1)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_more_tokens_never_explain_less(data: Any) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    states = rng.standard_normal((9, data.draw(st.integers(1, 12))))
    ridge = data.draw(st.sampled_from([1e-6, 0.01, 10.0]))
    order = rng.permutation(8)
    objectives = [score_selection(states, 8, order[:k], ridge=ridge).ridge_objective for k in range(9)]
    assert (np.diff(objectives) <= 1e-9).all()
    assert objectives[-1] >= 0


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((3, [3]), {}, "position 3 is among the tokens that are to explain it"),
        ((3, [5]), {}, "tokens must be from 0 to 3, got 5"),
        ((4, [1]), {}, "tokens must be from 0 to 3, got 4"),
        ((3, [-1]), {}, "got -1"),
        ((3, [1]), {"ridge": 0.0}, "ridge must be above 0 and finite, got 0.0"),
    ],
)
def test_wrong_arguments_are_named(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_selection(np.eye(4), *arguments, **options)


def test_results_say_what_they_hold() -> None:
    states = np.eye(4) + 1
    assert repr(score_selection(states, 3, [0])).startswith("SelectionScore(ridge_residual=")
    assert "information gain" in score_selection(states, 3, [0])._repr_html_()
    found = score_selections(states, select_tokens(states, [3], ks=[1, 2], methods=["recent"]))
    assert repr(found) == "SelectionScores(1 methods, 1 positions, 2 budgets)"
    assert "recent" in found._repr_html_()
