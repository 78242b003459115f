"""Seeds and streams: no two share a generator."""

from __future__ import annotations

import numpy as np
import pytest

from lmscope.spin_glass.streams import Stream, generator, seed_of


def test_every_seed_stream_and_block_draws_its_own() -> None:
    seeds = [0, 1, 2**16, 2**32 - 1]
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


def test_larger_seeds_would_share_streams_and_are_refused() -> None:
    shared = [np.random.default_rng(seed).random() for seed in ([2**32 + 7, 5], [7, 1, 5])]
    assert shared[0] == shared[1]
    for seed in (2**32, 2**62):
        with pytest.raises(ValueError, match=rf"seed must be below 2\*\*32, got {seed}"):
            generator(seed, Stream.TASKS, 0)
    assert seed_of(np.int64(2**32 - 1)) == 2**32 - 1
    with pytest.raises(ValueError, match="seed must be from 0 up"):
        seed_of(-1)
    with pytest.raises(TypeError, match="seed must be a whole number"):
        seed_of(1.5)
