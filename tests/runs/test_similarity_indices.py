"""CKA, CCA, SVCCA, regression and Procrustes in a run, beside DOCS: values, resuming, summary, refusals."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import lmscope
from lmscope.analyses import representation_indices
from lmscope.analyses.layer_map import gini
from lmscope.analyses.representation_indices import INDICES, Decomposed
from lmscope.runs import UsageError
from lmscope.runs.similarity_indices import index_roles

Make = Callable[..., Path]
NAME = "model.layers.{}.self_attn.q_proj.weight"


def similarity(*arguments: object, **settings: object) -> lmscope.Run:
    return lmscope.similarity(*arguments, **{"progress": False, "null_draws": 0, **settings})


def without_seconds(run: lmscope.Run) -> list[dict]:
    return [{**row, "seconds": 0} for row in run.table("indices").to_pylist()]


def test_records_are_the_indices_of_the_matrices(minilm_path: Path, tmp_path: Path) -> None:
    run = similarity(minilm_path, out=tmp_path / "run", layers="2-3", roles="query", indices="query")
    rows = {(row["layer_x"], row["layer_y"]): row for row in run.table("indices").to_pylist()}
    assert list(rows) == [(2, 3)]
    checkpoint = lmscope.open_checkpoint(minilm_path)
    for (i, j), row in rows.items():
        name = "encoder.layer.{}.attention.self.query.weight"
        assert (row["name_x"], row["name_y"]) == (name.format(i), name.format(j))
        x, y = (Decomposed(checkpoint.load(name.format(layer)).T) for layer in (i, j))
        for index, of in INDICES.items():
            expected = (of(x, y) + of(y, x)) / 2 if index == "linear_regression" else of(x, y)
            assert row[index] == pytest.approx(expected, abs=1e-12)


def test_the_summary_sets_the_contrast_of_the_maps_side_by_side(make_llama: Make, tmp_path: Path) -> None:
    run = similarity(make_llama(layers=3), out=tmp_path / "run", indices="query,down")
    summary = run.similarity()
    assert [(contrast.role, contrast.layers) for contrast in summary.contrasts] == [("query", 3), ("down", 3)]
    contrast = summary.contrasts[0]
    rows = [row for row in run.table("indices").to_pylist() if row["role"] == "query"]
    scores = [row["score"] for row in run.table("similarity").to_pylist() if row["role"] == "query"]
    assert contrast.gini["docs"] == pytest.approx(gini(scores * 2))
    assert contrast.gini["linear_cka"] == pytest.approx(gini([row["linear_cka"] for row in rows] * 2))
    assert list(contrast.gini) == ["docs", *INDICES]
    assert "Contrast (Gini)" in summary._repr_html_()


def test_roles_and_layers_are_added_without_computing_the_others_again(
    make_llama: Make, tmp_path: Path
) -> None:
    source, out = make_llama(layers=4), tmp_path / "run"
    similarity(source, out=out, roles="query,down", indices="query", layers="0-2")
    files = {path: path.stat().st_mtime_ns for path in (out / "indices").glob("*.parquet")}
    run = similarity(source, out=out, roles="query,down", indices="query,down")
    assert {path: path.stat().st_mtime_ns for path in files} == files
    rows = without_seconds(run)
    assert len(rows) == 2 * 6
    assert {row["vectors"] for row in rows if row["role"] == "down"} == {"columns"}
    whole = similarity(source, out=tmp_path / "whole", roles="query,down", indices=["query", "down"])
    assert rows == without_seconds(whole)
    # Without asking again they stay, and so they do in other analyses of the same folder.
    assert without_seconds(similarity(source, out=out, roles="key")) == rows


def test_a_run_that_stopped_goes_on_layer_by_layer(
    make_llama: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = make_llama(layers=5), tmp_path / "run"
    calls = 0
    cka = INDICES["linear_cka"]

    def stopping(x: object, y: object) -> float:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return cka(x, y)

    monkeypatch.setitem(INDICES, "linear_cka", stopping)
    with pytest.raises(KeyboardInterrupt):
        similarity(source, out=out, roles="up", indices="up")
    assert len(lmscope.open_run(out).table("indices")) == 4
    calls = 10
    run = similarity(source, out=out, roles="up", indices="up")
    assert calls == 10 + 6
    whole = similarity(source, out=tmp_path / "whole", roles="up", indices="up")
    assert without_seconds(run) == without_seconds(whole)


def test_zero_matrices_have_no_value_and_failed_ones_no_record(make_llama: Make, tmp_path: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors[NAME.format(1)][...] = 0
        tensors[NAME.format(2)][3, 3] = np.nan

    source = make_llama(layers=4, change=change)
    run = similarity(source, out=tmp_path / "run", roles="query", indices="query")
    rows = {(row["layer_x"], row["layer_y"]): row for row in run.table("indices").to_pylist()}
    assert list(rows) == [(0, 1), (0, 3), (1, 3)]
    assert math.isnan(rows[0, 1]["linear_cka"])
    assert 0 < rows[0, 3]["linear_cka"] < 1
    statuses = {row["name"]: row["status"] for row in run.ledger.to_pylist()}
    assert statuses[NAME.format(2)] == "failed"
    assert run.report().is_file()


def test_what_the_indices_failed_on_is_in_the_ledger_and_stays_there(
    make_llama: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = make_llama(layers=4), tmp_path / "run"
    calls = 0

    class Failing(Decomposed):
        def __init__(self, *arguments: object) -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise MemoryError("no room")
            super().__init__(*arguments)

    def found() -> tuple[str, str]:
        rows = {row["name"]: row for row in lmscope.open_run(out).ledger.to_pylist()}
        return rows[NAME.format(0)]["status"], rows[NAME.format(0)]["reason"]

    with monkeypatch.context() as patched:
        patched.setattr(representation_indices, "Decomposed", Failing)
        run = similarity(source, out=out, roles="query", indices="query")
    assert [(row["layer_x"], row["layer_y"]) for row in run.table("indices").to_pylist()] == [
        (1, 2),
        (1, 3),
        (2, 3),
    ]
    assert found() == ("failed", "MemoryError: no room")
    # Other verbs do not forget it, and it is over once it succeeds.
    lmscope.spectra(source, out=out, roles="query", draws=1, progress=False)
    assert found() == ("failed", "MemoryError: no room")
    similarity(source, out=out, roles="query", indices="query")
    assert found() == ("analysed", "")
    assert len(run.table("indices")) == 6


def test_an_orthogonally_initialised_model_is_one_for_other_indices_and_chance_for_docs(
    make_llama: Make, tmp_path: Path
) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        random = np.random.default_rng(0)
        for name in tensors:
            if name.endswith(("q_proj.weight", "o_proj.weight", "up_proj.weight")):
                gaussian = random.standard_normal((max(tensors[name].shape), min(tensors[name].shape)))
                q = np.linalg.qr(gaussian)[0].astype(np.float32)
                tensors[name] = q if q.shape == tensors[name].shape else q.T.copy()

    source = make_llama(layers=7, change=change)
    roles = "query,attention_output,up"
    run = similarity(source, out=tmp_path / "run", roles=roles, null_draws=9, indices=roles)
    summary = run.similarity()
    for role in summary.roles:
        assert role.neighbours == pytest.approx(role.baseline, rel=0.03)
        assert role.neighbours == pytest.approx(role.null, rel=0.03)
        assert role.blocks == ()
    for row in run.table("indices").to_pylist():
        for index in ("linear_cka", "cca", "linear_regression", "orthogonal_procrustes"):
            # The 96 rows of length 64, too: orthonormal columns make their products a projection.
            assert row[index] == pytest.approx(1, abs=1e-6), (row["role"], index)
    for contrast in summary.contrasts:
        assert contrast.gini["docs"] > 0.001
        assert contrast.gini["linear_cka"] < 1e-6


def test_indices_of_other_vectors_are_not_set_beside(make_llama: Make, tmp_path: Path) -> None:
    source, out = make_llama(layers=3), tmp_path / "run"
    assert similarity(source, out=out, roles="down", indices="down").similarity().contrasts
    run = similarity(source, out=out, roles="down", vectors="rows")
    assert run.similarity().contrasts == ()
    assert "down:cca" not in run.report().read_text(encoding="utf-8")


def test_refusals_come_before_anything_is_written(make_llama: Make, tmp_path: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        for layer in range(2):
            shape = (2049, 64)
            tensors[f"model.layers.{layer}.mlp.up_proj.weight"] = np.ones(shape, ml_dtypes.bfloat16)

    source = make_llama()
    wide = make_llama(name="wide", change=change)
    (wide / "config.json").unlink()
    for checkpoint, settings, message in (
        (source, {"indices": "head"}, "indices: 'head' is not compared; choose from query"),
        (source, {"indices": " , "}, "indices: none given"),
        (source, {"indices": "router"}, "'router' has no two selected layers"),
        (source, {"indices": "up", "roles": "down"}, "'up' has no two selected layers"),
        (source, {"indices": "up", "layers": 1}, "'up' has no two selected layers"),
        (wide, {"indices": "up"}, r"up_proj.weight has 2049 vectors, and .* at most 2048; leave out 'up'"),
    ):
        with pytest.raises(UsageError, match=message):
            similarity(checkpoint, out=tmp_path / "run", **settings)
    with pytest.raises(UsageError, match="one checkpoint"):
        similarity(source, shutil.copytree(source, tmp_path / "other"), out=tmp_path / "run", indices="up")
    assert not (tmp_path / "run").exists()


def test_roles_as_names_or_text() -> None:
    assert index_roles("query, up") == index_roles(["query", "up,query"]) == ("query", "up")


def test_the_ledger_says_the_same_with_indices_and_without(make_llama: Make, tmp_path: Path) -> None:
    source = make_llama(layers=2)
    plain = similarity(source, out=tmp_path / "plain")
    more = similarity(source, out=tmp_path / "more", indices="query")
    assert more.ledger.equals(plain.ledger)
    assert "planned" not in more.ledger.column("status").to_pylist()
