"""`lmscope tokens` as a user meets it: tables, one JSON object, exit codes, one line for what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmscope
from lmscope.cli.model_verdict import print_summary
from lmscope.runs import tokens_words

from ..read_models import prose, save_causal
from ..synthetic_tokens import write_tokens_run
from .test_commands import lmscope_command
from .test_errors import one_line

QUICK = ("--positions", 4, "--min-context", 8, "-k", "1,4", "--no-untrained")


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_causal(tmp_path_factory.mktemp("models") / "tiny-causal")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_text(f"{prose(400)}\n\n{prose(300, start=2000)}\n", encoding="utf-8")
    return path


def test_tables_then_one_json_object(causal: Path, notes: Path, tmp_path: Path) -> None:
    command = ("tokens", causal, "--text", notes, "--split", "paragraph", "-o", tmp_path / "run", *QUICK)
    result = lmscope_command(*command, COLUMNS="240")
    assert result.returncode == 0
    # A slow machine is told how far it is.
    assert all(line.endswith(" left") for line in result.stderr.splitlines())
    assert "\x1b" not in result.stdout
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert "tiny-causal (llama)" in lines
    assert "Entropy of the hidden states, by layer" in lines
    for what in ("Divergence", "Fit"):
        title = f"{what} of selected tokens at k = 4, mean of 4 positions in 1 passage with 95 % interval"
        assert title in lines
    divergence, fit = [line for line in lines if line.startswith("Lasso ") and "(" in line]
    assert len(divergence.split("(")) == len(fit.split("(")) == 4
    assert any(
        line.startswith("By the model's next token at k = 4, with the others deleted") for line in lines
    )
    assert lines[-1] == f"Records: {tmp_path / 'run'}"

    again = lmscope_command(*command, "--json")
    assert again.returncode == 0
    assert "all 3 records stand (entropy of tiny-causal)" in again.stderr
    answer = json.loads(again.stdout)
    assert answer["checkpoint"]["name"] == "tiny-causal"
    found = answer["tokens"]
    assert [layer["layer"] for layer in found["entropies"][0]["layers"]] == [0, 1, 2]
    assert found["entropies"][0]["texts"] == 2
    scores = {(one["method"], one["k"], one["score"]): one for one in found["selectors"]}
    run = lmscope.open_run(tmp_path / "run")
    values = [
        row["kl_deleted"]
        for row in run.table("selection").to_pylist()
        if (row["method"], row["k"]) == ("lasso", 4)
    ]
    assert scores["lasso", 4, "kl_deleted"]["mean"] == pytest.approx(np.mean(values))
    assert (found["failures"], found["law"]) == ([], [])

    quiet = lmscope_command(*command, "-q")
    assert (quiet.stdout, quiet.stderr) == (f"{tmp_path / 'run'}\n", "")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> lmscope.Run:
    """Intervals of many widths, and three checkpoints."""
    folder = tmp_path_factory.mktemp("runs") / "recorded"
    return lmscope.open_run(write_tokens_run(folder, texts=6, sizes=(120_000, 400_000, 1_200_000)))


@pytest.mark.parametrize("width", [80, 110, 140])
def test_narrow_tables_keep_names_and_whole_intervals(
    recorded: lmscope.Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    summary = recorded.tokens()
    print_summary(recorded, summary, tokens_words)
    told = capsys.readouterr().out.partition(": normalised entropy")[0]
    tables = told[told.index(tokens_words.ENTROPY_TITLE) :]
    assert all(len(line) <= width for line in tables.splitlines())
    joined = re.sub(r"\s+", " ", tables)
    wanted = [
        cell
        for title, _, rows in tokens_words.tables(summary)
        for row in rows
        for cell in row
        if title != tokens_words.LAW_TITLE
    ]
    for cell in wanted:
        for part in cell.replace(" (", "\n(").split("\n") if cell.endswith(")") else [cell]:
            assert part in joined
    # Every part of a table says what its rows are of.
    rules = [at for at, line in enumerate(tables.splitlines()) if line.strip("\u2500 ") == "" and line]
    for at in rules:
        assert re.match(r"(tiny-prose|prose-|Lasso|power)", tables.splitlines()[at + 1])


def test_fewer_positions_than_asked_for_are_told(causal: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text(prose(40), encoding="utf-8")
    command = ("tokens", causal, "--text", path, "-o", tmp_path / "run", "-k", "1", "--no-untrained")
    few = lmscope_command(*command, "--min-context", 20, "--no-divergence")
    missing = "of 200 positions: no more tokens have 20 before them; lower --min-context or give more text."
    assert missing in few.stdout
    none = lmscope_command(*command, "--min-context", 5000, "--no-divergence")
    missing = "None of 200 positions: no token has 5000 before it; lower --min-context or give more text."
    assert missing in none.stdout
    assert f"lmscope: warning: {missing}" in none.stderr
    assert none.returncode == 0


def test_what_fails_leaves_with_4(notes: Path, tmp_path: Path) -> None:
    def spoil(model: Any) -> None:
        model.model.layers[1].mlp.up_proj.weight.data[0, 0] = np.nan

    source = save_causal(tmp_path / "spoilt", change=spoil)
    command = ("tokens", source, "--text", notes, "-o", tmp_path / "run", "--positions", 0, "--no-untrained")
    result = lmscope_command(*command, "-q")
    assert result.returncode == 4
    lines = result.stderr.splitlines()
    assert any("entropy: spoilt, layer 2: text 0, window 0, token 1" in line for line in lines)
    assert all(line.startswith("lmscope: error: entropy: spoilt, ") for line in lines)
    assert len(lmscope.open_run(tmp_path / "run").table("entropy")) == 2


def test_unreadable_checkpoints_leave_with_3(
    tiny_llama_path: Path, causal: Path, notes: Path, tmp_path: Path
) -> None:
    run = ("-o", tmp_path / "run", "--text", notes)
    result = lmscope_command("tokens", tiny_llama_path, *run)
    assert result.returncode == 3
    assert "no tokenizer: put its files beside the weights" in one_line(result)
    result = lmscope_command("tokens", causal / "model.safetensors", *run)
    assert result.returncode == 3
    assert "a weight file alone cannot be run" in one_line(result)
    assert not (tmp_path / "run").exists()


def test_wrong_texts_leave_with_2(causal: Path, tmp_path: Path) -> None:
    run = ("-o", tmp_path / "run")
    latin = tmp_path / "latin.txt"
    latin.write_bytes("na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve".encode("latin-1"))
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n\n", encoding="utf-8")
    for arguments, problem in (
        ((), "text: give the file to read, --text FILE"),
        (("--text", tmp_path / "missing.txt"), "missing.txt: No such file or directory"),
        (("--text", latin), "latin.txt: not UTF-8: byte 2 is 0xef"),
        (("--text", empty), "empty.txt: no text in it"),
    ):
        result = lmscope_command("tokens", causal, *run, *arguments)
        assert (result.returncode, result.stdout) == (2, "")
        assert problem in one_line(result)
    assert not (tmp_path / "run").exists()
