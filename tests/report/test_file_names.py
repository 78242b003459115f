from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from lmscope.report.file_names import file_stem, file_stems


def test_plain_names_stay() -> None:
    assert file_stem("model.layers.0.self_attn.q_proj.weight") == "model.layers.0.self_attn.q_proj.weight"


def test_changed_names_do_not_meet_plain_ones() -> None:
    changed = file_stem("a/b")
    assert changed.startswith("a_b-")
    assert file_stem(changed) != changed
    assert len(set(file_stems(["a/b", "a_b", changed, "a:b"]))) == 4


def test_capitals_are_told_apart_everywhere() -> None:
    first, second, third = file_stems(["w", "W", "v"])
    assert first.casefold() != second.casefold()
    assert third == "v"


@given(st.lists(st.text(st.characters(codec=None), max_size=300), unique=True, max_size=8))
def test_any_names_are_safe_short_and_distinct(names: list[str]) -> None:
    stems = file_stems(names)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,160}", stem) for stem in stems)
    assert len({stem.casefold() for stem in stems}) == len(names)
