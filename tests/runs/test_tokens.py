"""`tokens` on real and tiny models: records by hand, what is computed again, what fails, what is refused."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmscope
from lmscope.representations.kept_tokens import KeptTokens
from lmscope.representations.next_token import next_token_losses
from lmscope.results import TOKEN_ANALYSES
from lmscope.runs import UsageError, tokens_words

from ..read_models import VOCABULARY, prose, save_causal
from ..tiny_tokenizers import character_tokenizer

TEXTS = [prose(700), prose(600, start=5000)]
QUICK: dict[str, Any] = {"positions": 6, "min_context": 8, "k": (1, 2, 4), "progress": False}


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_causal(tmp_path_factory.mktemp("models") / "tiny-causal")


@pytest.fixture(scope="module")
def whole(causal: Path, tmp_path_factory: pytest.TempPathFactory) -> lmscope.Run:
    """The run that most tests look at."""
    return lmscope.tokens(causal, texts=TEXTS, out=tmp_path_factory.mktemp("runs") / "whole", **QUICK)


def rows(run: lmscope.Run, name: str) -> list[dict[str, Any]]:
    return run.table(name).to_pylist()


def files(run: lmscope.Run, analysis: str) -> dict[str, tuple[int, int]]:
    found = {path.name: path.stat() for path in (run.path / analysis).glob("*.parquet")}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items()}


def test_entropies_of_minilm(minilm_path: Path, tmp_path: Path) -> None:
    texts = [prose(900), prose(700, start=3000)]
    run = lmscope.tokens(minilm_path, texts=texts, layers="3", out=tmp_path / "run", **QUICK)
    model = lmscope.load_model(minilm_path)
    passages = list(lmscope.capture(model, texts, layers=[3, 6], special_tokens="drop"))
    found = rows(run, "entropy")
    assert [row["layer"] for row in found] == [3, 6]
    for row in found:
        states = [passage.states[row["layer"]].numpy() for passage in passages]
        pooled = lmscope.representation_entropy(np.concatenate(states))
        assert row["tokens"] == pooled.tokens == sum(map(len, states))
        assert (row["checkpoint"], row["parameters"]) == (model.label, model.parameters)
        assert row["normalized"] == pytest.approx(pooled.normalized, rel=1e-9)
        assert row["effective_rank"] == pytest.approx(pooled.effective_rank, rel=1e-9)
        average = lmscope.average_entropies(map(lmscope.representation_entropy, states))
        assert row["mean_normalized"] == pytest.approx(average.normalized, rel=1e-9)
        assert row["mean_normalized_high"] == pytest.approx(average.normalized_high, rel=1e-9)
        noise = lmscope.iid_entropy(pooled.tokens, 384)
        assert row["iid_normalized"] == noise.normalized
        # Training has taken directions away, and what is left is less than noise has.
        assert row["normalized"] < row["untrained_normalized"] < row["iid_normalized"] < row["cap"] + 1e-3
        assert row["diff_erank"] > 20
        assert row["conditional_entropy"] is None
    (distance,) = rows(run, "distances")
    expected = lmscope.text_distances(*(passage.states[6] for passage in passages))
    assert distance["bures_wasserstein"] == pytest.approx(expected.bures_wasserstein, rel=1e-9)
    assert distance["snippet_x"] == " ".join(texts[0].split())[:80]
    assert {row["kl_deleted"] for row in rows(run, "selection")} == {None}
    (left_out,) = {row["left_out"] for row in rows(run, "positions")}
    assert left_out == "No divergences: bert is an encoder and predicts no next token"
    assert any("No divergences" in line for line in run.tokens()._repr_html_().split("<p>"))


def test_selections_of_a_causal_model(whole: lmscope.Run, causal: Path) -> None:
    model = lmscope.load_model(causal)
    passages = {
        (row["text"], row["window"]): passage
        for row in rows(whole, "passages")
        for passage in lmscope.capture(model, TEXTS, attention="last")
        if (passage.text, passage.window) == (row["text"], row["window"])
    }
    positions = rows(whole, "positions")
    assert len(positions) == QUICK["positions"]
    chosen = rows(whole, "selection")
    assert len({row["method"] for row in chosen}) == 11
    assert len(chosen) == len(positions) * 11 * 3
    for place in positions:
        passage, at = passages[place["text"], place["window"]], place["position"]
        assert at >= QUICK["min_context"]
        assert place["token"] == passage.tokens[at]
        losses = next_token_losses(model, passage.ids).losses
        assert place["loss"] == pytest.approx(losses[at - 1], rel=1e-5)
        weights = passage.attention[1].numpy().mean(axis=0)
        np.testing.assert_allclose(place["attention"], weights[at, : at + 1], atol=1e-6)
        assert weights[at, 0] - 1e-6 <= place["sink_share"] <= 1
        mine = {
            (row["method"], row["k"]): row
            for row in chosen
            if all(row[key] == place[key] for key in ("text", "window", "position"))
        }
        assert mine["lasso", 1]["selected"] == place["lasso_order"][:1]
        assert mine["recent", 4]["selected"] == list(range(at - 4, at))
        assert mine["all", 1]["ridge_residual"] < mine["random", 1]["ridge_residual"]
        kept = KeptTokens(model, passage.ids, special=passage.special)
        for method, k in (("lasso", 2), ("attention", 4), ("random", 1)):
            row = mine[method, k]
            for way in ("last_layer", "all_layers", "deleted"):
                (expected,) = kept.divergence(at, [np.array(row["selected"])], way)
                assert row[f"kl_{way}"] == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert mine["all_but_lasso", 2]["kl_deleted"] is None
        assert mine["all_but_lasso", 2]["kl_all_layers"] >= 0
    assert {row["left_out"] for row in positions} == {""}


def test_conditional_entropy_is_the_mean_loss(whole: lmscope.Run, causal: Path) -> None:
    model = lmscope.load_model(causal)
    of_texts: dict[int, list[Any]] = {}
    for passage in lmscope.capture(model, TEXTS):
        of_texts.setdefault(passage.text, []).append(next_token_losses(model, passage.ids).losses)
    expected = lmscope.conditional_entropy([np.concatenate(of_text) for of_text in of_texts.values()])
    for row in rows(whole, "entropy"):
        assert row["conditional_entropy"] == pytest.approx(expected.mean, rel=1e-6)
        assert row["conditional_entropy_low"] == pytest.approx(expected.low, rel=1e-6)
        assert row["final_norm"] == ("norm" if row["layer"] == 2 else None)


def test_the_run_reads_like_others(whole: lmscope.Run) -> None:
    assert repr(whole).endswith(": entropy of 3 layers, 6 positions>")
    assert set(whole.ledger.column("status").to_pylist()) == {"skipped"}
    assert whole.manifest["device"] == "cpu"
    assert whole.manifest["settings"].keys() == TOKEN_ANALYSES
    assert not whole.summary().troubles
    assert whole.report().is_file()
    summary = whole.tokens()
    assert not summary.failures
    assert summary.positions == 6
    assert summary.k == 4
    assert summary.spread is not None
    assert 0 < summary.spread.by_lasso.mean < 1
    assert "entropy of 3 layers (tiny-causal), 6 positions" in repr(summary)
    html = summary._repr_html_()
    for words in ("2 texts cut into windows", "own ground of Lasso", "tell no selectors apart", "KL deleted"):
        assert words in html
    assert "run.tokens()" in whole._repr_html_()


def test_the_same_again_computes_nothing(
    whole: lmscope.Run, causal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {name: files(whole, name) for name in TOKEN_ANALYSES}
    lmscope.tokens(causal, texts=TEXTS, out=whole.path, **{**QUICK, "progress": True})
    assert {name: files(whole, name) for name in TOKEN_ANALYSES} == before
    assert capsys.readouterr().err == (
        "lmscope: nothing to compute: all 3 records stand (entropy of tiny-causal)\n"
        "lmscope: nothing to compute: all 2 records stand (selected tokens)\n"
    )


def test_a_changed_setting_computes_what_it_touches(causal: Path, tmp_path: Path) -> None:
    quick = {**QUICK, "texts": TEXTS, "out": tmp_path / "run", "divergence": False, "untrained": False}
    run = lmscope.tokens(causal, **quick)
    before = {name: files(run, name) for name in TOKEN_ANALYSES}
    selection = rows(run, "selection")
    assert {row["kl_deleted"] for row in selection} == {None}
    assert {row["untrained_normalized"] for row in rows(run, "entropy")} == {None}

    def new(**changed: Any) -> set[str]:
        """Analyses that got records."""
        lmscope.tokens(causal, **{**quick, **changed})
        after = {name: files(run, name) for name in TOKEN_ANALYSES}
        for name in TOKEN_ANALYSES:
            assert before[name].items() <= after[name].items()
        found = {name for name in TOKEN_ANALYSES if after[name] != before[name]}
        before.update(after)
        return found

    assert new(ridge=0.1) == {"selection"}
    assert rows(run, "selection") != selection
    assert new() == set()
    assert rows(run, "selection") == selection
    assert new(epsilon2=1.0) == {"entropy", "distances"}
    assert new(positions=7) == {"passages", "positions", "selection"}
    assert len(rows(run, "positions")) == 7
    assert new(texts=TEXTS[:1]) == {"entropy", "passages", "positions", "selection"}
    assert rows(run, "distances") == []
    assert new(positions=0, layers="0") == set()
    assert rows(run, "selection") == []


def test_several_checkpoints_and_the_law(causal: Path, tmp_path: Path) -> None:
    others = [save_causal(tmp_path / f"width-{width}", hidden_size=width) for width in (8, 16)]
    quick = {**QUICK, "positions": 0, "untrained": False, "out": tmp_path / "run"}
    run = lmscope.tokens(causal, *others, texts=[prose(150)], **quick)
    found = rows(run, "entropy")
    assert [(row["checkpoint"], row["layer"]) for row in found] == [
        (name, layer) for name in ("tiny-causal", "width-8", "width-16") for layer in range(3)
    ]
    law = rows(run, "entropy_law")
    assert [(row["form"], row["models"], row["exponent"]) for row in law] == [
        ("power", 3, None),
        ("power_offset", 3, None),
    ]
    assert "per dimension of the widest model (32), the law needs 8" in law[0]["refused"]
    assert "the law needs 8" in run.tokens()._repr_html_()

    run = lmscope.tokens(causal, *others, texts=[prose(500)], **quick)
    power, offset = rows(run, "entropy_law")
    assert power["refused"] is None
    assert power["exponent_low"] < power["exponent"] < power["exponent_high"]
    assert offset["refused"] == "3 sizes of models, 4 are needed"

    run = lmscope.tokens(causal, texts=[prose(500)], **quick)
    assert rows(run, "entropy_law") == []
    assert [row["checkpoint"] for row in rows(run, "entropy")] == 3 * ["tiny-causal"]


def test_a_checkpoint_retrained_in_place_has_one_set_of_rows(causal: Path, tmp_path: Path) -> None:
    other = save_causal(tmp_path / "other", hidden_size=16)
    quick = {**QUICK, "positions": 0, "untrained": False, "texts": [prose(150)], "out": tmp_path / "run"}
    lmscope.tokens(causal, other, **quick)
    weights = other / "model.safetensors"
    os.utime(weights, ns=(1, 1))
    run = lmscope.tokens(causal, other, **quick)
    found = rows(run, "entropy")
    assert [row["checkpoint"] for row in found] == 3 * ["tiny-causal"] + 3 * ["other"]
    assert {row["identity"] for row in found[3:]} == {lmscope.open_checkpoint(other).identity}


def test_all_checkpoints_are_checked_before_the_first_is_computed(causal: Path, tmp_path: Path) -> None:
    other = save_causal(tmp_path / "other", hidden_size=16)
    for file in other.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(lmscope.CheckpointError, match="no tokenizer"):
        lmscope.tokens(causal, other, texts=TEXTS, out=tmp_path / "run", **QUICK)
    assert not (tmp_path / "run").exists()


def test_a_kill_loses_the_pass_in_hand_and_no_more(
    causal: Path, whole: lmscope.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lmscope.runs import token_passes

    passes: list[str] = []
    read = token_passes._read

    def counted(*arguments: Any) -> None:
        passes.append(arguments[5])
        if len(passes) == 4:
            raise KeyboardInterrupt
        read(*arguments)

    monkeypatch.setattr(token_passes, "_read", counted)
    quick = {**QUICK, "positions": 0, "texts": TEXTS, "out": tmp_path / "run"}
    with pytest.raises(KeyboardInterrupt):
        lmscope.tokens(causal, **quick)
    run = lmscope.tokens(causal, **quick)
    # Model twice, twin once; of the killed call's fourth pass nothing stands.
    assert len(passes) == 5
    assert passes[4] == passes[3]
    assert rows(run, "entropy") == rows(whole, "entropy")
    assert not list((tmp_path / "run").rglob("*.stage.json"))


def test_the_command_at_the_foot_finds_everything_standing(causal: Path, tmp_path: Path) -> None:
    notes = tmp_path / "my notes.txt"
    notes.write_text(f"{prose(200)}\n\n{prose(200, start=900)}\n", encoding="utf-8")
    other = save_causal(tmp_path / "other", hidden_size=16)
    options = {**QUICK, "positions": 2, "untrained": False, "out": tmp_path / "RUN"}
    run = lmscope.tokens(causal, other, text=notes, split="paragraph", layers="0", **options)
    before = {name: files(run, name) for name in TOKEN_ANALYSES - {"entropy_law"}}
    page = unescape(run.report().read_text(encoding="utf-8"))
    command = page.partition("<pre><code>")[2].splitlines()[0]
    done = subprocess.run(
        [sys.executable, "-m", "lmscope", *shlex.split(command)[1:]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.count("nothing to compute") == 3
    assert {name: files(run, name) for name in TOKEN_ANALYSES - {"entropy_law"}} == before


def test_states_that_are_not_finite(tmp_path: Path) -> None:
    def spoil(model: Any) -> None:
        model.model.layers[1].mlp.up_proj.weight.data[0, 0] = np.nan

    source = save_causal(tmp_path / "spoilt", change=spoil)
    run = lmscope.tokens(source, texts=TEXTS, out=tmp_path / "run", **QUICK)
    assert [row["layer"] for row in rows(run, "entropy")] == [0, 1]
    assert rows(run, "selection") == []
    failures = {(one["analysis"], one["name"]): one["reason"] for one in run.tokens().failures}
    assert failures["entropy", "spoilt, layer 2"] == (
        "text 0, window 0, token 1 ('e'), layer 2 of spoilt: hidden states are not finite"
    ).replace("'e'", repr(TEXTS[0][0]))
    assert "logits are not finite" in failures["entropy", "spoilt, conditional entropy"]
    assert failures["distances", "text 0"].endswith("hidden states are not finite")
    assert {name for analysis, name in failures if analysis == "selection"}


def test_a_model_without_attention(tmp_path: Path) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    from ..tiny_models import random_model

    config = MambaConfig(
        hidden_size=16, state_size=4, num_hidden_layers=2, vocab_size=VOCABULARY, use_mambapy=False
    )
    random_model(MambaForCausalLM, config).save_pretrained(tmp_path / "mamba")
    character_tokenizer(VOCABULARY).save_pretrained(tmp_path / "mamba")
    run = lmscope.tokens(
        tmp_path / "mamba", texts=[prose(150)], window=64, untrained=False, out=tmp_path / "run", **QUICK
    )
    assert not run.tokens().failures
    found = rows(run, "selection")
    methods = {row["method"] for row in found}
    assert "lasso" in methods
    assert not any(method.startswith("attention") for method in methods)
    assert {row["kl_deleted"] is None for row in found if row["method"] == "lasso"} == {False}
    assert {row["kl_all_layers"] for row in found} == {None}
    (left_out,) = {row["left_out"] for row in rows(run, "positions")}
    assert left_out.startswith("No selection by attention: block 1, a MambaBlock of model type 'mamba'")
    assert left_out.count("models of type 'mamba'") == 1
    assert ". No kl_last_layer and no kl_all_layers: models of type 'mamba'" in left_out
    assert "way=" not in left_out
    summary = run.tokens()
    assert summary.spread is not None
    told = tokens_words.sentences(summary)
    assert any(text.startswith("Of what all earlier tokens explain") for text in told)
    assert any(text.startswith("All positions are of one passage") for text in told) is (
        summary.passages == 1
    )


def test_memory_for_few_layers_at_a_time(
    causal: Path, whole: lmscope.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    from lmscope.runs import token_entropy

    monkeypatch.setattr(token_entropy, "free_memory", lambda: 2 * 2 * 24 * 32**2)
    with caplog.at_level(logging.WARNING, logger="lmscope"):
        run = lmscope.tokens(causal, texts=TEXTS, out=tmp_path / "run", **{**QUICK, "positions": 0})
    assert rows(run, "entropy") == rows(whole, "entropy")
    assert "3 layers take 73.7 kB" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "text: give the file to read, --text FILE"),
        ({"text": "a.txt", "texts": ["a"]}, "text, texts: give one"),
        ({"texts": []}, "texts: give at least one text"),
        ({"texts": ["a", " \n"]}, "texts: give at least one text, none of them empty"),
        ({"text": "missing.txt"}, r"text: missing\.txt: No such file"),
        ({"texts": ["a"]}, "text: one token for tiny-causal"),
        ({"texts": TEXTS, "window": 65}, "window: 65 tokens, but tiny-causal takes at most 64"),
        (
            {"texts": TEXTS, "layers": "1-4"},
            "layers: tiny-causal has no layer 3-4; its hidden states are 0 to 2",
        ),
        ({"texts": TEXTS, "k": "0,2"}, "k: 0 must be at least 1"),
        ({"texts": TEXTS, "k": "a"}, "k: 'a' is no whole number"),
        ({"texts": TEXTS, "k": ()}, "names no number of tokens"),
        ({"texts": TEXTS, "special": "none"}, "special: 'none' is not known; choose from keep, drop"),
        ({"texts": TEXTS, "epsilon2": 0}, "epsilon2: 0 must be above 0"),
        ({"texts": TEXTS, "ridge": "x"}, "ridge: 'x' is no number"),
        ({"texts": TEXTS, "positions": -1}, "positions: -1 must be at least 0"),
        ({"texts": TEXTS, "dtype": "int8"}, "dtype: 'int8' is not known"),
        ({"texts": TEXTS, "device": "tpu"}, "device: 'tpu' is not known"),
        ({"texts": TEXTS, "split": "word"}, "split: 'word' is not known; choose from file"),
    ],
)
def test_wrong_usage(causal: Path, tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        lmscope.tokens(causal, out=tmp_path / "run", **{**QUICK, **arguments})
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_given_twice(causal: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="others: tiny-causal is given twice"):
        lmscope.tokens(causal, causal, texts=TEXTS, out=tmp_path / "run")


def test_positions_are_spread_and_as_many_as_there_are(
    whole: lmscope.Run, causal: Path, tmp_path: Path
) -> None:
    arguments = {**QUICK, "divergence": False, "positions": 10_000, "untrained": False}
    run = lmscope.tokens(causal, texts=[TEXTS[0][:100]], out=tmp_path / "run", **arguments)
    found = [(row["window"], row["position"]) for row in rows(run, "positions")]
    # Windows of 63 characters behind the token of the beginning; the second holds 37.
    assert found == [(0, at) for at in range(8, 64)] + [(1, at) for at in range(8, 38)]


def test_a_run_with_spectra_keeps_its_ledger(causal: Path, tmp_path: Path) -> None:
    spectra = lmscope.spectra(causal, out=tmp_path / "run", nulls="iid", progress=False)
    before = spectra.ledger
    run = lmscope.tokens(causal, texts=TEXTS, out=tmp_path / "run", **{**QUICK, "positions": 0})
    assert run.ledger.equals(before)
    assert run.summary().roles
    again = lmscope.spectra(causal, out=tmp_path / "run", nulls="iid", progress=False)
    assert again.ledger.equals(before)
    assert len(again.table("entropy")) == 3
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["settings"].keys() >= {
        "spectra",
        "entropy",
    }
