"""Removals against numpy's singular values and explicit products; what the controls hold, and their law."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lmscope import random_removal, singular_vectors, slice_removal
from lmscope.analyses.slices import slice_ranks

from ..shapes import Floats, with_values

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def matrices(draw: st.DrawFn) -> Floats:
    rows, columns, seed = draw(st.integers(1, 30)), draw(st.integers(1, 30)), draw(SEEDS)
    generator = np.random.default_rng(seed)
    # Up to all columns alike, so that values are zero.
    rank = draw(st.integers(1, min(rows, columns)))
    return generator.standard_normal((rows, rank)) @ generator.standard_normal((rank, columns))


def left_over(w: Floats, removal: object) -> Floats:
    return w - removal.left @ removal.right.T  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("shape", [(60, 60), (40, 100), (100, 40)], ids=str)
@pytest.mark.parametrize("smallest", [0.1, 1e-8], ids=["even", "graded"])
@pytest.mark.parametrize("place", [1, 5, 10])
def test_the_slice_becomes_zero_and_nothing_else_moves(
    shape: tuple[int, int], smallest: float, place: int
) -> None:
    count = min(shape)
    values = np.geomspace(1, smallest, count)
    w = with_values(shape, values)
    ranks = slice_ranks(count)[place - 1]
    removal = slice_removal(singular_vectors(w), ranks)
    rest = left_over(w, removal)
    expected = np.sort(np.where(np.isin(np.arange(count), ranks), 0, values))[::-1]
    rounding = 64 * np.finfo(float).eps
    assert np.abs(np.linalg.svd(rest, compute_uv=False) - expected).max() < rounding
    # The directions themselves are gone, not only as many values.
    u, _, vt = np.linalg.svd(w, full_matrices=False)
    assert np.linalg.norm(rest @ vt[list(ranks)].T, 2) < rounding
    assert np.linalg.norm(u[:, list(ranks)].T @ rest, 2) < rounding
    assert removal.directions == len(ranks)
    assert removal.energy == pytest.approx(np.sum(values[list(ranks)] ** 2), rel=1e-6)
    assert removal.energy_share == pytest.approx(removal.energy / np.sum(values**2), rel=1e-12)


def test_no_ranks_leave_every_bit_and_all_ranks_leave_nothing() -> None:
    w = np.random.default_rng(0).standard_normal((20, 30))
    vectors = singular_vectors(w)
    none = slice_removal(vectors, [])
    assert (none.left.shape, none.right.shape) == ((20, 0), (30, 0))
    assert (none.directions, none.energy, none.energy_share) == (0, 0, 0)
    assert left_over(w, none).tobytes() == w.tobytes()
    everything = slice_removal(vectors, range(20))
    assert np.abs(left_over(w, everything)).max() < 1e-13
    assert everything.energy_share == 1


@settings(max_examples=60, deadline=None)
@given(matrices(), st.data())
def test_energies_are_those_of_the_products(w: Floats, data: st.DataObject) -> None:
    vectors = singular_vectors(w)
    count = min(w.shape)
    ranks = data.draw(st.sets(st.integers(0, count - 1)))
    seed = data.draw(SEEDS)
    size = data.draw(st.integers(0, count))
    taken = slice_removal(vectors, ranks)
    of_size = random_removal(vectors, directions=size, seed=seed)
    of_energy = random_removal(vectors, energy=taken.energy, seed=seed)
    norm = np.linalg.norm(w) ** 2
    for removal in (taken, of_size, of_energy):
        product = np.linalg.norm(removal.left @ removal.right.T) ** 2
        assert removal.energy == pytest.approx(product, rel=1e-10, abs=1e-28 * norm)
        assert removal.energy_share == pytest.approx(removal.energy / norm, rel=1e-10)
        assert removal.directions == removal.left.shape[1] == removal.right.shape[1]
        gram = removal.right.T @ removal.right
        assert np.abs(gram - np.eye(len(gram))).max(initial=0) < 1e-12
    assert (taken.directions, of_size.directions) == (len(ranks), size)
    # Orthogonal projections: what is left has the rest of the energy.
    for removal in (taken, of_size):
        assert np.linalg.norm(left_over(w, removal)) ** 2 == pytest.approx(
            norm - removal.energy, abs=1e-12 * norm
        )
    assert of_energy.energy == pytest.approx(taken.energy, rel=1e-10)


@pytest.mark.parametrize("share", [1e-12, 1e-4, 0.01, 0.3, 0.97, 1 - 1e-9, 1])
@pytest.mark.parametrize("spectrum", ["even", "graded"])
def test_equal_energy_to_rounding_with_as_few_directions_as_it_takes(share: float, spectrum: str) -> None:
    values = np.full(80, 2.0) if spectrum == "even" else np.geomspace(1, 1e-6, 80)
    vectors = singular_vectors(with_values((80, 120), values))
    whole = np.sum(vectors.values**2)
    removal = random_removal(vectors, energy=share * whole, seed=3)
    product = np.linalg.norm(removal.left @ removal.right.T) ** 2
    assert abs(product / (share * whole) - 1) < 1e-10
    assert abs(removal.energy / (share * whole) - 1) < 1e-10
    by_direction = np.sum(removal.left**2, axis=0)
    assert np.sum(by_direction[:-1]) < share * whole
    # All but the last are removed whole: left is W's image of right.
    w = (vectors.left * vectors.values) @ vectors.right.T
    images = w @ removal.right
    assert np.abs(images[:, :-1] - removal.left[:, :-1]).max(initial=0) < 1e-13
    scale = np.linalg.norm(removal.left[:, -1]) / np.linalg.norm(images[:, -1])
    assert scale < 1 + 1e-6
    assert np.abs(images[:, -1] * scale - removal.left[:, -1]).max() < 1e-13
    if spectrum == "even":
        assert removal.directions == max(1, np.ceil(80 * share - 1e-6))


def test_a_random_subspace_is_removed_whole() -> None:
    w = np.random.default_rng(1).standard_normal((25, 60))
    removal = random_removal(singular_vectors(w), directions=7, seed=5)
    r = removal.right
    assert np.abs(left_over(w, removal) - (w - w @ r @ r.T)).max() < 1e-13
    row_space = np.linalg.qr(w.T)[0]
    assert np.linalg.norm(r - row_space @ (row_space.T @ r)) < 1e-12


def test_random_subspaces_are_uniform() -> None:
    """The squared length of a fixed direction's projection has the Beta law of Haar subspaces."""
    size, count, draws = 6, 24, 300
    vectors = singular_vectors(with_values((count, 40), np.geomspace(1, 1e-3, count)))
    lengths = np.empty((draws, count))
    for draw in range(draws):
        removal = random_removal(vectors, directions=size, seed=[11, draw])
        lengths[draw] = np.sum((vectors.right.T @ removal.right) ** 2, axis=1)
    law = stats.beta(size / 2, (count - size) / 2)
    p_values = [stats.kstest(lengths[:, rank], law.cdf).pvalue for rank in range(count)]
    assert min(p_values) > 0.001 / count
    assert np.median(p_values) > 0.1


def test_seeds() -> None:
    vectors = singular_vectors(np.random.default_rng(2).standard_normal((12, 9)))
    energy = 0.4 * np.sum(vectors.values**2)
    for options in ({"directions": 3}, {"energy": energy}):
        one, again = (random_removal(vectors, seed=[1, 2], **options) for _ in range(2))
        assert one.left.tobytes() == again.left.tobytes()
        assert one.right.tobytes() == again.right.tobytes()
        other = random_removal(vectors, seed=[2, 1], **options)
        assert np.abs(np.linalg.svd(one.right.T @ other.right)[1]).min() < 0.999


def test_zero_values_and_a_zero_matrix() -> None:
    w = with_values((20, 15), np.r_[np.ones(5), np.zeros(10)])
    vectors = singular_vectors(w)
    null = slice_removal(vectors, range(5, 15))
    assert null.energy < 1e-28
    assert np.abs(left_over(w, null) - w).max() < 1e-14
    control = random_removal(vectors, energy=np.sum(vectors.values**2), seed=0)
    assert np.abs(left_over(w, control)).max() < 1e-6
    empty = random_removal(vectors, energy=0, seed=0)
    assert (empty.left.shape, empty.directions, empty.energy) == ((20, 0), 0, 0)
    nothing = singular_vectors(np.zeros((6, 4)))
    for removal in (slice_removal(nothing, [0, 3]), random_removal(nothing, directions=2, seed=0)):
        assert (removal.energy, removal.energy_share) == (0, 0)
        assert not left_over(np.zeros((6, 4)), removal).any()


def test_part_of_the_vectors_needs_the_whole_norm() -> None:
    w = np.random.default_rng(3).standard_normal((18, 24))
    part, vectors = singular_vectors(w, which=[15, 16, 17]), singular_vectors(w)
    with pytest.raises(ValueError, match="squared_norm must be given: there are 3 of the 18"):
        slice_removal(part, [16])
    found = slice_removal(part, [16, 15], squared_norm=np.linalg.norm(w) ** 2)
    expected = slice_removal(vectors, [16, 15])
    assert np.abs(found.left @ found.right.T - expected.left @ expected.right.T).max() < 1e-13
    assert found.energy_share == pytest.approx(expected.energy_share, rel=1e-12)
    with pytest.raises(ValueError, match=r"squared_norm: 1e-09 is less than the energy removed"):
        slice_removal(part, [16], squared_norm=1e-9)


def test_refusals() -> None:
    vectors = singular_vectors(np.random.default_rng(4).standard_normal((8, 8)))
    whole = np.sum(vectors.values**2)
    with pytest.raises(ValueError, match="ranks: no vectors of rank 8: there are 8 ranks, 0 to 7"):
        slice_removal(vectors, [8])
    with pytest.raises(ValueError, match="ranks: 3 is there twice"):
        slice_removal(vectors, [1, 3, 2, 3])
    with pytest.raises(ValueError, match="ranks must be from 0 up"):
        slice_removal(vectors, [-1])
    with pytest.raises(ValueError, match="exactly one of directions and energy"):
        random_removal(vectors, seed=0)
    with pytest.raises(ValueError, match="exactly one of directions and energy"):
        random_removal(vectors, directions=1, energy=1.0, seed=0)
    with pytest.raises(ValueError, match="directions: 9, but there are 8 vectors"):
        random_removal(vectors, directions=9, seed=0)
    for energy in (-1e-3, whole * 1.001, np.nan):
        with pytest.raises(ValueError, match="is not between 0 and the whole"):
            random_removal(vectors, energy=energy, seed=0)


def test_white_input_changes_the_output_by_the_removed_share() -> None:
    """papers.md 2e: a 384 x 384 Gaussian layer, 32 % in the top decile down to 0.08 % in the bottom one."""
    generator = np.random.default_rng(6)
    w = generator.standard_normal((384, 384)) / np.sqrt(384)
    x = generator.standard_normal((6000, 384))
    vectors = singular_vectors(w)
    slices = [slice_removal(vectors, ranks) for ranks in slice_ranks(384)]
    shares = [removal.energy_share for removal in slices]
    assert shares[-1] == pytest.approx(0.32, abs=0.01)
    assert shares[0] == pytest.approx(0.0008, abs=0.0002)
    assert np.all(np.diff(shares) > 0)
    assert sum(shares) == pytest.approx(1, rel=1e-12)
    controls = [
        random_removal(vectors, directions=38, seed=1),
        *(random_removal(vectors, energy=removal.energy, seed=2) for removal in (slices[0], slices[9])),
    ]
    output = np.sum((x @ w.T) ** 2)
    for removal in slices + controls:
        change = x @ (w - left_over(w, removal)).T
        # Both are means over 6000 inputs of the same sums of squares.
        assert np.sum(change**2) / output == pytest.approx(removal.energy_share, rel=0.02)


def test_what_is_shown() -> None:
    removal = slice_removal(singular_vectors(np.diag([2.0, 1.0, 1.0])), [0])
    assert repr(removal) == "Removal(0.6667 of a 3 x 3 matrix' energy, directions=1)"
    assert "0.6667" in removal._repr_html_()
