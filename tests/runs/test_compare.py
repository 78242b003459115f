"""`compare` on checkpoints whose difference is known, damaged, cut short, or not to be taken."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import lmscope
from lmscope.runs import UsageError

from ..written_llama import llama_tensors, quantise, save_llama

RANK, HIDDEN, INTERMEDIATE, LAYERS = 16, 256, 384, 3
TOUCHED = [
    f"model.layers.{layer}.{part}.weight"
    for layer in (0, 2)
    for part in ("mlp.down_proj", "self_attn.q_proj")
]
QUERY = "model.layers.1.self_attn.q_proj.weight"


def lmscope_verb(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lmscope", *map(str, arguments)]
    wide = {**os.environ, "COLUMNS": "160"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=wide)


def wide_llama(kind: Any) -> dict[str, np.ndarray]:
    """Wide enough for sixteen directions; weights of standard deviation 0.02 in float64, rounded to kind."""
    random = np.random.default_rng(0)
    shapes = {
        "self_attn.q_proj": (HIDDEN, HIDDEN),
        "self_attn.k_proj": (HIDDEN // 2, HIDDEN),
        "self_attn.v_proj": (HIDDEN // 2, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HIDDEN),
        "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
        "mlp.up_proj": (INTERMEDIATE, HIDDEN),
        "mlp.down_proj": (HIDDEN, INTERMEDIATE),
    }
    return {
        f"model.layers.{layer}.{name}.weight": (0.02 * random.standard_normal(shape)).astype(kind)
        for layer in range(LAYERS)
        for name, shape in shapes.items()
    }


def merged(tensors: dict[str, np.ndarray], deviation: float, kind: Any) -> dict[str, np.ndarray]:
    """The touched matrices plus an update of rank 16, all stored as kind."""
    random = np.random.default_rng(1)
    found = {}
    for name, base in tensors.items():
        moved = base.astype(np.float64)
        if name in TOUCHED:
            left, right = (
                random.standard_normal(size) for size in ((len(base), RANK), (RANK, base.shape[1]))
            )
            moved = moved + left @ right * (deviation / math.sqrt(RANK))
        found[name] = moved.astype(kind)
    return found


@pytest.mark.parametrize(
    ("base_type", "tuned_type", "deviation"),
    [
        (ml_dtypes.bfloat16, ml_dtypes.bfloat16, 1e-4),
        (np.float32, np.float32, 3e-4),
        (ml_dtypes.bfloat16, np.float32, 3e-3),
    ],
)
def test_a_merged_update_of_rank_16_is_found_where_it_is_and_nowhere_else(
    base_type: Any, tuned_type: Any, deviation: float, tmp_path: Path
) -> None:
    tensors = wide_llama(base_type)
    base = save_llama(tmp_path / "base", tensors, LAYERS, hidden=HIDDEN, intermediate=INTERMEDIATE)
    tuned = save_llama(
        tmp_path / "tuned",
        merged(tensors, deviation, tuned_type),
        LAYERS,
        hidden=HIDDEN,
        intermediate=INTERMEDIATE,
    )
    run = lmscope.compare(base, tuned, out=tmp_path / "run", progress=False)
    rows = {row["name"]: row for row in run.table("difference").to_pylist()}
    assert rows.keys() == tensors.keys()
    assert [name for name, row in rows.items() if not row["identical"]] == sorted(TOUCHED)
    assert {name: row["n_above_rounding"] for name, row in rows.items()} == {
        name: RANK if name in TOUCHED else 0 for name in tensors
    }
    summary = run.difference()
    assert (summary.compared, summary.identical, summary.moved) == (7 * LAYERS, 7 * LAYERS - 4, 4)
    assert [one.layer for one in summary.layers] in ([0, 2], [2, 0])
    assert {one.name for one in summary.matrices} == set(TOUCHED)
    roles = {one.role: one for one in summary.roles}
    assert roles["query"].above_rounding == roles["down"].above_rounding == 2 * RANK
    assert roles["query"].relative_change == pytest.approx(deviation / 0.02, rel=0.1)
    assert roles["key"].relative_change is None
    assert roles["key"].score == 1
    assert roles["query"].score < 1
    assert (run.path / "report.html").is_file()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_llama(tmp_path / "base", llama_tensors(2), 2)


def changed(tmp_path: Path, change: Any) -> Path:
    tensors = llama_tensors(2)
    change(tensors)
    return save_llama(tmp_path / "tuned", tensors, 2)


def statuses(run: lmscope.Run) -> dict[str, tuple[str, str]]:
    return {row["name"]: (row["status"], row["reason"]) for row in run.ledger.to_pylist()}


def test_a_checkpoint_and_itself_are_identical(base: Path, tmp_path: Path) -> None:
    done = lmscope_verb("compare", base, base, "-o", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["difference"]
    assert told["compared"] == told["identical"] == 16
    assert told["moved"] == 0
    assert told["layers"] == told["matrices"] == []
    assert {role["score"] for role in told["roles"]} == {1.0}
    words = lmscope_verb("compare", base, base, "-o", tmp_path / "run")
    assert (
        "16 matrices compared with base: 16 identical, 0 moved by more than rounding explains."
        in words.stdout
    )
    assert "Matrices that moved most" not in words.stdout


def test_the_terminal_says_what_moved(base: Path, tmp_path: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors[QUERY] = (tensors[QUERY].astype(np.float64) * 1.5).astype(ml_dtypes.bfloat16)

    done = lmscope_verb("compare", base, changed(tmp_path, change), "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert (
        "16 matrices compared with tuned: 15 identical, 1 moved by more than rounding explains."
        in done.stdout
    )
    (line,) = (line for line in done.stdout.splitlines() if line.startswith(QUERY))
    assert "50 %" in line
    rows = lmscope.open_run(tmp_path / "run").table("difference").to_pylist()
    (above,) = (row["n_above_rounding"] for row in rows if row["name"] == QUERY)
    assert above > 60
    assert f" {above} of 64 " in line
    assert f"Report: {tmp_path / 'run' / 'report.html'}" in done.stdout


def test_a_grown_vocabulary_is_refused_with_both_shapes(base: Path, tmp_path: Path) -> None:
    name = "model.embed_tokens.weight"

    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors[name] = np.concatenate([tensors[name], tensors[name][:8]])

    done = lmscope_verb("compare", base, changed(tmp_path, change), "-o", tmp_path / "run", "-q")
    assert done.returncode == 4
    expected = (
        f"it is 128 x 64, its twin {name} in tuned 136 x 64 (the vocabulary changed): there is no difference"
    )
    assert f"{name}: refused: {expected}" in done.stderr
    run = lmscope.open_run(tmp_path / "run")
    assert statuses(run)[name][0] == "refused"
    assert run.table("difference").num_rows == run.table("twins").num_rows == 15


def test_norms_that_changed_are_told_in_the_ledger(base: Path, tmp_path: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors["model.norm.weight"][:16] = 1.5
        tensors["model.layers.0.input_layernorm.weight"][:] = np.nan

    run = lmscope.compare(base, changed(tmp_path, change), out=tmp_path / "run", progress=False)
    found = statuses(run)
    assert found["model.norm.weight"] == (
        "skipped",
        "vector: only matrices are analysed; in tuned 16 of 64 entries differ, relative change 0.25",
    )
    assert found["model.layers.1.input_layernorm.weight"][1].endswith("; identical in tuned")
    assert "64 of 64 entries differ" in found["model.layers.0.input_layernorm.weight"][1]
    assert run.difference().identical == 16


def test_a_matrix_without_a_twin_is_skipped_and_said_so(base: Path, tmp_path: Path) -> None:
    tuned = changed(tmp_path, lambda tensors: tensors.pop(QUERY))
    run = lmscope.compare(base, tuned, out=tmp_path / "run", progress=False)
    assert statuses(run)[QUERY] == ("skipped", "tuned has no such matrix in that place")
    assert run.table("difference").num_rows == 15


def test_a_conversion_has_as_many_values_above_rounding_as_rounding_gives(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    kinds = {name: tensor.shape for name, tensor in llama_tensors(6).items() if tensor.ndim == 2}
    tensors = {name: random.standard_normal(shape, dtype=np.float32) for name, shape in kinds.items()}
    base = save_llama(tmp_path / "base", tensors, 6)
    copy = {name: tensor.astype(ml_dtypes.bfloat16) for name, tensor in tensors.items()}
    tuned = save_llama(tmp_path / "tuned", copy, 6)
    run = lmscope.compare(base, tuned, out=tmp_path / "run", progress=False, null_draws=0, draws=4)
    summary = run.difference()
    # One in five by chance.
    assert summary.chance.tested == 44
    assert summary.chance.expected == pytest.approx(8.8)
    assert summary.chance.showing > 1
    assert summary.moved == sum(role.moved for role in summary.roles) == 0
    told = (
        f"0 moved by more than rounding explains; {summary.chance.showing} of 44 that differ have values "
        "above it, as many as rounding gives (about 8.8"
    )
    assert told in summary._repr_html_()
    assert told in (run.path / "report.html").read_text(encoding="utf-8")


def tied(folder: Path) -> Path:
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "tie_word_embeddings": True}))
    return folder


def test_a_head_that_tuned_ties_is_compared_with_the_embedding(base: Path, tmp_path: Path) -> None:
    tuned = tied(changed(tmp_path, lambda tensors: tensors.pop("lm_head.weight")))
    run = lmscope.compare(base, tuned, out=tmp_path / "run", progress=False)
    rows = {row["name"]: row for row in run.table("difference").to_pylist()}
    assert rows["lm_head.weight"]["tuned_name"] == "model.embed_tokens.weight"
    assert not rows["lm_head.weight"]["identical"]
    assert rows["model.embed_tokens.weight"]["identical"]
    assert run.difference().unmatched == ()


def test_a_head_of_its_own_in_tuned_is_told(tmp_path: Path) -> None:
    tensors = llama_tensors(2)
    head = tensors.pop("lm_head.weight")
    base = tied(save_llama(tmp_path / "base", tensors, 2))
    tuned = save_llama(tmp_path / "tuned", {**tensors, "lm_head.weight": head}, 2)
    done = lmscope_verb("compare", base, tuned, "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    told = (
        "no matrix of base and 1 matrix of tuned (lm_head.weight) have no counterpart and are not compared.",
        "base ties lm_head.weight to model.embed_tokens.weight, tuned holds one of its own.",
    )
    for sentence in told:
        assert sentence in done.stdout
        assert sentence in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert lmscope.open_run(tmp_path / "run").difference().unmatched == told


def test_layers_that_only_one_has_and_other_matrices_in_their_place_are_told(tmp_path: Path) -> None:
    base = save_llama(tmp_path / "base", llama_tensors(3), 3)
    tuned = save_llama(tmp_path / "tuned", llama_tensors(2, seed=1), 2)
    run = lmscope.compare(base, tuned, out=tmp_path / "run", progress=False)
    summary = run.difference()
    assert summary.unmatched == (
        "Layer counts differ (3 and 2): layers are matched by number.",
        "7 matrices of base (7 in layers 2) and no matrix of tuned have no counterpart and are not compared.",
    )
    assert len(summary.unrelated) == summary.compared == 16
    assert "not a tuning of these matrices" in summary._repr_html_()
    # A second time everything stands.
    assert lmscope.compare(base, tuned, out=tmp_path / "run", progress=False).difference() == summary


def test_a_lora_adapter_is_to_be_merged_first(base: Path, tmp_path: Path) -> None:
    prefix = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    tensors = {
        f"{prefix}{side}.weight": np.ones(shape, np.float32)
        for side, shape in (("A", (4, 64)), ("B", (64, 4)))
    }
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    save_file(tensors, tmp_path / "adapter" / "adapter_model.safetensors")
    with pytest.raises(UsageError, match=r"tuned: adapter holds LoRA .*q_proj\.lora_A.*merge them first"):
        lmscope.compare(base, tmp_path / "adapter", out=tmp_path / "run", progress=False)


def test_memory_bounds_the_differences_too(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"memory: 8\.1 MB is too little for the difference of lm_head"):
        lmscope.compare(
            base, base, out=tmp_path / "run", progress=False, memory=8_050_000, roles="unembedding"
        )
    assert not (tmp_path / "run").exists()


def test_a_zeroed_matrix_has_no_score_and_is_named(base: Path, tmp_path: Path) -> None:
    tuned = changed(tmp_path, lambda tensors: tensors[QUERY].fill(0))
    done = lmscope_verb("compare", base, tuned, "-o", tmp_path / "run")
    assert f"All zero on one side, so without a score: {QUERY}." in done.stdout
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("query "))
    assert line.endswith("1.0000 (1 of 2)")


def test_rows_left_alone_are_no_lost_update(base: Path, tmp_path: Path) -> None:
    name = "model.embed_tokens.weight"

    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors[name][5:15] *= np.array(2, ml_dtypes.bfloat16)

    run = lmscope.compare(base, changed(tmp_path, change), out=tmp_path / "run", progress=False)
    summary = run.difference()
    assert summary.few_changed == 0
    assert f"In {name} 7.81 % changed, in 10 of 128 rows and 64 of 64 columns." in summary._repr_html_()
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "in 10 of 128 rows and 64 of 64 columns" in page


def test_nothing_comparable_is_said_so(base: Path, tmp_path: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        for tensor in tensors.values():
            tensor.fill(np.nan)

    done = lmscope_verb("compare", base, changed(tmp_path, change), "-o", tmp_path / "run")
    assert done.returncode != 0
    assert "Nothing could be compared with tuned" in done.stdout
    assert "above rounding" not in done.stdout


def test_a_resumed_run_names_the_other_checkpoint(base: Path, tmp_path: Path) -> None:
    for _ in range(2):
        done = lmscope_verb("compare", base, base, "-o", tmp_path / "run")
    assert "other name base" in done.stderr
    assert lmscope.open_checkpoint(base).identity not in done.stderr


@pytest.mark.parametrize("side", ["base", "tuned"])
def test_what_is_not_finite_fails_by_name_and_the_others_go_on(side: str, tmp_path: Path) -> None:
    paths = {}
    for place in ("base", "tuned"):
        tensors = llama_tensors(2)
        tensors["model.layers.0.mlp.up_proj.weight"] *= np.array(2, ml_dtypes.bfloat16)
        if place == side:
            tensors[QUERY][3, 5] = np.nan
        paths[place] = save_llama(tmp_path / place, tensors, 2)
    done = lmscope_verb("compare", paths["base"], paths["tuned"], "-o", tmp_path / "run", "-q")
    assert done.returncode == 4
    assert f"{QUERY}: failed: " in done.stderr
    run = lmscope.open_run(tmp_path / "run")
    assert [name for name, (status, _) in statuses(run).items() if status == "failed"] == [QUERY]
    assert run.table("difference").num_rows == 15
    failures = json.loads((tmp_path / "run" / "difference" / "failures.json").read_text())
    (reasons,) = failures.values()
    assert reasons == {QUERY: f"{side} has nan at row 3, column 5"}


@pytest.mark.parametrize("side", ["base", "tuned"])
def test_quantised_checkpoints_are_refused(side: str, base: Path, tmp_path: Path) -> None:
    quantised = changed(tmp_path, quantise)
    pair = (quantised, base) if side == "base" else (base, quantised)
    done = lmscope_verb("compare", *pair, "-o", tmp_path / "run")
    assert done.returncode == 3
    assert "every matrix is refused" in done.stderr
    assert "quantised (compressed-tensors)" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_quantised_twin_is_refused_and_the_others_go_on(base: Path, tmp_path: Path) -> None:
    tuned = changed(tmp_path, lambda tensors: quantise(tensors, only="mlp.down"))
    done = lmscope_verb("compare", base, tuned, "-o", tmp_path / "run", "-q")
    assert done.returncode == 4
    run = lmscope.open_run(tmp_path / "run")
    for layer in range(2):
        name = f"model.layers.{layer}.mlp.down_proj.weight"
        status, reason = statuses(run)[name]
        assert status == "refused"
        assert reason.startswith(f"its twin {name}_packed in tuned is refused: quantised")
    assert run.table("difference").num_rows == 14


def test_another_model_has_no_twins(base: Path, tmp_path: Path, tiny_bert_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no matrix of base has a twin|vectors \(rows\) have length"):
        lmscope.compare(base, tiny_bert_path, roles="query", out=tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"rounding": "none"}, "rounding: 'none' is not known; choose from both, tuned"),
        ({"draws": 0}, "draws: 0 must be at least 1"),
        ({"layers": "7"}, "no matrix matches layers 7"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], text: str, base: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=text):
        lmscope.compare(base, base, out=tmp_path / "run", progress=False, **arguments)
    assert not (tmp_path / "run").exists()


def test_a_changed_setting_computes_only_differences_again(base: Path, tmp_path: Path) -> None:
    tuned = save_llama(tmp_path / "tuned", llama_tensors(2, 1), 2)
    out = tmp_path / "run"
    first = lmscope.compare(base, tuned, out=out, progress=False, draws=3)
    twins = {path.name: path.stat().st_mtime_ns for path in (out / "twins").glob("*.parquet")}
    edges = first.table("difference").column("rounding_edge").to_pylist()
    second = lmscope.compare(base, tuned, out=out, progress=False, draws=3, rounding="tuned")
    assert {path.name: path.stat().st_mtime_ns for path in (out / "twins").glob("*.parquet")} == twins
    lower = second.table("difference").column("rounding_edge").to_pylist()
    assert all(after < before for before, after in zip(edges, lower, strict=True))
    assert second.difference().rounding == "tuned"


def test_differences_of_another_run_stand_beside_spectra(base: Path, tmp_path: Path) -> None:
    tuned = save_llama(tmp_path / "tuned", llama_tensors(2, 1), 2)
    out = tmp_path / "run"
    with pytest.raises(UsageError, match="holds none; `lmscope compare` adds them"):
        lmscope.spectra(base, out=out, progress=False, nulls="sign_flip", draws=2).difference()
    run = lmscope.compare(base, tuned, out=out, progress=False, draws=3)
    assert run.table("spectra").num_rows == run.table("difference").num_rows == 16
    assert "run.difference()" in run._repr_html_()
    assert "moved by more than rounding" in run.difference()._repr_html_()


def test_a_killed_comparison_continues(tmp_path: Path) -> None:
    layers = 12
    base = save_llama(tmp_path / "base", llama_tensors(layers), layers)
    tuned = save_llama(tmp_path / "tuned", llama_tensors(layers, 1), layers)
    out, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    # Draws enough for a kill to come before the end.
    settings = {"draws": 60, "null_draws": 0, "progress": False}
    command = [sys.executable, "-m", "lmscope", "compare", base, tuned, "-o", out, "-q"]
    command += ["--draws", 60, "--null-draws", 0]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder = out / "difference"
    while process.poll() is None and len(list(folder.glob("*.parquet"))) < 10:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    standing = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}
    left = lmscope.open_run(out)
    assert 10 <= left.table("difference").num_rows == len(standing) < 7 * layers + 2
    run = lmscope.compare(base, tuned, out=out, **settings)
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}
    assert {name: after[name] for name in standing} == standing
    expected = lmscope.compare(base, tuned, out=undisturbed, **settings)

    def told(of: lmscope.Run) -> list[str]:
        return [repr({**row, "seconds": 0}) for row in of.table("difference").to_pylist()]

    assert told(run) == told(expected)
    assert run.ledger.equals(expected.ledger)
