from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.kernels import bidiagonal as kernel
from lmscope.kernels import runtime
from lmscope.reference import bidiagonal as reference

from ..levels import LEVELS


def draw(batch: int, order: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((batch, order)), generator.standard_normal((batch, order - 1))


def levels() -> list[str]:
    before = runtime.isa()
    found = []
    for level in LEVELS:
        try:
            runtime.use_isa(level)
        except ValueError:
            continue
        found.append(level)
    runtime.use_isa(before)
    return found


@pytest.fixture(params=levels())
def isa(request):
    before = runtime.isa()
    runtime.use_isa(request.param)
    yield request.param
    runtime.use_isa(before)


# Orders around the four steps between rescalings, batches and thresholds around the lanes.
@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 8, 9, 33, 200])
@pytest.mark.parametrize("batch", [1, 31, 32, 33])
def test_matches_the_reference(isa, batch, order):
    diagonal, off_diagonal = draw(batch, order, seed=order)
    values = reference.singular_values(diagonal, off_diagonal)
    ranks = sorted({0, order // 2, order - 1})
    found = kernel.order_statistics(diagonal, off_diagonal, ranks, rtol=1e-14)
    # The reference's own error is absolute: a few units in the last place of the largest value.
    np.testing.assert_allclose(found, values[:, ranks], rtol=1e-12, atol=1e-14 * values.max())
    generator = np.random.default_rng(1)
    thresholds = values.max() * generator.uniform(-0.1, 1.2, (batch, 63 + batch % 3))
    np.testing.assert_array_equal(
        kernel.count_below(diagonal, off_diagonal, thresholds),
        reference.count_below(diagonal, off_diagonal, thresholds),
    )


def test_every_instruction_set_and_thread_count_gives_the_same_bits():
    diagonal, off_diagonal = draw(40, 130)
    thresholds = np.linspace(0, 3, 101) * np.ones((40, 1))
    before, threads = runtime.isa(), runtime.get_num_threads()
    results = []
    try:
        for level in levels():
            for count in (1, 2, 5):
                runtime.use_isa(level)
                runtime.set_num_threads(count)
                values = kernel.order_statistics(diagonal, off_diagonal, [0, 65, 129])
                results.append(
                    values.tobytes() + kernel.count_below(diagonal, off_diagonal, thresholds).tobytes()
                )
    finally:
        runtime.use_isa(before)
        runtime.set_num_threads(threads)
    assert len(set(results)) == 1


def test_values_equal_to_a_threshold_are_not_below_it(isa):
    counts = kernel.count_below(
        [[1.0, 2.0, 3.0, 4.0]], [[0.0, 0.0, 0.0]], [[1.0, 2.0, 3.0, 4.0, 5.0, 0.0, -1.0]]
    )
    assert counts.tolist() == [[0, 1, 2, 3, 4, 0, 0]]


def test_zero_entries_split_the_matrix(isa):
    generator = np.random.default_rng(5)
    diagonal, off_diagonal = draw(30, 40, seed=3)
    diagonal[generator.uniform(size=diagonal.shape) < 0.2] = 0
    off_diagonal[generator.uniform(size=off_diagonal.shape) < 0.2] = 0
    values = reference.singular_values(diagonal, off_diagonal)
    thresholds = np.geomspace(1e-3, 5, 50) * np.ones((30, 1))
    np.testing.assert_array_equal(
        kernel.count_below(diagonal, off_diagonal, thresholds),
        (values[:, None, :] < thresholds[:, :, None]).sum(axis=2),
    )
    assert kernel.order_statistics(diagonal, off_diagonal, [0])[:, 0].max() < 1e-12


def test_zero_matrix():
    found = kernel.order_statistics(np.zeros((2, 5)), np.zeros((2, 4)), [0, 4])
    assert np.all(found >= 0)
    assert found.max() <= 1e-30
    assert kernel.count_below(np.zeros((1, 5)), np.zeros((1, 4)), [[1e-3, 0.0]]).tolist() == [[5, 0]]


def test_small_values_keep_their_relative_accuracy(isa):
    # Down to 1e-15 of the largest, where an eigenvalue of the squared matrix would be lost altogether.
    order = 13
    diagonal = 10.0 ** (-1.25 * np.arange(order))[None]
    found = kernel.order_statistics(diagonal, np.zeros((1, order - 1)), range(order), rtol=1e-14)
    np.testing.assert_allclose(found[0], diagonal[0, ::-1], rtol=1e-13)
    # The determinant is the product of all values, whatever lies beside the diagonal.
    coupled = kernel.order_statistics(diagonal, diagonal[:, 1:], range(order), rtol=1e-14)
    np.testing.assert_allclose(np.log10(coupled).sum(), -1.25 * np.arange(order).sum(), atol=1e-11)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.floats(1e-150, 1e150), st.integers(0, 2**31))
def test_scaling_and_signs(order, factor, seed):
    diagonal, off_diagonal = draw(3, order, seed)
    ranks = [0, order - 1]
    plain = kernel.order_statistics(diagonal, off_diagonal, ranks)
    np.testing.assert_allclose(
        kernel.order_statistics(-diagonal * factor, np.abs(off_diagonal) * factor, ranks),
        plain * factor,
        rtol=1e-9,
    )
    # Sum of squares: the squared Frobenius norm.
    every = kernel.order_statistics(diagonal, off_diagonal, range(order))
    np.testing.assert_allclose((every**2).sum(1), (diagonal**2).sum(1) + (off_diagonal**2).sum(1), rtol=1e-10)


def test_empty_batch():
    assert kernel.order_statistics(np.zeros((0, 4)), np.zeros((0, 3)), [0]).shape == (0, 1)
    assert kernel.count_below(np.zeros((0, 4)), np.zeros((0, 3)), np.zeros((0, 2))).shape == (0, 2)


def test_what_is_wrong_is_named():
    diagonal, off_diagonal = draw(3, 4)
    with pytest.raises(ValueError, match="off_diagonal must have shape \\(3, 3\\)"):
        kernel.order_statistics(diagonal, diagonal, [0])
    with pytest.raises(ValueError, match="diagonal must have shape"):
        kernel.order_statistics(diagonal[0], off_diagonal, [0])
    with pytest.raises(ValueError, match=r"ranks hold 4, outside 0 \.\. 3"):
        kernel.order_statistics(diagonal, off_diagonal, [4])
    with pytest.raises(ValueError, match="rtol"):
        kernel.order_statistics(diagonal, off_diagonal, [0], rtol=0)
    with pytest.raises(ValueError, match="thresholds must have shape"):
        kernel.count_below(diagonal, off_diagonal, np.zeros(3))
    with pytest.raises(ValueError, match="NaN"):
        kernel.count_below(diagonal, off_diagonal, np.full((3, 1), np.nan))
    off_diagonal[2, 1] = np.inf
    with pytest.raises(ValueError, match="off_diagonal is not finite at row 2, column 1"):
        kernel.count_below(diagonal, off_diagonal, np.zeros((3, 1)))
    with pytest.raises(ValueError, match="overflow"):
        kernel.order_statistics(np.full((1, 2), 1.5e308), np.full((1, 1), 1.5e308), [0])


def test_the_interpreter_runs_on_during_a_call():
    diagonal, off_diagonal = draw(64, 4096)
    ticks = 0
    done = threading.Event()

    def work():
        kernel.order_statistics(diagonal, off_diagonal, range(0, 4096, 256))
        done.set()

    worker = threading.Thread(target=work)
    start = time.perf_counter()
    worker.start()
    longest = 0.0
    last = start
    while not done.is_set():
        time.sleep(0.001)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
        ticks += 1
    worker.join()
    # Held, the lock would leave one gap as long as the call.
    assert ticks > 3
    assert longest < 0.8 * (last - start)
