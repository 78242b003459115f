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
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

import lmscope.kernels.runtime  # noqa: F401  (loads the core)

from .scripts import script

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
    return script("check_dist")


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
        for name in [*sorted(FILES - {"LICENSE"}), "PKG-INFO", "build/_core.so"]:
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
    assert gates.missing_from_release(names[:-1]) == ["there is no wheel for cp314 on aarch64"]


@pytest.mark.parametrize(
    ("names", "wheels", "problems"),
    [
        (["a-1.tar.gz", "a-1-cp312-cp312-manylinux_2_28_x86_64.whl"], True, []),
        (["a-1.tar.gz"], False, []),
        (["a-1.tar.gz"], True, ["there is no wheel"]),
        (["a-1.tar.gz", "a-2.tar.gz"], False, ["there should be one sdist, there are 2"]),
        ([], True, ["there should be one sdist, there are 0", "there is no wheel"]),
    ],
)
def test_nothing_is_no_release(gates: Any, names: list[str], wheels: bool, problems: list[str]) -> None:
    assert gates.missing(names, wheels=wheels) == problems


def test_a_file_that_is_named_like_no_wheel_is_refused(gates: Any) -> None:
    (problem,) = gates.platform_problems("lmscope.whl")
    assert problem.startswith("is no name of a wheel")


def page(text: str, *headers: str) -> Message:
    lines = ["Metadata-Version: 2.4", "Name: lmscope", "Version: 1.0", *headers, "", text]
    return message_from_bytes("\n".join(lines).encode())


def test_the_page_on_the_index_leads_nowhere_wrong(gates: Any) -> None:
    urls = "Project-URL: Source, https://example.org/lmscope"
    good = (
        "[a](https://example.org/a) [b](#b) ![c](http://example.org/c.png) <img src='https://example.org/d'>"
    )
    assert gates.page_problems(page(good, urls)) == []
    bad = "[a](docs/a.md) ![b](<docs/b.png>) <img src='docs/c.png'> [![d](docs/d.svg)](../e)"
    found = gates.page_problems(page(bad, urls))
    named = [re.fullmatch(r"its README links to (\S+), which .*", problem) for problem in found]
    assert [name[1] for name in named if name] == [
        "../e",
        "docs/a.md",
        "docs/b.png",
        "docs/c.png",
        "docs/d.svg",
    ]
    assert gates.page_problems(page("lmscope is not on the package index yet.", urls)) == [
        'its README says "not on the package index yet"'
    ]
    (problem,) = gates.page_problems(page(""))
    assert "[project.urls]" in problem


def test_a_release_has_a_date(gates: Any) -> None:
    assert gates.changelog_problems("1.0", "## 1.0 - 2026-01-31\n") == []
    for line in ("## 1.0 - unreleased", "## 1.0.1 - 2026-01-31", "## 1x0 - 2026-01-31", ""):
        assert gates.changelog_problems("1.0", line + "\n") == [
            "CHANGELOG.md has no line `## 1.0 - YYYY-MM-DD`"
        ]


def check_dist(script: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, check=False, cwd=script.parent
    )


def test_gates_run_in_a_clone_on_a_folder(tmp_path: Path) -> None:
    """One line each, no traceback: no folder, an empty one, and an unpacked sdist, where there is no git."""
    script = ROOT / "packaging/check_dist.py"
    done = check_dist(script, tmp_path / "none")
    assert (done.returncode, done.stderr) == (1, f"packaging: there is no folder {tmp_path / 'none'}\n")

    shutil.copytree(ROOT / "packaging", tmp_path / "lmscope-1.0/packaging")
    done = check_dist(tmp_path / "lmscope-1.0/packaging/check_dist.py", tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith("what is packed is compared with a git clone; run this in one")

    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    (tmp_path / "dist").mkdir()
    done = check_dist(script, tmp_path / "dist")
    assert done.returncode == 1
    assert "there should be one sdist, there are 0" in done.stderr


@pytest.fixture(scope="module")
def commands() -> Any:
    return script("commands")


def test_a_failed_command_is_one_line(commands: Any) -> None:
    with pytest.raises(SystemExit, match=r"packaging: false left with exit status 1"):
        commands.run("false")
    with pytest.raises(SystemExit, match=r"packaging: no-such-tool cannot be run"):
        commands.run("no-such-tool")
    with pytest.raises(SystemExit, match=r"packaging: sh -c 'echo why >&2; exit 3' failed \(why\): a hint"):
        commands.output("sh", "-c", "echo why >&2; exit 3", hint="a hint")
    assert commands.output("echo", "fine", hint="") == "fine\n"


def test_every_place_without_a_gpu_takes_the_same_torch(project: dict[str, Any]) -> None:
    index = project["tool"]["cibuildwheel"]["test-environment"]["PIP_EXTRA_INDEX_URL"]
    for name in (".github/workflows/ci.yml", ".readthedocs.yaml"):
        assert re.search(rf"PIP_EXTRA_INDEX_URL[=:] ?{re.escape(index)} ", (ROOT / name).read_text()), name


def test_releases_are_built_with_the_pins(project: dict[str, Any]) -> None:
    frontend = project["tool"]["cibuildwheel"]["build-frontend"]
    assert frontend == {"name": "pip", "args": ["--build-constraint", "/project/constraints.txt"]}
    text = (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")
    assert "--dependency-constraints-txt constraints.txt" in text
    installs = re.findall(r"pip install (?!-c constraints[.]txt)", text)
    assert installs == []
    assert not re.search(r"\w==\d", text), "constraints.txt is the one place of versions"
    assert text.count("timeout-minutes") == text.count("runs-on")


def test_build_and_wheel_want_the_same_openblas(project: dict[str, Any]) -> None:
    """The library that is linked is the one that is loaded, and of versions known to work."""
    wanted = {
        name
        for name in (*project["build-system"]["requires"], *project["project"]["dependencies"])
        if name.startswith("scipy-openblas64")
    }
    assert wanted == {"scipy-openblas64>=0.3.34,<0.4"}


@pytest.mark.parametrize("lost", [False, True], ids=["there", "lost"])
def test_a_lost_openblas_names_the_way_out(tmp_path: Path, lost: bool) -> None:
    package = tmp_path / "scipy_openblas64"
    (package / "lib").mkdir(parents=True)
    (package / "__init__.py").touch()
    if not lost:
        spec = importlib.util.find_spec("scipy_openblas64")
        assert spec is not None
        assert spec.origin is not None
        shutil.copytree(Path(spec.origin).parent / "lib", package / "lib", dirs_exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", "import lmscope.kernels"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) is lost, done.stderr
    if lost:
        assert "ImportError: the OpenBLAS of the package scipy-openblas64 cannot be loaded" in done.stderr
        assert "pip install --force-reinstall scipy-openblas64" in done.stderr
