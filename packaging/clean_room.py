"""Installs what DIST holds into fresh environments and runs smoke.py in each, with no compiler on the PATH.

The sdist and the wheel for the running Python are installed by pip alone, with all that they depend on. For
the other CPythons torch and transformers are left out: an index may have no CPU build of torch for them, and
the verbs must work without both.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from email.parser import HeaderParser
from pathlib import Path
from zipfile import ZipFile

import tomllib
from commands import run
from interpreters import interpreters, own_tag
from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
COMPILERS = ("cc", "c++", "gcc", "g++", "clang", "clang++", "cmake", "ninja", "make", "nvcc")


def environment(path: str) -> dict[str, str]:
    """Ours, less what would reach a source tree, a pinned version or this project's virtual environment."""
    ours = ("PYTHON", "VIRTUAL_ENV", "PIP_CONSTRAINT", "LMSCOPE", "CMAKE", "CC", "CXX")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {"PATH": path}


def install(room: Path, *arguments: str | Path, pinned: bool) -> None:
    """With this pip, into ``room``; what is built on the way is built with the system's PATH."""
    outside = [
        part for part in os.environ["PATH"].split(os.pathsep) if part != str(Path(sys.executable).parent)
    ]
    constraints = ["--constraint", CONSTRAINTS, "--build-constraint", CONSTRAINTS] if pinned else []
    command = [sys.executable, "-m", "pip", "--python", room / "bin/python", "install", "-qq"]
    run(*command, *constraints, *arguments, cwd=room, env=environment(os.pathsep.join(outside)))


def smoke(room: Path) -> None:
    path = str(room / "bin")
    if found := [name for name in COMPILERS if shutil.which(name, path=path)]:
        sys.exit(f"packaging: {room} is no clean environment, it holds {', '.join(found)}")
    run(room / "bin/python", "-I", ROOT / "packaging/smoke.py", cwd=room, env=environment(path))


def requirements_without_torch(wheel: Path) -> list[str]:
    with ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        headers = HeaderParser().parsestr(archive.read(metadata).decode())
    required = headers.get_all("Requires-Dist", [])
    return [text for text in required if Requirement(text).name not in ("torch", "transformers")]


def wheels_for(tag: str, dist: Path) -> list[Path]:
    return [
        path
        for path in sorted(dist.glob("*.whl"))
        if tag in {supported.interpreter for supported in parse_wheel_filename(path.name)[3]}
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dist", type=Path)
    dist: Path = parser.parse_args().dist.resolve()
    if not dist.is_dir():
        sys.exit(f"packaging: there is no folder {dist}")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    untested = set(dist.iterdir())
    for tag, python in interpreters(settings["project"]["requires-python"])[0].items():
        packages = wheels_for(tag, dist) + (sorted(dist.glob("*.tar.gz")) if tag == own_tag() else [])
        # The pinned versions need Python 3.11; an older one gets what the index has for it.
        pinned = tag != "cp310"
        for package in packages:
            print(
                f"packaging: {package.name} in a clean environment of {python}", file=sys.stderr, flush=True
            )
            with tempfile.TemporaryDirectory() as folder:
                room = Path(folder).resolve()
                run(python, "-m", "venv", "--without-pip", room)
                if tag == own_tag():
                    install(room, package, pinned=pinned)
                else:
                    install(room, *requirements_without_torch(package), pinned=pinned)
                    install(room, "--no-deps", package, pinned=pinned)
                smoke(room)
            untested.remove(package)
    if untested:
        sys.exit(f"packaging: not tried here: {', '.join(sorted(path.name for path in untested))}")


if __name__ == "__main__":
    main()
