"""The compiled nulls against their float64 definition: same draws, values within the stated bounds."""

from __future__ import annotations

import threading
import time

import ml_dtypes
import numpy as np
import pytest

from lmscope.kernels.randomized_nulls import permutation_top_values, permute_entries, sign_flip_top_values
from lmscope.reference import randomized_nulls as reference

KERNELS = {"sign_flip": sign_flip_top_values, "permutation": permutation_top_values}
REFERENCES = {"sign_flip": reference.sign_flip_top_values, "permutation": reference.permutation_top_values}
DTYPES = {
    "bfloat16": ml_dtypes.bfloat16,
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
}
SHAPES = [
    (1, 1),
    (2, 3),
    (1, 70),
    (70, 1),
    (5, 7),
    (64, 64),
    (97, 53),
    (53, 197),
    (300, 40),
    (40, 300),
    (257, 131),
]


def gaussian(shape: tuple[int, int], dtype: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(DTYPES[dtype])


def check(null: str, w: np.ndarray, draws: int = 3, seed: int = 5, rtol: float = 1e-4) -> None:
    found = KERNELS[null](w, draws=draws, seed=seed, rtol=rtol)
    expected = REFERENCES[null](np.asarray(w).astype(np.float64), draws=draws, seed=seed)
    assert found.values.shape == found.bounds.shape == found.steps.shape == (draws,)
    np.testing.assert_array_less(np.abs(found.values - expected), found.bounds)
    np.testing.assert_array_less(found.bounds, 1.1 * (rtol + 1e-6) * expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("null", KERNELS)
def test_every_shape_at_every_level_matches_the_definition(null, shape, isa):
    check(null, gaussian(shape))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("null", KERNELS)
def test_every_dtype_at_every_level_matches_the_definition(null, dtype, isa):
    check(null, gaussian((83, 130), dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("null", KERNELS)
def test_strides_change_only_rounding(null, dtype):
    w = gaussian((60, 90), dtype)
    wide = gaussian((120, 270), dtype)
    wide[::2, ::3] = w
    layouts = {
        "row-major": w,
        "column-major": np.asfortranarray(w),
        "every other row": np.repeat(w, 2, axis=0)[::2],
        "both strides": wide[::2, ::3],
        "reversed": w[::-1, ::-1].copy()[::-1, ::-1],
    }
    expected = KERNELS[null](w, draws=2, seed=1)
    for name, layout in layouts.items():
        assert np.array_equal(layout, w), name
        found = KERNELS[null](layout, draws=2, seed=1)
        np.testing.assert_allclose(found.values, expected.values, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("null", KERNELS)
def test_torch_tensors_give_the_bits_of_numpy_arrays(null):
    torch = pytest.importorskip("torch")
    w = gaussian((70, 90), "bfloat16")
    tensor = torch.from_numpy(w.astype(np.float32)).to(torch.bfloat16)
    expected = KERNELS[null](w, draws=2)
    assert np.array_equal(KERNELS[null](tensor, draws=2).values, expected.values)
    transposed = torch.from_numpy(w.T.astype(np.float32).copy()).to(torch.bfloat16).requires_grad_().T
    np.testing.assert_allclose(KERNELS[null](transposed, draws=2).values, expected.values, rtol=1e-6)


@pytest.mark.parametrize("null", KERNELS)
@pytest.mark.parametrize("shape", [(700, 300), (300, 700), (2000, 16)], ids=str)
def test_bits_do_not_depend_on_the_number_of_threads(null, shape, threads):
    # Magnitudes differ so much that the order of a float64 sum of float32 numbers shows.
    magnitudes = np.logspace(0, -9, shape[0])[:, None]
    w = (gaussian(shape, "float64") * magnitudes).astype(ml_dtypes.bfloat16)
    results = []
    for count in (1, 2, 5):
        threads(count)
        results.append(KERNELS[null](w, draws=3, seed=9))
    for other in results[1:]:
        assert np.array_equal(results[0].values, other.values)
        assert np.array_equal(results[0].bounds, other.bounds)


@pytest.mark.parametrize("null", KERNELS)
def test_draws_depend_on_the_seed_and_on_their_number_alone(null):
    w = gaussian((80, 60))
    few, many = KERNELS[null](w, draws=2, seed=4), KERNELS[null](w, draws=7, seed=4)
    assert np.array_equal(few.values, many.values[:2])
    assert len(np.unique(many.values)) == 7
    assert not np.isin(KERNELS[null](w, draws=7, seed=5).values, many.values).any()


@pytest.mark.parametrize("null", KERNELS)
@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e-310])
def test_huge_and_tiny_entries_scale_exactly_like_ordinary_ones(null, scale):
    w = gaussian((50, 40), "float64")
    if scale < 1e-300:  # subnormal: the entries themselves are rounded
        check(null, w * scale)
        return
    power = 2.0 ** round(np.log2(scale))
    np.testing.assert_allclose(
        KERNELS[null](w * power, draws=2).values / power, KERNELS[null](w, draws=2).values, rtol=1e-6
    )


@pytest.mark.parametrize("null", KERNELS)
def test_subnormal_bfloat16_and_mixed_magnitudes(null):
    check(null, (gaussian((40, 50), "float64") * 1e-39).astype(ml_dtypes.bfloat16))
    check(null, (gaussian((40, 50), "float64") * 1e-6).astype(np.float16))
    rows = np.logspace(-12, 12, 40)[:, None]
    check(null, gaussian((40, 50), "float64") * rows)


@pytest.mark.parametrize("null", KERNELS)
def test_structured_matrices(null):
    check(null, np.ones((64, 32), np.float32))
    check(null, np.eye(33, dtype=np.float32))
    check(null, np.diag(np.logspace(0, -9, 40)))
    check(null, np.outer(gaussian((60, 1)), gaussian((1, 45))))
    spike = gaussian((90, 70))
    spike[3, 4] = 1e6
    check(null, spike)


@pytest.mark.parametrize("null", KERNELS)
def test_a_zero_matrix_has_zero_tops(null):
    found = KERNELS[null](np.zeros((5, 9), np.float32), draws=4)
    assert not found.values.any()
    assert not found.bounds.any()


def test_a_tighter_tolerance_gives_a_tighter_bound_that_still_holds():
    w = gaussian((200, 150))
    check("sign_flip", w, rtol=1e-6)
    assert (sign_flip_top_values(w, rtol=1e-6).steps > sign_flip_top_values(w, rtol=1e-2).steps).all()


def test_signs_are_fair_and_independent():
    bits = np.stack([reference.signs(512, 640, seed=0, draw=draw) for draw in range(4)])
    deviation = 5 / np.sqrt(bits[0].size)
    assert np.abs(bits.mean(axis=(1, 2))).max() < deviation
    for shift in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 64), (0, 1, 1)):
        assert abs((bits * np.roll(bits, shift, axis=(0, 1, 2))).mean()) < deviation, shift
    # Random signs behave as a random matrix: its largest value is at the edge of the law, (sqrt(512) +
    # sqrt(640)).
    top = np.linalg.svd(bits[0], compute_uv=False)[0]
    assert top == pytest.approx(np.sqrt(512) + np.sqrt(640), rel=0.02)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (31, 17), (160, 130), (5000, 7), (400, 200)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_permutations_match_the_definition_element_by_element(shape, dtype):
    w = gaussian(shape, dtype)
    expected = reference.permute_entries(w, seed=3, draw=2)
    for layout in (w, np.asfortranarray(w)):
        found = permute_entries(layout, seed=3, draw=2)
        assert found.dtype == w.dtype
        assert np.array_equal(found, expected)
    assert np.array_equal(np.sort(found.ravel()), np.sort(w.ravel()))


def test_a_permutation_of_a_large_matrix_crosses_its_blocks():
    w = np.arange(1100 * 900, dtype=np.float32).reshape(1100, 900)
    found = permute_entries(w, seed=1)
    assert np.array_equal(np.sort(found.ravel()), w.ravel())
    assert np.array_equal(found, reference.permute_entries(w, seed=1, draw=0))
    rank = np.corrcoef(w.ravel(), found.ravel())[0, 1]
    assert abs(rank) < 5 / np.sqrt(w.size)
    for axis in (0, 1):
        means = found.mean(axis=axis, dtype=np.float64) - w.mean(dtype=np.float64)
        spread = w.std(dtype=np.float64) / np.sqrt(w.shape[axis])
        assert np.mean((means / spread) ** 2) == pytest.approx(1, abs=5 * np.sqrt(2 / len(means)))


def test_all_permutations_of_a_few_entries_are_equally_likely():
    from scipy.stats import chisquare

    w = np.arange(4, dtype=np.float32).reshape(2, 2)
    counts: dict[tuple[float, ...], int] = {}
    for draw in range(6000):
        order = tuple(permute_entries(w, seed=11, draw=draw).ravel().tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert chisquare(list(counts.values())).pvalue > 1e-4


@pytest.mark.parametrize("null", KERNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_entries_are_named(null, dtype, value):
    w = gaussian((7, 9), dtype)
    w[4, 6] = value
    with pytest.raises(ValueError, match="row 4, column 6"):
        KERNELS[null](w)


@pytest.mark.parametrize("null", KERNELS)
def test_bad_arguments_are_named(null):
    w = gaussian((4, 4))
    for arguments, text in (
        ({"draws": 0}, "draws"),
        ({"rtol": 0.0}, "rtol"),
        ({"rtol": float("nan")}, "rtol"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
    ):
        with pytest.raises(ValueError, match=text):
            KERNELS[null](w, **arguments)
    with pytest.raises(ValueError, match="2-D"):
        KERNELS[null](w[0])
    with pytest.raises(ValueError, match="shape"):
        KERNELS[null](np.zeros((0, 3), np.float32))
    with pytest.raises(ValueError, match="shape"):
        permute_entries(np.zeros((3, 0), np.float32))
    with pytest.raises(TypeError, match="int32"):
        KERNELS[null](np.ones((3, 3), np.int32))


@pytest.mark.parametrize("null", KERNELS)
def test_the_lock_of_the_interpreter_is_released(null, threads):
    threads(1)
    w = gaussian((1500, 900))
    expected = KERNELS[null](w, draws=8).values
    spans: list[tuple[float, float]] = []
    results: list[np.ndarray] = []

    def work() -> None:
        start = time.perf_counter()
        result = KERNELS[null](w, draws=8).values
        spans.append((start, time.perf_counter()))
        results.append(result)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    turns = []
    while any(worker.is_alive() for worker in workers):
        turns.append(time.perf_counter())
    # A call that kept the lock would let nothing else run between its beginning and its end.
    inside = [
        sum(start + (end - start) / 10 < turn < end - (end - start) / 10 for turn in turns)
        for start, end in spans
    ]
    # The first call to end is the one that no turn between two calls can fall into.
    assert inside[0] > 0
    for result in results:
        assert np.array_equal(result, expected)
