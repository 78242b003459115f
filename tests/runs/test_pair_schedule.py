"""Every pair once, both sides in memory, never more than the budget, and few reads."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.runs.pair_schedule import Compare, Drop, Load, schedule


def followed(pairs: list[tuple[int, int]], sizes: dict[int, int], budget: int) -> tuple[int, int]:
    """Loads and the most bytes held, after checking every step."""
    held: set[int] = set()
    done: list[int] = []
    loads = most = 0
    for step in schedule(pairs, sizes, budget):
        if isinstance(step, Load):
            assert step.item not in held
            held.add(step.item)
            loads += 1
            most = max(most, sum(sizes[item] for item in held))
        elif isinstance(step, Drop):
            held.remove(step.item)
        else:
            assert isinstance(step, Compare)
            assert set(pairs[step.pair]) <= held
            done.append(step.pair)
    assert sorted(done) == list(range(len(pairs)))
    assert not held
    return loads, most


@given(
    chosen=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), unique=True, max_size=60),
    sizes=st.lists(st.integers(1, 9), min_size=13, max_size=13),
    spare=st.integers(0, 60),
)
@settings(max_examples=200, deadline=None)
def test_any_pairs_within_any_budget(chosen: list[tuple[int, int]], sizes: list[int], spare: int) -> None:
    by_item = dict(enumerate(sizes))
    largest = sorted(sizes)[-2:]
    budget = sum(largest) + spare
    loads, most = followed(chosen, by_item, budget)
    assert most <= budget
    used = {item for pair in chosen for item in pair}
    if sum(by_item[item] for item in used) <= budget:
        assert loads == len(used)


@pytest.mark.parametrize(
    ("items", "room", "loads"),
    # With r places r - 1 stay while the others pass by: about n + (n - r) n / (2 (r - 1)) reads.
    [(32, 32, 32), (32, 31, 33), (32, 8, 90), (80, 20, 210), (6, 3, 10), (6, 2, 16)],
)
def test_reads_of_all_pairs(items: int, room: int, loads: int) -> None:
    found, most = followed(list(combinations(range(items), 2)), dict.fromkeys(range(items), 1), room)
    assert found <= loads
    assert most <= room


def test_a_pair_that_needs_more_is_compared_alone() -> None:
    assert followed([(0, 1), (1, 2)], {0: 5, 1: 5, 2: 1}, 4) == (3, 10)
