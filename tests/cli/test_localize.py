"""`lmscope localize` as a user meets it: tables, one JSON object, exit codes, one line for what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmscope
from lmscope.cli.model_verdict import print_summary
from lmscope.report.words import number
from lmscope.runs import localize_words

from ..read_models import prose, save_causal
from ..synthetic_location import write_location_run
from .test_commands import lmscope_command
from .test_errors import one_line

QUICK = ("--slices", 4, "--eval-tokens", 128, "--role", "key,value", "--only-slices", "1,4")


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_causal(tmp_path_factory.mktemp("models") / "tiny-causal")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_text(prose(700), encoding="utf-8")
    return path


def test_tables_then_one_json_object(causal: Path, notes: Path, tmp_path: Path) -> None:
    command = ("localize", causal, "--text", notes, "-o", tmp_path / "run", *QUICK)
    result = lmscope_command(*command, COLUMNS="200")
    assert result.returncode == 0
    # A slow machine is told how far it is.
    assert all(line.endswith(" left") for line in result.stderr.splitlines())
    assert "\x1b" not in result.stdout
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert "tiny-causal (llama)" in lines
    for title in (localize_words.VECTORS_TITLE, localize_words.OVERLAPS_TITLE):
        assert title in " ".join(result.stdout.split())  # narrow tables have broken titles
    costs = result.stdout[result.stdout.index("What a removed slice costs: loss, nats per token") :]
    told = [line.strip() for line in costs.splitlines() if line.startswith("key ")]
    run = lmscope.open_run(tmp_path / "run")
    lesions = {(row["target"], row["slice"], row["kind"]): row for row in run.table("lesions").to_pylist()}
    assert "1/4" in told[0]
    smallest = run.localize().lesions[0]
    assert localize_words.lesion_cells(smallest)[-1] in told[0]
    assert smallest.perplexity == pytest.approx(np.exp(lesions["key", 1, "lesion"]["value"]))
    assert f"(perplexity {number(np.exp(smallest.baseline))})" in " ".join(costs.split())
    assert set(run.localize().sentences) <= set(lines)
    assert lines[-1] == f"Records: {tmp_path / 'run'}"

    again = lmscope_command(*command, "--json")
    assert again.returncode == 0
    assert "all 12 records stand (lesions of tiny-causal)" in again.stderr
    answer = json.loads(again.stdout)
    assert answer["checkpoint"]["name"] == "tiny-causal"
    found = answer["localize"]
    assert [role["role"] for role in found["roles"]] == ["key", "value"]
    (key,) = [one for one in found["lesions"] if one["target"] == "key" and one["slice"] == 1]
    assert key["baseline_perplexity"] == pytest.approx(np.exp(key["baseline"]))
    assert key["impact"]["mean"] == lesions["key", 1, "lesion"]["impact"]
    assert key["random_size"]["mean"] == lesions["key", 1, "random_size"]["impact"]
    assert found["failures"] == []

    quiet = lmscope_command(*command, "-q")
    assert (quiet.stdout, quiet.stderr) == (f"{tmp_path / 'run'}\n", "")


@pytest.mark.parametrize("width", [80, 140])
def test_narrow_tables_say_what_their_rows_are_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    run = lmscope.open_run(write_location_run(tmp_path / "recorded"))
    summary = run.localize()
    print_summary(run, summary, localize_words)
    told = capsys.readouterr().out
    tables = told[
        told.index(localize_words.VECTORS_TITLE.split()[0]) : told.index(" of the singular vectors have")
    ]
    names = {row[0].split()[0] for _, _, rows in localize_words.tables(summary) for row in rows}
    lines = tables.splitlines()
    assert all(len(line) <= width for line in lines[:-1])
    rules = [at for at, line in enumerate(lines) if line and not line.strip("\u2500 ")]
    assert len(rules) == len(list(localize_words.tables(summary)))
    for at in rules:
        assert lines[at + 1].split()[0] in names


def test_sentences_and_claims_are_of_one_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = lmscope.open_run(write_location_run(tmp_path / "recorded", steps=(0, 100, 1000)))
    summary = run.localize()
    assert summary.shown == "step-01000"
    assert all(text.startswith("In step-01000: ") for text in summary.sentences)
    last = summary.claims[0]
    other = replace(last, checkpoint="step-00000", value=0.123)
    same = replace(other, claim="same_in_both", against="step-01000")
    told = localize_words.sentences(replace(summary, claims=(other, same, last)))[len(summary.sentences) :]
    assert [text.partition(":")[0] for text in told] == [
        "Rank correlation of the roles' mean vector deviation in step-00000 and in step-01000",
        "In step-01000",
    ]


def test_claims_that_say_nothing_are_one_line(tmp_path: Path) -> None:
    summary = lmscope.open_run(write_location_run(tmp_path / "recorded")).localize()
    silent = [replace(one, value=None, points=1, point="matrix") for one in summary.claims[:3]]
    summary = replace(summary, claims=(*silent, *summary.claims[3:]))
    told = localize_words.sentences(summary)
    assert [text for text in told if "othing is said" in text] == [
        "Nothing is said on 4 of 7 claims: 1 point, each one matrix, is too few (3); four <points> (1)."
    ]
    *_, (title, _, rows) = localize_words.tables(summary)
    assert (title, len(rows)) == (localize_words.CLAIMS_TITLE, 3)
    summary = replace(summary, claims=tuple(silent))
    assert localize_words.CLAIMS_TITLE not in [title for title, *_ in localize_words.tables(summary)]


def test_an_encoder_of_one_text_is_told_what_it_lacks(minilm_path: Path, tmp_path: Path) -> None:
    english = Path(__file__).resolve().parents[2] / "LICENSE"
    command = (
        "localize",
        minilm_path,
        "--text",
        english,
        "--role",
        "query",
        "--layers",
        "0",
        "--no-overlaps",
    )
    quick = ("--only-slices", "1", "--slices", 2, "--eval-tokens", 1024, "--no-controls", "--no-untrained")
    result = lmscope_command(*command, "-o", tmp_path / "run", *quick, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)["localize"]
    assert found["remarks"] == [
        "Retrieval was not measured: it needs several texts; try --split paragraph.",
        "Embedding has no intervals, for want of texts (1 text); try --split paragraph.",
    ]
    measures = {one["measure"]: one for one in found["lesions"]}
    assert measures["embedding"]["impact"]["low"] is None
    assert measures["readout_loss"]["impact"]["low"] is not None
    assert "readout loss" in found["sentences"][-1]


def test_what_fails_leaves_with_4(notes: Path, tmp_path: Path) -> None:
    def spoil(model: Any) -> None:
        model.model.layers[1].mlp.up_proj.weight.data[0, 0] = np.nan

    source = save_causal(tmp_path / "spoilt", change=spoil)
    command = ("localize", source, "--text", notes, "-o", tmp_path / "run", "--no-untrained", "--role", "up")
    result = lmscope_command(*command, "--slices", 4, "-q")
    assert result.returncode == 4
    lines = result.stderr.splitlines()
    assert any("vectors: model.layers.1.mlp.up_proj.weight: w has NaN at row 0" in line for line in lines)
    assert any("lesions: spoilt, measures: " in line for line in lines)
    assert len(lmscope.open_run(tmp_path / "run").table("vectors")) == 1


def test_checkpoints_that_lack_what_is_needed_leave_with_3(
    minilm_path: Path, tiny_llama_path: Path, notes: Path, tmp_path: Path
) -> None:
    run = ("-o", tmp_path / "run", "--text", notes)
    result = lmscope_command("localize", tiny_llama_path, *run)
    assert result.returncode == 3
    assert "no tokenizer: put its files beside the weights" in one_line(result)
    result = lmscope_command("localize", minilm_path, *run, "--measures", "masked_loss")
    assert result.returncode == 3
    assert "cls.predictions" in one_line(result)
    assert "--measures embedding,retrieval" in one_line(result)
    assert not (tmp_path / "run").exists()


def test_wrong_usage_leaves_with_2(causal: Path, notes: Path, tmp_path: Path) -> None:
    run = ("-o", tmp_path / "run")
    for arguments, problem in (
        ((), "text: give the file to read, --text FILE"),
        (("--text", notes, "--role", "pooler"), "tiny-causal has no matrix of role 'pooler'; it has"),
        (("--text", notes, "--only-slices", "11"), "there is no slice 11; they count from 1"),
        (("--text", notes, "--measures", "bleu"), "'bleu' is no measure; choose from loss"),
        (("--text", notes, "--map", "*", "--no-overlaps"), "a map shows overlaps"),
    ):
        result = lmscope_command("localize", causal, *run, *arguments)
        assert (result.returncode, result.stdout) == (2, "")
        assert problem in one_line(result)
    assert not (tmp_path / "run").exists()
