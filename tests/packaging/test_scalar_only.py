"""The core without AVX code, as on aarch64: configured, and what dispatches is compiled."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from ..levels import LEVELS

ROOT = Path(__file__).resolve().parents[2]
NO_AVX = [f"-DLMSCOPE_COMPILER_HAS_{level}=OFF" for level in LEVELS[1:]]
# There the compiler itself is asked whether it has AVX.
AARCH64 = [
    "-DCMAKE_SYSTEM_NAME=Linux",
    "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
    "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++",
    f"-DPython_INCLUDE_DIR={sysconfig.get_paths()['include']}",
]


def tool(name: str) -> str:
    # The pinned ones stand beside this Python; an older CMake lists no outputs.
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def succeeds(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("compiler", "settings"),
    [("c++", NO_AVX), ("aarch64-linux-gnu-g++", AARCH64)],
    ids=["x86-64", "aarch64"],
)
def test_the_core_without_avx(tmp_path: Path, compiler: str, settings: list[str]) -> None:
    cmake, ninja, nm = tool("cmake"), tool("ninja"), tool("nm")
    tool(compiler)
    pybind11 = pytest.importorskip("pybind11")
    succeeds(
        *(cmake, "-S", ROOT, "-B", tmp_path, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"),
        *(f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"),
        *("-DCMAKE_BUILD_TYPE=Debug", "-DLMSCOPE_WERROR=ON", *settings),
    )
    commands = json.loads((tmp_path / "compile_commands.json").read_text(encoding="utf-8"))
    assert not [one["file"] for one in commands if Path(one["file"]).stem in LEVELS[1:]]
    assert not [one["file"] for one in commands if "-mavx" in one["command"] or "-mamx" in one["command"]]
    compiled = {Path(one["file"]): one["output"] for one in commands}
    dispatching = [path for path in compiled if "LMSCOPE_HAVE_" in path.read_text(encoding="utf-8")]
    scalar = [path for path in compiled if path.name == "scalar.cpp"]
    assert len(dispatching) >= 4
    assert len(scalar) == len(list((ROOT / "csrc").glob("**/avx2.cpp")))
    objects = [Path(compiled[path]) for path in (*dispatching, *scalar)]
    succeeds(ninja, "-C", tmp_path, *(path.relative_to(tmp_path) for path in objects))
    listed = succeeds(nm, "--undefined-only", *objects).splitlines()
    wanted = [line.split()[-1] for line in listed if line.startswith(" ")]
    assert [name for name in wanted if "scalar" in name]
    assert [name for name in wanted if "avx" in name or "amx" in name] == []
