"""Gates for what is uploaded: each file holds what it should and no more, is small, runs on old systems."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[1]
# The package index takes no larger file.
MOST_BYTES = 100_000_000
NEWEST_GLIBC = (2, 34)
ARCHITECTURES = ("x86_64", "aarch64")
NOT_IN_SDIST = re.compile(r"\.ci/|benchmarks/results/")
CORE = re.compile(r"lmscope/_core\.cpython-3\d+-\w+-linux-gnu\.so")
METADATA = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
RUN_PATH = "$ORIGIN/../scipy_openblas64/lib"
# Symbols and debug sections are stripped, and no path of the machine that built it is left.
NOT_IN_CORE = (
    b".symtab",
    b".debug_",
    b"/tmp/",
    b"/home/",
    b"/root/",
    b"/project/",
    b"/opt/",
    f"{ROOT}/".encode(),
)


def tracked() -> set[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.split("\0")) - {""}


def differences(found: Iterable[str], expected: Iterable[str]) -> list[str]:
    found, expected = set(found), set(expected)
    return [f"should not hold {name}" for name in sorted(found - expected)] + [
        f"lacks {name}" for name in sorted(expected - found)
    ]


def sdist_problems(path: Path, files: set[str]) -> list[str]:
    top = path.name.removesuffix(".tar.gz") + "/"
    with tarfile.open(path) as archive:
        found = {member.name.removeprefix(top) for member in archive if not member.isdir()}
    return differences(found, {name for name in files if not NOT_IN_SDIST.match(name)} | {"PKG-INFO"})


def core_problems(content: bytes) -> list[str]:
    problems = [f"its core contains {text.decode()}" for text in NOT_IN_CORE if text in content]
    with tempfile.NamedTemporaryFile(suffix=".so") as core:
        core.write(content)
        core.flush()
        listed = subprocess.run(
            ["readelf", "--dynamic", core.name], capture_output=True, text=True, check=True
        ).stdout
    run_paths = re.findall(r"Library r(?:un)?path: \[(.*)\]", listed)
    if run_paths != [RUN_PATH]:
        problems.append(f"its core looks for OpenBLAS in {run_paths}, not in {RUN_PATH}")
    return problems


def wheel_problems(path: Path, files: set[str]) -> list[str]:
    package = {name.removeprefix("python/") for name in files if name.startswith("python/lmscope/")}
    metadata = "-".join(path.name.split("-")[:2]) + ".dist-info/"
    with zipfile.ZipFile(path) as archive:
        found = {name for name in archive.namelist() if not name.endswith("/")}
        cores = {name for name in found if CORE.fullmatch(name)}
        problems = differences(found - cores, package | {metadata + name for name in METADATA})
        if len(cores) != 1:
            return [*problems, f"should hold one compiled core, holds {sorted(cores)}"]
        return problems + core_problems(archive.read(*cores))


def platform_problems(name: str) -> list[str]:
    platforms = name.removesuffix(".whl").split("-")[4].split(".")
    known = [re.fullmatch(r"manylinux_(\d+)_(\d+)_(.+)", platform) for platform in platforms]
    if any(
        found is None or (int(found[1]), int(found[2])) > NEWEST_GLIBC or found[3] not in ARCHITECTURES
        for found in known
    ):
        return [
            f"is for {', '.join(platforms)}, not for manylinux_{NEWEST_GLIBC[0]}_{NEWEST_GLIBC[1]} or older"
        ]
    return []


def missing_from_release(names: list[str]) -> list[str]:
    """Every wheel that [tool.cibuildwheel] asks for and the sdist must be there."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [build.removesuffix("-*") for build in settings["tool"]["cibuildwheel"]["build"].split()]
    problems = [
        f"there is no wheel for {tag} on {architecture}"
        for tag in wanted
        for architecture in ARCHITECTURES
        if not any(f"-{tag}-{tag}-" in name and name.endswith(f"_{architecture}.whl") for name in names)
    ]
    return problems if any(name.endswith(".tar.gz") for name in names) else [*problems, "there is no sdist"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dist", type=Path)
    parser.add_argument("--released", action="store_true", help="every wheel of a release must be there")
    arguments = parser.parse_args()
    files = tracked()
    paths = sorted(arguments.dist.iterdir())
    problems = missing_from_release([path.name for path in paths]) if arguments.released else []
    for path in paths:
        size = path.stat().st_size
        print(f"packaging: {path.name}: {size / 1e6:.2f} MB", file=sys.stderr)
        if path.name.endswith(".tar.gz"):
            found = sdist_problems(path, files)
        elif path.suffix == ".whl":
            found = platform_problems(path.name) + wheel_problems(path, files)
        else:
            found = ["is neither a wheel nor an sdist"]
        if size >= MOST_BYTES:
            found.append(f"has {size} bytes, the package index takes fewer than {MOST_BYTES}")
        problems += [f"{path.name} {problem}" for problem in found]
    if problems:
        sys.exit("packaging: " + "\npackaging: ".join(problems))


if __name__ == "__main__":
    main()
