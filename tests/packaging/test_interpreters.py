"""Which Pythons of this machine get a wheel, and that none is left out in silence."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from .scripts import script

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def module() -> Any:
    return script("interpreters")


def test_this_python_has_a_wheel_though_the_path_lacks_it(
    module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PATH", "HOME", "PYENV_ROOT"):
        monkeypatch.setenv(name, "/nowhere")
    found, left_out = module.interpreters(">=3.10")
    own = module.own_tag()
    assert own == f"cp3{sys.version_info.minor}"
    assert own in found or any("no Python.h" in reason for reason in left_out), left_out
    if own in found:
        told = subprocess.run(
            [found[own], "-c", "import sys; print(sys.version_info[:2], sys.prefix == sys.base_prefix)"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout == f"{sys.version_info[:2]} True\n"


def test_every_python_left_out_has_a_reason(module: Any) -> None:
    found, left_out = module.interpreters(">=99")
    assert found == {}
    own = ".".join(map(str, sys.version_info[:3]))
    assert f"{own} is not >=99" in left_out


def test_a_virtual_environment_gets_no_wheel(module: Any, tmp_path: Path) -> None:
    venv.create(tmp_path, with_pip=False, symlinks=True)
    python = module.findpython.PythonVersion(tmp_path / "bin/python", keep_symlink=True)
    assert module._why_not(python, module.SpecifierSet(">=3.10")).endswith("of a virtual environment")
