"""Gates for what is uploaded: holds exactly the files that it should, is small, stripped, finds its OpenBLAS."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The package index takes no larger file.
MOST_BYTES = 100_000_000
NOT_IN_SDIST = re.compile(r"\.ci/|benchmarks/results/")
CORE = re.compile(r"lmscope/_core\.cpython-3\d+-\w+-linux-gnu\.so")
METADATA = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
RUN_PATH = "$ORIGIN/../scipy_openblas64/lib"
# Symbols and debug sections are stripped, and no path of the machine that built it is left.
NOT_IN_CORE = (b".symtab", b".debug_", b"/tmp/", b"/home/", b"/root/", b"/project/", b"/opt/", bytes(ROOT) + b"/")


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
        run_path = subprocess.run(
            ["patchelf", "--print-rpath", core.name], capture_output=True, text=True, check=True
        ).stdout.strip()
    if run_path != RUN_PATH:
        problems.append(f"its core looks for OpenBLAS in {run_path!r}, not in {RUN_PATH!r}")
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


def main(folder: Path) -> None:
    files = tracked()
    paths = sorted(folder.iterdir())
    problems = []
    for path in paths:
        if path.name.endswith(".tar.gz"):
            found = sdist_problems(path, files)
        elif path.suffix == ".whl":
            found = wheel_problems(path, files)
        else:
            found = ["is neither a wheel nor an sdist"]
        if path.stat().st_size >= MOST_BYTES:
            found.append(f"has {path.stat().st_size} bytes, the package index takes fewer than {MOST_BYTES}")
        print(f"packaging: {path.name}: {path.stat().st_size / 1e6:.2f} MB", file=sys.stderr)
        problems += [f"{path.name} {problem}" for problem in found]
    if not any(path.suffix == ".whl" for path in paths):
        problems.append(f"{folder} holds no wheel")
    if problems:
        sys.exit("packaging: " + "\npackaging: ".join(problems))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
