"""`lmscope unembedding` as a user meets it: tables, one JSON object, exit codes, edits of a checkpoint."""

from __future__ import annotations

import io
import json
import shlex
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.measure import Measurement

import lmscope
from lmscope.cli.model_verdict import fitting_tables
from lmscope.runs import unembedding_words

from ..read_models import prose, save_causal
from .test_commands import lmscope_command
from .test_errors import one_line

_OPTIONS = {
    "window": 32,
    "positions": 400,
    "eval-positions": 100,
    "removal-positions": 600,
    "shares": "0.1,0.5",
    "steer": "n",
    "allocation": "even",
    "factors": "0.5,2",
    "prompts": 2,
    "new-tokens": 4,
}
QUICK = tuple(word for name, value in _OPTIONS.items() for word in (f"--{name}", value))
BARE = ("--no-removal", "--no-generations", "--no-vocabulary-sizes", "--no-controls", "--no-untrained")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_causal(tmp_path_factory.mktemp("models") / "tiny-causal")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.txt"
    path.write_text(prose(2000), encoding="utf-8")
    return path


def test_tables_then_one_json_object(causal: Path, notes: Path, tmp_path: Path) -> None:
    command = ("unembedding", causal, "--text", notes, "-o", tmp_path / "run", *QUICK)
    result = lmscope_command(*command, COLUMNS="200")
    assert result.returncode == 0, result.stderr
    assert all(line.endswith(" left") for line in result.stderr.splitlines())
    assert "\x1b" not in result.stdout
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert "tiny-causal (llama)" in lines
    run = lmscope.open_run(tmp_path / "run")
    summary = run.unembedding()
    shown = " ".join(result.stdout.split())
    for title, columns, rows in unembedding_words.tables(summary):
        assert " ".join(title.split()) in shown
        assert all(" ".join(map(str.strip, row)).split()[0] in shown for row in rows)
        assert columns[0] != "checkpoint"
    assert set(unembedding_words.sentences(summary)) <= set(lines)
    fits = {(fit.target, fit.scope, fit.control): fit for fit in summary.fits}
    whole = fits["probability", "all", ""]
    (told,) = [line.split() for line in lines if line.startswith("all tokens  ")]
    assert told[-4:] == [f"{whole.r2:.3f}", f"{whole.adjusted_r2:.3f}", f"{whole.cosine:.4f}", "89"]
    assert "Nothing is said of other text: none was given (--other-text)." in lines
    assert lines[-1] == f"Records: {tmp_path / 'run'}"

    again = lmscope_command(*command, "--json")
    assert again.returncode == 0
    assert "records stand (unembedding)" in again.stderr
    found = json.loads(again.stdout)["unembedding"]
    (head,) = found["heads"]
    assert (head["checkpoint"], head["vocabulary"]) == ("tiny-causal", 89)
    (own,) = [
        one
        for one in found["fits"]
        if (one["scope"], one["control"], one["target"]) == ("all", "", "probability")
    ]
    assert own["r2"] == whole.r2
    assert found["failures"] == []


def test_an_edit_is_made_applied_and_removed(causal: Path, notes: Path, tmp_path: Path) -> None:
    edit = tmp_path / "edit.safetensors"
    command = ("unembedding", causal, "--text", notes, "-o", tmp_path / "run", *QUICK, *BARE, "--no-steering")
    made = lmscope_command(*command, "--edit", "n=2", "--edit", "#9=0.5", "--save-edit", edit, "-q")
    assert made.returncode == 0, made.stderr
    assert lmscope.load_steering(edit).factors.tolist() == [2.0, 0.5]
    steered, back = tmp_path / "steered", tmp_path / "back"
    applied = lmscope_command("unembedding", causal, "--apply-edit", edit, "--to", steered)
    assert (applied.returncode, applied.stdout) == (0, f"{steered}\n")
    rows = [lmscope.open_checkpoint(one).load("lm_head.weight") for one in (causal, steered)]
    changed = np.flatnonzero((rows[0] != rows[1]).any(1)).tolist()
    assert changed == sorted(lmscope.load_steering(edit).tokens.tolist())
    removed = lmscope_command("unembedding", steered, "--remove-edit", edit, "--to", back, "--json")
    assert json.loads(removed.stdout)["edits"] == 0
    assert (back / "model.safetensors").read_bytes() == (causal / "model.safetensors").read_bytes()


def test_what_fails_leaves_with_4(causal: Path, notes: Path, tmp_path: Path) -> None:
    command = ("unembedding", causal, "--text", notes, "-o", tmp_path / "run", *QUICK, *BARE)
    result = lmscope_command(*command, "--factors", "2,10000", "-q")
    assert result.returncode == 4
    assert "'n' (" in one_line(result)
    assert "10000 times: " in one_line(result)
    assert "cannot pass 1" in one_line(result)


def test_an_encoder_leaves_with_3(minilm_path: Path, notes: Path, tmp_path: Path) -> None:
    run = ("-o", tmp_path / "run", "--text", notes)
    result = lmscope_command("unembedding", minilm_path, *run)
    assert result.returncode == 3
    assert "an encoder, which has no head" in one_line(result)
    assert not (tmp_path / "run").exists()


def test_a_copy_with_an_edit_refuses_what_it_does_not_read(causal: Path, notes: Path, tmp_path: Path) -> None:
    applied = ("--apply-edit", "edit.safetensors", "--to", tmp_path / "copy")
    for arguments, problem in (
        (("--to", tmp_path / "copy"), "to: give the file of one edit"),
        (("--apply-edit", "edit.safetensors"), "to: give the new folder"),
        (("--remove-edit", "edit.safetensors", "--to", tmp_path), "exists already; give a new folder"),
        ((*applied, "--text", notes, "--seed", "0"), "--text, --seed: not read where"),
        ((*applied, "-o", tmp_path / "run"), "--out: not read where an edit is put into a copy"),
    ):
        result = lmscope_command("unembedding", causal, *arguments)
        assert (result.returncode, result.stdout) == (2, ""), result.stderr
        assert problem in one_line(result)
    assert [one.name for one in tmp_path.iterdir()] == ["notes.txt"]


def test_wrong_usage_leaves_with_2(causal: Path, notes: Path, tmp_path: Path) -> None:
    text = ("--text", notes)
    for arguments, problem in (
        ((*text, "--steer", "house"), "steer: token 'house' is 5 tokens"),
        ((*text, "--edit", "n"), "edit: 'n' is not TOKEN=FACTOR"),
        ((*text, "--edit", "n=2", "--save-edit", tmp_path), "is a folder; give the file"),
    ):
        result = lmscope_command("unembedding", causal, "-o", tmp_path / "run", *arguments)
        assert (result.returncode, result.stdout) == (2, ""), result.stderr
        assert problem in result.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three steps of a training, each with a head of its own."""
    folder = tmp_path_factory.mktemp("training") / "steps"
    for step in (0, 10, 100):

        def change(model: Any, step: int = step) -> None:
            model.lm_head.weight.data[: step // 2].mul_(0.5)

        save_causal(folder / f"step-{step:05d}", change=change)
    return folder


def test_the_call_on_the_page_gives_the_same_tables(steps: Path, notes: Path, tmp_path: Path) -> None:
    quick = (*QUICK, *BARE, "--no-steering")
    made = lmscope_command("unembedding", steps, "--text", notes, "-o", tmp_path / "run", *quick)
    assert made.returncode == 0, made.stderr
    heading = "steps (llama): 3 checkpoints, step-00000 to step-00100; tables are of the last"
    assert heading in made.stdout.splitlines()
    page = unescape(lmscope.open_run(tmp_path / "run").report().read_text(encoding="utf-8"))
    code = page.partition("<pre><code>")[2].partition("</code>")[0]
    program, *words = shlex.split(code.splitlines()[0])
    assert (program, words[1], words[-1]) == ("lmscope", str(steps), "RUN")
    again = lmscope_command(*words[:-1], tmp_path / "again")
    assert again.returncode == 0, again.stderr
    for table in ("heads", "encoding", "token_values", "dynamics"):
        one, two = (lmscope.open_run(tmp_path / name).table(table) for name in ("run", "again"))
        names = [name for name in one.column_names if name != "seconds"]
        assert len(one) > 0
        assert one.select(names).equals(two.select(names))


def test_steps_one_by_one_are_told(steps: Path, notes: Path, tmp_path: Path) -> None:
    given = sorted(steps.iterdir())[:2]
    quick = (*QUICK, *BARE, "--no-steering")
    made = lmscope_command("unembedding", *given, "--text", notes, "-o", tmp_path / "run", *quick)
    assert made.returncode == 0, made.stderr
    assert f"several steps of {steps} are given one by one" in " ".join(made.stderr.split())
    told = "2 training steps were given one by one: each is looked at by itself"
    assert told in made.stdout
    assert told in unescape(lmscope.open_run(tmp_path / "run").report().read_text(encoding="utf-8"))


def test_tables_fit_narrow_terminals(causal: Path, notes: Path, tmp_path: Path) -> None:
    run = lmscope.unembedding(
        causal,
        text=notes,
        out=tmp_path / "run",
        window=32,
        positions=400,
        eval_positions=100,
        steer="n",
        factors=(0.5, 2, 5),
        prompts=2,
        new_tokens=4,
        progress=False,
        removal=False,
        vocabulary_sizes=False,
        untrained=False,
    )
    found = {title: (names, cells) for title, names, cells in unembedding_words.tables(run.unembedding())}
    for columns in (60, 80, 120):
        out = Console(width=columns, file=io.StringIO())
        for title, named in (
            (unembedding_words.STEERING_TITLE, ["edit", "text"]),
            (unembedding_words.GENERATIONS_TITLE, ["changed"]),
            (unembedding_words.FITS_TITLE, ["fitted"]),
        ):
            for table in fitting_tables(out, *found[title]):
                # What a row is of stands on the left of every part, and no cell is cut off.
                head = table.columns[: len(named)]
                assert [(one.header, one.justify) for one in head] == [(name, "left") for name in named]
                assert Measurement.get(out, out.options, table).minimum <= columns
                out.print(table)
        lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert max(map(len, lines)) <= columns
        assert "\u2026" not in "".join(lines)
