"""`lmscope report`, as a user meets it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import lmscope

from .test_commands import lmscope_command


@pytest.fixture
def run(make_llama, tmp_path: Path) -> Path:
    return lmscope.analyze(make_llama(layers=1), out=tmp_path / "run", draws=1, progress=False).path


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="apt-get install -y chromium fonts-dejavu-core")
def test_figures_are_listed(run: Path) -> None:
    result = lmscope_command("report", run, "--figures", "--json", "--roles", "query")
    assert result.returncode == 0, result.stderr
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
