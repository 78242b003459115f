"""Wrong words on the command line, folders that cannot be used: one line, the right code, one JSON object."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest


def lmscope_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lmscope", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    (line,) = result.stderr.splitlines()
    assert line.startswith("lmscope: error: ")
    return line


WRONG = {
    "verb": (["analyse"], "No such command 'analyse'", "`lmscope -h`"),
    "option": (["analyze", "x", "--colour"], "No such option: --colour", "`lmscope analyze -h`"),
    "value": (["analyze", "x", "--draws", "many"], "'--draws'", "`lmscope analyze -h`"),
    "value missing": (["spectra", "x", "--seed"], "'--seed' requires an argument", "`lmscope spectra -h`"),
    "argument missing": (["inspect"], "Missing argument 'CKPT'", "`lmscope inspect -h`"),
    "argument too many": (["report", "a", "b"], "unexpected extra argument", "`lmscope report -h`"),
    "role": (["analyze", "x", "--roles", "queries"], "'queries' is no role", "choose from query"),
    "layers": (["analyze", "x", "--layers", "3-1"], "'3-1' is no layer or range", "write for example 0-3,7"),
    "no run": (["report", "."], "no result folder", "`lmscope analyze` makes one"),
}


@pytest.mark.parametrize(("arguments", "problem", "way_out"), WRONG.values(), ids=WRONG)
def test_wrong_usage_is_one_line_and_one_object(arguments: list[str], problem: str, way_out: str) -> None:
    result = lmscope_command(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    line = one_line(result)
    assert problem in line
    assert way_out in line
    with_json = lmscope_command(*arguments, "--json")
    if "requires an argument" in problem:
        return  # --json is then that argument's value
    assert with_json.returncode == 2
    answer = json.loads(with_json.stdout)
    assert answer["exit_code"] == 2
    assert f"lmscope: error: {answer['error']['message']}" == one_line(with_json) == line


def test_no_verb_shows_the_help() -> None:
    result = lmscope_command()
    assert (result.returncode, result.stderr) == (2, "")
    assert "inspect" in result.stdout


def test_file_in_the_way(make_llama, tmp_path: Path) -> None:
    source, file = make_llama(layers=1), tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "below"):
        result = lmscope_command("analyze", source, "-o", out, "--draws", 1)
        assert result.returncode == 2
        assert f"{out}: a file is in the way; choose another RUN folder" in one_line(result)
    assert file.read_text() == "mine"


def test_missing_parents_are_made(make_llama, tmp_path: Path) -> None:
    out = tmp_path / "not" / "there" / "yet"
    result = lmscope_command("spectra", make_llama(layers=1), "-o", out, "--draws", 1, "--roles", "key", "-q")
    assert (result.returncode, result.stdout) == (0, f"{out}\n")


def test_results_never_lie_among_the_weights(make_llama, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_llama(layers=1)
    before = sorted(source.iterdir())
    monkeypatch.chdir(source)
    for checkpoint, out in ((source, source), (".", "."), ("model.safetensors", source)):
        result = lmscope_command("analyze", checkpoint, "-o", out, "--draws", 1)
        assert result.returncode == 2
        assert "is the checkpoint's own folder; choose another one" in one_line(result)
    assert sorted(source.iterdir()) == before


def test_second_writer_is_told_who_the_first_is(make_llama, tmp_path: Path) -> None:
    source, run = make_llama(layers=1), tmp_path / "run"
    options = ["-o", run, "--draws", 1, "--roles", "key"]
    assert lmscope_command("spectra", source, *options).returncode == 0
    code = """
import sys
from lmscope.results import RunFolder
with RunFolder.open(sys.argv[1]).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", code, str(run)]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "locked\n"
        second = lmscope_command("analyze", source, *options, "--json")
        first.send_signal(signal.SIGKILL)
    assert second.returncode == 1
    expected = f"{run}: process {first.pid} writes to this folder; wait for it, or choose another one"
    assert one_line(second) == f"lmscope: error: {expected}"
    assert json.loads(second.stdout)["error"] == {"kind": "RunLocked", "message": expected}
    assert lmscope_command("analyze", source, *options).returncode == 0


def test_manifest_that_cannot_be_understood(make_llama, tmp_path: Path) -> None:
    source, run = make_llama(layers=1), tmp_path / "run"
    run.mkdir()
    (run / "manifest.json").write_text("[1]")
    result = lmscope_command("analyze", source, "-o", run, "--draws", 1)
    assert result.returncode == 1
    assert f"{run / 'manifest.json'}: schema version None" in one_line(result)
