"""Roles and matrices from records."""

from __future__ import annotations

import math

import pyarrow
import pytest

from lmscope.results import LEDGER
from lmscope.runs import verdict_words
from lmscope.runs.summary import summarise

SETTINGS = {"nulls": ["iid", "permutation", "sign_flip"], "draws": 19, "false_positive_rate": 0.01}


def row(name, role, layer, values, edge, **columns):
    learnt = None if edge is None else sum(value > edge for value in values)
    return {
        "name": name,
        "role": role,
        "layer": layer,
        "rows": len(values),
        "columns": 2 * len(values),
        "singular_values": [float(value) for value in values],
        "norm": float(sum(value**2 for value in values)) if max(values) < 1e150 else math.inf,
        "ks": 0.1,
        "iid_q_value": 0.5,
        "learnt": learnt,
        "sign_flip_edge": math.nan if edge is None else edge,
        "n_above": 3,
        "upper_edge": 1.0,
        **columns,
    }


def summary_of(rows, settings=SETTINGS, statuses=()):
    names = [row["name"] for row in rows]
    ledger = [
        dict.fromkeys(LEDGER.names) | {"name": name, "status": "analysed", "elements": 10} for name in names
    ]
    ledger += [dict.fromkeys(LEDGER.names) | entry for entry in statuses]
    return summarise(pyarrow.Table.from_pylist(rows), pyarrow.Table.from_pylist(ledger), settings)


def test_roles_add_up_and_weigh_by_norm():
    rows = [
        row("a", "query", 0, [3.0] + [1.0] * 39, 2.0),
        row("b", "query", 1, [6.0, 6.0] + [2.0] * 38, 4.0, iid_q_value=0.001, ks=0.3),
        row("c", "token_embedding", None, [1.0] * 40, 2.0),
    ]
    summary = summary_of(rows)
    query, embedding = summary.roles
    assert (query.role, query.matrices, query.values, query.learnt) == ("query", 2, 80, 3)
    assert query.share == pytest.approx(3 / 80)
    assert query.norm_share == pytest.approx((9 + 72) / (9 + 39 + 72 + 38 * 4))
    assert (query.strongest_layer, query.strongest_learnt) == (1, 2)
    assert (query.iid_refuted, query.iid_tested, query.median_ks) == (1, 2, pytest.approx(0.2))
    assert (embedding.learnt, embedding.strongest_layer, embedding.norm_share) == (0, None, 0.0)
    assert [matrix.name for matrix in summary.top] == ["b", "a"]
    assert summary.top[0].excess == pytest.approx(1.5)
    assert summary.top[0].norm_share == pytest.approx(72 / (72 + 152))


def test_huge_and_zero_matrices_have_no_nan():
    summary = summary_of(
        [row("a", "up", 0, [3e200] + [1e200] * 39, 2e200), row("b", "down", 0, [0.0] * 40, 0.0)]
    )
    up, down = summary.roles
    assert summary.top[0].norm_share == pytest.approx(9 / 48)
    # Its squared norm is beyond float64: no share of a role's can be told.
    assert up.norm_share is None
    assert (down.learnt, down.norm_share) == (0, 0.0)


def test_matrix_without_a_verdict_counts_as_nothing_learnt():
    summary = summary_of([row("a", "up", 0, [3.0] + [1.0] * 39, None, ks=math.nan, iid_q_value=math.nan)])
    assert (summary.roles[0].learnt, summary.roles[0].median_ks, summary.roles[0].iid_tested) == (0, None, 0)
    assert summary.top == ()


def test_learnt_falls_back_to_the_nulls_that_were_asked_for():
    rows = [row("a", "up", 0, [3.0] + [1.0] * 39, None)]
    summary = summary_of(rows, {"nulls": ["iid"], "false_positive_rate": 0.05})
    assert (summary.measure, summary.roles[0].learnt) == ("iid", 3)


def test_few_values_are_counted_but_not_ranked():
    summary = summary_of([row("a", "type_embedding", None, [3.0, 1.0], 2.0)])
    assert summary.roles[0].learnt == 1
    assert summary.top == ()


def test_statuses_and_troubles():
    statuses = [
        {"name": "b", "status": "failed", "reason": "NaN in row 1", "elements": 30},
        {"name": "c", "status": "refused", "reason": "float8", "elements": 20},
        {"name": "d", "status": "skipped", "reason": "vector", "elements": 40},
    ]
    summary = summary_of([row("a", "up", 0, [1.0] * 40, 2.0)], statuses=statuses)
    assert summary.statuses == {"analysed": 1, "failed": 1, "refused": 1, "skipped": 1}
    assert (summary.elements, summary.elements_analysed) == (100, 10)
    assert [(trouble["name"], trouble["status"]) for trouble in summary.troubles] == [
        ("b", "failed"),
        ("c", "refused"),
    ]


def noise_rows(matrices, showing, **columns):
    strong, weak = [3.0] + [1.0] * 39, [1.0] * 40
    return [
        row(f"layer.{n}", "up", n, strong if n < showing else weak, 2.0, **columns) for n in range(matrices)
    ]


def test_as_many_as_noise_gives_is_nothing():
    summary = summary_of(noise_rows(58, 2))
    chance = summary.chance
    assert (chance.tested, chance.showing, chance.expected) == (58, 2, pytest.approx(2.9))
    assert chance.p_value == pytest.approx(1 - 0.95**58 - 58 * 0.05 * 0.95**57)
    assert not chance.exceeded
    words = verdict_words.against_chance(chance)
    assert words.startswith("2 of 58 matrices show learnt values; noise alone would give about 2.9: nothing ")
    page = summary._repr_html_()
    assert words in page
    # Its largest share of the norm would be the largest of noise.
    assert len(summary.top) == 2
    assert verdict_words.MATRICES_TITLE not in page
    assert "layer.0" not in page


def test_more_than_noise_gives_is_said_with_its_level():
    summary = summary_of(noise_rows(58, 9))
    assert summary.chance.exceeded
    assert summary.chance.p_value == pytest.approx(0.0022, rel=0.1)
    assert ": more than chance gives (p = 0.002" in verdict_words.against_chance(summary.chance)
    assert verdict_words.MATRICES_TITLE in summary._repr_html_()


def test_one_matrix_alone_cannot_beat_chance_with_few_draws():
    rows = noise_rows(1, 1)
    words = verdict_words.against_chance(summary_of(rows).chance)
    assert "1 of 1 matrix shows learnt values; noise alone would give about 0.05: that may be chance" in words
    assert summary_of(rows, SETTINGS | {"draws": 199}).chance.exceeded
    assert "None of 1 matrix shows" in verdict_words.against_chance(summary_of(noise_rows(1, 0)).chance)


def test_chance_under_iid_alone_is_the_rate():
    settings = {"nulls": ["iid"], "draws": None, "false_positive_rate": 0.2}
    assert summary_of(noise_rows(10, 0), settings).chance.expected == pytest.approx(2.0)
    none = summary_of([row("a", "up", 0, [1.0] * 40, None)])
    assert (none.chance.tested, none.chance.p_value) == (0, 1.0)
    assert "No matrix has a verdict" in verdict_words.against_chance(none.chance)


def test_legend_gives_the_smallest_p_value():
    summary = summary_of(noise_rows(2, 0))
    p_values = dict(verdict_words.legend(summary, 19))["p-values"]
    assert "with 19 draws none under sign flips or permutations is below 0.05 = 1 / (draws + 1)" in p_values
    assert not {"p-values", "top / edge"} & dict(verdict_words.legend(summary, None)).keys()
    assert "top / edge" in dict(verdict_words.legend(summary_of(noise_rows(2, 2)), 19))
    assert "fewer than 32" in dict(verdict_words.legend(summary, 19))["share"]
