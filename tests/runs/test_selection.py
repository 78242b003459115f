"""Selection by globs, layers and roles."""

from __future__ import annotations

import pytest

from lmscope.checkpoints import open_checkpoint
from lmscope.runs import UsageError
from lmscope.runs.selection import parse_layers, select


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, set()),
        (3, {3}),
        ([0, 2], {0, 2}),
        (range(2), {0, 1}),
        ("0-3,7", {0, 1, 2, 3, 7}),
        (" 2 - 3 , 5 ", {2, 3, 5}),
        ("4-4,4", {4}),
    ],
)
def test_layers(given, expected):
    assert parse_layers(given) == expected


@pytest.mark.parametrize(
    "given", ["", ",", "a", "3-1", "-1", "1-", "1.5", "0-999999999", "0--2", -1, [1.5], ["1"]]
)
def test_wrong_layers_name_their_value(given):
    with pytest.raises(UsageError, match="layers: "):
        parse_layers(given)


@pytest.fixture
def checkpoint(make_llama):
    return open_checkpoint(make_llama())


def names(checkpoint, **conditions):
    selection = select(**conditions)
    return {
        info.name.removeprefix("model.")
        for info in checkpoint
        if info.status == "planned" and info in selection
    }


def test_nothing_asked_selects_all(checkpoint):
    assert len(names(checkpoint)) == 2 + 2 * 7


def test_conditions_add_up(checkpoint):
    assert names(checkpoint, roles="query,key", layers="1") == {
        "layers.1.self_attn.q_proj.weight",
        "layers.1.self_attn.k_proj.weight",
    }
    assert names(checkpoint, roles=["query", "key"], exclude="*k_proj*") == {
        "layers.0.self_attn.q_proj.weight",
        "layers.1.self_attn.q_proj.weight",
    }
    assert names(checkpoint, include=["*embed*", "lm_head*"]) == {"embed_tokens.weight", "lm_head.weight"}
    assert names(checkpoint, include="*embed*", layers=0) == set()


def test_globs_mind_case(checkpoint):
    assert names(checkpoint, include="*EMBED*") == set()


def test_unknown_role_lists_the_roles():
    with pytest.raises(UsageError, match=r"'keys' is no role; choose from .*query, key, value"):
        select(roles="query,keys")


def test_text_says_what_was_asked():
    text = str(select(include="a*", exclude=["b", "c"], layers="0-2,5", roles="key,query"))
    assert text == "include a*; exclude b, c; layers 0-2,5; roles query, key"
