"""Training of linear attention: the same steps as on whole prompts, and where they lead."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lmscope.spin_glass import Tasks, fields, make_tasks, population, train

TASKS = make_tasks(tasks=40, dimension=4, prompt_length=6, seed=3)


def prompt_matrices(tasks: Tasks) -> tuple[torch.Tensor, torch.Tensor]:
    """X of every task, (dimension + 1) x (prompt length + 1), and the targets."""
    matrices, targets = [], []
    for prompts in tasks.prompts():
        for tokens, labels, query in zip(prompts.tokens, prompts.labels, prompts.query, strict=True):
            columns = [*np.column_stack([tokens, labels]), np.append(query, 0.0)]
            matrices.append(np.stack(columns, axis=1))
        targets.append(prompts.target)
    return torch.from_numpy(np.stack(matrices)), torch.from_numpy(np.concatenate(targets))


def told(matrices: torch.Tensor, parameters: dict[str, torch.Tensor], columns: int) -> torch.Tensor:
    """The last entry of X X' W X / columns, or of V X X' W X / columns."""
    weights = parameters.get("matrix")
    if weights is None:
        weights = parameters["query"].T @ parameters["key"]
    transposed = matrices.transpose(1, 2)
    output = matrices @ transposed @ weights @ matrices / columns
    if "value" in parameters:
        output = parameters["value"] @ output
        return output[:, -1]
    return output[:, -1, -1]


@pytest.mark.parametrize("model", ["merged", "separate", "multi_head", "full"])
@pytest.mark.parametrize("normalization", ["prompt", "columns"])
@pytest.mark.parametrize("batch", [None, 16])
def test_the_steps_are_those_on_whole_prompts(model, normalization, batch):
    tasks = make_tasks(tasks=40, dimension=4, prompt_length=6, seed=3, normalization=normalization)
    options = {"model": model, "dtype": "float64", "seed": 5, "weight_decay": 0.02, "batch": batch}
    # A step this small changes nothing: the first parameters.
    start = train(tasks, learning_rate=1e-300, epochs=1, **options).module
    matrices, targets = prompt_matrices(tasks)
    parameters = {name: one.detach().clone().requires_grad_() for name, one in start.named_parameters()}
    optimizer = torch.optim.Adam(parameters.values(), lr=0.05, weight_decay=0.02)
    columns = 6 + (normalization == "columns")
    order = np.random.default_rng([5, 102])
    losses = []
    epochs = 50 if batch is None else 20
    for _ in range(epochs):
        rows = torch.from_numpy(np.arange(40) if batch is None else order.permutation(40))
        for some in rows.split(batch or 40):
            optimizer.zero_grad()
            (told(matrices[some], parameters, columns) - targets[some]).square().mean().backward()
            optimizer.step()
        with torch.no_grad():
            losses.append(float((told(matrices, parameters, columns) - targets).square().mean()))

    found = train(tasks, learning_rate=0.05, epochs=epochs, every=1, **options)

    for name, one in found.module.named_parameters():
        assert torch.allclose(one, parameters[name], rtol=0, atol=1e-10), name
    np.testing.assert_allclose(found.losses[1:], losses, rtol=0, atol=1e-10)
    assert list(found.steps) == list(range(epochs + 1))


def test_test_losses_are_exact_or_those_of_given_tasks():
    unseen = TASKS.unseen(300)
    exact = train(TASKS, epochs=5)
    given = train(TASKS, epochs=5, unseen=unseen)
    assert exact.test_losses[-1] == population(TASKS).loss(exact.weights)
    errors = np.concatenate([given.predict(some) - some.target for some in unseen.prompts()])
    assert given.test_losses[-1] == pytest.approx(np.square(errors).mean(), rel=1e-5)
    np.testing.assert_array_equal(exact.weights, given.weights)


def test_weight_decay_leads_to_the_ground_state_of_half_of_it():
    tasks = make_tasks(tasks=1000, dimension=8, prompt_length=50, seed=1)
    some = fields(tasks)
    ground = np.linalg.solve(some.gram + 0.005 * np.eye(some.spins), some.field).reshape(9, 8)
    found = train(tasks, weight_decay=0.01, learning_rate=1e-3, epochs=5000, fields=some)
    np.testing.assert_allclose(found.weights, np.pad(ground, ((0, 0), (0, 1))), rtol=0, atol=1e-4)
    assert found.converged
    assert found.gradient < 1e-3


@pytest.mark.parametrize("model", ["separate", "multi_head"])
def test_weight_decay_of_factors_is_a_nuclear_norm(model):
    # The subgradient of weight_decay |W|_*: at the minimum the loss's gradient G has no singular value above
    # weight_decay, and <G, W> = -weight_decay |W|_*.
    decay = 0.1
    tasks = make_tasks(tasks=300, dimension=5, prompt_length=20, seed=2)
    some = fields(tasks)
    found = train(tasks, model=model, weight_decay=decay, epochs=4000, learning_rate=3e-3, dtype="float64")
    read = found.weights[:, :-1]
    gradient = 2 * (some.gram @ read.ravel() - some.field).reshape(6, 5)
    nuclear = np.linalg.svd(found.weights, compute_uv=False).sum()
    assert nuclear > 1
    assert np.linalg.norm(gradient, 2) == pytest.approx(decay, rel=1e-4)
    assert np.vdot(gradient, read) == pytest.approx(-decay * nuclear, rel=1e-4)


def test_the_same_seed_gives_the_same_bits_and_leaves_torch_as_it_was():
    options = {"model": "transformer", "width": 8, "heads": 2, "epochs": 3, "batch": 16}
    before = torch.random.get_rng_state()
    first = train(TASKS, seed=1, **options)
    torch.manual_seed(12345)
    second = train(TASKS, seed=1, **options)
    other = train(TASKS, seed=2, **options)
    torch.random.set_rng_state(before)
    np.testing.assert_array_equal(first.losses, second.losses)
    for one, two in zip(first.module.parameters(), second.module.parameters(), strict=True):
        assert torch.equal(one, two)
    assert other.losses[0] != first.losses[0]


def test_torch_draws_nothing():
    before = torch.random.get_rng_state()
    for model in ("merged", "softmax", "transformer"):
        train(TASKS, model=model, epochs=1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_progress_adds_up():
    shares = []
    found = train(TASKS, epochs=25, every=10, advance=shares.append)
    assert sum(shares) == pytest.approx(1)
    assert list(found.steps) == [0, 10, 20, 25]


def test_divergence_is_told_with_its_epoch():
    found = train(TASKS, learning_rate=1e25, epochs=50)
    assert found.diverged
    assert not found.converged
    assert found.reason.startswith(f"the training loss was no longer finite in epoch {found.steps[-1]}:")
    assert found.steps[-1] < 50
    assert found.weights is None
    assert math.isnan(found.gradient)
    assert math.isnan(found.test_losses[-1])
    with pytest.raises(ValueError, match=r"^nothing to predict with: the training loss was no longer finite"):
        found.predict(next(TASKS.prompts()))
    assert "no longer finite" in repr(found)
    assert "no longer finite" in found._repr_html_()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "mamba"}, r"^model must be one of 'merged', .*'transformer', got 'mamba'$"),
        ({"dtype": "float16"}, r"^dtype must be 'float32' or 'float64', got 'float16'$"),
        ({"learning_rate": 0}, r"^learning_rate"),
        ({"learning_rate": math.nan}, r"^learning_rate"),
        ({"weight_decay": -0.1}, r"^weight_decay"),
        ({"epochs": 0}, r"^epochs must be from 1 up"),
        ({"every": 0}, r"^every must be from 1 up"),
        ({"layers": 0}, r"^layers must be from 1 up"),
        ({"heads": 0}, r"^heads must be from 1 up"),
        ({"batch": 41}, r"^batch must be at most the number of tasks, 40, got 41$"),
        ({"width": 8}, r"^width goes with model='multi_head' or 'transformer'; 'merged' has none$"),
        (
            {"model": "transformer", "width": 10, "heads": 4},
            r"^width must be a multiple of the number of heads, 4, got 10$",
        ),
        (
            {"unseen": make_tasks(tasks=40, dimension=5, prompt_length=6)},
            r"^unseen must have .* of the tasks, 4 and 'prompt', got 5 and 'prompt'$",
        ),
        (
            {"unseen": make_tasks(tasks=40, dimension=4, prompt_length=6, normalization="columns")},
            r"^unseen must have .* of the tasks, 4 and 'prompt', got 4 and 'columns'$",
        ),
        ({"device": "cupboard"}, r"^device: 'cupboard' is not a device of torch$"),
        ({"model": "softmax", "fields": fields(TASKS)}, r"^fields go with linear attention without values"),
        (
            {"fields": fields(TASKS.first(30))},
            r"^fields must be those of the tasks: 40 in 4 dimensions, got fields of 30 in 4 dimensions$",
        ),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        train(TASKS, **options)


def test_numbers_that_are_not_whole():
    with pytest.raises(TypeError, match=r"^epochs must be a whole number, got 2\.5$"):
        train(TASKS, epochs=2.5)


def test_prompts_are_needed_where_they_are_read():
    tasks = make_tasks(tasks=40, dimension=4, prompt_length=6, draw="statistics")
    assert train(tasks, epochs=2, batch=8).losses.shape == (3,)
    with pytest.raises(ValueError, match=r"draw='prompts'"):
        train(tasks, model="softmax", epochs=2)


@pytest.mark.parametrize(
    ("model", "batch", "numbers"),
    [("merged", 64, 5 + 4 + 1), ("full", None, 25 + 4 + 1), ("softmax", None, 21 * 5 + 1)],
)
def test_tasks_that_do_not_fit_are_refused_before_they_are_drawn(model, batch, numbers):
    tasks = make_tasks(tasks=10**12, dimension=4, prompt_length=20)
    size = rf"{4000 * numbers}\.00 GB, and .* GB are free; take fewer"
    told = rf"^what training reads of the tasks would take {size}"
    with pytest.raises(ValueError, match=told):
        train(tasks, model=model, batch=batch, device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the error is that of a machine without CUDA")
def test_a_device_that_is_not_there():
    with pytest.raises(ValueError, match=r"^device: 'cuda', but torch sees no CUDA device$"):
        train(TASKS, device="cuda")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
@pytest.mark.parametrize("model", ["merged", "multi_head", "full", "softmax", "transformer"])
def test_cuda_trains_as_the_cpu_does(model):
    here, there = (
        train(TASKS, model=model, epochs=10, dtype="float64", batch=16, device=device)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(there.losses, here.losses, rtol=1e-8)
    prompts = next(TASKS.prompts())
    np.testing.assert_allclose(there.predict(prompts), here.predict(prompts), rtol=1e-6)
