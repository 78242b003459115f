"""Similarity of layers from checkpoint to records: what is compared, resuming, failing, memory, twins."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import lmscope
from lmscope.analyses.pair import BINS
from lmscope.analyses.similarity import Docs
from lmscope.cli import app
from lmscope.runs import UsageError
from lmscope.runs.cost import packed_bytes
from lmscope.runs.memory import memory_budget
from lmscope.runs.pair_pass import _seed_of

ROLES = ["query", "key", "value", "attention_output", "gate", "up", "down"]
COMPARED = [field.name for field in fields(Docs)]
Make = Callable[..., Path]


def similarity(*arguments: object, **settings: object) -> lmscope.Run:
    return lmscope.similarity(*arguments, **{"progress": False, **settings})


def by_names(run: lmscope.Run, name: str = "similarity") -> dict[tuple[str, str], dict]:
    return {(row["name_x"], row["name_y"]): row for row in run.table(name).to_pylist()}


def told(rows: dict[tuple[str, str], dict]) -> dict[tuple[str, str], str]:
    """Rows as text, which also compares NaN, without their time."""
    return {key: repr({**row, "seconds": 0}) for key, row in rows.items()}


def statuses(run: lmscope.Run) -> dict[str, tuple[str, str]]:
    return {row["name"]: (row["status"], row["reason"]) for row in run.ledger.to_pylist()}


# ---- what is compared


def test_every_pair_of_layers_of_every_role(make_llama: Make, tmp_path: Path) -> None:
    source = make_llama(layers=4)
    run = similarity(source, out=tmp_path / "run", seed=5)
    rows = run.table("similarity").to_pylist()
    assert len(rows) == len(ROLES) * 6
    for role in ROLES:
        pairs = [(row["layer_x"], row["layer_y"]) for row in rows if row["role"] == role]
        assert sorted(pairs) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    checkpoint = lmscope.open_checkpoint(source)
    for row in rows:
        turn = np.asarray if row["role"] in ("attention_output", "down") else np.transpose
        assert row["vectors"] == ("columns" if turn is np.asarray else "rows")
        x, y = (turn(checkpoint.load(row[f"name_{side}"])) for side in "xy")
        beside = row["layer_y"] == row["layer_x"] + 1
        assert row["null_draws"] == (3 if beside else 0)
        seed = _seed_of(5, (row["name_x"], row["name_y"]))
        expected = lmscope.docs(x, y, null_draws=row["null_draws"], seed=seed)
        assert {name: row[name] for name in COMPARED} == pytest.approx(
            {name: getattr(expected, name) for name in COMPARED}, abs=0, nan_ok=True
        )
        counts = lmscope.column_cosine(x, y).counts
        assert row["bins"] == BINS == len(counts)
        assert counts[row["first_bin"] :][: len(row["counts"])].tolist() == row["counts"]
        assert sum(row["counts"]) == row["pairs"] == x.shape[1] * y.shape[1]
        assert row["counts"][0]
        assert row["counts"][-1]
        assert not row["identical"]
        assert row["depth"] == len(x)
    table = statuses(run)
    assert table["model.embed_tokens.weight"][0] == "skipped"
    assert "no partner" in table["model.embed_tokens.weight"][1]
    assert table["model.layers.0.mlp.up_proj.weight"] == ("analysed", "")


def test_vectors_can_be_chosen(make_llama: Make, tmp_path: Path) -> None:
    source = make_llama()
    for vectors in ("rows", "columns"):
        run = similarity(source, out=tmp_path / vectors, vectors=vectors, roles="down", null_draws=0)
        (row,) = run.table("similarity").to_pylist()
        weights = [lmscope.open_checkpoint(source).load(row[f"name_{side}"]) for side in "xy"]
        expected = lmscope.docs(*(w if vectors == "columns" else w.T for w in weights))
        assert row["vectors"] == vectors
        assert row["score"] == expected.score
        assert row["rows_x"], row["columns_x"] == weights[0].shape


def test_planted_likeness_of_layers(make_llama: Make, tmp_path: Path) -> None:
    """Layer 2's query is layer 1's with neurons in another order, signs turned and 5 % noise."""

    def change(tensors: dict[str, np.ndarray]) -> None:
        random = np.random.default_rng(1)
        copy = tensors["model.layers.1.self_attn.q_proj.weight"].astype(np.float32)
        copy = copy[random.permutation(64)] * random.choice([-1, 1], (64, 1))
        noisy = copy + 0.05 * 0.02 * random.standard_normal(copy.shape)
        tensors["model.layers.2.self_attn.q_proj.weight"] = noisy.astype(ml_dtypes.bfloat16)

    run = similarity(make_llama(layers=3, change=change), out=tmp_path / "run")
    rows = {(r["role"], r["layer_x"], r["layer_y"]): r for r in run.table("similarity").to_pylist()}
    twin = rows["query", 1, 2]
    assert twin["score"] == pytest.approx(1 / math.sqrt(1 + 0.05**2), abs=2e-3)
    assert twin["matched_share"] == twin["mutual_share"] == 1.0
    assert twin["z"] > 20
    others = [row for key, row in rows.items() if key != ("query", 1, 2)]
    assert all(abs(row["excess"]) < 0.06 for row in others)
    query = next(role for role in run.similarity().roles if role.role == "query")
    assert query.neighbours == pytest.approx((twin["score"] + rows["query", 0, 1]["score"]) / 2)


def test_experts_within_a_layer_and_with_the_next(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    tensors = {
        f"model.layers.{layer}.mlp.experts.gate_up_proj": random.standard_normal((4, 24, 16)).astype("f4")
        for layer in (0, 1, 2)
    }
    first = tensors["model.layers.0.mlp.experts.gate_up_proj"]
    tensors["model.layers.1.mlp.experts.gate_up_proj"][2] = -2 * first[3]
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3_moe", "hidden_size": 16}))
    run = similarity(tmp_path, out=tmp_path / "run")
    rows = run.table("similarity").to_pylist()
    for role in ("gate", "up"):
        mine = [row for row in rows if row["role"] == role]
        within = [row for row in mine if row["layer_x"] == row["layer_y"]]
        across = [row for row in mine if row["layer_x"] + 1 == row["layer_y"]]
        assert len(within) == 3 * 6
        assert len(across) == 2 * 16
        assert len(mine) == len(within) + len(across)
        alike = [row for row in across if row["score"] == 1]
        assert [(row["layer_x"], row["expert_x"], row["expert_y"]) for row in alike] == [(0, 3, 2)]
        assert not alike[0]["identical"]
    summary = run.similarity()
    assert [one.role for one in summary.experts] == ["gate", "up"]
    assert not summary.roles
    assert (summary.experts[0].layers, summary.experts[0].experts) == (3, 4)
    # One read of a stored tensor serves its eight parts wherever they are compared next to each other.
    assert summary.cost["reads"] == 24


def test_an_expert_of_zeros_hides_no_partner(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    name = "model.layers.{}.mlp.experts.gate_up_proj"
    tensors = {name.format(layer): random.standard_normal((4, 24, 16)).astype("f4") for layer in (0, 1)}
    tensors[name.format(1)][0] = 0
    tensors[name.format(1)][3] = -2 * tensors[name.format(0)][1]
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3_moe", "hidden_size": 16}))
    run = similarity(tmp_path, out=tmp_path / "run", roles="gate")
    across = [row for row in by_names(run).values() if row["layer_x"] != row["layer_y"]]
    best = [max(row["score"] for row in across if row["expert_x"] == e and row["pairs"]) for e in range(4)]
    (gate,) = run.similarity().experts
    assert max(best) == pytest.approx(1)
    assert gate.best_partner == pytest.approx(np.mean(best))
    assert gate.same_expert == pytest.approx(
        np.mean([row["score"] for row in across if row["expert_x"] == row["expert_y"] and row["pairs"]])
    )


def test_control_has_no_likeness(make_llama: Make, tmp_path: Path) -> None:
    source = make_llama(layers=6)
    run = similarity(source, out=tmp_path / "run", control=True)
    ours, control = by_names(run), by_names(run, "control")
    assert ours.keys() == control.keys()
    excess = np.array([row["excess"] for row in control.values()])
    assert abs(excess.mean()) < 0.01
    matched = np.average([row["matched_share"] for row in control.values()])
    assert 0.005 < matched < 0.015
    again = similarity(source, out=tmp_path / "again", control=True, roles="query")
    same = by_names(again, "control")
    assert told(same) == {key: value for key, value in told(control).items() if key in same}
    other = similarity(source, out=tmp_path / "other", control=True, roles="query", seed=1)
    assert not set(told(by_names(other, "control")).values()) & set(told(same).values())
    assert all(role.control is not None for role in run.similarity().roles)


def test_identical_layers_are_reported_as_such(make_llama: Make, tmp_path: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        name = "model.layers.{}.mlp.up_proj.weight"
        tensors[name.format(1)] = tensors[name.format(0)].copy()

    run = similarity(make_llama(change=change), out=tmp_path / "run", roles="up,gate")
    up, gate = sorted(run.table("similarity").to_pylist(), key=lambda row: row["role"], reverse=True)
    assert up["identical"]
    assert not gate["identical"]
    assert (up["score"], up["excess"], up["matched_share"], up["pairs"]) == (1, 1, 1, 0)
    assert up["counts"] == []
    assert up["baseline"] == gate["baseline"]


# ---- resuming


def test_a_wider_selection_computes_only_what_is_missing(make_llama: Make, tmp_path: Path) -> None:
    source, out = make_llama(layers=5), tmp_path / "run"
    similarity(source, out=out, layers="1-3")
    files = {path: path.stat().st_mtime_ns for path in (out / "similarity").glob("*.parquet")}
    run = similarity(source, out=out)
    assert run.similarity().cost["pairs"] == len(ROLES) * (10 - 3)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    whole = similarity(source, out=tmp_path / "whole")
    assert told(by_names(run)) == told(by_names(whole))
    assert list(by_names(run)) == list(by_names(whole))
    similarity(source, out=out, seed=7)
    assert told(by_names(similarity(source, out=out))) == told(by_names(whole))


def test_selections_make_one_map_of_a_role(make_llama: Make, tmp_path: Path) -> None:
    source, out = make_llama(layers=6), tmp_path / "run"
    similarity(source, out=out, layers="0,1", roles="query")
    run = similarity(source, out=out, layers="4,5", roles="query")
    (query,) = run.similarity().roles
    rows = by_names(run)
    assert (query.role, query.layers, query.pairs) == ("query", 4, 2)
    assert query.neighbours == pytest.approx(np.mean([row["score"] for row in rows.values()]))
    assert query.far is None
    shown = run.plot("similarity", "query:score").data[0]
    assert list(shown.x) == ["0", "1", "4", "5"]
    run = similarity(source, out=tmp_path / "apart", layers="0,5", roles="query")
    (query,) = run.similarity().roles
    (row,) = by_names(run).values()
    assert (row["position_x"], row["position_y"], row["layers"]) == (0, 5, 6)
    assert (query.neighbours, query.null, query.blocks) == (None, None, ())
    assert query.far == row["score"]


def test_layers_without_such_a_matrix_part_no_neighbours(make_llama: Make, tmp_path: Path) -> None:
    """As where only every fourth layer has attention: neighbours are those that follow each other."""

    def change(tensors: dict[str, np.ndarray]) -> None:
        for layer in (1, 2, 4):
            del tensors[f"model.layers.{layer}.self_attn.k_proj.weight"]

    run = similarity(make_llama(layers=6, change=change), out=tmp_path / "run", roles="key", layers="0,3")
    (row,) = by_names(run).values()
    assert (row["layer_x"], row["layer_y"], row["position_x"], row["position_y"]) == (0, 3, 0, 1)
    assert row["null_draws"] == 3
    (key,) = run.similarity().roles
    assert key.neighbours == row["score"]


def test_a_damaged_file_is_computed_again(make_llama: Make, tmp_path: Path) -> None:
    source, out = make_llama(layers=3), tmp_path / "run"
    before = told(by_names(similarity(source, out=out)))
    file = next((out / "similarity").glob("*.parquet"))
    os.truncate(file, file.stat().st_size // 2)
    assert told(by_names(similarity(source, out=out))) == before


@pytest.mark.parametrize("content", ["{", "[1, 2]", '{"pairs": 3}'])
def test_a_broken_cost_hides_no_result(
    make_llama: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    run = similarity(make_llama(), out=tmp_path / "run", roles="up")
    (run.path / "similarity" / "cost.json").write_text(content)
    assert [role.role for role in run.similarity().roles] == ["up"]
    assert run.similarity().cost == {}
    assert "cost.json: " in caplog.text


def test_the_cost_is_that_of_the_call(make_llama: Make, tmp_path: Path) -> None:
    source, tuned, out = make_llama(layers=3), make_llama(name="tuned", seed=1), tmp_path / "run"
    assert similarity(source, out=out, roles="up").similarity().cost["pairs"] == 3
    # Nothing is left to compute, or nothing of these settings was computed last.
    assert similarity(source, out=out, roles="up").similarity().cost == {}
    assert similarity(source, out=out, roles="up", seed=1).similarity().cost["pairs"] == 3
    assert similarity(source, tuned, out=out, roles="up").similarity().cost["pairs"] == 2
    assert similarity(source, tuned, out=out, roles="up").similarity().cost == {}


def test_a_selection_without_a_pair_is_refused(make_llama: Make, tmp_path: Path) -> None:
    source, tuned, out = make_llama(layers=3), make_llama(name="tuned"), tmp_path / "run"
    for chosen in ({"layers": 1}, {"include": "*embed*"}):
        with pytest.raises(UsageError, match=r"no two matrices of .* are compared"):
            similarity(source, out=out, **chosen)
    with pytest.raises(UsageError, match="no matrix of layers 2 has a twin in tuned"):
        similarity(source, tuned, out=out, layers=2)
    assert not out.exists()
    # Spectra need no pair.
    run = lmscope.analyze(source, out=out, layers=1, roles="up", draws=1, progress=False)
    assert by_names(run) == {}
    assert len(run.table("spectra")) == 1


def test_memory_changes_reads_and_nothing_else(make_llama: Make, tmp_path: Path) -> None:
    source = make_llama(layers=8)
    size = packed_bytes(64, 96, "bfloat16")
    assert (
        lmscope.PackedColumns(
            lmscope.open_checkpoint(source).load("model.layers.0.mlp.up_proj.weight").T
        ).nbytes
        <= size
    )
    plenty = similarity(source, out=tmp_path / "plenty", roles="up", null_draws=0)
    assert plenty.similarity().cost["reads"] == 8
    # The kernel's 64 MB, one stored matrix, three packed ones.
    budget = 64_000_000 + 64 * 96 * 2 + 3 * size
    little = similarity(source, out=tmp_path / "little", roles="up", null_draws=0, memory=budget)
    cost = little.similarity().cost
    assert 8 < cost["reads"] <= 20
    assert cost["largest_packed_bytes"] <= 3 * size
    assert told(by_names(plenty)) == told(by_names(little))
    with pytest.raises(
        UsageError, match=r"memory: 64\.0 MB is too little for model\.layers\.0\.mlp\.up_proj"
    ):
        similarity(source, out=tmp_path / "none", roles="up", memory="64MB")


def test_bytes_read_are_those_of_whole_stored_tensors(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shapes = {"self_attn.qkv_proj": (192, 64), "self_attn.o_proj": (64, 64), "mlp.gate_up_proj": (192, 64)}
    shapes["mlp.down_proj"] = (64, 96)
    tensors = {
        f"model.layers.{layer}.{name}.weight": random.standard_normal(shape, dtype=np.float32)
        for layer in range(3)
        for name, shape in shapes.items()
    }
    save_file(tensors, tmp_path / "model.safetensors")
    config = {"model_type": "phi3", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3}
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_attention_heads": 4}))
    size = {name: 3 * 4 * math.prod(shape) for name, shape in shapes.items()}
    cost = similarity(tmp_path, out=tmp_path / "run", null_draws=0).similarity().cost
    assert cost["reads"] == 7 * 3
    # Once for each part of a fused tensor, as roles are compared one after another.
    assert (
        cost["read_bytes"] == sum(size.values()) + 2 * size["self_attn.qkv_proj"] + size["mlp.gate_up_proj"]
    )
    cost = similarity(tmp_path, out=tmp_path / "one", null_draws=0, roles="up").similarity().cost
    assert cost["read_bytes"] == size["mlp.gate_up_proj"]


@pytest.mark.parametrize(
    ("text", "expected"), [("8GB", 8e9), ("1.5 GiB", 1.5 * 2**30), ("200MB", 2e8), (12345, 12345)]
)
def test_amounts_of_memory(text: str | int, expected: float) -> None:
    assert memory_budget(text) == expected


@pytest.mark.parametrize("text", ["much", "-8GB", "0", "8 parsecs", True])
def test_no_amounts_of_memory(text: object) -> None:
    with pytest.raises(UsageError, match="memory"):
        memory_budget(text)  # type: ignore[arg-type]


def test_half_of_what_is_free() -> None:
    assert 1e6 < memory_budget(None) < 1e13


# ---- failing


def test_a_matrix_that_fails_costs_nothing_else(make_llama: Make, tmp_path: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = np.nan
        tensors["model.layers.2.mlp.gate_proj.weight"][...] = 0
        tensors["model.layers.2.mlp.down_proj.weight"][:, 4] = 0

    run = lmscope.analyze(make_llama(layers=4, change=change), out=tmp_path / "run", draws=1, progress=False)
    table = statuses(run)
    status, reason = table["model.layers.1.mlp.up_proj.weight"]
    assert (status, reason) == ("failed", "w has NaN at row 3, column 5; all values must be finite")
    for analysis in ("spectra", "similarity"):
        (failed,) = json.loads((run.path / analysis / "failures.json").read_text()).values()
        assert failed == {"model.layers.1.mlp.up_proj.weight": reason}
    assert [name for name, (status, _) in table.items() if status == "failed"] == [
        "model.layers.1.mlp.up_proj.weight"
    ]
    rows = by_names(run)
    assert len(rows) == len(ROLES) * 6 - 3
    zero = [row for row in rows.values() if "model.layers.2.mlp.gate" in row["name_x"] + row["name_y"]]
    assert len(zero) == 3
    assert all(math.isnan(row["score"]) and row["pairs"] == 0 and row["counts"] == [] for row in zero)
    down = rows["model.layers.2.mlp.down_proj.weight", "model.layers.3.mlp.down_proj.weight"]
    assert (down["zero_columns_x"], down["zero_columns_y"], down["pairs"]) == (1, 0, 95 * 96)
    assert {row["warning"] for row in rows.values() if row not in zero} == {""}
    assert {row["warning"] for row in zero} == {f"{side} all zero: no directions to compare" for side in "xy"}
    zeros = "model.layers.2.mlp.gate_proj.weight"
    assert table[zeros] == ("analysed", "all zero: no directions to compare")
    # Also as others see it, and where nothing is left to compare.
    spectra = lmscope.spectra(run.manifest["checkpoint"]["path"], out=run.path, draws=1, progress=False)
    assert statuses(spectra) == table
    assert statuses(similarity(run.manifest["checkpoint"]["path"], out=run.path)) == table
    summary = run.similarity()
    assert summary.zero == ("model.layers.2.mlp.gate_proj.weight",)
    assert "all zero, so without directions to compare: model.layers.2.mlp.gate" in summary._repr_html_()
    gate = next(role for role in summary.roles if role.role == "gate")
    assert gate.neighbours is not None
    assert gate.blocks == ()


def test_an_unreadable_file_fails_only_its_own(make_llama: Make, tmp_path: Path) -> None:
    source = make_llama(layers=3)
    tensors = load_file(source / "model.safetensors")
    bad = "model.layers.1.self_attn.q_proj.weight"
    (source / "model.safetensors").unlink()
    shards = {"a.safetensors": {bad: tensors.pop(bad)}, "b.safetensors": tensors}
    for file, content in shards.items():
        save_file(content, source / file)
    index = {name: file for file, content in shards.items() for name in content}
    (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    checkpoint = lmscope.open_checkpoint(source)
    os.truncate(source / "a.safetensors", 200)
    run = similarity(checkpoint, out=tmp_path / "run")
    table = statuses(run)
    assert table[bad][0] == "failed"
    assert "a.safetensors" in table[bad][1]
    assert len(by_names(run)) == len(ROLES) * 3 - 2


def test_the_ledger_of_a_run_that_holds_both(make_llama: Make, tmp_path: Path) -> None:
    source, out = make_llama(layers=3), tmp_path / "run"
    lmscope.spectra(source, out=out, roles="key,token_embedding", draws=1, progress=False)
    run = similarity(source, out=out, roles="query")
    analysed = {name for name, (status, _) in statuses(run).items() if status == "analysed"}
    keys = {f"model.layers.{layer}.self_attn.{part}_proj.weight" for layer in range(3) for part in "kq"}
    assert analysed == keys | {"model.embed_tokens.weight"}
    assert "not selected" in statuses(run)["model.layers.0.mlp.up_proj.weight"][1]
    again = lmscope.spectra(source, out=out, roles="key,token_embedding", draws=1, progress=False)
    assert {name for name, (status, _) in statuses(again).items() if status == "analysed"} == analysed
    assert len(again.table("similarity")) == 3
    assert len(again.table("spectra")) == 4


def spoiled(tensors: dict[str, np.ndarray]) -> None:
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = np.nan


def test_no_analysis_forgets_what_another_failed_on(make_llama: Make, tmp_path: Path) -> None:
    bad, healthy = make_llama(name="bad", layers=3, change=spoiled), make_llama(name="healthy", layers=3)
    name, quiet = "model.layers.1.mlp.up_proj.weight", {"progress": False}
    verbs = {
        "twins": lambda out, **more: similarity(bad, healthy, out=out, **more),
        "similarity": lambda out, **more: similarity(bad, out=out, **more),
        "spectra": lambda out, **more: lmscope.spectra(bad, out=out, draws=1, **quiet, **more),
    }
    for first in verbs:
        for second in verbs.keys() - {first}:
            out = tmp_path / f"{first}-{second}"
            failed = statuses(verbs[first](out, roles="up"))[name]
            assert failed[0] == "failed"
            assert "NaN" in failed[1]
            assert statuses(verbs[second](out, roles="key"))[name] == failed
            # Nor does the same one where it looks elsewhere.
            assert statuses(verbs[first](out, roles="key"))[name] == failed
            # The same matrices are healthy under settings that nothing failed under.
            both = statuses(verbs[second](out, roles="up,key"))
            assert both[name][0] == "failed"
            others = {status for tensor, (status, _) in both.items() if tensor != name}
            assert others == {"analysed", "skipped"}


def test_what_is_read_at_last_is_no_failure(make_llama: Make, tmp_path: Path) -> None:
    source, out = make_llama(layers=3), tmp_path / "run"
    name, file = "model.layers.1.mlp.up_proj.weight", source / "model.safetensors"
    state = file.stat()
    checkpoint = lmscope.open_checkpoint(source)
    content = file.read_bytes()
    os.truncate(file, len(content) // 4)
    for run in (
        similarity(checkpoint, out=out),
        lmscope.spectra(checkpoint, out=out, draws=1, progress=False),
    ):
        assert "failed" in {status for status, _ in statuses(run).values()}
    # The same file as before, as its identity has it.
    file.write_bytes(content)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    run = similarity(source, out=out)
    assert statuses(run)[name][0] == "failed"
    run = lmscope.spectra(source, out=out, draws=1, progress=False)
    assert {status for status, _ in statuses(run).values()} == {"analysed", "skipped"}


def test_a_matrix_whose_partners_all_failed_is_in_no_record(make_llama: Make, tmp_path: Path) -> None:
    source = make_llama(layers=2, change=spoiled)
    for control in (False, True):
        run = similarity(source, out=tmp_path / f"run-{control}", roles="up", control=control)
        status, reason = statuses(run)["model.layers.0.mlp.up_proj.weight"]
        assert (status, reason) == ("skipped", "similarity failed on all its partners")
        assert not by_names(run)


def test_complete_spectra_stay_analysed_while_similarities_are_left(
    make_llama: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    source, out = make_llama(layers=3), tmp_path / "run"
    run = lmscope.spectra(source, out=out, roles="up", draws=1, progress=False)
    monkeypatch.setattr("lmscope.analyses.pair.compare_pair", interrupted)
    with pytest.raises(KeyboardInterrupt):
        similarity(source, out=out, roles="up,down")
    rows = [(row["role"], row["status"]) for row in run.ledger.to_pylist() if row["status"] != "skipped"]
    assert sorted(rows) == [("down", "planned")] * 3 + [("up", "analysed")] * 3


def test_what_killed_spectra_left_stays_planned(
    make_llama: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    source, out = make_llama(layers=3), tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr("lmscope.analyses.spectra.spectrum_verdict", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lmscope.spectra(source, out=out, include=["*embed*", "*up_proj*"], draws=1, progress=False)
    run = similarity(source, out=out, roles="down")
    found = {row["role"]: row["status"] for row in run.ledger.to_pylist()}
    assert (found["token_embedding"], found["up"], found["down"], found["gate"]) == (
        *("planned", "planned"),
        *("analysed", "skipped"),
    )
    # A later pass of its own decides anew what is left.
    lmscope.spectra(source, out=out, roles="token_embedding", draws=1, progress=False)
    found = {row["role"]: row["status"] for row in run.ledger.to_pylist()}
    assert (found["token_embedding"], found["up"]) == ("analysed", "skipped")


def test_the_control_hides_no_failure(make_llama: Make, tmp_path: Path) -> None:
    run = similarity(make_llama(layers=3, change=spoiled), out=tmp_path / "run", roles="up", control=True)
    assert statuses(run)["model.layers.1.mlp.up_proj.weight"][0] == "failed"
    assert len(by_names(run, "control")) == 3


def test_a_control_of_other_settings_is_not_set_beside(make_llama: Make, tmp_path: Path) -> None:
    source, out = make_llama(layers=3), tmp_path / "run"
    run = similarity(source, out=out, roles="down", control=True)
    assert run.similarity().roles[0].control is not None
    assert "random matrices of the same shapes" in run.report().read_text(encoding="utf-8")
    run = similarity(source, out=out, roles="down", vectors="rows")
    assert run.similarity().roles[0].control is None
    assert "random matrices of the same shapes" not in run.report().read_text(encoding="utf-8")


def test_a_narrower_selection_forgets_no_record(make_llama: Make, tmp_path: Path) -> None:
    source, out = make_llama(layers=3), tmp_path / "run"
    similarity(source, out=out, roles="query,key")
    run = similarity(source, out=out, roles="query", layers="0-1")
    analysed = [name for name, (status, _) in statuses(run).items() if status == "analysed"]
    assert len(analysed) == 6
    assert len(by_names(run)) == 6


def test_too_little_memory_is_said_before_anything_is_written(make_llama: Make, tmp_path: Path) -> None:
    source = make_llama(layers=3)
    with pytest.raises(UsageError, match=r"memory: .* is too little"):
        lmscope.analyze(source, out=tmp_path / "new", memory="1MB", draws=1, progress=False)
    assert not (tmp_path / "new").exists()
    run = similarity(source, out=tmp_path / "run", roles="query")
    manifest, table = run.manifest, statuses(run)
    with pytest.raises(UsageError, match=r"memory: .* is too little"):
        similarity(source, out=tmp_path / "run", roles="query", vectors="columns", memory="1MB")
    assert run.manifest == manifest
    assert statuses(run) == table


# ---- two checkpoints


def test_twins(make_llama: Make, tmp_path: Path) -> None:
    base = make_llama(layers=2, name="base")

    def change(tensors: dict[str, np.ndarray]) -> None:
        random = np.random.default_rng(3)
        name = "model.layers.1.mlp.down_proj.weight"
        tensors[name] = (tensors[name] + 0.01 * random.standard_normal((64, 96))).astype(ml_dtypes.bfloat16)
        # Two more tokens: the vectors are as long as before.
        tensors["lm_head.weight"] = np.vstack([tensors["lm_head.weight"], tensors["lm_head.weight"][:2]])
        del tensors["model.layers.0.mlp.up_proj.weight"]

    tuned = make_llama(layers=2, name="tuned", change=change)
    run = similarity(base, tuned, out=tmp_path / "run")
    rows = {name: row for (name, _), row in by_names(run, "twins").items()}
    assert len(rows) == 2 + 2 * 7 - 1
    moved = {name for name, row in rows.items() if not row["identical"]}
    assert moved == {"model.layers.1.mlp.down_proj.weight", "lm_head.weight"}
    assert rows["lm_head.weight"]["rows_y"] == 130
    assert rows["lm_head.weight"]["score"] == pytest.approx(1, abs=1e-9)
    assert 0.7 < rows["model.layers.1.mlp.down_proj.weight"]["score"] < 0.99
    assert all(row["score"] == 1 for name, row in rows.items() if name not in moved)
    assert statuses(run)["model.layers.0.mlp.up_proj.weight"] == (
        "skipped",
        "tuned has no such matrix in that place",
    )
    down = next(twin for twin in run.similarity().twins if twin.role == "down")
    assert (down.twins, down.identical) == (2, 1)
    assert down.lowest_name == "model.layers.1.mlp.down_proj.weight"
    # Records of another second checkpoint are other records.
    third = shutil.copytree(tuned, tmp_path / "third")
    again = similarity(base, third, out=tmp_path / "run", roles="query")
    assert len(again.table("twins")) == 2


def test_a_folder_holds_the_twins_in_one_other_checkpoint(make_llama: Make, tmp_path: Path) -> None:
    base, first = make_llama(name="base"), make_llama(name="first")
    second = make_llama(name="second", seed=1)
    run = similarity(base, first, out=tmp_path / "run", roles="query")
    before, manifest = told(by_names(run, "twins")), run.manifest
    with pytest.raises(
        UsageError, match=r"out: .*run holds the twins in first .*; choose another folder .* second"
    ):
        similarity(base, second, out=tmp_path / "run", roles="query")
    assert (told(by_names(run, "twins")), run.manifest) == (before, manifest)
    assert similarity(base, second, out=tmp_path / "other", roles="query").manifest != manifest


def test_twins_of_other_widths_are_refused_by_name(make_llama: Make, tmp_path: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors["model.layers.1.mlp.down_proj.weight"] = np.ones((48, 96), ml_dtypes.bfloat16)

    base, other = make_llama(name="base"), make_llama(name="other")
    # Without its config the second one may have any widths.
    tensors = load_file(other / "model.safetensors")
    change(tensors)
    save_file(tensors, other / "model.safetensors")
    (other / "config.json").unlink()
    run = similarity(base, other, out=tmp_path / "run", roles="down,query")
    status, reason = statuses(run)["model.layers.1.mlp.down_proj.weight"]
    assert status == "refused"
    assert "have length 64" in reason
    assert reason.endswith("other 48")
    assert len(run.table("twins")) == 3


def test_every_other_has_a_default_folder_of_its_own(
    make_llama: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    base = make_llama(name="base")
    runs = [
        similarity(base, other, roles="query", null_draws=0)
        for other in (make_llama(name="a", seed=1), make_llama(name="b", seed=2))
    ]
    assert runs[0].path != runs[1].path
    for run in runs:
        own, other = run.manifest["checkpoint"]["identity"], run.manifest["settings"]["twins"]["other"]
        assert run.path == Path("runs") / f"base-{own[:8]}-{other[:8]}"


def test_either_checkpoint_has_a_revision(
    make_llama: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def opened(path: str, *, revision: str | None, token: str | None) -> lmscope.Checkpoint:
        asked[Path(path).name] = revision, token
        return lmscope.open_checkpoint(path)

    monkeypatch.setattr(sys.modules["lmscope.runs.similarity"], "as_checkpoint", opened)
    arguments = [
        "similarity",
        make_llama(name="base"),
        make_llama(name="tuned"),
        "-o",
        tmp_path / "run",
        "-q",
    ]
    options = ["--roles", "key", "--revision", "v1", "--other-revision", "v2", "--token", "t"]
    result = CliRunner().invoke(app, [*map(str, arguments), *options])
    assert result.exit_code == 0, result.output
    assert asked == {"base": ("v1", "t"), "tuned": ("v2", "t")}


def test_nothing_is_imported_at_the_first_pairs_cost(make_llama: Make, tmp_path: Path) -> None:
    script = (
        "import sys, lmscope\nfrom lmscope.runs import pair_pass\n"
        "inner, new = pair_pass._Pass.compare, []\n"
        "def compare(*given):\n"
        "    before = set(sys.modules)\n"
        "    inner(*given)\n"
        "    new.extend(set(sys.modules) - before)\n"
        "pair_pass._Pass.compare = compare\n"
        "lmscope.similarity(sys.argv[1], out=sys.argv[2], roles='up', progress=False)\n"
        "print(sorted(new))"
    )
    command = [sys.executable, "-c", script, str(make_llama()), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_twin_that_fails_is_told_of_its_own(make_llama: Make, tmp_path: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors["model.layers.1.mlp.down_proj.weight"][0, 0] = np.inf

    base, tuned = make_llama(name="base"), make_llama(name="tuned", change=change)
    run = similarity(base, tuned, out=tmp_path / "run", roles="down")
    status, reason = statuses(run)["model.layers.1.mlp.down_proj.weight"]
    assert status == "failed"
    assert reason.startswith("its twin model.layers.1.mlp.down_proj.weight failed: ")


def test_wrong_usage(make_llama: Make, minilm_path: Path, tmp_path: Path) -> None:
    source = make_llama()
    for settings, found in (
        ({"vectors": "heads"}, "vectors: 'heads'"),
        ({"null_draws": -1}, "null_draws: -1"),
        ({"false_positive_rate": 1}, "false_positive_rate: 1"),
        ({"seed": -1}, "seed: -1"),
        ({"memory": "lots"}, "memory: 'lots'"),
        ({"roles": "pooler"}, "no matrix matches"),
    ):
        with pytest.raises(UsageError, match=found):
            similarity(source, out=tmp_path / "run", **settings)
    with pytest.raises(UsageError, match="control"):
        similarity(source, source, out=tmp_path / "run", control=True)
    with pytest.raises(UsageError, match="other_revision: there is no second checkpoint"):
        similarity(source, out=tmp_path / "run", other_revision="v2")
    with pytest.raises(UsageError, match=r"no matrix of .* can be compared with its twin in .*: its vectors"):
        similarity(source, minilm_path, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ---- a real model


def test_minilm(minilm_path: Path, tmp_path: Path) -> None:
    run = similarity(minilm_path, out=tmp_path / "run", control=True)
    summary = run.similarity()
    assert [role.role for role in summary.roles] == [
        "query",
        "key",
        "value",
        "attention_output",
        "up",
        "down",
    ]
    for role in summary.roles:
        assert (role.layers, role.pairs) == (6, 15)
        assert role.neighbours > role.far > role.control
        assert role.neighbours > role.null + 0.02
        assert role.control == pytest.approx(role.baseline, rel=0.02)
    assert summary.cost["reads"] == summary.cost["pairs"] * 36 / 90
