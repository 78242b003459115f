"""The calls of `icl` that make a run's records again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from lmscope.report.icl_words import asked_of
from lmscope.report.records import Records

_OPTIONS = {
    "dimensions": "dimension",
    "prompt_length": "prompt_lengths",
    "regularizations": "regularization",
    "correlation": "correlations",
}
"""An experiment's own name of a setting -> the call's."""
_NAMED = {
    *("seeds", "dimension", "prompt_lengths", "tasks", "regularization", "inverse_temperature"),
    "correlations",
}
"""Settings that are arguments of their own."""


def icl_code(records: Records) -> str:
    """In a shell and from Python: one call for all experiments that were asked for alike."""
    groups: list[tuple[dict[str, Any], list[str]]] = []
    for name in records.analyses:
        asked = dict(asked_of(records, name))
        asked.pop("cells", None)
        alike = next((names for known, names in groups if known == asked), None)
        if alike is None:
            groups.append((asked, [name]))
        else:
            alike.append(name)
    # The device that was used: without CUDA it is the one that there is.
    of = {"device": "cuda"} if records.manifest.get("device") == "cuda" else {}
    return "\n".join(
        [
            *(_shell(names, asked, of) for asked, names in groups),
            "lmscope report RUN\n\n# or from Python\nimport lmscope\n",
            *(_python(names, asked, of) for asked, names in groups),
            "run.report()",
        ]
    )


def _arguments(asked: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of their own, and further settings."""
    given = {_OPTIONS.get(name, name): value for name, value in (asked.get("given") or {}).items()}
    own = {"preset": asked["preset"]} if "preset" in asked else {}
    own |= {name: value for name, value in given.items() if name in _NAMED}
    own |= {"seed": asked["seed"]} if asked.get("seed") else {}
    return own, {name: value for name, value in given.items() if name not in _NAMED}


def _shell(names: list[str], asked: Mapping[str, Any], of: Mapping[str, str]) -> str:
    own, further = _arguments(asked)
    options = [
        *(f"--experiment {name.replace('_', '-')}" for name in names),
        *(f"--{name.replace('_', '-')} {shlex.quote(_text(value))}" for name, value in {**own, **of}.items()),
        *(f"--set {shlex.quote(f'{name}={_text(value)}')}" for name, value in further.items()),
    ]
    return " ".join(["lmscope icl", *options, "-o RUN"])


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _python(names: list[str], asked: Mapping[str, Any], of: Mapping[str, str]) -> str:
    own, further = _arguments(asked)
    arguments = [
        repr(names[0] if len(names) == 1 else names),
        *(f"{name}={value!r}" for name, value in {**own, **of}.items()),
        *([f"settings={further!r}"] if further else []),
        "out='RUN'",
    ]
    return "run = lmscope.icl(\n    " + ",\n    ".join(arguments) + ",\n)"
