"""Makes DIST: the sdist of this checkout and, from it, one repaired wheel per CPython of this machine."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import tomllib
from interpreters import interpreters

ROOT = Path(__file__).resolve().parents[1]
# The newest glibc and libstdc++ that a wheel may ask for; auditwheel refuses one that asks for more.
PLATFORM = f"manylinux_2_34_{platform.machine()}"


def run(*command: str | Path) -> None:
    print("packaging:", *command, file=sys.stderr, flush=True)
    tools = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(
        [str(part) for part in command], check=True, env=os.environ | tools | {"AUDITWHEEL_PLAT": PLATFORM}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dist", type=Path)
    parser.add_argument("--only", help="wheel tag of one interpreter, e.g. cp312")
    arguments = parser.parse_args()
    dist: Path = arguments.dist.resolve()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    repair: str = settings["tool"]["cibuildwheel"]["linux"]["repair-wheel-command"]

    found = interpreters(settings["project"]["requires-python"])
    print("packaging: CPythons here:", *(f"{tag} {path}" for tag, path in found.items()), file=sys.stderr)
    if arguments.only is not None:
        found = {tag: path for tag, path in found.items() if tag == arguments.only}
    if not found:
        sys.exit("packaging: there is no such CPython here that has its headers")

    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", dist, ROOT)
    (sdist,) = dist.glob("*.tar.gz")
    for python in found.values():
        with tempfile.TemporaryDirectory() as raw:
            run(
                *(sys.executable, "-m", "pip", "--python", python, "wheel", "-qq", "--no-cache-dir"),
                *("--no-deps", "--build-constraint", ROOT / "constraints.txt", "--wheel-dir", raw, sdist),
            )
            (built,) = Path(raw).glob("*.whl")
            run(*shlex.split(repair.format(wheel=built, dest_dir=dist)))


if __name__ == "__main__":
    main()
