"""Seeds and streams: no two share a generator."""

from __future__ import annotations

import pytest

from lmscope.spin_glass.streams import Stream, generator


def test_every_seed_stream_and_block_draws_its_own() -> None:
    seeds = [0, 1, 7, 2**16, 2**32 - 1, 2**32, 2**32 + 7, 2**62, 2**63 - 1]
    blocks = [*range(3), 2**31]
    drawn = [
        generator(seed, stream, block).standard_normal()
        for seed in seeds
        for stream in (Stream.TASKS, Stream.UNSEEN)
        for block in blocks
    ]
    alone = [stream for stream in Stream if stream not in (Stream.TASKS, Stream.UNSEEN)]
    drawn += [generator(seed, stream).standard_normal() for seed in seeds for stream in alone]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5])
def test_seeds_that_are_none(seed: object) -> None:
    with pytest.raises((ValueError, TypeError), match="seed must be"):
        generator(seed, Stream.TASKS, 0)
