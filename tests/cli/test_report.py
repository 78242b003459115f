"""`lmscope report`, as a user meets it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lmscope

from .test_commands import lmscope_command


@pytest.fixture
def run(make_llama, tmp_path: Path) -> Path:
    return lmscope.analyze(make_llama(layers=1), out=tmp_path / "run", draws=1, progress=False).path


@pytest.mark.browser
@pytest.mark.usefixtures("chromium")
def test_figures_are_listed(run: Path) -> None:
    result = lmscope_command("report", run, "--figures", "--json", "--quiet", "--roles", "query")
    assert (result.returncode, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    assert answer["report"] == str(run / "report.html")
    names = {Path(path).name for path in answer["figures"]}
    assert names == {path.name for path in (run / "figures").iterdir()}
    spectra = {name for name in names if name.startswith("spectrum-")}
    assert spectra == {f"spectrum-model.layers.0.self_attn.q_proj.weight.{form}" for form in ("png", "svg")}
    assert len(names) == 22


def test_without_a_browser_the_page_stands(run: Path, tmp_path: Path) -> None:
    (run / "report.html").unlink()
    result = lmscope_command("report", run, "--figures", BROWSER_PATH=str(tmp_path / "none"))
    assert result.returncode == 1
    assert result.stdout.splitlines() == [str(run / "report.html")]
    assert (run / "report.html").stat().st_size > 1_000_000
    (line,) = result.stderr.splitlines()
    assert "neither Chrome nor Chromium was found; on Debian: apt-get install chromium" in line


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--layers", "0"], "--layers without --figures"),
        (["--figures", "--layers", "7"], "no matrix of the run"),
        (["--figures", "--roles", "queries"], "'queries' is no role"),
    ],
)
def test_a_choice_that_chooses_nothing_is_wrong_usage(run: Path, options: list[str], problem: str) -> None:
    result = lmscope_command("report", run, *options)
    assert result.returncode == 2
    assert problem in result.stderr


@pytest.mark.browser
@pytest.mark.usefixtures("chromium")
def test_an_interrupt_says_what_stays(run: Path) -> None:
    command = [sys.executable, "-m", "lmscope", "report", str(run), "--figures", "--quiet"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A suite in the background of a shell would hand down an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while not list((run / "figures").glob("*.png")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 1
    assert messages.splitlines() == [
        "lmscope: error: interrupted; files written so far are whole and stay, "
        "the same command writes all of them again"
    ]


def test_a_browser_that_does_not_start_is_one_sentence(run: Path, tmp_path: Path) -> None:
    browser = tmp_path / "chromium"
    browser.write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    browser.chmod(0o755)
    result = lmscope_command("report", run, "--figures", BROWSER_PATH=str(browser))
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "the browser was found, but does not start or stopped while it drew; on Debian" in line
    assert "(" not in line.partition("static figures")[2]


@pytest.mark.parametrize("name", ["manifest.json", "ledger.parquet", "spectra"])
def test_a_damaged_file_names_the_command_that_made_it(run: Path, name: str) -> None:
    damaged = next((run / name).iterdir()) if name == "spectra" else run / name
    damaged.write_bytes(b"{")
    result = lmscope_command("report", run)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert str(damaged) in line
    assert (
        "delete it and repeat the command that made the run "
        "(lmscope analyze, spectra, similarity, compare, tokens, localize, unembedding or icl)" in line
    )
    assert "the same command" not in line
