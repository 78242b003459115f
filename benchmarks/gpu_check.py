"""On a machine with a GPU: build the CUDA twins, run the kernel tests on the device, write what happened.

    python benchmarks/gpu_check.py                          own virtual environment, packages through pip
    python benchmarks/gpu_check.py --no-venv                this interpreter and its packages, no network
    python benchmarks/gpu_check.py --no-venv --find-links W missing packages from the wheels in folder W

Needs this checkout, nvcc and a C++ compiler. Exits with 1 where there is no GPU, the build fails, or any
test on the device fails or is skipped.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "gpu"
SITE = WORK / "site"
JUNIT = WORK / "junit.xml"
# Import name and package of what building and the kernel tests need.
NEEDED = {
    "scikit_build_core": "scikit-build-core",
    "pybind11": "pybind11",
    "scipy_openblas64": "scipy-openblas64",
    "numpy": "numpy",
    "scipy": "scipy",
    "ml_dtypes": "ml_dtypes",
    "torch": "torch",
    "pytest": "pytest",
    "pytest_benchmark": "pytest-benchmark",
    "hypothesis": "hypothesis",
}


def fail(text: str) -> NoReturn:
    print(f"gpu_check: {text}", file=sys.stderr)
    raise SystemExit(1)


def run(command: list[str], **environment: str) -> int:
    print("gpu_check:", *command, file=sys.stderr, flush=True)
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}).returncode


def output(*command: str) -> str:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def require_gpu() -> list[dict[str, str]]:
    """Name, driver and memory of each GPU as nvidia-smi tells them."""
    fields = "name,driver_version,memory.total"
    told = output("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader")
    if not told:
        fail("no GPU: nvidia-smi is missing or finds none")
    return [dict(zip(fields.split(","), line.split(", "), strict=True)) for line in told.splitlines()]


def own_environment() -> str:
    """An interpreter with everything from pip, at the versions of constraints.txt."""
    python = WORK / "venv" / "bin" / "python"
    os.environ["PIP_CONSTRAINT"] = str(ROOT / "constraints.txt")
    steps = [
        [sys.executable, "-m", "venv", str(WORK / "venv")],
        [str(python), "-m", "pip", "install", "-q", "--upgrade", "pip"],
        [str(python), "-m", "pip", "install", "-q", "--group", "build", *NEEDED.values()],
    ]
    if any(run(step) for step in steps):
        fail("pip could not install what is needed; without a network: --no-venv")
    return str(python)


def this_environment(find_links: str | None) -> str:
    missing = [package for name, package in NEEDED.items() if importlib.util.find_spec(name) is None]
    if missing and find_links is None:
        fail(f"{sys.executable} lacks {', '.join(missing)}; --find-links FOLDER takes them from wheels")
    if missing and find_links is not None:
        offline = ["--no-index", "--find-links", find_links, "--no-deps", "--upgrade", "--target", str(SITE)]
        if run([sys.executable, "-m", "pip", "install", "-q", *offline, *missing]):
            fail(f"not all of {', '.join(missing)} are in {find_links}")
    return sys.executable


def build(python: str) -> None:
    command = [
        python,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--upgrade",
    ]
    command += ["--target", str(SITE), f"-Cbuild-dir={WORK / 'cmake'}", "-Ccmake.define.LMSCOPE_CUDA=ON"]
    command += ["-Ccmake.define.LMSCOPE_WERROR=ON", "."]
    if run(command, PYTHONPATH=str(SITE)):
        fail("the build with LMSCOPE_CUDA=ON failed")


def test(python: str) -> dict[str, int]:
    JUNIT.unlink(missing_ok=True)
    status = run(
        [python, "-m", "pytest", "tests/kernels", "-m", "cuda", f"--junitxml={JUNIT}"],
        PYTHONPATH=str(SITE),
        LMSCOPE_REQUIRE_CUDA="1",
    )
    if not JUNIT.exists():
        fail(f"pytest ended with status {status} before any test")
    suite = ElementTree.parse(JUNIT).getroot().find("testsuite")
    assert suite is not None
    counts = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
    counts["passed"] = counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"]
    counts["exit_status"] = status
    return counts


def devices(python: str) -> Any:
    code = "import json; from lmscope.kernels.runtime import cuda_devices; print(json.dumps(cuda_devices()))"
    done = subprocess.run(
        [python, "-c", code], env={**os.environ, "PYTHONPATH": str(SITE)}, capture_output=True, text=True
    )
    return (
        json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr.strip().splitlines()[-1:]}
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no-venv", action="store_true", help="use this interpreter")
    parser.add_argument("--find-links", metavar="FOLDER", help="wheels of what is missing; with --no-venv")
    parser.add_argument("-o", "--out", type=Path, default=ROOT / "benchmarks" / "results" / "gpu_check.json")
    options = parser.parse_args()

    gpus = require_gpu()
    WORK.mkdir(parents=True, exist_ok=True)
    python = this_environment(options.find_links) if options.no_venv else own_environment()
    build(python)
    counts = test(python)
    release = re.search(r"release ([\d.]+)", output("nvcc", "--version"))
    record = {
        "gpus": gpus,
        "devices": devices(python),
        "nvcc": release[1] if release else None,
        "tests": counts,
        "commit": output("git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*") or None,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"gpu_check: {counts['passed']} of {counts['tests']} passed on {gpus[0]['name']}; {options.out}")
    if counts["exit_status"] or counts["skipped"] or not counts["passed"]:
        fail("not every test ran and passed on the device")


if __name__ == "__main__":
    main()
