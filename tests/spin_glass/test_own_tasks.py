"""Tasks given as arrays: fields, training, test loss; what they cannot give is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import lmscope.spin_glass as sg

TASKS = sg.make_tasks(tasks=40, dimension=4, prompt_length=6, seed=3)
(OWN,) = TASKS.prompts()
(HELD_BACK,) = TASKS.unseen(30).prompts()


def laplace(tasks: int, seed: int) -> sg.Prompts:
    """Labels with noise, of teachers that no law here has, in float32."""
    random = np.random.default_rng(seed)
    teachers = random.laplace(size=(tasks, 4))
    tokens = random.standard_normal((tasks, 13, 4))
    labels = np.einsum("ijk,ik->ij", tokens, teachers) / 2 + 0.1 * random.standard_normal((tasks, 13))
    arrays = (tokens[:, :-1], labels[:, :-1], tokens[:, -1], labels[:, -1])
    return sg.make_prompts(
        **dict(
            zip(("tokens", "labels", "query", "target"), (a.astype(np.float32) for a in arrays), strict=True)
        )
    )


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        ("merged", None),
        ("merged", 16),
        ("separate", None),
        ("full", None),
        ("softmax", 16),
        ("transformer", 16),
    ],
)
def test_arrays_train_as_the_law_that_they_come_from(model: str, batch: int | None) -> None:
    options = {"model": model, "batch": batch, "epochs": 4, "every": 1, "dtype": "float64"}
    of_law = sg.train(TASKS, unseen=TASKS.unseen(30), **options)
    own = sg.train(OWN, unseen=HELD_BACK, **options)
    np.testing.assert_array_equal(own.losses, of_law.losses)
    np.testing.assert_array_equal(own.test_losses, of_law.test_losses)
    np.testing.assert_array_equal(own.predict(HELD_BACK), of_law.predict(HELD_BACK))


@pytest.mark.parametrize("batch", [None, 16])
@pytest.mark.parametrize("normalization", ["prompt", "columns"])
def test_statistics_are_taken_as_they_are(batch: int | None, normalization: str) -> None:
    law = replace(TASKS, normalization=normalization)
    options = {"batch": batch, "epochs": 4, "every": 1}
    of_law = sg.train(law, unseen=law.unseen(30), **options)
    own = sg.train(OWN.statistics(normalization), unseen=HELD_BACK.statistics(normalization), **options)
    np.testing.assert_array_equal(own.losses, of_law.losses)
    np.testing.assert_array_equal(own.test_losses, of_law.test_losses)


def test_training_reaches_the_ground_state_of_noisy_tasks() -> None:
    given, held_back = laplace(2000, 0), laplace(500, 1)
    of = sg.fields(given)
    ground = sg.ground_state(of, regularization=0.005)
    found = sg.train(given, weight_decay=0.01, epochs=800, unseen=held_back, fields=of)
    np.testing.assert_allclose(found.weights, ground.weights, rtol=0, atol=1e-3)
    told = sg.test_loss(ground.weights, held_back)
    assert found.test_losses[-1] == pytest.approx(told.loss, rel=1e-3)
    assert told.high < np.square(held_back.target).mean() / 2


@pytest.mark.parametrize("model", ["merged", "transformer"])
def test_without_unseen_tasks_arrays_have_no_test_loss(model: str) -> None:
    found = sg.train(OWN, model=model, epochs=2)
    assert np.isnan(found.test_losses).all()
    assert np.isfinite(found.losses).all()
    assert "no unseen tasks" in repr(found)
    assert "none were given" in found._repr_html_()
    tested = sg.train(OWN, model=model, epochs=2, unseen=TASKS.unseen(50))
    assert f"unseen tasks {tested.test_losses[-1]:.4g}" in repr(tested)


def test_test_loss_takes_statistics_for_weights() -> None:
    weights = np.random.default_rng(0).standard_normal((5, 5))
    assert sg.test_loss(weights, OWN.statistics()) == sg.test_loss(weights, OWN)
    assert sg.test_loss(weights, OWN.statistics("columns")).loss != sg.test_loss(weights, OWN).loss


STATISTICS = OWN.statistics()
WITH_NAN = replace(STATISTICS, target=np.where(np.arange(40) == 7, np.nan, STATISTICS.target))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: sg.train(STATISTICS, model="softmax"),
            TypeError,
            "tasks: model='softmax' reads prompts, which",
        ),
        (lambda: sg.train(STATISTICS, model="full"), TypeError, "tasks: model='full' reads prompts, which"),
        (
            lambda: sg.train(OWN, model="transformer", unseen=STATISTICS),
            TypeError,
            "unseen: model='transformer' reads prompts, which Statistics do not hold",
        ),
        (
            lambda: sg.train([OWN]),
            TypeError,
            r"tasks must be Tasks \(make_tasks\), .* or Statistics, got list",
        ),
        (lambda: sg.train(OWN, unseen=OWN.tokens), TypeError, "unseen must be Tasks .* got ndarray"),
        (
            lambda: sg.train(OWN, unseen=replace(TASKS, normalization="columns")),
            ValueError,
            "unseen must have .*, 4 and 'prompt', got 4 and 'columns'",
        ),
        (
            lambda: sg.train(OWN, batch=41),
            ValueError,
            "batch must be at most the number of tasks, 40, got 41",
        ),
        (
            lambda: sg.train(replace(OWN, query=OWN.query[:, :3])),
            ValueError,
            r"query must be tasks x dimension, here 40 x 4, got shape \(40, 3\)",
        ),
        (lambda: sg.train(WITH_NAN), ValueError, r"target has nan at index \[7\]"),
        (lambda: sg.test_loss(np.eye(5), WITH_NAN), ValueError, r"target has nan at index \[7\]"),
        (lambda: sg.predict(np.eye(5), WITH_NAN), ValueError, r"target has nan at index \[7\]"),
        (
            lambda: sg.predict(np.eye(5), TASKS),
            TypeError,
            r"tasks must be Prompts \(.*\) or Statistics, got Tasks",
        ),
        (
            lambda: sg.test_loss(sg.train(OWN, epochs=1), STATISTICS),
            TypeError,
            "tasks: a predictor reads prompts, which Statistics do not hold",
        ),
        (
            lambda: sg.train(OWN, epochs=1).predict(STATISTICS),
            TypeError,
            "prompts: predict reads prompts, which Statistics do not hold",
        ),
        (
            lambda: sg.population(OWN),
            TypeError,
            "population needs the law of the tasks, .* got Prompts; for arrays",
        ),
        (
            lambda: sg.population(STATISTICS),
            TypeError,
            "population needs the law of the tasks, as make_tasks gives it, got Statistics",
        ),
    ],
)
def test_what_arrays_cannot_give_is_refused(call, error, message) -> None:
    with pytest.raises(error, match=f"^{message}"):
        call()


@pytest.mark.parametrize(
    ("tasks", "of", "message"),
    [
        (TASKS, laplace(40, 0), "with prompts of length 6, got fields of prompts of length 12"),
        (OWN, laplace(40, 0), "with prompts of length 6, got fields of prompts of length 12"),
        (OWN, laplace(40, 0).statistics(), "their means differ from those of the arrays"),
        # The same targets: the sums alone tell them apart.
        (OWN, OWN.statistics("columns"), "their means differ from those of the arrays"),
        (STATISTICS, HELD_BACK, "40 in 4 dimensions, got fields of 30 in 4"),
    ],
)
def test_fields_of_other_tasks(tasks, of, message) -> None:
    with pytest.raises(ValueError, match=f"^fields must be those of the tasks(,|:) {message}"):
        sg.train(tasks, fields=sg.fields(of))


@pytest.mark.parametrize("blocks", [1, 7])
def test_fields_of_the_same_arrays_are_known_however_they_were_summed(blocks: int) -> None:
    random = np.random.default_rng(5)
    parts = [random.standard_normal(shape) * 1e3 for shape in ((5000, 5), (5000, 4), (5000,))]
    whole = sg.Statistics(*parts)
    given = [
        sg.Statistics(*some) for some in zip(*(np.array_split(one, blocks) for one in parts), strict=True)
    ]
    assert sg.train(whole, fields=sg.fields(given), epochs=1).steps[-1] == 1


def test_errors_do_not_print_whole_arrays() -> None:
    of = sg.fields(OWN)
    with pytest.raises(TypeError, match=r"^regularization must be a number, got ndarray of shape \(72,\)$"):
        sg.ground_state(of, regularization=np.linspace(0, 1, 72))
    with pytest.raises(
        TypeError, match=r"^regularization must be a number, got \[0, 1, 2, 3, 4, 5, \.\.\.\]$"
    ):
        sg.ground_state(of, regularization=list(range(72)))
    with pytest.raises(TypeError, match=r"^epochs must be a whole number, got ndarray of shape \(72,\)$"):
        sg.train(OWN, epochs=np.arange(72))
