"""Couplings and fields: their definition, streams, memory, and input that cannot be used."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import lmscope.spin_glass as sg

from .plain_features import features, whole

SMALL = sg.make_tasks(tasks=700, dimension=3, prompt_length=12, seed=1)


def same(found: sg.Fields, expected: sg.Fields, tolerance: float = 1e-13) -> None:
    np.testing.assert_allclose(
        found.gram, expected.gram, atol=tolerance * np.abs(expected.gram).max(), rtol=0
    )
    np.testing.assert_allclose(found.field, expected.field, atol=tolerance, rtol=0)
    assert found.target_power == pytest.approx(expected.target_power, rel=1e-13)
    assert (found.tasks, found.dimension) == (expected.tasks, expected.dimension)


@pytest.mark.parametrize(("dimension", "tasks"), [(1, 1), (1, 300), (2, 255), (3, 256), (3, 257), (5, 1000)])
def test_couplings_and_fields_are_means_over_features(dimension: int, tasks: int) -> None:
    law = sg.make_tasks(tasks=tasks, dimension=dimension, prompt_length=7, correlation=0.3, seed=4)
    given = whole(law)
    found = sg.fields(law)
    rows = features(given)
    scale = np.abs(rows).max() ** 2
    np.testing.assert_allclose(found.gram, rows.T @ rows / tasks, atol=1e-14 * scale, rtol=0)
    np.testing.assert_array_equal(found.gram, found.gram.T)
    np.testing.assert_allclose(found.field, rows.T @ given.target / tasks, atol=1e-14 * scale, rtol=0)
    assert found.target_power == pytest.approx(np.mean(given.target**2), rel=1e-13)
    assert (found.tasks, found.dimension, found.prompt_length) == (tasks, dimension, 7)
    assert found.spins == dimension * (dimension + 1) == len(found.field)


def test_the_papers_couplings_and_field_hold_all_spins() -> None:
    """Features as arXiv 2408.02288 has them, with the label of the query, 0, as the last of its entries."""
    given = whole(SMALL)
    query = np.pad(given.query, ((0, 0), (0, 1)))
    rows = (given.context[:, :, None] * query[:, None, :]).reshape(len(given), -1)
    couplings = -rows.T @ rows / len(given)
    np.fill_diagonal(couplings, 0)
    found = sg.fields(SMALL)
    np.testing.assert_allclose(found.couplings(), couplings, atol=1e-13)
    np.testing.assert_allclose(found.external(), rows.T @ given.target / len(given), atol=1e-13)


def test_energy_is_half_the_training_loss() -> None:
    given = whole(SMALL)
    found = sg.fields(SMALL)
    weights = np.random.default_rng(0).standard_normal((5, 4, 4))
    losses = [np.mean((given.target - sg.predict(one, given)) ** 2) for one in weights]
    np.testing.assert_allclose(2 * sg.energy(found, weights) + found.target_power, losses, rtol=1e-12)
    ridge = sg.energy(found, weights, regularization=0.3) - sg.energy(found, weights)
    np.testing.assert_allclose(ridge, 0.15 * np.square(weights).sum(axis=(1, 2)), rtol=1e-12)
    assert sg.energy(found, weights[2]) == pytest.approx(sg.energy(found, weights)[2], rel=1e-14)


def test_all_ways_to_give_tasks_agree() -> None:
    expected = sg.fields(SMALL)
    given = whole(SMALL)
    prompts = list(SMALL.prompts())
    same(sg.fields(given), expected)
    same(sg.fields(prompts), expected)
    same(sg.fields(iter(prompts)), expected)
    same(sg.fields(block.statistics() for block in prompts), expected)
    same(sg.fields(prompts[0]), sg.fields(SMALL.first(len(prompts[0]))))
    assert sg.fields(given).prompt_length is None
    assert sg.fields(prompts).prompt_length == 12
    assert sg.fields([*prompts, given]).prompt_length is None


def test_blocks_of_any_size_make_the_same_sums() -> None:
    given = whole(SMALL)
    for sizes in ([1, 255, 1, 443], [256, 256, 188], [700], [600, 100]):
        ends = np.cumsum([0, *sizes])
        assert ends[-1] == len(given)
        told: list[int] = []
        parts = [
            sg.Statistics(given.context[a:b], given.query[a:b], given.target[a:b])
            for a, b in itertools.pairwise(ends)
        ]
        same(sg.fields(parts, advance=told.append), sg.fields(given))
        assert told == sizes


def test_the_normalization_of_the_law_holds() -> None:
    columns = sg.make_tasks(tasks=700, dimension=3, prompt_length=12, seed=1, normalization="columns")
    np.testing.assert_allclose(sg.fields(columns).gram, sg.fields(SMALL).gram * (12 / 13) ** 2, rtol=1e-10)
    np.testing.assert_allclose(sg.fields(columns).field, sg.fields(SMALL).field * 12 / 13, atol=1e-14)


def test_streams_merge() -> None:
    prompts = list(SMALL.prompts())
    one, other = sg.StreamingFields(3), sg.StreamingFields(3)
    for number, block in enumerate(prompts):
        (one if number % 3 else other).update(block)
    before = other.result()
    one.merge(other)
    same(one.result(), sg.fields(SMALL))
    same(other.result(), before)
    assert one.tasks == 700
    assert repr(one) == "StreamingFields(dimension=3, 700 tasks)"
    other.update(prompts[0])
    assert other.tasks == before.tasks + len(prompts[0])
    same(one.result(), sg.fields(SMALL))
    with pytest.raises(ValueError, match="itself"):
        one.merge(one)
    with pytest.raises(ValueError, match="dimension: expected 3, found 2"):
        one.merge(sg.StreamingFields(2))


def test_streams_merge_before_anyone_asks_for_a_result() -> None:
    """Neither has ended a block of its own accord: the other's half block is counted, as a sum of its own."""
    (first, second), direct = itertools.islice(SMALL.prompts(), 2), sg.StreamingFields(3)
    one, other = sg.StreamingFields(3), sg.StreamingFields(3)
    one.update(first)
    other.update(second)
    one.merge(other)
    for block in (first, second):
        direct.update(block)
    found = one.result()
    same(found, direct.result())
    # The sum of each, and of both; together they fit in one block.
    assert (found.additions, direct.result().additions, other.result().additions) == (3, 1, 1)
    # Merging with a stream that has seen nothing adds its empty sum.
    one.merge(sg.StreamingFields(3))
    same(one.result(), found, 0)
    assert one.result().additions == 4


def test_a_result_does_not_end_a_stream() -> None:
    stream = sg.StreamingFields(3)
    for block in SMALL.prompts():
        stream.update(block)
        stream.result()
    same(stream.result(), sg.fields(SMALL))
    # Every early end of a block is one more partial sum, which the bounds of eigenvalues know.
    assert stream.result().additions > sg.fields(SMALL).additions == 3


def test_without_tasks_there_is_nothing() -> None:
    with pytest.raises(ValueError, match=r"tasks: there are none"):
        sg.fields([])
    with pytest.raises(ValueError, match=r"tasks: the stream has seen none yet"):
        sg.StreamingFields(3).result()
    with pytest.raises(ValueError, match=r"tasks: the stream has seen none yet"):
        sg.zero_modes(sg.StreamingFields(3))


def changed(**parts: Any) -> sg.Statistics:
    given = whole(SMALL.first(5))
    return sg.Statistics(*(parts.get(name, getattr(given, name)) for name in ("context", "query", "target")))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (changed(context=np.zeros((5, 3))), r"context must be .*, here 5 x 4, got shape \(5, 3\)"),
        (changed(query=np.zeros((4, 3))), r"query must be .*, here 5 x 3, got shape \(4, 3\)"),
        (changed(query=np.zeros((5, 2))), r"query must be .*, here 5 x 3, got shape \(5, 2\)"),
        (changed(target=np.array([0, 1, np.nan, 2, 3])), r"target has nan at index \[2\]"),
        (changed(context=np.full((5, 4), np.inf)), r"context has inf at index \[0, 0\]"),
    ],
)
def test_a_wrong_block_is_named_and_not_added(wrong: sg.Statistics, words: str) -> None:
    stream = sg.StreamingFields(3)
    stream.update(next(SMALL.prompts()))
    before = stream.result()
    with pytest.raises(ValueError, match=words):
        stream.update(wrong)
    same(stream.result(), before, 0)


def test_other_wrong_input() -> None:
    with pytest.raises(TypeError, match="Prompts or Statistics, got ndarray"):
        sg.fields([np.zeros((3, 3))])  # type: ignore[list-item]
    for given in (None, 5):
        with pytest.raises(TypeError, match=f"tasks must be Tasks, Prompts, .* got {given}"):
            sg.fields(given)  # type: ignore[arg-type]
    stream = sg.StreamingFields(3)
    with pytest.raises(TypeError, match="tasks must be made of Prompts or Statistics, got Tasks"):
        stream.update(SMALL)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="other must be StreamingFields, got NoneType"):
        stream.merge(None)  # type: ignore[arg-type]
    assert stream.tasks == 0
    with pytest.raises(ValueError, match="dimension must be from 1 up"):
        sg.StreamingFields(0)
    with pytest.raises(ValueError, match="do not fit in float64"):
        sg.fields(changed(context=np.full((5, 4), 1e200)))


@pytest.mark.parametrize(
    ("context", "query"), [(1e-120, 1e-40), (1e-40, 1e-120), (1e-170, 1e100), (1e-160, 1.0), (1.0, 1e-200)]
)
def test_features_whose_squares_vanish_are_refused(context: float, query: float) -> None:
    """Also where the square of a context alone vanishes, and the query would bring A back."""
    given = whole(SMALL.first(20))
    small = sg.Statistics(given.context * context, given.query * query, given.target)
    with pytest.raises(ValueError, match="squares of their features vanish in float64; multiply"):
        sg.fields(small)
    one, other = sg.StreamingFields(3), sg.StreamingFields(3)
    other.update(small)
    one.merge(other)
    with pytest.raises(ValueError, match="vanish"):
        one.result()


def test_small_features_keep_their_digits_and_those_of_zero_are_zero() -> None:
    given = whole(SMALL)
    small = sg.fields(sg.Statistics(given.context * 2.0**-300, given.query * 2.0**-150, given.target))
    np.testing.assert_allclose(np.ldexp(small.gram, 900), sg.fields(given).gram, rtol=1e-13)
    # Every feature is 0 where a context meets a query of 0, or the other way round.
    one = np.array([[1.0, 0.0], [0.0, 0.0]])
    zeros = sg.Statistics(one, one[::-1, :1].copy(), np.ones(2))
    assert not sg.fields(zeros).gram.any()


THREADS = """
import hashlib
import sys
import numpy as np
import lmscope
import lmscope.spin_glass as sg
lmscope.set_num_threads(int(sys.argv[1]))
for size in (10, 20, 40):
    law = sg.make_tasks(tasks=300, dimension=size, prompt_length=9, seed=2, draw="statistics")
    found = sg.fields(law)
    print(hashlib.sha256(found.gram.tobytes() + found.field.tobytes()).hexdigest())
"""


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    told = []
    for threads in ("1", "2", "3"):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        command = [sys.executable, "-c", THREADS, threads]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        told.append(done.stdout.split())
    assert len(set(told[0])) == 3
    assert told[0] == told[1] == told[2]


def test_the_blas_has_its_threads_back() -> None:
    """Also where streams on several threads enter and leave in any order."""
    from threadpoolctl import threadpool_info, threadpool_limits

    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    with threadpool_limits(2, user_api="blas"):
        before = threads()
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: sg.fields(SMALL).gram, range(20)))
        assert threads() == before
    for gram in found[1:]:
        np.testing.assert_array_equal(gram, found[0])


def test_sizes_that_cannot_fit_are_refused_before_anything_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("drawn")

    monkeypatch.setattr(sg.Tasks, "_blocks", never)
    # 14 bytes for each pair of 2000 x 2001 spins.
    with pytest.raises(
        ValueError, match=r"dimension 2000\) would take 224224.06 GB, and .* GB are free; .* smaller"
    ):
        sg.fields(sg.make_tasks(tasks=10, dimension=2000, prompt_length=5))
    words = r"prompts .* would take 64000.00 GB, and .* GB are free; shorten them"
    with pytest.raises(ValueError, match=words):
        sg.fields(sg.make_tasks(tasks=10, dimension=4, prompt_length=10**12))
    with pytest.raises(ValueError, match=words):
        sg.zero_mode_ratio(tasks=10, dimension=4, prompt_length=10**12)
    with pytest.raises(ValueError, match=r"dimension 2000\) would take"):
        sg.StreamingFields(2000)
    with pytest.raises(ValueError, match=r"dimension 2000\) would take"):
        sg.zero_mode_ratio(tasks=10, dimension=2000, prompt_length=5)


def test_they_show_themselves() -> None:
    found = sg.fields(SMALL)
    assert repr(found) == "Fields(700 tasks, dimension=3, prompt_length=12, 12 spins)"
    assert repr(sg.fields(whole(SMALL))) == "Fields(700 tasks, dimension=3, 12 spins)"
    assert "<td" in found._repr_html_()
    assert "free spins" in found._repr_html_()


# In a process of its own: what others freed before would hide what is taken.
PROGRAM = """
import sys
import numpy as np
import lmscope.spin_glass as sg
from lmscope.runs.benchmarks.couplings.competitors import plain, whole
from lmscope.runs.benchmarks.couplings.competitors import COMPETITORS
from lmscope.runs.benchmarks.peak_memory import PeakMemory
way, start = sys.argv[1:]
competitor = COMPETITORS[way]()
sg.fields(sg.make_tasks(tasks=9, dimension=2, prompt_length=3))
sizes = np.array([10_000, 20, 100, 7])
tasks = sg.make_tasks(tasks=10_000, dimension=20, prompt_length=100, seed=7)
held = competitor.take({"sizes": sizes} if start == "seed" else whole(tasks.statistics()))
memory = PeakMemory()
found = competitor.compute(held).arrays
extra = memory.extra_bytes()
right = plain(whole(tasks.statistics()), zeros=False)
for name in ("gram", "field"):
    assert np.abs(found[name] - right[name]).max() <= 1e-12 * np.abs(right[name]).max(), name
print(extra)
"""


def extra_bytes(way: str, start: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, way, start], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if done.stdout.strip() == "None":
        pytest.skip("this kernel lets no process forget its peak: /proc/self/clear_refs")
    return int(done.stdout)


@pytest.mark.parametrize("start", ["tasks", "seed"])
def test_a_tenth_of_the_memory_of_whole_features(start: str) -> None:
    """And equal to 1e-12; features of 10 000 tasks alone are 33.6 MB."""
    theirs = extra_bytes("numpy without zeros", start)
    assert theirs > 33_600_000
    assert extra_bytes("lmscope", start) <= theirs / 10
