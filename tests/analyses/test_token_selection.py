"""Selected tokens: planted ones are found, other libraries' choices, rules by hand, invariants."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.analyses.selection_scores import score_selection
from lmscope.analyses.token_selection import (
    CURVES,
    METHODS,
    Selections,
    attention_sinks,
    select_tokens,
    unit_rows,
)

TOKENS, DIMENSIONS, HEADS = 40, 64, 3
POSITIONS = [1, 5, 30, 39]
KS = (1, 2, 3, 8)


def passage(seed: int = 0) -> dict[str, Any]:
    """Random states, causal attention whose rows sum to 1, value norms, and a special first token."""
    rng = np.random.default_rng(seed)
    attention = np.tril(rng.random((HEADS, TOKENS, TOKENS)))
    attention /= attention.sum(axis=-1, keepdims=True)
    special = np.zeros(TOKENS, dtype=bool)
    special[0] = True
    return {
        "states": rng.standard_normal((TOKENS, DIMENSIONS)),
        "attention": attention,
        "value_norms": rng.random((HEADS, TOKENS)) + 0.5,
        "special": special,
    }


def select(seed: int = 0, **changes: Any) -> Selections:
    options = {"positions": POSITIONS, "ks": KS, "methods": METHODS + CURVES, **passage(seed), **changes}
    return select_tokens(options.pop("states"), options.pop("positions"), **options)


def test_a_combination_of_three_tokens_is_found_by_lasso_pursuit_and_cosine() -> None:
    states = passage()["states"]
    states[30] = states[3] + states[7] - 2 * states[20]
    found = select(states=states).sets
    for method in ("lasso", "omp", "cosine"):
        assert found[method][2][3].tolist() == [3, 7, 20]
        assert found[method][2][1].tolist() == [20]
    assert not {3, 7, 20} & set(found["complement"][2][8].tolist())
    assert not {3, 7, 20} & set(found["all_but_lasso"][2][3].tolist())
    assert found["random"][2][3].tolist() != [3, 7, 20]
    # Nothing is left to explain after the three.
    assert found["omp"][2][8].tolist() == [3, 7, 20]


def test_what_cosines_alone_cannot_see_pursuit_finds() -> None:
    states = np.eye(6, DIMENSIONS)
    states[1] = states[0] + 0.1 * states[1]
    states[5] = states[0] + 0.5 * states[3]
    found = select_tokens(states, [5], ks=[2], methods=["cosine", "omp", "lasso"]).sets
    assert found["cosine"][0][2].tolist() == [0, 1]
    assert found["omp"][0][2].tolist() == [0, 3]
    assert found["lasso"][0][2].tolist() == [0, 3]


def test_the_lasso_follows_scikit_learns_path() -> None:
    from sklearn.linear_model import lars_path

    states = passage(3)["states"]
    found = select(3)
    rows = unit_rows(states)
    for place, position in enumerate(POSITIONS[1:], start=1):
        alphas, _, coefs = lars_path(rows[1:position].T, rows[position], method="lasso")
        entered = np.argmax(coefs != 0, axis=1)
        order = 1 + np.flatnonzero(coefs.any(axis=1))[np.argsort(entered[coefs.any(axis=1)])]
        length = min(8, position - 1)
        assert found.lasso_order[place][:length].tolist() == order[:length].tolist()
        np.testing.assert_allclose(
            found.lasso_alphas[place][:length], alphas[entered[order[:length] - 1] - 1], rtol=1e-8
        )
        counts = np.count_nonzero(coefs, axis=0)
        for k in KS[: 4 if position > 8 else 3]:
            until = int(np.argmax(np.append(counts, TOKENS) > k))
            support = np.flatnonzero(coefs[:, np.flatnonzero(counts[:until] == k)[-1]]) + 1
            assert found.sets["lasso"][place][k].tolist() == support.tolist()


def test_pursuit_follows_scikit_learns() -> None:
    from sklearn.linear_model import orthogonal_mp

    states = passage(4)["states"]
    found = select(4).sets["omp"]
    rows = unit_rows(states)
    for place, position in enumerate(POSITIONS[2:], start=2):
        for k in KS:
            coef = orthogonal_mp(rows[1:position].T, rows[position], n_nonzero_coefs=k)
            assert found[place][k].tolist() == (np.flatnonzero(coef) + 1).tolist()


def test_attention_is_ranked_as_it_is_defined() -> None:
    given_ = passage(5)
    found = select(5).sets
    mean = given_["attention"].mean(axis=0)
    weighted = (given_["attention"] * given_["value_norms"][:, None]).sum(axis=0)
    for place, position in enumerate(POSITIONS):
        for k in KS:
            for method, weights, first in (
                ("attention", mean, 0),
                ("attention_without_sinks", mean, 1),
                ("attention_value_norm", weighted, 0),
            ):
                order = sorted(range(first, position), key=lambda s: (-weights[position, s], s))
                assert found[method][place][k].tolist() == sorted(order[:k])


def test_sinks_are_left_out_and_their_share_is_told() -> None:
    given_ = passage(6)
    attention = given_["attention"]
    attention[:, 5:, 4] = 2.0
    attention /= attention.sum(axis=-1, keepdims=True)
    found = select(6, attention=attention)
    assert found.sinks is not None
    assert found.sink_share is not None
    assert np.flatnonzero(found.sinks).tolist() == [0, 4]
    assert found.sets["attention"][2][1].tolist() == [4]
    assert 4 not in found.sets["attention_without_sinks"][2][8]
    mean = attention.mean(axis=0)
    np.testing.assert_allclose(found.sink_share, mean[POSITIONS][:, [0, 4]].sum(axis=1))


def test_a_sink_draws_more_than_its_share_of_many_later_queries() -> None:
    attention = np.eye(20)
    attention[4:, 3] = 0.11
    attention[18:, 17] = 1.0
    attention[:, 2] = 0.09
    assert np.flatnonzero(attention_sinks(attention)).tolist() == [3]
    assert not attention_sinks(attention, share=0.12).any()
    # Too few queries follow to tell a sink from a neighbour.
    assert np.flatnonzero(attention_sinks(attention[:19, :19])).tolist() == []
    special = np.arange(20) == 9
    assert np.flatnonzero(attention_sinks(attention, special=special)).tolist() == [3, 9]


def test_the_most_recent_are_the_last_that_may_be_chosen() -> None:
    special = np.zeros(TOKENS, dtype=bool)
    special[[0, 29]] = True
    assert select(special=special).sets["recent"][2][3].tolist() == [26, 27, 28]


def test_everything_but_the_lassos_is_everything_but_the_lassos() -> None:
    found = select().sets
    for place, position in enumerate(POSITIONS):
        for k in KS:
            parts = [*found["lasso"][place][k], *found["all_but_lasso"][place][k]]
            assert sorted(parts) == found["all"][place][k].tolist() == list(range(1, position))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_sets_are_sorted_earlier_within_budget_and_nested(data: Any) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    tokens = data.draw(st.integers(2, 12))
    dimensions = data.draw(st.integers(1, 9))
    states = rng.standard_normal((tokens, dimensions))
    # Equal tokens, as a word that comes twice in an embedding.
    states[rng.random(tokens) < 0.3] = states[0]
    attention = np.tril(rng.random((2, tokens, tokens)))
    special = rng.random(tokens) < 0.2
    positions = rng.permutation(np.arange(1, tokens))
    found = select_tokens(
        states,
        positions,
        ks=[4, 1, 2],
        attention=attention,
        value_norms=np.ones((2, tokens)),
        special=special,
        methods=METHODS + CURVES,
    )
    assert found.ks == (1, 2, 4)
    for method in METHODS:
        for position, by_k in zip(positions, found.sets[method], strict=True):
            for k, chosen in by_k.items():
                assert chosen.dtype == np.int64
                assert (np.diff(chosen) > 0).all()
                assert len(chosen) <= k
                assert ((chosen >= 0) & (chosen < position)).all()
                if method not in ("attention", "attention_value_norm"):
                    assert not special[chosen].any()
                if method not in ("lasso", "omp", "complement", "attention_without_sinks"):
                    free = method.startswith("attention")
                    assert len(chosen) == min(k, position if free else int((~special[:position]).sum()))
            if method != "lasso":
                assert set(by_k[1]) <= set(by_k[2]) <= set(by_k[4])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_a_rotation_of_the_space_changes_no_choice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    states = rng.standard_normal((14, 20))
    turned = states @ np.linalg.qr(rng.standard_normal((20, 20)))[0]
    methods = ("lasso", "cosine", "omp")
    one, other = (select_tokens(z, [13, 9], ks=[1, 3], methods=methods).sets for z in (states, turned))
    for method in methods:
        for left, right in zip(one[method], other[method], strict=True):
            assert all(np.array_equal(left[k], right[k]) for k in (1, 3))


def test_chance_depends_on_seed_and_position_alone() -> None:
    whole = select().sets
    alone = select(positions=[30], methods=("random", "complement")).sets
    other = select(seed=0, positions=[30], methods=("random",), ks=(8,)).sets
    assert whole["random"][2][8].tolist() == alone["random"][0][8].tolist() == other["random"][0][8].tolist()
    assert whole["complement"][2][8].tolist() == alone["complement"][0][8].tolist()
    reseeded = select_tokens(passage()["states"], [30], ks=[8], methods=["random"], seed=1).sets
    assert reseeded["random"][0][8].tolist() != whole["random"][2][8].tolist()


def test_every_position_has_a_stream_of_its_own() -> None:
    """The same stream for all would move the choices of neighbouring positions together."""
    z = np.random.default_rng(0).standard_normal((260, 4))
    positions = list(range(200, 260))
    found = select_tokens(z, positions, ks=[8], methods=["random"]).sets["random"]
    least = np.array([one[8].min() / at for one, at in zip(found, positions, strict=True)])
    assert abs(np.corrcoef(least[1:], least[:-1])[0, 1]) < 0.45


def test_centred_equal_states_are_rounding() -> None:
    z = np.tile(np.random.default_rng(0).standard_normal(16), (20, 1))
    for call in (
        lambda: select_tokens(z, [13], ks=[1], methods=["cosine"], center=True),
        lambda: score_selection(z, 13, [2, 3], center=True),
    ):
        with pytest.raises(ValueError, match="row 0 of states less the mean is zero and cannot be norm"):
            call()


def test_special_tokens_are_chosen_where_asked_and_can_be_explained() -> None:
    given_ = passage()
    states, special = given_["states"], given_["special"]
    states[30] = states[0]
    assert select(states=states).sets["cosine"][2][1].tolist() != [0]
    for method in ("cosine", "lasso", "omp"):
        assert select(states=states, select_special=True).sets[method][2][1].tolist() == [0]
    special[30] = True
    states[30] = states[2] + states[9]
    assert select(states=states, special=special).sets["lasso"][2][2].tolist() == [2, 9]
    assert set(select(states=states, special=special).lasso_order[2][:2].tolist()) == {2, 9}


def test_lasso_sets_that_rounding_cuts_short_say_so() -> None:
    rng = np.random.default_rng(0)
    alike = rng.standard_normal(20) + 1e-6 * rng.standard_normal((10, 20))
    states = np.vstack([alike, rng.standard_normal((1, 20))])
    found = select_tokens(states, [10], ks=[9], methods=["lasso"])
    count = len(found.sets["lasso"][0][9])
    assert count < 9
    assert found.lasso_short == [f"the Lasso has {count} of 9 tokens: rounding ended its path"]
    assert select(ks=[3]).lasso_short == [""] * len(POSITIONS)


def test_centring_and_norms_are_switches() -> None:
    states = passage()["states"] + 10
    states[5] *= 100
    assert unit_rows(states)[5] @ unit_rows(states)[5] == pytest.approx(1)
    np.testing.assert_allclose(
        unit_rows(states, center=True, normalize_rows=False).mean(axis=0), 0, atol=1e-11
    )
    np.testing.assert_array_equal(unit_rows(states, normalize_rows=False), states)
    with pytest.raises(ValueError, match="row 0 of states less the mean is zero and cannot be normalised"):
        unit_rows(np.ones((1, 4)), center=True)


@pytest.mark.parametrize("kind", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_other_dtypes_choose_what_their_values_choose(kind: Any) -> None:
    states = passage()["states"].astype(kind)
    one, other = select(states=states), select(states=states.astype(np.float64))
    assert repr(one.sets) == repr(other.sets)


def test_torch_tensors_are_taken() -> None:
    import torch

    given_ = passage()
    tensors = {
        name: torch.from_numpy(given_[name]).bfloat16() for name in ("states", "attention", "value_norms")
    }
    arrays = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    assert repr(select(**tensors).sets) == repr(select(**arrays).sets)


def test_results_say_what_they_hold() -> None:
    found = select()
    assert repr(found) == "Selections(4 positions, 11 methods, ks=(1, 2, 3, 8))"
    assert "attention_without_sinks" in found._repr_html_()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": [0]}, "positions must be from 1 to 39, the last token's, got 0"),
        ({"positions": [40]}, "got 40"),
        ({"positions": [1.5]}, "positions must be whole numbers in one dimension"),
        ({"ks": []}, "ks must hold at least one budget"),
        ({"ks": [0]}, "ks must be from 1 up"),
        ({"methods": ["oracle"]}, "methods must be of lasso, .*, got 'oracle'"),
        (
            {"attention": None},
            "attention is needed for attention, attention_without_sinks, att",
        ),
        ({"value_norms": None}, "value_norms is needed for attention_value_norm"),
        ({"value_norms": np.ones((2, TOKENS))}, r"value_norms must be heads x tokens .*got shape \(2, 40\)"),
        ({"attention": np.ones((TOKENS, TOKENS))}, r"attention must be heads x 40 x 40 .*\(40, 40\)"),
        ({"special": [True]}, r"special must have shape \(40,\), one for each token, got \(1,\)"),
        ({"sink_share": 0.0}, "sink share must be above 0"),
    ],
)
def test_wrong_arguments_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select(**changes)


def test_what_is_not_finite_is_named_with_row_and_column() -> None:
    given_ = passage()
    given_["states"][7, 3] = np.nan
    with pytest.raises(ValueError, match=re.escape("states has nan at row 7, column 3")):
        select(states=given_["states"])
    given_["attention"][1, 2, 1] = np.inf
    with pytest.raises(ValueError, match="attention has inf at row 42, column 1"):
        select(attention=given_["attention"])
    with pytest.raises(TypeError, match="states must be float64, float32, float16 or bfloat16, got int64"):
        select(states=np.ones((TOKENS, DIMENSIONS), dtype=np.int64))


def test_a_trained_encoders_tokens_are_selected_and_scored(minilm_path: Path) -> None:
    from lmscope.analyses.selection_scores import score_selections
    from lmscope.representations import capture, load_model

    model = load_model(minilm_path)
    text = "The ship left the harbour at dawn. The captain of the ship watched the harbour and the grey dawn."
    (seen,) = capture(model, [text], attention="last")
    block = model.depth - 1
    positions = np.flatnonzero(~seen.special)[10:]
    found = select_tokens(
        seen.states[model.depth],
        positions,
        ks=[1, 2, 4],
        attention=seen.attention[block],
        value_norms=seen.value_norms[block],
        special=seen.special,
        methods=METHODS + CURVES,
    )
    # The second "ship" is explained by the first.
    again = [place for place, token in enumerate(seen.tokens) if token.strip("Ġ▁ ") == "ship"]
    assert found.sets["lasso"][positions.tolist().index(again[1])][1].tolist() == [again[0]]
    residual = {
        method: values.mean(axis=0)
        for method, values in score_selections(seen.states[model.depth], found).ridge_residual.items()
    }
    for better, worse in (("omp", "random"), ("lasso", "random"), ("all", "omp"), ("all", "all_but_lasso")):
        assert (residual[better] < residual[worse]).all()
    for method in ("lasso", "omp", "cosine", "random"):
        assert (np.diff(residual[method]) < 0).all()
