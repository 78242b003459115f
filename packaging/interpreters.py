"""The CPythons of this machine that wheels are made for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import findpython
from packaging.specifiers import SpecifierSet

# One interpreter's answer: what kind it is, and whether an extension can be compiled against it.
_PROBE = """
import json, pathlib, sys, sysconfig
print(json.dumps({
    "implementation": sys.implementation.name,
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "venv": sys.prefix != sys.base_prefix,
    "include": sysconfig.get_paths()["include"],
    "headers": pathlib.Path(sysconfig.get_paths()["include"], "Python.h").is_file(),
}))
"""


def own_tag() -> str:
    return f"cp{sys.version_info.major}{sys.version_info.minor}"


def _why_not(python: findpython.PythonVersion, wanted: SpecifierSet) -> str | None:
    if python.version.is_prerelease:
        return f"{python.version} is no final release"
    if not wanted.contains(python.version):
        return f"{python.version} is not {wanted}"
    probe = subprocess.run(
        [python.executable, "-I", "-c", _PROBE], capture_output=True, text=True, check=False
    )
    if probe.returncode:
        return f"{python.version} does not start: {(probe.stderr.strip().splitlines() or ['no word'])[-1]}"
    answer = json.loads(probe.stdout)
    if answer["implementation"] != "cpython":
        return f"{answer['implementation']} is not CPython"
    if answer["free_threaded"]:
        return f"{python.version} is free-threaded"
    if answer["venv"]:
        return f"{python.version} of a virtual environment"
    if not answer["headers"]:
        return f"no Python.h in {answer['include']}; on Debian: apt-get install python3-dev"
    return None


def interpreters(requires_python: str) -> tuple[dict[str, Path], dict[str, Path]]:
    """Wheel tag (``cp310``, ...) to one CPython of that version that has its headers; and of the versions
    of which there is none, every reason with an interpreter that it holds for."""
    wanted = SpecifierSet(requires_python)
    # The Python below this environment need not be on the PATH.
    base = findpython.PythonVersion(Path(sys._base_executable).resolve())
    found: dict[tuple[int, int], Path] = {}
    refused: dict[tuple[tuple[int, int], str], Path] = {}
    for python in (base, *findpython.find_all()):
        version, executable = (python.version.major, python.version.minor), Path(python.executable)
        if version in found:
            continue
        if (reason := _why_not(python, wanted)) is None:
            found[version] = executable
        else:
            refused.setdefault((version, reason), executable)
    left_out = {reason: path for (version, reason), path in refused.items() if version not in found}
    return {f"cp{major}{minor}": found[major, minor] for major, minor in sorted(found)}, left_out
