"""`localize` on real and tiny models: records by hand, what is computed again, what fails or is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import lmscope
from lmscope.representations.input_covariance import input_covariances
from lmscope.representations.measures import measures_for
from lmscope.representations.weight_sites import WeightSite, same_sites, weight_sites
from lmscope.representations.windows import cut, window_size
from lmscope.results import LOCATION_ANALYSES
from lmscope.runs import UsageError, localize_words

from ..read_models import VOCABULARY, prose, save_causal
from ..tiny_models import random_model
from ..tiny_tokenizers import character_tokenizer

TEXTS = [prose(700), prose(600, start=5000)]
# Windows so short that the few tokens give enough of them for an interval.
SHORT: dict[str, Any] = {"eval_tokens": 320, "window": 32, "stride": 16}
QUICK: dict[str, Any] = {"slices": 4, "progress": False, **SHORT}
DOWN = "model.layers.1.mlp.down_proj.weight"
COMPUTED = ("vectors", "overlap", "overlap_map", "lesions")
"""The tables whose records are kept; the others are made from them by every call."""


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_causal(tmp_path_factory.mktemp("models") / "tiny-causal")


@pytest.fixture(scope="module")
def whole(causal: Path, tmp_path_factory: pytest.TempPathFactory) -> lmscope.Run:
    """The run that most tests look at."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return lmscope.localize(causal, texts=TEXTS, out=out, each_matrix=True, maps="*1*down*", **QUICK)


def rows(run: lmscope.Run, name: str) -> list[dict[str, Any]]:
    """Without the time that they took."""
    found = run.table(name).to_pylist()
    return [{key: value for key, value in row.items() if key != "seconds"} for row in found]


def files(run: lmscope.Run) -> dict[str, dict[str, tuple[int, int]]]:
    found = {}
    for name in COMPUTED:
        stats = {path.name: path.stat() for path in (run.path / name).glob("*.parquet")}
        found[name] = {file: (stat.st_ino, stat.st_mtime_ns) for file, stat in stats.items()}
    return found


def row_of(run: lmscope.Run, table: str, name: str = DOWN) -> dict[str, Any]:
    (found,) = [row for row in rows(run, table) if row["name"] == name]
    return found


def test_vectors_of_the_model_and_of_its_twin(whole: lmscope.Run, causal: Path) -> None:
    checkpoint, model = lmscope.open_checkpoint(causal), lmscope.load_model(causal)
    sites = weight_sites(model, checkpoint)
    twin = same_sites(sites, model.untrained(0))[DOWN]
    assert isinstance(twin, WeightSite)
    found = row_of(whole, "vectors")
    for weights, prefix in ((checkpoint.load(DOWN), ""), (twin.weights().numpy(), "untrained_")):
        left, values, right = np.linalg.svd(weights.astype(np.float64), full_matrices=False)
        np.testing.assert_allclose(found[f"{prefix}singular_values"], values, rtol=1e-10)
        for side, vectors in (("left", left), ("right", right.T)):
            test = lmscope.porter_thomas(vectors)
            np.testing.assert_allclose(found[f"{prefix}p_{side}"], test.p_value, atol=3e-4)
            np.testing.assert_allclose(found[f"{prefix}windowed_{side}"], test.windowed, atol=3e-4)
    fit = lmscope.fit_marchenko_pastur(found["singular_values"], (32, 64))
    assert (found["scale"], found["upper_edge"]) == (fit.scale, fit.upper_edge)
    assert (found["n_below"], found["n_above"]) == (fit.n_below, fit.n_above)
    assert 0 < found["residual"] < 1e-13
    assert (found["window"], found["levels"], found["warning"]) == (15, 32, "")


def test_overlaps_of_the_model_and_of_its_twin(whole: lmscope.Run, causal: Path) -> None:
    checkpoint, model = lmscope.open_checkpoint(causal), lmscope.load_model(causal)
    sites = weight_sites(model, checkpoint)
    twin = model.untrained(0)
    found = row_of(whole, "overlap")
    windows = list(cut(model, TEXTS, window_size(model, SHORT["window"])))
    for one, prefix in ((model, ""), (twin, "untrained_")):
        site = same_sites(sites, one)[DOWN]
        assert isinstance(site, WeightSite)
        (covariance,) = input_covariances(one, windows, [site])
        _, directions = covariance.eigenvectors()
        right = np.linalg.svd(site.weights().double().numpy(), full_matrices=False)[2].T
        overlap = lmscope.activation_overlap(right, directions)
        np.testing.assert_allclose(found[f"{prefix}overlap"], overlap.overlap, rtol=1e-8)
        np.testing.assert_allclose(found[f"{prefix}top_share"], overlap.top_share, rtol=1e-8)
        if one is model:
            assert found["tokens"] == covariance.tokens == sum(len(window.ids) for window in windows)
            assert (found["covariance_rank"], found["top"]) == (64, 6)
            assert (found["null_low"], found["null_high"]) == (overlap.null_low, overlap.null_high)
            for number, ranks in enumerate(lmscope.slice_ranks(32, 4)):
                cosines = lmscope.principal_cosines(right[:, ranks.start : ranks.stop], directions[:, :6])
                (one,) = [r for r in rows(whole, "slices") if (r["name"], r["slice"]) == (DOWN, number + 1)]
                assert one["principal"] == pytest.approx(np.mean(cosines**2), rel=1e-8)
            kept = row_of(whole, "overlap_map")
            np.testing.assert_allclose(
                np.reshape(kept["values"], kept["shape"]), np.abs(right.T @ directions), atol=1e-6
            )


def test_lesions_by_hand(whole: lmscope.Run, causal: Path) -> None:
    model = lmscope.load_model(causal)
    (measure,) = measures_for(model, TEXTS, **SHORT)
    baseline = measure.evaluate()["loss"].mean
    weights = [block.mlp.down_proj.weight for block in model.model.model.layers]
    found = {(row["slice"], row["kind"]): row for row in rows(whole, "lesions") if row["target"] == "down"}
    assert len(found) == 4 * 3
    untouched = [weight.detach().clone() for weight in weights]
    parts = [np.linalg.svd(weight.double().numpy(), full_matrices=False) for weight in untouched]
    norm = sum(float(np.sum(values**2)) for _, values, _ in parts)
    for number, ranks in ((1, slice(24, 32)), (4, slice(0, 8))):
        row = found[number, "lesion"]
        removed = 0.0
        for weight, (left, values, right) in zip(weights, parts, strict=True):
            kept = values.copy()
            removed += float(np.sum(kept[ranks] ** 2))
            kept[ranks] = 0
            weight.data = weight.data.new_tensor((left * kept) @ right)
        lesioned = measure.evaluate()["loss"].mean
        assert row["baseline"] == pytest.approx(baseline, rel=1e-7)
        assert row["value"] == pytest.approx(lesioned, rel=1e-6)
        assert row["impact"] == pytest.approx(lesioned - baseline, abs=1e-6)
        assert row["removed_energy"] == pytest.approx(removed / norm, rel=1e-9)
        assert row["per_energy"] == pytest.approx(row["impact"] / row["removed_energy"])
        assert row["impact_low"] < row["impact"] < row["impact_high"]
        assert (row["matrices"], row["directions"], row["unit"]) == (2, 16, "nats per token")
        assert row["of_matrices"] == 2
        assert 0 < row["rounding"] < 1e-9
        size, energy = found[number, "random_size"], found[number, "random_energy"]
        assert size["directions"] == 16
        assert energy["removed_energy"] == pytest.approx(row["removed_energy"], rel=1e-10)
        assert len({row["value"], size["value"], energy["value"]}) == 3
    # The strongest slice is more of the matrix than as many random directions.
    assert found[4, "lesion"]["removed_energy"] > 1.5 * found[4, "random_size"]["removed_energy"]


def test_one_matrix_alone(whole: lmscope.Run) -> None:
    alone = [row for row in rows(whole, "lesions") if row["target_kind"] == "matrix"]
    assert len(alone) == 14 * 4 * 3
    assert {row["matrices"] for row in alone} == {1}
    (row,) = [row for row in alone if (row["target"], row["slice"], row["kind"]) == (DOWN, 4, "lesion")]
    values = np.array(row_of(whole, "vectors")["singular_values"]) ** 2
    assert row["removed_energy"] == pytest.approx(values[:8].sum() / values.sum(), rel=1e-10)
    assert (row["role"], row["layer"]) == ("down", 1)


def test_slices_and_claims(whole: lmscope.Run) -> None:
    slices = rows(whole, "slices")
    assert len(slices) == 14 * 4
    own = [row for row in slices if row["name"] == DOWN]
    assert [row["slice"] for row in own] == [1, 2, 3, 4]
    assert sum(row["energy_share"] for row in own) == pytest.approx(1)
    vectors, overlap = row_of(whole, "vectors"), row_of(whole, "overlap")
    deviation = np.add(vectors["deviation_right"], vectors["deviation_left"]) / 2
    assert own[0]["vector_deviation"] == pytest.approx(deviation[24:].mean())
    excess = np.mean(overlap["overlap"][24:]) / overlap["null_location"] - 1
    assert own[0]["overlap_excess"] == pytest.approx(excess)
    claims = {
        (row["claim"], row["score"], row["against"], row["point"]): row for row in rows(whole, "claims")
    }
    names = [row["name"] for row in slices[::4]]
    table = np.reshape([row["vector_deviation"] for row in slices], (14, 4))
    explained = lmscope.variance_explained(
        table, [row["role"] for row in slices[::4]], [row["layer"] for row in slices[::4]]
    )
    assert len(set(names)) == 14
    found = claims["consistent", "vector_deviation", "role", "matrix"]
    assert (found["value"], found["p_value"]) == (explained.role, explained.role_p_value)
    lesions = {
        (row["target"], row["slice"]): row["per_energy"]
        for row in rows(whole, "lesions")
        if (row["target_kind"], row["kind"]) == ("matrix", "lesion")
    }
    correlation = lmscope.rank_correlation(
        [row["value_deviation"] for row in slices],
        [lesions[row["name"], row["slice"]] for row in slices],
        groups=[row["role"] for row in slices],
        within=[(row["layer"], row["slice"]) for row in slices],
    )
    found = claims["diagnostic", "value_deviation", "per_energy: loss", "matrix and slice"]
    assert found["points"] == 56
    assert correlation.groups == 7
    for name in ("value", "low", "high", "shared", "beyond_low", "beyond_high"):
        assert found[name] == pytest.approx(getattr(correlation, name)), name
    assert found["p_value"] == pytest.approx(correlation.p_value, abs=0.1)
    assert claims["beyond_roles", "value_deviation", "per_energy: loss", "matrix and slice"]["value"] == (
        pytest.approx(correlation.value)
    )


def test_the_run_reads_like_others(whole: lmscope.Run) -> None:
    assert whole.manifest["settings"].keys() == LOCATION_ANALYSES
    names = [row["name"] for row in rows(whole, "vectors")]
    ledger = whole.ledger.to_pylist()
    assert names == [row["name"] for row in ledger if row["status"] == "analysed"]
    (outside,) = {
        row["reason"] for row in ledger if row["name"] in ("lm_head.weight", "model.embed_tokens.weight")
    }
    assert outside.startswith("outside the layers")
    assert repr(whole).endswith("14 analysed, 7 skipped>")
    assert not whole.summary().troubles
    summary = whole.localize()
    assert repr(summary) == "<LocalizeSummary: vectors of 14 matrices (tiny-causal), 252 removals>"
    assert not summary.failures
    down = next(role for role in summary.roles if role.role == "down")
    assert (down.matrices, down.overlaps and down.overlaps.inside.of) == (2, 64)
    html = summary._repr_html_()
    for words in ("equal energy", "is flattered by the choice", "untrained twin"):
        assert words in html
    assert "run.localize()" in whole._repr_html_()
    assert not list(whole.path.rglob("scratch"))
    assert not list(whole.path.rglob("*.stage.json"))


def test_the_same_again_computes_nothing(
    whole: lmscope.Run, causal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(whole)
    claims = rows(whole, "claims")
    options = {**QUICK, "each_matrix": True, "maps": "*1*down*", "progress": True}
    lmscope.localize(causal, texts=TEXTS, out=whole.path, **options)
    assert files(whole) == before
    assert rows(whole, "claims") == claims
    told = capsys.readouterr().err
    assert "all 14 records stand (singular vectors of tiny-causal)" in told
    assert "all 252 records stand (lesions of tiny-causal)" in told


def test_a_changed_setting_computes_what_it_touches(causal: Path, tmp_path: Path) -> None:
    quick = {
        **QUICK,
        "texts": TEXTS,
        "out": tmp_path / "run",
        "roles": "value",
        "only_slices": "1",
        "untrained": False,
    }
    run = lmscope.localize(causal, controls=False, **quick)
    before = files(run)
    assert {row["untrained_p_left"] for row in rows(run, "vectors")} == {None}

    def new(**changed: Any) -> set[str]:
        """Analyses that got records."""
        lmscope.localize(causal, **{"controls": False, **quick, **changed})
        after = files(run)
        found = {name for name in COMPUTED if after[name] != before[name]}
        for name in COMPUTED:
            assert before[name].items() <= after[name].items()
        before.update(after)
        return found

    assert new(eval_tokens=128) == {"lesions"}
    assert new(stride=8) == {"lesions"}
    assert new() == set()
    assert new(controls=True) == {"lesions"}
    assert len(rows(run, "lesions")) == 3
    assert new(only_slices="1,2") == {"lesions"}
    assert len(rows(run, "lesions")) == 4
    assert new(center=False) == {"overlap"}
    assert new(pt_window=3) == {"vectors"}
    assert new(texts=TEXTS[:1]) == {"overlap", "lesions"}
    assert new(slices=2) == {"lesions"}
    assert new(roles="value,key", lesions=False, overlaps=False) == {"vectors"}


def test_a_wider_run_keeps_what_stands(whole: lmscope.Run, causal: Path, tmp_path: Path) -> None:
    options = {**QUICK, "texts": TEXTS, "out": tmp_path / "run"}
    few = lmscope.localize(causal, roles="down", only_slices=[4], **options)
    before = files(few)
    assert {row["target"] for row in rows(few, "lesions")} == {"down"}
    run = lmscope.localize(causal, each_matrix=True, maps=["*1*down*"], **options)
    after = files(run)
    for name in COMPUTED:
        assert before[name].items() <= after[name].items()
    # Draws depend on what they are of, not on when they are made.
    for name in LOCATION_ANALYSES:
        assert rows(run, name) == rows(whole, name), name


def test_a_twin_is_added_to_what_stands(
    whole: lmscope.Run, causal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {**QUICK, "texts": TEXTS, "out": tmp_path / "run", "roles": "down", "lesions": False}
    lmscope.localize(causal, untrained=False, **options)

    def read_again(checkpoint: lmscope.Checkpoint, name: str) -> Any:
        raise AssertionError(f"{name} is decomposed again")

    with monkeypatch.context() as patched:
        patched.setattr(lmscope.Checkpoint, "load", read_again)
        run = lmscope.localize(causal, **options)
    assert not run.localize().failures
    for table in ("vectors", "overlap"):
        assert rows(run, table) == [row for row in rows(whole, table) if row["role"] == "down"]


def test_steps_of_a_training(causal: Path, tmp_path: Path) -> None:
    steps = tmp_path / "steps"
    for step in (10, 2):
        save_causal(steps / f"step-{step}", change=_grow(step))
    other = save_causal(tmp_path / "width-16", hidden_size=16)
    options = {**QUICK, "texts": TEXTS, "out": tmp_path / "run", "only_slices": 4, "untrained": False}
    run = lmscope.localize(steps, other, controls=False, **options)
    assert run.manifest["checkpoint"]["name"] == "step-2"
    for table, many in (("vectors", 14), ("overlap", 14), ("lesions", 7), ("slices", 56)):
        found = [(row["checkpoint"], row["step"]) for row in rows(run, table)]
        assert found == [("step-2", 2)] * many + [("step-10", 10)] * many + [("width-16", None)] * many
    both = [row for row in rows(run, "claims") if row["claim"] == "same_in_both"]
    assert [row["against"] for row in both] == ["step-10", "step-10", "width-16", "width-16"]
    assert {row["checkpoint"] for row in both} == {"step-2"}
    assert {row["points"] for row in both} == {7}
    # Noise of their own: one error of its mean in both would make them agree.
    one, other = (
        [row["value_noise_sd"] for row in rows(run, "slices") if row["step"] == step] for step in (2, 10)
    )
    assert all(np.not_equal(one, other))
    titles = [title for title, _, _ in localize_words.tables(run.localize())]
    assert sum("(width-16)" in title for title in titles) == sum("(step-2)" in title for title in titles) > 0
    before = files(run)
    lmscope.localize(steps, controls=False, **options)
    assert files(run) == before
    assert {row["checkpoint"] for row in rows(run, "vectors")} == {"step-2", "step-10"}


def _grow(step: int) -> Any:
    def change(model: Any) -> None:
        model.model.layers[0].mlp.down_proj.weight.data *= step

    return change


def test_minilm(minilm_path: Path, tmp_path: Path) -> None:
    texts = [prose(600, start=start) for start in range(0, 5600, 700)]
    options: dict[str, Any] = {"roles": "query", "layers": "0,5", "only_slices": "10", "progress": False}
    run = lmscope.localize(
        minilm_path, texts=texts, out=tmp_path / "run", controls=False, untrained=True, **options
    )
    vectors, overlaps = rows(run, "vectors"), rows(run, "overlap")
    assert [row["layer"] for row in vectors] == [row["layer"] for row in overlaps] == [0, 5]
    for row in vectors:
        values = lmscope.singular_values(lmscope.open_checkpoint(minilm_path).load(row["name"])).values
        np.testing.assert_allclose(row["singular_values"], values, rtol=1e-6)
        # Initial weights are Gaussian: their p-values are uniform.
        assert 0.35 < np.mean(row["untrained_p_right"]) < 0.65
    # Of 384 random directions 0.6 are above the band.
    for row in overlaps:
        above = [np.sum(np.array(row[name]) > row["null_high"]) for name in ("overlap", "untrained_overlap")]
        assert above[0] >= 6 > 2 >= above[1]
    lesions = {row["measure"]: row for row in rows(run, "lesions")}
    assert lesions.keys() == {"embedding", "retrieval", "readout_loss"}
    assert lesions["embedding"]["baseline"] == pytest.approx(0, abs=1e-12)
    assert 0 < lesions["embedding"]["impact_low"] < lesions["embedding"]["impact"] < 1
    assert not run.localize().failures


def test_what_cannot_be_measured_by_default_is_left_out(
    minilm_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A config that promises a head which the file lacks, and texts too short for a read-out."""
    path = tmp_path / "model"
    shutil.copytree(minilm_path, path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"architectures": ["BertForMaskedLM"]}))
    texts = [
        f"Sentence {number} is {word}, and it is not long, nor does it say much at all."
        for number, word in enumerate(("red", "blue", "green", "white", "black", "grey", "pink", "brown"))
    ]
    run = lmscope.localize(
        path,
        texts=texts,
        roles="query",
        layers="2",
        only_slices="10",
        overlaps=False,
        untrained=False,
        controls=False,
        out=tmp_path / "run",
        progress=False,
    )
    lesions = {row["measure"]: row for row in rows(run, "lesions")}
    assert lesions.keys() == {"embedding", "retrieval"}
    assert lesions["embedding"]["impact_low"] is not None
    failures = {one["name"].split(", ")[1]: one["reason"] for one in run.localize().failures}
    assert failures.keys() == {"measure masked_loss", "measure readout_loss"}
    assert "cls.predictions" in failures["measure masked_loss"]
    assert "the texts are too short" in failures["measure readout_loss"]
    assert caplog.text.count("is left out") == 2


def test_a_text_too_short_for_the_covariance(minilm_path: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"roles": "query", "layers": "2", "only_slices": "1", "untrained": False}
    run = lmscope.localize(
        minilm_path,
        texts=[prose(500)],
        measures="embedding",
        controls=False,
        out=tmp_path / "run",
        progress=False,
        **options,
    )
    assert len(rows(run, "vectors")) == len(rows(run, "lesions")) == 1
    assert rows(run, "overlap") == []
    (failure,) = run.localize().failures
    assert failure["analysis"] == "overlap"
    tokens = sum(len(w.ids) for w in cut(lmscope.load_model(minilm_path), [prose(500)], 512))
    assert f"{tokens} tokens give a covariance of rank" in failure["reason"]
    assert "but it has 384 inputs" in failure["reason"]
    assert failure["name"].endswith(", encoder.layer.2.attention.self.query.weight")
    assert run.ledger.column("status").to_pylist().count("analysed") == 1


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    def spoil(model: Any) -> None:
        model.model.layers[1].mlp.up_proj.weight.data[0, 0] = np.nan

    source = save_causal(tmp_path / "spoilt", change=spoil)
    run = lmscope.localize(source, texts=TEXTS, out=tmp_path / "run", untrained=False, **QUICK)
    name = "model.layers.1.mlp.up_proj.weight"
    failures = {(one["analysis"], one["name"]): one["reason"] for one in run.localize().failures}
    assert failures["vectors", name].startswith("w has NaN at row 0, column 0")
    assert "spoilt, measures" in {name for analysis, name in failures if analysis == "lesions"}
    assert "not finite" in failures["lesions", "spoilt, measures"]
    # What comes before it in the pass is as good as ever.
    assert "model.layers.1.mlp.gate_proj.weight" in {row["name"] for row in rows(run, "overlap")}
    assert ("overlap", f"spoilt, {DOWN}") in failures
    statuses = {row["name"]: row["status"] for row in run.ledger.to_pylist()}
    assert (statuses[name], statuses[DOWN]) == ("failed", "analysed")
    (trouble,) = run.summary().troubles
    assert trouble["name"] == name


def test_named_measures_of_weights_that_are_not_finite(minilm_path: Path, tmp_path: Path) -> None:
    spoilt = "encoder.layer.5.attention.self.value.weight"
    source = shutil.copytree(minilm_path, tmp_path / "spoilt")
    tensors = load_file(source / "model.safetensors")
    tensors[spoilt] = tensors[spoilt].copy()
    tensors[spoilt][0, 0] = np.nan
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    options: dict[str, Any] = {"roles": "query,value", "layers": 5, "untrained": False, "overlaps": False}
    run = lmscope.localize(
        source, texts=TEXTS, out=tmp_path / "run", measures="embedding", progress=False, **options
    )
    assert [row["role"] for row in rows(run, "vectors")] == ["query"]
    told = {one["name"]: one["reason"] for one in run.localize().failures}
    assert told.keys() == {spoilt, "spoilt, measures"}
    assert "not finite" in told["spoilt, measures"]


def test_a_role_waits_for_a_matrix_that_failed(
    causal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {**QUICK, "texts": TEXTS, "out": tmp_path / "run", "only_slices": 4, "each_matrix": True}
    quick |= {"roles": "down", "untrained": False, "overlaps": False, "controls": False}
    load = lmscope.Checkpoint.load
    reads: list[str] = []

    def fails_once(checkpoint: lmscope.Checkpoint, name: str) -> Any:
        reads.append(name)
        # The first is for its vectors, the second for lesions.
        if name == DOWN and reads.count(DOWN) == 2:
            raise MemoryError("no memory")
        return load(checkpoint, name)

    monkeypatch.setattr(lmscope.Checkpoint, "load", fails_once)
    run = lmscope.localize(causal, **quick)
    (failure,) = run.localize().failures
    assert (failure["analysis"], failure["name"]) == ("lesions", f"tiny-causal, {DOWN}")
    assert failure["reason"] == "MemoryError: no memory; lesions of it are left to the next call"
    first = DOWN.replace("1", "0", 1)
    assert {row["target"] for row in rows(run, "lesions")} == {first}
    run = lmscope.localize(causal, **quick)
    assert not run.localize().failures
    assert {row["target"]: row["matrices"] for row in rows(run, "lesions")} == {"down": 2, first: 1, DOWN: 1}


def test_modules_that_share_their_weights(tmp_path: Path) -> None:
    from transformers import AlbertConfig, AlbertModel

    config = AlbertConfig(
        embedding_size=16,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=VOCABULARY,
        max_position_embeddings=64,
    )
    random_model(AlbertModel, config).save_pretrained(tmp_path / "albert")
    character_tokenizer(VOCABULARY).save_pretrained(tmp_path / "albert")
    options: dict[str, Any] = {**QUICK, "roles": "query", "measures": "embedding", "untrained": False}
    run = lmscope.localize(tmp_path / "albert", texts=TEXTS, out=tmp_path / "run", **options)
    assert len(rows(run, "vectors")) == 1
    assert rows(run, "lesions") == rows(run, "overlap") == []
    told = {one["analysis"]: one["reason"] for one in run.localize().failures}
    assert told.keys() == {"lesions", "overlap"}
    assert all("runs 2 times in one pass" in reason for reason in told.values())


def test_more_slices_than_values(causal: Path, tmp_path: Path) -> None:
    options = {**QUICK, "slices": 20, "roles": "value,down", "only_slices": 20, "untrained": False}
    run = lmscope.localize(causal, texts=TEXTS, out=tmp_path / "run", controls=False, **options)
    assert {row["target"] for row in rows(run, "lesions")} == {"down"}
    assert {row["role"] for row in rows(run, "slices")} == {"down"}
    failures = run.localize().failures
    assert {one["analysis"] for one in failures} == {"lesions", "slices"}
    (reason,) = {one["reason"] for one in failures}
    assert reason == "16 singular values cannot be cut into 20 slices: ask for fewer slices"


def test_weights_alone_need_no_text_and_no_tokenizer(tiny_llama_path: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"lesions": False, "overlaps": False, "untrained": False, "progress": False}
    run = lmscope.localize(tiny_llama_path, out=tmp_path / "run", slices=4, roles="query", **options)
    assert len(rows(run, "vectors")) == 3
    assert len(rows(run, "slices")) == 12
    assert {row["overlap_excess"] for row in rows(run, "slices")} == {None}
    assert {row["claim"] for row in rows(run, "claims")} == {"consistent"}
    assert {row["value"] for row in rows(run, "claims")} == {None}
    assert {row["reason"] for row in rows(run, "claims")} == {
        "it takes two roles and two layers, and there are 1 and 3"
    }


def test_the_twin_takes_the_models_place(causal: Path) -> None:
    from lmscope.runs.reading import Reading

    checkpoint = lmscope.open_checkpoint(causal)
    reading = Reading(checkpoint, TEXTS, window=None, device="cpu", dtype="float32")
    model = reading.model
    held = {name: tuple(one.shape) for name, one in model.model.named_parameters()}
    twin = reading.untrained(0)
    assert {name: tuple(one.shape) for name, one in model.model.named_parameters()} == held
    assert all(one.untyped_storage().nbytes() == 4 for one in model.model.parameters())
    for one, other in zip(
        twin.model.parameters(), lmscope.load_model(causal).untrained(0).model.parameters(), strict=True
    ):
        assert one.equal(other)
    assert reading.model is not model


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"texts": None}, "text: give the file to read, --text FILE"),
        (
            {"roles": "pooler"},
            "roles: tiny-causal has no matrix of role 'pooler'; it has unembedding, token_emb",
        ),
        ({"roles": "queries"}, "roles: 'queries' is no role; choose from"),
        ({"layers": "7"}, "no matrix matches layers 7; the checkpoint's layers are 0-1"),
        (
            {"only_slices": "3,5"},
            "only_slices: there is no slice 5; they count from 1, the smallest values, to 4",
        ),
        ({"only_slices": "0"}, "only_slices: there is no slice 0"),
        ({"only_slices": "a"}, "only_slices: 'a' is no slice or range; write for example 1-3,7"),
        (
            {"slices": 33},
            "slices: no matrix of tiny-causal .* cut into 33: the largest has 32 singular values",
        ),
        ({"maps": ["*down*", "nosuch*"]}, r"maps: 'nosuch\*' matches none of the 14 matrices looked at"),
        ({"slices": 0}, "slices: 0 must be at least 1"),
        ({"measures": "perplexity"}, "measures: 'perplexity' is no measure; choose from loss, masked_loss"),
        ({"measures": "accuracy"}, "measures: accuracy: it needs labelled texts"),
        ({"labelled": "missing.csv"}, "labelled: missing.csv: No such file"),
        ({"window": 65}, "window: 65 tokens, but tiny-causal takes at most 64"),
        ({"pt_window": 4}, "pt_window: 4 must be odd"),
        ({"false_positive_rate": 1}, "false_positive_rate: 1 must lie between 0 and 1"),
        ({"maps": "*", "overlaps": False}, "maps: a map shows overlaps, which were not asked for"),
        ({"control_draws": 0}, "control_draws: 0 must be at least 1"),
        ({"device": "tpu"}, "device: 'tpu' is not known"),
        ({"dtype": "int8"}, "dtype: 'int8' is not known"),
    ],
)
def test_wrong_usage(causal: Path, tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        lmscope.localize(causal, out=tmp_path / "run", **{"texts": TEXTS, **QUICK, **arguments})
    assert not (tmp_path / "run").exists()


def test_measures_that_an_encoder_lacks(minilm_path: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"texts": TEXTS, "out": tmp_path / "run", "progress": False}
    with pytest.raises(UsageError, match=r"measures: loss: .* is of type 'bert', an encoder"):
        lmscope.localize(minilm_path, measures="loss", **options)
    with pytest.raises(lmscope.CheckpointError, match=r"cls\.predictions"):
        lmscope.localize(minilm_path, measures="masked_loss", **options)
    assert not (tmp_path / "run").exists()


def test_checkpoints_given_twice(causal: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="others: tiny-causal is given twice"):
        lmscope.localize(causal.parent, causal, texts=TEXTS, out=tmp_path / "run")


def test_a_run_with_spectra_keeps_its_ledger(causal: Path, tmp_path: Path) -> None:
    spectra = lmscope.spectra(causal, out=tmp_path / "run", nulls="iid", progress=False)
    before = spectra.ledger
    options = {**QUICK, "roles": "value", "lesions": False, "overlaps": False, "untrained": False}
    run = lmscope.localize(causal, out=tmp_path / "run", **options)
    assert run.ledger.equals(before)
    assert run.summary().roles
    assert len(run.localize().roles) == 1
