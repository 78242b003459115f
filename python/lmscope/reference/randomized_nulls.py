"""Float64 definition of the randomised nulls: the draws of the compiled kernels, decomposed by LAPACK."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["permutation_top_values", "permute_entries", "sign_flip_top_values", "signs"]

Words = npt.NDArray[np.uint64]
Matrix = npt.NDArray[np.float64]

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1
# Lines of the counter that hold the bucket numbers and the shuffles of a permutation.
_BUCKET_LINE = 2**62
_SHUFFLE_LINE = 2**63
_BUCKET_ENTRIES = 2**14
_MOST_BITS = 10


def _mix(value: Words) -> Words:
    """Finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    value ^= value >> np.uint64(31)
    return value


def _step(key: int, index: int | Words) -> Words:
    """Word ``index`` of the sequence of ``key``; both the keys and the random words are made by it."""
    if isinstance(index, int):
        return _mix(np.array([(key + (index + 1) * _GOLDEN) & _MASK], np.uint64))
    return _mix(np.uint64(key) + (index + np.uint64(1)) * np.uint64(_GOLDEN))


def _draw_key(seed: int, draw: int) -> int:
    return int(_step(int(_step(seed, 0)[0]), draw)[0])


def signs(rows: int, columns: int, *, seed: int, draw: int) -> Matrix:
    """Signs, +1 or -1, (rows, columns): bit ``column % 64`` of word ``column // 64`` of the row."""
    key = _draw_key(seed, draw)
    groups = np.arange((columns + 63) // 64, dtype=np.uint64)
    bits = np.empty((rows, 64 * len(groups)), np.uint8)
    for row in range(rows):
        words = _step(int(_step(key, row)[0]), groups)
        bits[row] = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")
    return np.where(bits[:, :columns] == 1, -1.0, 1.0)


def permute_entries(w: npt.NDArray[np.generic], *, seed: int, draw: int) -> npt.NDArray[np.generic]:
    """Entries go to random buckets (Rao 1961, Sandelius 1962), each shuffled by Fisher and Yates."""
    entries = w.reshape(-1)
    bits = 0
    while bits < _MOST_BITS and (len(entries) >> bits) > _BUCKET_ENTRIES:
        bits += 1
    key = _draw_key(seed, draw)
    place = np.arange(len(entries), dtype=np.uint64)
    per_word = np.uint64(64 // bits if bits else 64)
    words = _step(int(_step(key, _BUCKET_LINE)[0]), place // per_word)
    bucket = (words >> (place % per_word * np.uint64(bits))) & np.uint64(2**bits - 1)
    result = entries[np.argsort(bucket, kind="stable")]
    ends = np.cumsum(np.bincount(bucket.astype(np.int64), minlength=2**bits))
    for number, end in enumerate(ends):
        first = 0 if number == 0 else int(ends[number - 1])
        count = int(end) - first
        own = int(_step(key, _SHUFFLE_LINE + number)[0])
        picks = _step(own, np.arange(count + 1, dtype=np.uint64))
        for left in range(count, 1, -1):
            last, other = first + left - 1, first + (int(picks[left]) * left >> 64)
            result[[last, other]] = result[[other, last]]
    return result.reshape(w.shape)


def sign_flip_top_values(w: Matrix, *, draws: int, seed: int) -> Matrix:
    """Largest singular value of each draw of random signs, shape (draws,)."""
    rows, columns = w.shape
    return np.array([_top(w * signs(rows, columns, seed=seed, draw=draw)) for draw in range(draws)])


def permutation_top_values(w: Matrix, *, draws: int, seed: int) -> Matrix:
    """Largest singular value of each random permutation of the entries, shape (draws,)."""
    return np.array(
        [_top(permute_entries(w, seed=seed, draw=draw).astype(np.float64)) for draw in range(draws)]
    )


def _top(w: Matrix) -> float:
    return float(np.linalg.svd(w, compute_uv=False)[0])
