"""The CPythons of this machine that wheels are made for."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import findpython
from packaging.specifiers import SpecifierSet

# One interpreter's answer: its own wheel tag, and whether an extension can be compiled against it.
_PROBE = """
import json, pathlib, sys, sysconfig
print(json.dumps({
    "cpython": sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED"),
    "venv": sys.prefix != sys.base_prefix,
    "headers": pathlib.Path(sysconfig.get_paths()["include"], "Python.h").is_file(),
}))
"""


def interpreters(requires_python: str) -> dict[str, Path]:
    """Wheel tag (``cp310``, ...) to executable, one per minor version of CPython that has its headers."""
    wanted = SpecifierSet(requires_python)
    found: dict[tuple[int, int], Path] = {}
    for python in findpython.find_all():
        version = (python.version.major, python.version.minor)
        if version in found or python.version.is_prerelease or not wanted.contains(python.version):
            continue
        probe = subprocess.run(
            [python.executable, "-I", "-c", _PROBE], capture_output=True, text=True, check=False
        )
        if probe.returncode == 0:
            answer = json.loads(probe.stdout)
            if answer["cpython"] and answer["headers"] and not answer["venv"]:
                found[version] = Path(python.executable)
    return {f"cp{major}{minor}": found[major, minor] for major, minor in sorted(found)}
