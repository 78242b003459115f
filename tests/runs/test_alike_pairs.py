"""Copies among layers and experts are named, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

import lmscope
from lmscope.cli import app
from lmscope.runs import similarity_words as words

Make = Callable[..., Path]


def copies(tensors: dict[str, np.ndarray]) -> None:
    """Layer 6 is layer 3; layer 7 has layer 1's MLP, with 2 % noise and the neurons of up in another order;
    eight of layer 5's query are layer 0's."""
    random = np.random.default_rng(1)
    for name in [name for name in tensors if name.startswith("model.layers.3.") and "proj" in name]:
        tensors[name.replace(".3.", ".6.")] = tensors[name].copy()
    for part in ("gate", "up", "down"):
        first = tensors[f"model.layers.1.mlp.{part}_proj.weight"].astype(np.float32)
        noisy = first + 0.02 * 0.02 * random.standard_normal(first.shape)
        noisy = noisy[random.permutation(96)] if part == "up" else noisy
        tensors[f"model.layers.7.mlp.{part}_proj.weight"] = noisy.astype(ml_dtypes.bfloat16)
    query = "model.layers.{}.self_attn.q_proj.weight"
    tensors[query.format(5)][:8] = tensors[query.format(0)][8:16]


def test_copied_layers_are_named_with_what_is_copied(make_llama: Make, tmp_path: Path) -> None:
    source, out = make_llama(layers=8, change=copies), tmp_path / "run"
    summary = lmscope.similarity(source, out=out, progress=False, null_draws=0).similarity()
    found = [(one.layer_x, one.layer_y, [pair.role for pair in one.pairs]) for one in summary.alike]
    roles = ["query", "key", "value", "attention_output", "gate", "up", "down"]
    assert found == [(3, 6, roles), (1, 7, ["gate", "up", "down"]), (0, 5, ["query"])]
    first, second, third = summary.alike
    assert all(pair.identical and pair.score == 1 for pair in first.pairs)
    assert all(pair.mutual_share == 1 and pair.score > 0.99 and not pair.identical for pair in second.pairs)
    assert third.pairs[0].matched_share == pytest.approx(8 / 64, abs=0.04)
    assert third.pairs[0].excess < 0.2
    cells = [cells[:4] for one in summary.alike for cells in words.alike_cells(one)]
    assert cells[:2] == [
        ("layers 3 and 6", "all 7", "yes", "1.000"),
        ("layers 1 and 7", "gate, up, down", "no", "1.000"),
    ]
    assert "layers 1 and 7" in summary._repr_html_()
    # The same for who does not read it in Python.
    result = CliRunner().invoke(
        app, ["similarity", str(source), "-o", str(out), "--null-draws", "0", "--json"]
    )
    answer = json.loads(result.stdout)
    assert not answer.keys() & {"measure", "chance", "roles", "top"}
    alike = answer["similarity"]["alike"]
    assert [(one["layer_x"], one["layer_y"], len(one["pairs"])) for one in alike] == [
        (3, 6, 7),
        (1, 7, 3),
        (0, 5, 1),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_in_random_layers_nothing_stands_out(make_llama: Make, tmp_path: Path, seed: int) -> None:
    run = lmscope.similarity(
        make_llama(layers=8, seed=seed), out=tmp_path / "run", progress=False, null_draws=0
    )
    assert run.similarity().alike == ()
    assert "No two layers or experts stand out" in run.similarity()._repr_html_()


def test_uneven_coordinates_make_no_copies(make_llama: Make, tmp_path: Path) -> None:
    """Far more vectors match than in random directions, but in all pairs alike."""

    def change(tensors: dict[str, np.ndarray]) -> None:
        sizes = np.exp(np.random.default_rng(0).standard_normal(64))
        for name in tensors:
            if "gate_proj" in name or "up_proj" in name:
                tensors[name] = (tensors[name].astype(np.float32) * sizes).astype(ml_dtypes.bfloat16)

    run = lmscope.similarity(
        make_llama(layers=8, change=change), out=tmp_path / "run", progress=False, roles="gate,up"
    )
    assert np.median(run.to_pandas("similarity").matched_share) > 0.1
    assert run.similarity().alike == ()


def test_with_two_layers_a_copy_is_still_one(make_llama: Make, tmp_path: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        name = "model.layers.{}.mlp.up_proj.weight"
        tensors[name.format(1)] = -tensors[name.format(0)]

    run = lmscope.similarity(make_llama(change=change), out=tmp_path / "run", progress=False)
    (only,) = run.similarity().alike
    assert [(pair.role, pair.identical) for pair in only.pairs] == [("up", False)]


def experts(folder: Path, change: Callable[[np.ndarray], None], *, count: int = 8) -> Path:
    random = np.random.default_rng(0)
    weights = random.standard_normal((2, count, 24, 16)).astype("f4")
    change(weights)
    folder.mkdir()
    tensors = {f"model.layers.{n}.mlp.experts.gate_up_proj": layer.copy() for n, layer in enumerate(weights)}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3_moe", "hidden_size": 16}))
    return folder


def test_copied_experts_are_named(tmp_path: Path) -> None:
    def change(weights: np.ndarray) -> None:
        weights[1, 4] = weights[1, 2]
        weights[1, 6, 12:] = -2 * weights[0, 5, 12:]

    run = lmscope.similarity(experts(tmp_path / "moe", change), out=tmp_path / "run", progress=False)
    cells = [cells[:3] for one in run.similarity().alike for cells in words.alike_cells(one)]
    assert cells == [
        ("layer 1, experts 2 and 4", "all 2", "yes"),
        ("layer 0, expert 5 and layer 1, expert 6", "up", "no"),
    ]


def test_copies_of_one_expert_fill_no_page(tmp_path: Path) -> None:
    def change(weights: np.ndarray) -> None:
        weights[...] = weights[0, 0]

    summary = lmscope.similarity(experts(tmp_path / "moe", change), out=tmp_path / "run", progress=False)
    found = summary.similarity()
    assert (len(found.alike), found.more_alike) == (10, 2 * 28 + 64 - 10)
    assert "110 more pairs stand out" in words.alike(found)


def test_the_least_alike_expert_is_named_only_where_it_is(tmp_path: Path) -> None:
    random = lmscope.similarity(
        experts(tmp_path / "random", lambda weights: None), out=tmp_path / "a", progress=False
    )
    assert {(one.loner, one.loner_score) for one in random.similarity().experts} == {("", None)}
    assert {words.expert_cells(one)[-1] for one in random.similarity().experts} == {"-"}

    def change(weights: np.ndarray) -> None:
        noise = weights.copy()
        weights[:] = weights[0, 0] + 0.7 * noise
        weights[1, 3] = noise[1, 3]

    run = lmscope.similarity(experts(tmp_path / "one", change), out=tmp_path / "b", progress=False)
    assert {one.loner for one in run.similarity().experts} == {
        "model.layers.1.mlp.experts.gate_up_proj#expert3.gate",
        "model.layers.1.mlp.experts.gate_up_proj#expert3.up",
    }


def test_one_pair_has_no_contrast_and_none_no_table(make_llama: Make, tmp_path: Path) -> None:
    summary = lmscope.similarity(make_llama(), out=tmp_path / "two", progress=False, roles="up").similarity()
    cells = dict(zip(words.ROLE_COLUMNS, words.role_cells(summary.roles[0]), strict=True))
    assert cells["Gini"] == "-"

    def change(tensors: dict[str, np.ndarray]) -> None:
        for name in tensors:
            tensors[name][...] = np.nan

    source = make_llama(name="nan", change=change)
    result = CliRunner().invoke(app, ["similarity", str(source), "-o", str(tmp_path / "run")])
    assert result.exit_code == 4
    assert "Nothing could be compared." in result.stdout
    assert "neighbours" not in result.stdout
