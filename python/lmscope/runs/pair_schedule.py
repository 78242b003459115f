"""The order in which pairs of matrices are compared, and when each matrix is read and let go."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True)
class Load(Generic[Item]):
    """Read and pack."""

    item: Item


@dataclass(frozen=True)
class Drop(Generic[Item]):
    """Let go."""

    item: Item


@dataclass(frozen=True)
class Compare:
    """The pair at this place of those given."""

    pair: int


Step = Load[Item] | Drop[Item] | Compare


def schedule(
    pairs: Sequence[tuple[Item, Item]], sizes: Mapping[Item, int], budget: int
) -> Iterator[Step[Item]]:
    """Steps that compare every pair with at most `budget` bytes of items held at any time.

    Where all fit, each is loaded once. Where not, the pairs go tile by tile: as many first sides as fit stay,
    the others pass by, each tile's in the opposite direction of the one before. What is let go is what is
    needed last, or never again (Belady's rule, as the order is known). A pair that needs more than the budget
    is compared alone.
    """
    order = _tiled(pairs, sizes, budget)
    uses: defaultdict[Item, list[int]] = defaultdict(list)
    for turn, index in enumerate(order):
        for item in set(pairs[index]):
            uses[item].append(turn)
    held: dict[Item, int] = {}

    def next_use(item: Item, turn: int) -> int:
        later = bisect_right(uses[item], turn)
        return uses[item][later] if later < len(uses[item]) else len(order)

    for turn, index in enumerate(order):
        needed = dict.fromkeys(pairs[index])
        for item in needed:
            if item in held:
                continue
            while held and sum(held.values()) + sizes[item] > budget:
                spare = [other for other in held if other not in needed]
                if not spare:
                    break
                last = max(spare, key=lambda other: next_use(other, turn))
                del held[last]
                yield Drop(last)
            held[item] = sizes[item]
            yield Load(item)
        yield Compare(index)
        for item in [item for item in needed if next_use(item, turn) == len(order)]:
            del held[item]
            yield Drop(item)


def _tiled(pairs: Sequence[tuple[Item, Item]], sizes: Mapping[Item, int], budget: int) -> list[int]:
    """The pairs' places in the order of the tiles."""
    by_first: defaultdict[Item, list[int]] = defaultdict(list)
    place: dict[Item, int] = {}
    for index, (x, y) in enumerate(pairs):
        by_first[x].append(index)
        place.setdefault(x, len(place))
        place.setdefault(y, len(place))
    if sum(sizes[item] for item in place) <= budget:
        return list(range(len(pairs)))
    # Room for one that passes by.
    room = budget - max(sizes[item] for item in place)
    tiles: list[list[Item]] = []
    filled = room + 1
    for x in by_first:
        if filled + sizes[x] > room:
            tiles.append([])
            filled = 0
        tiles[-1].append(x)
        filled += sizes[x]
    order: list[int] = []
    for number, tile in enumerate(tiles):
        indices = [index for x in tile for index in by_first[x]]
        inside = set(tile)
        # Pairs within the tile first on the way down, last on the way up.
        way = -1 if number % 2 else 1
        indices.sort(key=lambda i: way * (-1 if pairs[i][1] in inside else place[pairs[i][1]]))
        order += indices
    return order
