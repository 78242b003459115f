"""Makes DIST: the sdist of this checkout and, from it, one repaired wheel per CPython of this machine."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import tempfile
from pathlib import Path

import tomllib
from commands import run
from interpreters import interpreters, own_tag

ROOT = Path(__file__).resolve().parents[1]
# The newest glibc and libstdc++ that a wheel may ask for; auditwheel refuses one that asks for more.
PLATFORM = f"manylinux_2_34_{platform.machine()}"


def step(*command: str | Path) -> None:
    print("packaging:", *command, file=sys.stderr, flush=True)
    tools = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    run(*command, env=os.environ | tools | {"AUDITWHEEL_PLAT": PLATFORM})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dist", type=Path)
    parser.add_argument("--only", help="wheel tag of one interpreter, e.g. cp312")
    arguments = parser.parse_args()
    dist: Path = arguments.dist.resolve()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    repair: str = settings["tool"]["cibuildwheel"]["linux"]["repair-wheel-command"]

    found, left_out = interpreters(settings["project"]["requires-python"])
    for reason, path in left_out.items():
        print(f"packaging: no wheel for {path}: {reason}", file=sys.stderr)
    for tag, path in found.items():
        print(f"packaging: a wheel for {tag}, {path}", file=sys.stderr)
    if own_tag() not in found:
        sys.exit(f"packaging: {own_tag()} is not among them, and the sdist is tried with this Python")
    if arguments.only is not None:
        found = {tag: path for tag, path in found.items() if tag == arguments.only}
    if not found:
        sys.exit(f"packaging: there is no {arguments.only} here for which a wheel can be made")

    step(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", dist, ROOT)
    step(sys.executable, ROOT / "packaging/check_dist.py", dist, "--sdist")
    (sdist,) = dist.glob("*.tar.gz")
    for python in found.values():
        with tempfile.TemporaryDirectory() as raw:
            step(
                *(sys.executable, "-m", "pip", "--python", python, "wheel", "-qq", "--no-cache-dir"),
                *("--no-deps", "--build-constraint", ROOT / "constraints.txt", "--wheel-dir", raw, sdist),
            )
            (built,) = Path(raw).glob("*.whl")
            step(*(part.format(wheel=built, dest_dir=dist) for part in shlex.split(repair)))


if __name__ == "__main__":
    main()
