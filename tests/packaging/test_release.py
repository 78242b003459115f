"""What is released says the same everywhere, and the gates before an upload hold."""

from __future__ import annotations

import importlib.util
import io
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

import lmscope.kernels.runtime  # noqa: F401  (loads the core)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def gates() -> Any:
    spec = importlib.util.spec_from_file_location("check_dist", ROOT / "packaging/check_dist.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_workflows_are_valid() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "release.yml"]
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run(
        [sys.executable, *command, *map(str, WORKFLOWS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_trust_little(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    assert [line for line in uses if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []
    assert re.search(r"^permissions:( \{\}|\n  contents: read\n\n)", text, re.MULTILINE)
    assert text.count("persist-credentials: false") == text.count("uses: actions/checkout@")


def test_every_python_is_named_everywhere(project: dict[str, Any]) -> None:
    classifiers = re.findall(r"Python :: 3\.(\d+)'", str(project["project"]["classifiers"]))
    built = project["tool"]["cibuildwheel"]["build"].split()
    assert built == [f"cp3{minor}-*" for minor in classifiers]
    assert [int(minor) for minor in classifiers] == list(range(int(classifiers[0]), int(classifiers[-1]) + 1))
    assert project["project"]["requires-python"] == f">=3.{classifiers[0]}"


def test_what_is_left_out_of_the_wheel_is_a_dependency(project: dict[str, Any]) -> None:
    command = project["tool"]["cibuildwheel"]["linux"]["repair-wheel-command"]
    excluded = re.findall(r"--exclude (\S+)", command)
    assert excluded == ["libscipy_openblas64_.so"]
    spec = importlib.util.find_spec("scipy_openblas64")
    assert spec is not None
    assert spec.origin is not None
    assert (Path(spec.origin).parent / "lib" / excluded[0]).is_file()
    assert any(name.startswith("scipy-openblas64>") for name in project["project"]["dependencies"])


def test_wheel_and_core_agree_on_the_run_path(gates: Any) -> None:
    assert f'INSTALL_RPATH "{gates.RUN_PATH}"' in (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")


def test_a_build_without_a_compiler_says_what_is_missing(tmp_path: Path) -> None:
    cmake, ninja = shutil.which("cmake"), shutil.which("ninja")
    if cmake is None or ninja is None:
        pytest.skip("cmake or ninja is not installed")
    done = subprocess.run(
        [cmake, "-S", ROOT, "-B", tmp_path, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": ""},
    )
    assert done.returncode != 0
    assert "apt-get install g++" in done.stderr


FILES = {
    "python/lmscope/__init__.py",
    "python/lmscope/report/page.js",
    "csrc/README.md",
    ".ci/run",
    "LICENSE",
}
CORE = "lmscope/_core.cpython-312-x86_64-linux-gnu.so"
METADATA = [
    f"lmscope-1.0.dist-info/{name}"
    for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
]
IN_WHEEL = ["lmscope/__init__.py", "lmscope/report/page.js", CORE, *METADATA]


@pytest.fixture(scope="module")
def core() -> bytes:
    if shutil.which("readelf") is None:
        pytest.skip("readelf (binutils) is not installed")
    return Path(str(sys.modules["lmscope._core"].__file__)).read_bytes()


def wheel(folder: Path, names: list[str], core: bytes) -> Path:
    path = folder / "lmscope-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, core if name == CORE else b"")
    return path


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (IN_WHEEL[1:], "lacks lmscope/__init__.py"),
        ([*IN_WHEEL, "lmscope/core.cpp"], "should not hold lmscope/core.cpp"),
        ([*IN_WHEEL, "tests/conftest.py"], "should not hold tests/conftest.py"),
        ([name for name in IN_WHEEL if name != CORE], "should hold one compiled core, holds []"),
    ],
)
def test_a_wheel_with_other_files_is_refused(
    gates: Any, core: bytes, tmp_path: Path, names: list[str], problem: str
) -> None:
    assert gates.wheel_problems(wheel(tmp_path, IN_WHEEL, core), FILES) == []
    assert gates.wheel_problems(wheel(tmp_path, names, core), FILES) == [problem]


def test_a_core_that_tells_of_its_build_or_looks_elsewhere_is_refused(gates: Any, core: bytes) -> None:
    assert gates.core_problems(core) == []
    assert gates.core_problems(core + b"/home/somebody/lmscope") == ["its core contains /home/"]
    moved = core.replace(gates.RUN_PATH.encode(), gates.RUN_PATH.replace("lib", "bin").encode())
    (problem,) = gates.core_problems(moved)
    assert "scipy_openblas64/bin" in problem


def test_an_sdist_with_other_files_is_refused(gates: Any, tmp_path: Path) -> None:
    path = tmp_path / "lmscope-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in [*sorted(FILES - {".ci/run", "LICENSE"}), "PKG-INFO", "build/_core.so"]:
            archive.addfile(tarfile.TarInfo(f"lmscope-1.0/{name}"), io.BytesIO())
    assert gates.sdist_problems(path, FILES) == ["should not hold build/_core.so", "lacks LICENSE"]


@pytest.mark.parametrize(
    ("platform", "fits"),
    [
        ("manylinux_2_34_x86_64", True),
        ("manylinux_2_27_aarch64.manylinux_2_28_aarch64", True),
        ("manylinux_2_35_x86_64", False),
        ("linux_x86_64", False),
        ("musllinux_1_2_x86_64", False),
    ],
)
def test_the_platform_of_a_wheel(gates: Any, platform: str, fits: bool) -> None:
    assert (gates.platform_problems(f"lmscope-1.0-cp312-cp312-{platform}.whl") == []) is fits


def test_a_release_lacks_no_wheel(gates: Any) -> None:
    names = [
        f"lmscope-1.0-cp3{minor}-cp3{minor}-manylinux_2_28_{machine}.whl"
        for minor in range(10, 15)
        for machine in ("x86_64", "aarch64")
    ]
    assert gates.missing_from_release([*names, "lmscope-1.0.tar.gz"]) == []
    assert gates.missing_from_release(names[:-1]) == [
        "there is no wheel for cp314 on aarch64",
        "there is no sdist",
    ]
