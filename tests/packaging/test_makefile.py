"""What `make` takes for done, and what it refuses to touch. Nothing is built here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MADE_FROM = ("Makefile", "CMakeLists.txt", "pyproject.toml", "constraints.txt", "README.md", "LICENSE")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The build's inputs, in a folder whose name pip would split."""
    clone = tmp_path / "a clone, 100%"
    for folder in ("csrc", "cmake", "python"):
        shutil.copytree(ROOT / folder, clone / folder, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for name in MADE_FROM:
        shutil.copy(ROOT / name, clone)
    return clone


def make(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As from a shell, not as from the `make test` that may be running this."""
    inherited = ("MAKE", "MFLAGS", "VENV", "PYTHON", "PIP_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(inherited)}
    return subprocess.run(
        ["make", *arguments], cwd=clone, env=kept, capture_output=True, text=True, check=False
    )


@pytest.fixture
def made(clone: Path) -> Path:
    """A clone in which everything is done; its environment's python answers every command with success."""
    done = clone / ".venv/done"
    done.mkdir(parents=True)
    (clone / ".venv/bin").mkdir()
    (clone / ".venv/bin/python").symlink_to("/bin/true")
    (clone / ".venv/pyvenv.cfg").touch()
    for stamp in ("environment", "build-tools"):
        (done / stamp).touch()
    assert make(clone, "install").returncode == 0
    return clone


def up_to_date(clone: Path) -> bool:
    done = make(clone, "--question", "install")
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 0


def test_nothing_is_done_twice(made: Path) -> None:
    assert up_to_date(made)
    os.utime(made / "csrc/runtime/blas.cpp")
    (made / "python/lmscope/__pycache__").mkdir()
    (made / "python/lmscope/__pycache__/x.pyc").touch()
    assert up_to_date(made)


def test_a_removed_source_is_noticed(made: Path) -> None:
    (made / "python/lmscope/html_repr.py").unlink()
    assert not up_to_date(made)


def test_a_renamed_source_is_noticed(made: Path) -> None:
    (made / "csrc/runtime/blas.cpp").rename(made / "csrc/runtime/lapack.cpp")
    assert not up_to_date(made)


def test_an_added_source_of_an_old_date_is_noticed(made: Path) -> None:
    (made / "python/lmscope/added.py").touch()
    os.utime(made / "python/lmscope/added.py", (0, 0))
    assert not up_to_date(made)


def test_a_source_put_back_is_noticed(made: Path) -> None:
    """Installed, changed, installed again, changed back: the first stamp no longer counts."""
    source = made / "csrc/runtime/blas.cpp"
    text = source.read_bytes()
    source.write_bytes(text + b"\n")
    assert not up_to_date(made)
    assert make(made, "install").returncode == 0
    assert up_to_date(made)
    source.write_bytes(text)
    os.utime(source, (0, 0))
    assert not up_to_date(made)


@pytest.mark.parametrize("folder", ["", "some where"])
@pytest.mark.parametrize("target", ["clean", "install"])
def test_an_environment_is_one_word(clone: Path, folder: str, target: str) -> None:
    (clone / "some").mkdir()
    (clone / "where").mkdir()
    done = make(clone, target, f"VENV={folder}")
    assert done.returncode != 0
    assert f"VENV is one folder whose name holds no space, not '{folder}'" in done.stderr
    assert (clone / "some").is_dir()
    assert (clone / "where").is_dir()


@pytest.mark.parametrize("target", ["clean", "install"])
def test_a_folder_that_is_no_environment_is_left_alone(clone: Path, target: str) -> None:
    letter = clone / "papers/letter.txt"
    letter.parent.mkdir()
    letter.touch()
    done = make(clone, target, "VENV=papers", f"PYTHON={sys.executable}")
    assert done.returncode != 0
    assert "papers is there and is no virtual environment" in done.stderr
    assert letter.is_file()


def test_clean_removes_an_environment(made: Path) -> None:
    assert make(made, "clean").returncode == 0
    assert not (made / ".venv").exists()
    assert (made / "csrc").is_dir()


def test_another_python_than_the_environments_is_refused(made: Path) -> None:
    python = made / ".venv/bin/python"
    python.unlink()
    python.symlink_to(sys.executable)
    assert make(made, "--question", "install", f"PYTHON={sys.executable}").returncode == 0
    done = make(made, "--question", "install", "PYTHON=no-such-python")
    assert done.returncode == 2
    assert ".venv was made with Python" in done.stderr
    assert "PYTHON=no-such-python is not there; make clean first" in done.stderr
    assert make(made, "--dry-run", "clean", "PYTHON=no-such-python").returncode == 0


def test_pip_reads_the_pins_of_a_folder_with_a_space(clone: Path) -> None:
    """`make` hands pip the pins by a URL, for it splits a path at spaces."""
    (clone / "Makefile").write_text(
        (clone / "Makefile").read_text(encoding="utf-8")
        + '\npins:\n\t@"$(PYTHON)" -m pip install --no-index --dry-run pip\n',
        encoding="utf-8",
    )
    (clone / "constraints.txt").write_text("pip==0.0.1\n", encoding="utf-8")
    done = make(clone, "pins", f"PYTHON={sys.executable}")
    assert done.returncode != 0
    assert "(constraint) pip==0.0.1" in done.stdout + done.stderr


def test_without_an_index_the_way_out_is_the_last_word(clone: Path) -> None:
    done = make(
        clone, "install", f"PYTHON={sys.executable}", "PIP_INDEX_URL=http://127.0.0.1:9", "PIP_RETRIES=0"
    )
    assert done.returncode != 0
    assert "name one that answers: make PIP_INDEX_URL=https://..." in done.stderr
    assert "apt-get" not in done.stderr
    assert not (clone / ".venv/done/environment").exists()
