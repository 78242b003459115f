"""Tasks come from the law that they name, the first ones whatever their number; statistics from theirs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from lmscope.spin_glass import Prompts, Statistics, Tasks, make_prompts, make_tasks

LAWS = {
    "dense": {},
    "correlated": {"correlation": 0.6, "correlated": "coordinates"},
    "equal coordinates": {"correlation": 1.0, "correlated": "coordinates"},
    "sparse": {"teacher": "sparse", "teacher_size": 2, "correlation": 0.3, "correlated": "coordinates"},
    "low rank": {"teacher": "low_rank", "teacher_size": 2, "correlation": 0.3, "correlated": "coordinates"},
    "few teachers": {"distinct_teachers": 3, "correlation": 0.3, "correlated": "coordinates"},
    "columns": {"normalization": "columns"},
    "shared tokens": {"correlation": 0.6},
    "equal tokens": {"correlation": 1.0},
    "sparse shared": {"teacher": "sparse", "teacher_size": 2, "correlation": 0.3},
    "columns shared": {"correlation": 0.3, "normalization": "columns", "distinct_teachers": 3},
}

# Chance that a test of one law fails although all is right, shared out among its comparisons.
RATE = 1e-6


def joined(parts: list) -> list[np.ndarray]:
    """Arrays of all parts, one below the other."""
    return [np.concatenate(arrays) for arrays in zip(*(vars(part).values() for part in parts), strict=True)]


def arrays_of(tasks: Tasks) -> list[np.ndarray]:
    return joined(list(tasks.prompts() if tasks.draw == "prompts" else tasks.statistics()))


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("draw", ["prompts", "statistics"])
@pytest.mark.parametrize("number", [1, 63, 64, 65, 130])
def test_first_tasks_are_the_same_whatever_their_number(law: dict, draw: str, number: int) -> None:
    tasks = make_tasks(tasks=200, dimension=4, prompt_length=3, seed=5, draw=draw, **law)
    for few, many in zip(arrays_of(tasks.first(number)), arrays_of(tasks), strict=True):
        assert len(many) == 200
        np.testing.assert_array_equal(few, many[:number])
    again = make_tasks(tasks=number, dimension=4, prompt_length=3, seed=5, draw=draw, **law)
    np.testing.assert_array_equal(arrays_of(again)[0], arrays_of(tasks)[0][:number])


def test_long_prompts_are_drawn_fewer_at_a_time_and_stay_nested() -> None:
    tasks = make_tasks(tasks=10, dimension=300, prompt_length=2000)
    blocks = list(tasks.prompts())
    assert max(block.tokens.nbytes for block in blocks) <= 2**24
    assert sum(map(len, blocks)) == 10
    few, many = arrays_of(tasks.first(4)), joined(blocks)
    np.testing.assert_array_equal(few[0], many[0][:4])
    assert np.unique(many[3]).size == 10


@pytest.mark.parametrize("draw", ["prompts", "statistics"])
def test_seeds_and_unseen_tasks_share_nothing(draw: str) -> None:
    tasks = make_tasks(tasks=100, dimension=3, prompt_length=2, seed=1, draw=draw, distinct_teachers=4)
    other = make_tasks(tasks=100, dimension=3, prompt_length=2, seed=2, draw=draw, distinct_teachers=4)
    three = [tasks, tasks.unseen(100), other]
    assert [len(np.unique(np.concatenate(list(some.teachers())), axis=0)) for some in three] == [4, 100, 4]
    for one, two in itertools.combinations(three, 2):
        for mine, theirs in zip(arrays_of(one), arrays_of(two), strict=True):
            assert not np.intersect1d(mine, theirs).size


def test_labels_are_the_teachers() -> None:
    for law in LAWS.values():
        (prompts,) = make_tasks(tasks=20, dimension=4, prompt_length=3, **law).prompts()
        assert (len(prompts), prompts.prompt_length, prompts.dimension) == (20, 3, 4)
        for task in range(20):
            labels = prompts.tokens[task] @ prompts.teachers[task] / 2
            np.testing.assert_allclose(prompts.labels[task], labels, rtol=0, atol=1e-14)
            target = prompts.query[task] @ prompts.teachers[task] / 2
            np.testing.assert_allclose(prompts.target[task], target, rtol=0, atol=1e-14)


def test_teachers_without_prompts_are_those_of_the_prompts_however_drawn() -> None:
    for law in LAWS.values():
        tasks = make_tasks(tasks=150, dimension=4, prompt_length=3, **law)
        alone = np.concatenate(list(tasks.teachers()))
        np.testing.assert_array_equal(alone, arrays_of(tasks)[4])
        drawn = make_tasks(tasks=150, dimension=4, prompt_length=3, draw="statistics", **law)
        np.testing.assert_array_equal(alone, np.concatenate(list(drawn.teachers())))


def test_distinct_teachers_come_in_turn() -> None:
    teachers = np.concatenate(
        list(make_tasks(tasks=150, dimension=4, prompt_length=1, distinct_teachers=7).teachers())
    )
    np.testing.assert_array_equal(teachers, teachers[np.arange(150) % 7])
    assert len(np.unique(teachers, axis=0)) == 7


def test_sparse_teachers_have_their_coordinates_anywhere() -> None:
    tasks = make_tasks(tasks=6400, dimension=6, prompt_length=1, teacher="sparse", teacher_size=2)
    teachers = np.concatenate(list(tasks.teachers()))
    active = teachers != 0
    assert (active.sum(axis=1) == 2).all()
    pairs = np.array([(active[:, i] & active[:, j]).sum() for i, j in itertools.combinations(range(6), 2)])
    assert stats.chisquare(pairs).pvalue > RATE
    assert stats.kstest(teachers[active] / np.sqrt(3), "norm").pvalue > RATE


def test_teachers_of_low_rank_fill_one_subspace_evenly() -> None:
    tasks = make_tasks(tasks=6400, dimension=6, prompt_length=1, teacher="low_rank", teacher_size=2, seed=3)
    teachers = np.concatenate(list(tasks.teachers()))
    np.testing.assert_allclose(tasks.subspace.T @ tasks.subspace, np.eye(2), atol=1e-14)
    inside = teachers @ tasks.subspace
    np.testing.assert_allclose(inside @ tasks.subspace.T, teachers, atol=1e-12)
    assert stats.kstest(inside.ravel() / np.sqrt(3), "norm").pvalue > RATE
    np.testing.assert_array_equal(tasks.subspace, tasks.unseen(1).subspace)
    other = make_tasks(tasks=1, dimension=6, prompt_length=1, teacher="low_rank", teacher_size=2, seed=4)
    assert np.linalg.norm(tasks.subspace.T @ other.subspace, 2) < 0.999
    with pytest.raises(ValueError, match="these are dense"):
        _ = make_tasks(tasks=1, dimension=6, prompt_length=1).subspace


@pytest.mark.parametrize("correlation", [0.0, 0.4, 1.0])
def test_tokens_and_queries_have_the_covariance_asked_for(correlation: float) -> None:
    tasks = make_tasks(
        tasks=6400, dimension=3, prompt_length=2, correlation=correlation, correlated="coordinates"
    )
    tokens, _, queries, _, _ = arrays_of(tasks)
    expected = (1 - correlation) * np.eye(3) + correlation
    for drawn in (tokens[:, 0], tokens[:, 1], queries):
        products = drawn[:, :, None] * drawn[:, None, :]
        assert_means_agree(products.reshape(6400, 9), expected.ravel())
        assert_means_agree(drawn, np.zeros(3))
    assert_means_agree((tokens[:, 0, :, None] * queries[:, None, :]).reshape(6400, 9), np.zeros(9))


@pytest.mark.parametrize("correlation", [0.4, 1.0])
def test_tokens_of_a_prompt_and_its_query_share_a_part(correlation: float) -> None:
    tasks = make_tasks(tasks=6400, dimension=3, prompt_length=2, correlation=correlation)
    tokens, _, queries, _, _ = arrays_of(tasks)
    drawn = [tokens[:, 0], tokens[:, 1], queries]
    for one, two in itertools.product(range(3), repeat=2):
        products = drawn[one][:, :, None] * drawn[two][:, None, :]
        expected = np.eye(3) * (1.0 if one == two else correlation)
        assert_means_agree(products.reshape(6400, 9), expected.ravel())
    assert_means_agree(np.hstack(drawn), np.zeros(9))
    assert_means_agree(drawn[0][1:] * drawn[0][:-1], np.zeros(3))


def assert_means_agree(values: np.ndarray, expected: np.ndarray) -> None:
    """Of the columns, by their standard errors; all columns together fail at RATE."""
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    limit = stats.norm.isf(RATE / 2 / values.shape[1])
    assert (np.abs(values.mean(axis=0) - expected) <= limit * error + 1e-12).all()


def moments(statistics: Statistics) -> np.ndarray:
    """Tasks x first and second moments that losses are made of, and third ones between query and context."""
    context, query = statistics.context, statistics.query
    both = np.hstack([context, query, statistics.target[:, None]])
    rows, columns = np.triu_indices(both.shape[1])
    seconds = both[:, rows] * both[:, columns]
    thirds = (context[:, :, None] * query[:, None, :] * statistics.target[:, None, None]).reshape(
        len(query), -1
    )
    return np.hstack([both, seconds, thirds])


@pytest.mark.parametrize("length", [1, 7])
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_statistics_drawn_alone_have_the_law_of_those_of_prompts(law: dict, length: int) -> None:
    """Entries by Kolmogorov and Smirnov, moments by their standard errors."""
    number = 20_000
    of_prompts = make_tasks(tasks=number, dimension=3, prompt_length=length, seed=8, **law)
    alone = make_tasks(tasks=number, dimension=3, prompt_length=length, seed=8, draw="statistics", **law)
    one, two = (Statistics(*joined(list(tasks.statistics()))) for tasks in (of_prompts, alone))
    entries = list(zip([*one.context.T, one.target], [*two.context.T, two.target], strict=True))
    for mine, theirs in entries:
        assert stats.ks_2samp(mine, theirs).pvalue > RATE / 2 / len(entries)
    first, second = moments(one), moments(two)
    error = np.sqrt((first.var(axis=0) + second.var(axis=0)) / number)
    apart = np.abs(first.mean(axis=0) - second.mean(axis=0)) / error
    assert apart.max() < stats.norm.isf(RATE / 4 / first.shape[1])


def test_a_fixed_teacher_tells_the_directions_of_the_context_apart() -> None:
    """Given the teacher a context fluctuates as a chi-square does along it, and less across it."""
    for draw in ("prompts", "statistics"):
        tasks = make_tasks(tasks=20_000, dimension=3, prompt_length=2, distinct_teachers=1, draw=draw)
        (teacher, *_), *_ = tasks.teachers()
        length = np.linalg.norm(teacher)
        unit = teacher / length
        context = joined(list(tasks.statistics()))[0]
        along, label = context[:, :3] @ unit, context[:, 3]
        across = context[:, :3] - along[:, None] * unit
        scale = length / np.sqrt(3)
        columns = np.stack([along, along**2, (across**2).sum(axis=1), along * label], axis=1)
        # Mean of 2 chi-squares, each with mean 1 and variance 2; across, 2 directions of variance 1 / 2.
        assert_means_agree(columns, np.array([scale, 2 * scale**2, scale**2, 2 * scale**3]))


def test_normalization_by_columns_shrinks_sums_by_one_column() -> None:
    tasks = make_tasks(tasks=10, dimension=3, prompt_length=4)
    (prompts,) = tasks.prompts()
    by_prompt, by_columns = prompts.statistics(), prompts.statistics("columns")
    np.testing.assert_allclose(by_columns.context, by_prompt.context * 4 / 5, rtol=1e-15)
    columns = make_tasks(tasks=10, dimension=3, prompt_length=4, normalization="columns")
    np.testing.assert_array_equal(next(columns.statistics()).context, by_columns.context)
    for given in (columns, tasks):
        drawn = next(make_tasks(**{**vars_of(given), "draw": "statistics"}).statistics())
        scale = 4 / 5 if given is columns else 1
        whole = next(make_tasks(**{**vars_of(tasks), "draw": "statistics"}).statistics())
        np.testing.assert_allclose(drawn.context, whole.context * scale, rtol=1e-15)


def vars_of(tasks: Tasks) -> dict:
    return {name: value for name, value in vars(tasks).items() if name != "unseen_teachers"}


@pytest.mark.parametrize(
    ("changed", "kind", "words"),
    [
        ({"tasks": 0}, ValueError, "tasks must be from 1 up"),
        ({"dimension": 0}, ValueError, "dimension must be from 1 up"),
        ({"prompt_length": 0}, ValueError, "prompt_length must be from 1 up"),
        ({"prompt_length": 2.5}, TypeError, "prompt_length must be a whole number, got 2.5"),
        ({"seed": -1}, ValueError, "seed must be from 0 up"),
        ({"seed": 2**63}, ValueError, r"seed must be from 0 up, below 2\*\*63, got 9223372036854775808"),
        ({"correlation": "x"}, TypeError, "correlation must be a number, got 'x'"),
        ({"correlation": None}, TypeError, "correlation must be a number, got None"),
        ({"correlation": 1.01}, ValueError, "correlation must lie between 0 and 1, got 1.01"),
        ({"correlation": float("nan")}, ValueError, "correlation must lie between 0 and 1, got nan"),
        (
            {"correlated": "labels"},
            ValueError,
            "correlated must be one of 'tokens', 'coordinates', got 'labels'",
        ),
        ({"teacher": "deep"}, ValueError, "teacher must be one of 'dense', 'sparse', 'low_rank', got 'deep'"),
        ({"teacher": "sparse"}, ValueError, "teacher_size must say"),
        ({"teacher_size": 2}, ValueError, "a dense one has none"),
        ({"teacher": "low_rank", "teacher_size": 4}, ValueError, "at most the dimension, 3, got 4"),
        ({"distinct_teachers": 0}, ValueError, "distinct_teachers must be from 1 up"),
        ({"draw": "all"}, ValueError, "draw must be one of 'prompts', 'statistics'"),
        ({"normalization": "sum"}, ValueError, "normalization must be one of 'prompt', 'columns'"),
    ],
)
def test_tasks_that_cannot_be_are_refused_by_name(changed: dict, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        make_tasks(**{"tasks": 5, "dimension": 3, "prompt_length": 2, **changed})


def test_prompts_of_statistics_are_refused() -> None:
    tasks = make_tasks(tasks=5, dimension=3, prompt_length=2, draw="statistics")
    with pytest.raises(ValueError, match="make them with draw='prompts'"):
        next(tasks.prompts())


def test_prompts_that_cannot_fit_are_refused_with_their_size() -> None:
    tasks = make_tasks(tasks=1, dimension=10**5, prompt_length=10**8)
    with pytest.raises(ValueError, match=r"would take 160000\.01 GB, and .* are free; shorten them"):
        next(tasks.prompts())


def test_statistics_and_teachers_that_cannot_fit_are_refused_with_their_size() -> None:
    huge = {"tasks": 2, "dimension": 10**12, "prompt_length": 5}
    drawn = make_tasks(**huge, draw="statistics")
    with pytest.raises(ValueError, match=r"statistics drawn at once would take 64000\.00 GB, .* smaller"):
        next(drawn.statistics())
    with pytest.raises(ValueError, match=r"teachers drawn at once would take 64000\.00 GB, .* smaller"):
        next(drawn.teachers())
    few = make_tasks(tasks=10**9, dimension=10**6, prompt_length=1, distinct_teachers=10**9)
    with pytest.raises(ValueError, match=r"1000000000 distinct teachers would take \d+\.\d\d GB, .* fewer"):
        next(few.teachers())
    low = make_tasks(tasks=1, dimension=10**7, prompt_length=1, teacher="low_rank", teacher_size=10**6)
    with pytest.raises(ValueError, match=r"the subspace of 1000000 dimensions would take 320000\.00 GB"):
        next(low.statistics())


@pytest.mark.parametrize("law", ["dense", "sparse", "low rank"])
def test_only_the_distinct_teachers_that_tasks_have_are_drawn(law: str) -> None:
    """And they are the same whatever number of tasks or of teachers there is."""
    given = {"dimension": 5, "prompt_length": 2, "seed": 3, **LAWS[law]}
    many = make_tasks(tasks=200, distinct_teachers=150, **given)
    teachers = np.concatenate(list(many.teachers()))
    for number in (1, 2, 63, 64, 65, 149):
        np.testing.assert_array_equal(np.concatenate(list(many.first(number).teachers())), teachers[:number])
        some = make_tasks(tasks=200, distinct_teachers=number, **given)
        np.testing.assert_array_equal(np.concatenate(list(some.teachers()))[:number], teachers[:number])
    endless = make_tasks(tasks=70, distinct_teachers=10**15, **given)
    np.testing.assert_array_equal(np.concatenate(list(endless.teachers())), teachers[:70])


@pytest.mark.parametrize("correlation", [0.0, 0.3, 1.0])
def test_colour_is_the_root_of_the_covariance(correlation: float) -> None:
    tasks = make_tasks(
        tasks=1, dimension=5, prompt_length=2, correlation=correlation, correlated="coordinates"
    )
    root = tasks._colour(np.eye(5))
    np.testing.assert_allclose(root.T @ root, (1 - correlation) * np.eye(5) + correlation, rtol=0, atol=1e-15)


def own_arrays() -> dict[str, np.ndarray]:
    (drawn,) = make_tasks(tasks=5, dimension=3, prompt_length=2).prompts()
    return dict(vars(drawn))


def test_prompts_of_ones_own_are_taken_as_they_are() -> None:
    given = own_arrays()
    prompts = make_prompts(**given)
    for name, array in given.items():
        np.testing.assert_array_equal(getattr(prompts, name), array)
    assert make_prompts(**{**given, "teachers": None}).teachers is None


def test_prompts_of_torch_tensors_in_any_precision() -> None:
    tensors = {name: torch.tensor(array, dtype=torch.bfloat16) for name, array in own_arrays().items()}
    prompts = make_prompts(**tensors)
    assert isinstance(prompts, Prompts)
    assert prompts.tokens.dtype == np.float64
    np.testing.assert_array_equal(prompts.tokens, tensors["tokens"].double().numpy())


@pytest.mark.parametrize(
    ("name", "given", "kind", "words"),
    [
        ("tokens", np.zeros((5, 2)), ValueError, r"tokens must be tasks x prompt length x dimension"),
        ("tokens", np.zeros((0, 2, 3)), ValueError, r"got shape \(0, 2, 3\)"),
        ("labels", np.zeros((5, 4)), ValueError, r"labels must be .*, here 5 x 2, got shape \(5, 4\)"),
        ("query", np.zeros((5, 2)), ValueError, r"query must be .*, here 5 x 3, got shape \(5, 2\)"),
        ("target", np.zeros((5, 1)), ValueError, r"target must be one number a task, here 5, got"),
        ("teachers", np.zeros((4, 3)), ValueError, r"teachers must be .*, here 5 x 3, got"),
        ("labels", np.zeros((5, 2), int), TypeError, "labels must be float64, .*, got int64"),
    ],
)
def test_prompts_that_do_not_fit_are_refused_by_name(
    name: str, given: np.ndarray, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        make_prompts(**{**own_arrays(), name: given})


def test_a_missing_number_is_named_with_its_place() -> None:
    given = own_arrays()
    given["tokens"][3, 1, 2] = np.nan
    with pytest.raises(ValueError, match=r"tokens has nan at index \[3, 1, 2\]"):
        make_prompts(**given)


def test_results_say_their_sizes() -> None:
    tasks = make_tasks(tasks=5, dimension=3, prompt_length=2, teacher="sparse", teacher_size=2)
    (prompts,) = tasks.prompts()
    assert repr(prompts) == "Prompts(tasks=5, dimension=3, prompt_length=2)"
    assert repr(prompts.statistics()) == "Statistics(tasks=5, dimension=3)"
    assert "sparse, size 2" in tasks._repr_html_()
    assert "known" in prompts._repr_html_()
    assert ">5<" in prompts.statistics()._repr_html_()
