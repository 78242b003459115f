"""Singular vectors: every triplet's residual, the orthogonality of all, and the spaces that they span."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import lmscope
from lmscope.kernels.singular_values import singular_values
from lmscope.kernels.singular_vectors import SingularVectors, singular_vectors
from lmscope.reference import singular_vectors as reference

from .. import shapes, tolerances


def check(matrix: Any, *, route: str | None = None, **options: Any) -> SingularVectors:
    """The triplets, after asking of them whatever holds for any matrix."""
    result = singular_vectors(matrix, **options)
    rows, columns = matrix.shape
    small, count = min(rows, columns), len(result)
    assert result.left.shape == (rows, count)
    assert result.right.shape == (columns, count)
    assert (
        result.values.dtype == result.left.dtype == result.right.dtype == result.residual.dtype == np.float64
    )
    assert np.all(np.diff(result.values) <= 0)
    assert np.all(result.values >= 0)
    peaks = result.right[np.abs(result.right).argmax(axis=0), range(count)]
    assert np.all(peaks > 0)

    known = singular_values(matrix)
    largest = known.values[0]
    misses = reference.misses(matrix, result.values, result.left, result.right)
    assert misses.residual.max() <= tolerances.vector_miss(small) * largest + 2.0**-1074 * small
    assert misses.orthogonality <= tolerances.vector_miss(small)
    alike = bool(np.all(np.asarray(matrix) == np.asarray(matrix)[0, 0]))
    slack = tolerances.measured_miss(max(rows, columns), alike=alike)
    assert np.all(np.abs(misses.residual - result.residual) <= slack * largest + 2.0**-1074 * small)
    assert abs(misses.orthogonality - result.orthogonality) <= slack
    # Weyl: the values of W and of U S V^T differ by at most the norm of the difference.
    missed = np.linalg.norm(result.residual) + 2 * small * result.orthogonality * largest
    assert np.all(np.abs(result.values - known.values[result.ranks]) <= known.bounds[result.ranks] + missed)
    assert route in (None, result.method)
    return result


def check_spaces(matrix: Any, result: SingularVectors, cuts: list[int]) -> int:
    """Leading spaces beside numpy's, where a gap determines them (Wedin); returns how many were compared."""
    left, values, right = np.linalg.svd(np.asarray(matrix).astype(np.float64), full_matrices=False)
    compared = 0
    for cut in cuts:
        gap = (values[cut - 1] - values[cut]) / values[0]
        # Both sides miss by as much, in the Frobenius norm of the space.
        missed = 2 * tolerances.vector_miss(len(values)) * np.sqrt(len(values))
        if missed > 1e-2 * gap:
            continue
        compared += 1
        for ours, theirs in [(result.left, left), (result.right, right.T)]:
            distance = reference.projector(ours[:, :cut]) - reference.projector(theirs[:, :cut])
            assert np.linalg.norm(distance, 2) <= missed / gap
    return compared


@pytest.mark.parametrize("kind", shapes.RANDOM_KINDS)
@pytest.mark.parametrize("dtype", shapes.DTYPES)
@pytest.mark.parametrize("shape", [(64, 64), (150, 64), (64, 150)], ids=str)
def test_random(kind: str, dtype: str, shape: tuple[int, int]) -> None:
    matrix = shapes.RANDOM_KINDS[kind](shape).astype(shapes.DTYPES[dtype])
    result = check(matrix, route="gram")
    assert check_spaces(matrix, result, list(range(1, 64, 6))) >= 3
    wide = matrix.astype(np.float64)
    rebuilt = (result.left * result.values) @ result.right.T
    missed = np.sqrt(64) * tolerances.vector_miss(64) * result.values[0]
    assert np.linalg.norm(rebuilt - wide) <= missed


@pytest.mark.parametrize("shape", shapes.SMALL_SHAPES, ids=str)
@pytest.mark.parametrize("method", ["auto", "qr"])
def test_small_shapes(shape: tuple[int, int], method: str) -> None:
    for dtype in shapes.DTYPES.values():
        check(shapes.gaussian(shape).astype(dtype), method=method)


def test_layouts_give_the_same_triplets() -> None:
    matrix = shapes.gaussian((90, 41)).astype(np.float32)
    expected = singular_vectors(matrix)
    for name, same in shapes.layouts(matrix):
        found = check(same)
        assert found.values == pytest.approx(expected.values, rel=1e-12), name
        assert np.abs(found.right - expected.right).max() < 1e-9, name
    tensor = torch.from_numpy(matrix)
    assert singular_vectors(tensor).right.tobytes() == expected.right.tobytes()
    half = tensor.to(torch.bfloat16)
    check(half.to(torch.float32).numpy(), route="gram")
    same_half = singular_vectors(half).values
    assert same_half == pytest.approx(singular_vectors(half.to(torch.float64)).values, rel=1e-12)


@pytest.mark.parametrize("smallest", [1e-3, 1e-6, 1e-12, 1e-30])
@pytest.mark.parametrize("shape", [(70, 70), (120, 70), (70, 120)], ids=str)
def test_graded(smallest: float, shape: tuple[int, int]) -> None:
    """The small end is as orthogonal and as true as the large one, on the Gram route itself."""
    matrix = shapes.with_values(shape, np.geomspace(1, smallest, 70))
    result = check(matrix, route="gram")
    assert check_spaces(matrix, result, [5, 20, 35, 50]) >= 1
    bottom = check(matrix, which=-10)
    assert np.array_equal(bottom.ranks, np.arange(60, 70))
    assert np.array_equal(bottom.left, result.left[:, -10:])


def test_plain_gram_vectors_would_not_pass() -> None:
    """What the refinement is for, and that these tests would see it missing."""
    matrix = shapes.with_values((120, 70), np.geomspace(1, 1e-6, 70))
    right = np.linalg.eigh(matrix.T @ matrix)[1][:, ::-1]
    image = matrix @ right
    values = np.linalg.norm(image, axis=0)
    plain = reference.misses(matrix, values, image / values, right)
    assert plain.residual.max() > 100 * tolerances.vector_miss(70)
    assert plain.orthogonality > 1e3 * tolerances.vector_miss(70)
    refined = singular_vectors(matrix)
    assert refined.residual.max() < 1e-3 * plain.residual.max()


@pytest.mark.parametrize("value", [0.5, 2e-2, 1e-2, 1e-5, 1e-9])
@pytest.mark.parametrize("size", [2, 20])
def test_clusters(value: float, size: int) -> None:
    """Close and equal values on both sides of the refinement's cut, between vectors of their own."""
    values = np.full(64, 0.1 * value)
    values[:20] = 1
    values[20:40] = np.geomspace(0.9, 1.1 * value, 20)
    for spread in (0.0, 1e-9):
        values[40 : 40 + size] = value * (1 + spread * np.arange(size)[::-1])
        matrix = shapes.with_values((80, 64), values)
        assert check_spaces(matrix, check(matrix, route="gram"), [20, 40, 40 + size]) >= 1


@pytest.mark.parametrize("share", [0.9, 1.01, 1.2, 2.0, 4.0])
@pytest.mark.parametrize("order", [20, 150])
def test_equal_values_close_to_the_cut(share: float, order: int) -> None:
    """Where refinement leaves most: less than a third of what is tolerated."""
    epsilon = share / 64 * np.sqrt(order)
    values = np.full(order, share / 64)
    values[: order // 10] = 1
    for matrix in (shapes.lauchli(order, epsilon)[0], shapes.with_values((order + 30, order), values)):
        result = singular_vectors(matrix, method="gram")
        worst = max(result.orthogonality, result.residual.max() / result.values[0])
        assert worst < tolerances.vector_miss(order) / 3


@pytest.mark.parametrize("order", [1, 5, 64, 130])
def test_equal_values(order: int) -> None:
    for matrix in (np.eye(order), np.eye(order, order + 30)[::-1], 3 * np.eye(order + 9, order)):
        check(matrix, route="gram")
    signs, _ = shapes.hadamard_times_diagonal(64, "right")
    check(np.sign(signs).astype(np.float16), route="gram")


@pytest.mark.parametrize("epsilon", [1e-1, 1e-4, 1e-8])
def test_lauchli(epsilon: float) -> None:
    matrix, _ = shapes.lauchli(90, epsilon)
    check(matrix, route="gram")
    check(matrix.T, route="gram")


@pytest.mark.parametrize("dtype", shapes.DTYPES)
def test_zero_matrix(dtype: str) -> None:
    for shape in [(1, 1), (5, 3), (3, 50)]:
        for method in ("auto", "gram", "qr"):
            result = check(np.zeros(shape, shapes.DTYPES[dtype]), method=method)
            assert not result.values.any()
            assert not result.residual.any()
            assert result.orthogonality == 0
    part = check(np.zeros((6, 4), shapes.DTYPES[dtype]), which=[1, 3])
    assert np.array_equal(part.right, np.eye(4)[:, [1, 3]])


def null_matrices() -> dict[str, Any]:
    holed = np.zeros((120, 100))
    holed[:, ::2] = shapes.gaussian((120, 50))
    integers = np.random.default_rng(3).integers(-3, 4, (100, 20)).astype(np.float64)
    return {
        "zero columns": holed,
        "zero rows": np.vstack([np.zeros((60, 40)), shapes.gaussian((20, 40))]),
        "diagonal": np.diag(np.r_[np.ones(50), np.zeros(50)]),
        "diagonal with a speck": np.diag(np.r_[np.ones(50), 1e-7, np.zeros(5)]),
        "low rank": shapes.gaussian((130, 15)) @ shapes.gaussian((15, 90)),
        "low rank of integers": integers @ integers[:80].T,
        "one entry": np.eye(40, 30) * (np.arange(30) == 7),
        "rank one": np.outer(shapes.gaussian((80, 1)), shapes.gaussian((1, 60))),
        "ones": np.ones((70, 50)),
        "equal": np.full((300, 200), 0.1, np.float32),
        "twice": np.repeat(shapes.gaussian((100, 40)), 2, axis=1),
        "sparse": shapes.gaussian((90, 80)) * (np.random.default_rng(1).random((90, 80)) < 0.03),
        "same columns": np.repeat(shapes.gaussian((70, 1)), 70, axis=1),
    }


@pytest.mark.parametrize("name", null_matrices())
def test_null_vectors(name: str) -> None:
    """Null vectors are orthonormal on both sides, also where nothing determines the left ones."""
    matrix = null_matrices()[name]
    for side in (matrix, matrix.T):
        result = check(side, route="gram")
        rank = np.linalg.matrix_rank(matrix)
        assert rank < len(result)
        assert np.all(result.values[rank:] <= 1e-14 * result.values[0])
        assert check_spaces(side, result, [rank]) == 1
        check(side, which=-1)


@pytest.mark.parametrize("decades", [60, 116, 130, 200])
@pytest.mark.parametrize("shape", [(30, 30), (50, 40), (40, 50)], ids=str)
def test_rows_graded_beyond_rounding(decades: int, shape: tuple[int, int]) -> None:
    """One value is far above rounding, and the images of all other right vectors depend on each other."""
    for seed in range(3):
        noise = np.random.default_rng(seed).standard_normal(shape)
        matrix = noise * 10.0 ** np.linspace(0, -decades, shape[0])[:, None]
        check(matrix, method="gram")
        check(matrix.T, method="gram")
        check(matrix, route="gram", which=-5)


@pytest.mark.parametrize("which", [1, 7, -1, -7, [0], [59, 3], [-1, 0, 30], range(10, 30), np.array([5, 2])])
@pytest.mark.parametrize("kind", shapes.RANDOM_KINDS)
def test_part(which: Any, kind: str) -> None:
    matrix = shapes.RANDOM_KINDS[kind]((80, 60))
    whole = singular_vectors(matrix)
    part = check(matrix, which=which)
    if isinstance(which, int):
        expected = list(range(which)) if which > 0 else list(range(60 + which, 60))
    else:
        expected = sorted(rank % 60 for rank in which)
    assert part.ranks.tolist() == expected
    assert part.ranks.dtype == np.int64
    missed = tolerances.vector_miss(60) * whole.values[0]
    assert np.all(np.abs(part.values - whole.values[expected]) <= 2 * missed)
    cosines = np.abs((part.right * whole.right[:, expected]).sum(axis=0))
    gaps = np.abs(whole.values[expected, None] - whole.values)
    gaps[np.arange(len(expected)), expected] = np.inf
    known = 4 * missed / gaps.min(axis=1) < 0.1
    assert known.any()
    assert np.all(cosines[known] >= 0.99)


@pytest.mark.parametrize("exponent", [-1000, -300, -60, 3, 100, 900])
def test_powers_of_two_scale_values_alone(exponent: int) -> None:
    matrix = shapes.spiked((50, 30))
    base = singular_vectors(matrix)
    scaled = singular_vectors(np.ldexp(matrix, exponent))
    inside = -150 < exponent < 150
    assert np.array_equal(scaled.right, base.right) or not inside
    assert np.abs(scaled.right - base.right).max() < 1e-10
    assert scaled.values == pytest.approx(np.ldexp(base.values, exponent), rel=1e-12)
    assert scaled.residual.max() <= tolerances.vector_miss(30) * scaled.values[0]


def test_subnormals() -> None:
    matrix = np.round(shapes.gaussian((40, 20)) * 1000) * 2.0**-1074
    result = singular_vectors(matrix)
    exact = singular_vectors(np.round(shapes.gaussian((40, 20)) * 1000))
    assert np.abs(result.values - exact.values * 2.0**-1074).max() <= 2.0**-1074
    assert np.abs(result.right - exact.right).max() < 1e-10


def test_tolerance_decides_on_the_route() -> None:
    matrix = shapes.geometric((90, 50))
    reached = singular_vectors(matrix, method="gram")
    miss = max(reached.orthogonality, reached.residual.max() / reached.values[0])
    assert check(matrix, tolerance=1.01 * miss, route="gram").right.tobytes() == reached.right.tobytes()
    left = singular_vectors(matrix, tolerance=0.99 * miss)
    assert left.right.tobytes() == check(matrix, method="qr", route="qr").right.tobytes()
    assert left.method == "qr"
    small = singular_vectors(matrix, which=-3, tolerance=1e-18)
    assert np.array_equal(small.left, left.left[:, -3:])
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="tolerance must be positive"):
            singular_vectors(matrix, tolerance=wrong)


def test_qr_route_is_taken_where_asked() -> None:
    for shape in [(60, 40), (40, 60)]:
        matrix = shapes.geometric(shape)
        result = check(matrix, method="qr")
        assert result.method == "qr"
        assert check_spaces(matrix, result, [3, 10, 20]) >= 2
        part = singular_vectors(matrix, method="qr", which=[0, 39])
        assert np.array_equal(part.left, result.left[:, [0, 39]])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 60),
    columns=st.integers(1, 60),
    kind=st.sampled_from(shapes.HARD),
    decades=st.floats(0, 30),
)
def test_adversarial(seed: int, rows: int, columns: int, kind: str, decades: float) -> None:
    matrix = shapes.hard(kind, (rows, columns), decades, seed, wild=2)
    result = check(matrix)
    assert (result.values**2).sum() == pytest.approx((matrix**2).sum(), rel=1e-12)


def test_minilm(minilm_path: Path) -> None:
    """Real weights: the refined Gram route holds for every role, on what single precision left of the small
    end.
    """
    checkpoint = lmscope.open_checkpoint(minilm_path)
    seen = set()
    for info in checkpoint:
        if len(info.shape) != 2 or max(info.shape) > 4096 or info.layer not in (None, 0, 5):
            continue
        matrix = np.asarray(checkpoint.load(info.name)).astype(np.float64)
        result = singular_vectors(matrix)
        allowed = tolerances.vector_miss(min(matrix.shape))
        forward = np.linalg.norm(matrix @ result.right - result.left * result.values, axis=0)
        back = np.linalg.norm(matrix.T @ result.left - result.right * result.values, axis=0)
        assert max(forward.max(), back.max(), result.residual.max()) <= allowed * result.values[0], info.name
        assert result.orthogonality <= allowed
        assert result.method == "gram"
        seen.add(info.role)
    assert {"query", "key", "value", "attention_output", "up", "down"} <= seen


@pytest.fixture
def hard_matrices() -> list[Any]:
    return [
        shapes.spiked((300, 170)).astype(shapes.DTYPES["bfloat16"]),
        shapes.geometric((150, 290)),
        shapes.gaussian((200, 200)).astype(np.float32),
        shapes.gaussian((160, 12)) @ shapes.gaussian((12, 90)),
    ]


def bits(matrix: Any) -> list[bytes]:
    found = []
    for options in ({}, {"method": "qr"}, {"which": [0, 4, -1]}, {"which": 2}):
        result = singular_vectors(matrix, **options)
        found += [array.tobytes() for array in (result.values, result.left, result.right, result.residual)]
    return found


def test_bits_do_not_depend_on_threads(hard_matrices: list[Any], threads: Callable[[int], None]) -> None:
    threads(1)
    expected = [bits(matrix) for matrix in hard_matrices]
    for count in (2, 3):
        threads(count)
        assert [bits(matrix) for matrix in hard_matrices] == expected
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(bits, hard_matrices)) == expected


def test_bits_do_not_depend_on_the_instruction_set(isa: str, hard_matrices: list[Any]) -> None:
    found = bits(hard_matrices[0])
    lmscope.use_isa("scalar")
    assert bits(hard_matrices[0]) == found


def test_gil_is_released(threads: Callable[[int], None]) -> None:
    threads(1)
    matrix = shapes.gaussian((900, 700))
    started, done = threading.Event(), threading.Event()

    def compute() -> None:
        started.set()
        singular_vectors(matrix)
        done.set()

    thread = threading.Thread(target=compute)
    thread.start()
    started.wait()
    count = 0
    while not done.is_set():
        count += 1
    thread.join()
    assert count > 10_000


PROGRAM = """
import sys
import ml_dtypes
import numpy as np
from lmscope.kernels.runtime import set_num_threads
from lmscope.kernels.singular_vectors import singular_vectors
from lmscope.runs.benchmarks.peak_memory import PeakMemory
rows, columns = map(int, sys.argv[1:])
set_num_threads(2)
matrix = np.random.default_rng(0).standard_normal((rows, columns)).astype(ml_dtypes.bfloat16)
memory = PeakMemory()
result = singular_vectors(matrix, method="gram")
print(memory.extra_bytes())
"""


def test_memory() -> None:
    """What the docstring says and no hidden copy of the widened matrix, which would be 38 MB more."""
    rows, columns = 6000, 800
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(rows), str(columns)], capture_output=True, text=True, check=True
    )
    if done.stdout.strip() == "None":
        pytest.skip("this kernel lets no process forget its peak: /proc/self/clear_refs")
    returned = 8 * (rows * columns + columns**2)
    assert returned < int(done.stdout) < returned + 8 * 2 * columns**2 + 40_000_000


@pytest.mark.parametrize(
    ("which", "message"),
    [
        (0, "which asks for 0 singular vectors; the matrix has 3 singular values"),
        (4, "which asks for 4 singular vectors"),
        (-4, "which asks for -4 singular vectors"),
        ([], "which names no rank"),
        ([3], r"which has rank 3; the matrix has 3 singular values"),
        ([-4], "which has rank -4"),
        ([1, -2], "which has rank 1 twice"),
        ([2**70], "which has 1180591620717411303424, more than any matrix has"),
        (2**70, "which has 1180591620717411303424, more than any matrix has"),
        ("some", "which must be \"all\", an int or ranks, got 'some'"),
    ],
)
def test_wrong_which(which: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        singular_vectors(np.ones((5, 3)), which=which)


MASK = [True, False, True]


@pytest.mark.parametrize(
    "which", [True, np.True_, MASK, np.array(MASK), np.array(True), torch.tensor(MASK), torch.tensor(True)]
)
def test_masks_are_no_ranks(which: Any) -> None:
    with pytest.raises(TypeError, match=r"which must be .*np\.flatnonzero\(mask\)"):
        singular_vectors(np.ones((5, 3)), which=which)
    found = singular_vectors(np.diag([3.0, 2.0, 1.0]), which=np.flatnonzero(MASK))
    assert found.ranks.tolist() == [0, 2]


@pytest.mark.parametrize("which", [b"ab", None, 1.0, [0.5], ["0"], np.eye(3), np.ones((2, 2), int), object()])
def test_which_of_another_type(which: Any) -> None:
    with pytest.raises(TypeError, match=r'^which must be "all", an int or ranks, got '):
        singular_vectors(np.ones((5, 3)), which=which)


def test_which_as_an_array() -> None:
    matrix = np.diag([3.0, 2.0, 1.0])
    assert singular_vectors(matrix, which=np.array(2)).ranks.tolist() == [0, 1]
    assert singular_vectors(matrix, which=torch.tensor([2])).ranks.tolist() == [2]
    assert singular_vectors(matrix, which=(rank for rank in (1, -1))).ranks.tolist() == [1, 2]


def test_wrong_arguments() -> None:
    for method in (None, 3, b"qr"):
        with pytest.raises(TypeError, match=r"^method must be 'auto', 'gram' or 'qr', got "):
            singular_vectors(np.ones((5, 3)), method=method)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^tolerance must be a number or None, got 'low'"):
        singular_vectors(np.ones((5, 3)), tolerance="low")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="method must be 'auto', 'gram' or 'qr', got 'fast'"):
        singular_vectors(np.ones((5, 3)), method="fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"w has shape \(0, 3\)"):
        singular_vectors(np.ones((0, 3)))
    with pytest.raises(TypeError):
        singular_vectors([[1.0, 2.0]])
    with pytest.raises(TypeError):
        singular_vectors(np.ones((2, 2), np.int64))
    with pytest.raises(ValueError, match="w must be 2-D, got 1-D"):
        singular_vectors(np.ones(4))
    bad = np.ones((5, 3), np.float32)
    bad[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"nan.*row 2, column 1|row 2, column 1"):
        singular_vectors(bad)
    with pytest.raises(ValueError, match="exceeds the range of float64"):
        singular_vectors(np.full((50, 40), 1e308))


def test_representations() -> None:
    result = singular_vectors(shapes.gaussian((8, 5)), which=2)
    assert len(result) == 2
    assert repr(result).startswith("SingularVectors(2 of 8 x 5, values from ")
    assert "method='gram'" in repr(result)
    assert "2 singular values and vectors of a 8 x 5 matrix" in result._repr_html_()
