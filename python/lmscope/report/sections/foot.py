"""What this page was made from, and how to make it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from itertools import starmap
from typing import Any

from markupsafe import escape

from lmscope.report.icl_calls import icl_code
from lmscope.report.icl_words import asked_of
from lmscope.report.pairs import has_control, roles_with_indices
from lmscope.report.records import Records
from lmscope.report.sections import Section
from lmscope.report.unembedding_claims import steps_claim
from lmscope.report.unembedding_rows import series
from lmscope.report.words import plain
from lmscope.results import LOCATION_ANALYSES, UNEMBEDDING_ANALYSES

ORDER = 90

_SHARED = ("seed", "false_positive_rate")
_TOKENS = {"entropy", "selection"}
_LOCALIZE = (
    *("include", "exclude", "layers", "roles", "window", "stride", "slices", "only_slices", "lesions"),
    *("overlaps", "controls", "control_draws", "each_matrix", "maps", "measures", "labelled", "eval_tokens"),
    *("untrained", "center", "signed", "top", "pt_window", "false_positive_rate", "layers_per_pass"),
    *("dtype", "revision", "seed"),
)
"""Its arguments, in their order."""
_UNEMBEDDING = (
    *(
        "held_out",
        "other_text",
        "frequency_text",
        "window",
        "positions",
        "eval_positions",
        "steer",
        "steer_count",
        "factors",
    ),
    *("allocation", "calibrate", "steering", "removal", "shares", "removal_positions", "js", "fill"),
    *("generations", "prompts", "new_tokens", "vocabulary_sizes", "controls", "shuffles", "untrained"),
    *("dtype", "revision", "seed"),
)
"""Its arguments, in their order."""
_MOST_LISTED = 8
"""Numbers of tasks; of more the first and last."""
_REPEATED = ("include", "exclude", "maps")
"""An option for each: patterns may hold commas."""
_FILES = ("held_out", "other_text", "frequency_text")
_DIGESTS = {"texts", "labelled", "held_out", "other", "frequency"}
"""Of what was read: settings of records, no arguments."""

Call = tuple[str, list[str], dict[str, Any]]
"""Verb, checkpoints, settings."""

_TEMPLATE = """
<div class="columns">
{% for title, rows in blocks %}
<div><h3>{{ title }}</h3><dl class="plain">
{% for label, value in rows %}<dt>{{ label }}</dt><dd>{{ value }}</dd>{% endfor %}
</dl></div>
{% endfor %}
</div>
<h3>To reproduce</h3>
<pre><code>{{ code }}</code></pre>
"""


def section(records: Records) -> Section:
    manifest = records.manifest
    machine = manifest.get("machine")
    together = {
        "localize": _together(records, LOCATION_ANALYSES),
        "unembedding": _together(records, UNEMBEDDING_ANALYSES),
    }
    blocks = [
        *([] if records.without_checkpoint else [_checkpoint(records)]),
        *(
            (f"Settings of {plain(analysis)}", _settings(records, analysis))
            for analysis in records.analyses
            if analysis not in LOCATION_ANALYSES | UNEMBEDDING_ANALYSES
        ),
        *((f"Settings of {verb}", list(of.items())) for verb, of in together.items() if of),
        (
            "Made with",
            [
                ("lmscope", manifest.get("lmscope_version")),
                ("created", manifest.get("created")),
                ("device", manifest.get("device")),
                ("instruction set", manifest.get("isa")),
                *(machine.items() if isinstance(machine, dict) else [("machine", machine)]),
                ("record schema", manifest.get("schema_version")),
            ],
        ),
    ]
    shown = [
        (title, [(label, _words(value)) for label, value in rows if value not in (None, "")])
        for title, rows in blocks
    ]
    return Section(
        key="reproduce",
        title="Settings, versions, identity",
        template=_TEMPLATE,
        values={"blocks": shown, "code": escape(_code(records))},
        **_caption(records),
    )


def _caption(records: Records) -> dict[str, Any]:
    if records.without_checkpoint:
        return {
            "shows": "Nothing was read: all tasks come from the seeds. The same settings, seeds and version "
            "give the same records.",
            "surprise": "A preset, a seed or a version other than the one you meant to look at.",
        }
    return {
        "shows": "The identity is a SHA-256 over the checkpoint's files (name, size, time, header). The same "
        "checkpoint, settings and version give the same records.",
        "surprise": "An identity or a version other than the one you meant to look at.",
    }


def _settings(records: Records, analysis: str) -> list[tuple[str, Any]]:
    """Of an experiment with the values that its records were repeated over, and the preset they come from."""
    asked = asked_of(records, analysis)
    preset = [("preset", asked["preset"])] if "preset" in asked else []
    settings = dict(records.settings(analysis))
    if records.without_checkpoint and "tasks" in settings and settings["tasks"] is None:
        settings["tasks"] = _tasks_taken(records.without_lists(analysis))
    return [*preset, *settings.items(), *asked.get("cells", {}).items()]


def _tasks_taken(rows: Iterable[Mapping[str, Any]]) -> str:
    """Of a preset without a list, by dimension: numbers of tasks around D(D+1)."""
    taken: dict[int, set[int]] = {}
    for row in rows:
        taken.setdefault(row["dimension"], set()).add(row["tasks"])
    return "; ".join(
        f"{f'D = {dimension}: ' if len(taken) > 1 else ''}{_short(sorted(taken[dimension]))}"
        for dimension in sorted(taken)
    )


def _short(values: list[int]) -> str:
    if len(values) <= _MOST_LISTED:
        return _words(values)
    return f"{_words(values[:3])}, …, {_words(values[-3:])} ({len(values)} numbers)"


def _checkpoint(records: Records) -> tuple[str, list[tuple[str, Any]]]:
    """The run's own; where that is an early step of a training, with what tables are of."""
    known = [(key, records.checkpoint.get(key)) for key in ("name", "model_type", "path", "identity")]
    trainings = series(records.without_lists("heads"))
    if not trainings:
        return "Checkpoint", known
    told = [
        (name, steps_claim(name, [row["checkpoint"] for row in rows])) for name, rows in trainings.items()
    ]
    return "Trainings, and the first checkpoint given", [*told, *known]


def _words(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _code(records: Records) -> str:
    """What makes the same records again: in a shell and, the same calls, from Python."""
    if records.without_checkpoint:
        return icl_code(records)
    calls = _calls(records)
    # These build the page themselves.
    builds = calls[-1][0] in ("analyze", "compare")
    from_python = "\n".join(
        ["import lmscope\n", *starmap(_python, calls), *([] if builds else ["run.report()"])]
    )
    # Python's form shows what cannot be seen, the shell's does not.
    if not all(source.isprintable() for _, sources, _ in calls for source in sources):
        return from_python
    in_shell = "\n".join([*starmap(_shell, calls), *([] if builds else ["lmscope report RUN"])])
    return f"{in_shell}\n\n# or from Python\n{from_python}"


def _calls(records: Records) -> list[Call]:
    source = str(records.checkpoint.get("path") or records.checkpoint.get("name") or "CHECKPOINT")
    of_spectra = _given(records, "spectra", ("nulls", "draws", *_SHARED))
    of_pairs = _given(records, "similarity", ("vectors", "null_draws", *_SHARED))
    control = {"control": True} if has_control(records) else {}
    indices = {"indices": of_indices} if (of_indices := roles_with_indices(records)) else {}
    calls: list[Call] = []
    if of_pairs and of_spectra and all(of_pairs[name] == of_spectra[name] for name in _SHARED):
        if indices:
            calls.append(("similarity", [source], {**of_pairs, **indices}))
        calls.append(("analyze", [source], {**of_spectra, **of_pairs, **control}))
    else:
        if of_spectra or not records.analyses:
            calls.append(("spectra", [source], of_spectra))
        if of_pairs:
            calls.append(("similarity", [source], {**of_pairs, **control, **indices}))
    if "difference" in records.analyses:
        other = str(records.settings("difference")["other_path"])
        of_twins = _given(records, "twins", ("vectors", "null_draws", "false_positive_rate"))
        asked = {**_given(records, "difference", ("rounding", "draws", "seed")), **of_twins}
        calls.insert(0, ("compare", [source, other], asked))
    elif "twins" in records.analyses:
        other = str(records.settings("twins")["other_path"])
        known = ("vectors", "null_draws", *_SHARED)
        # Before `analyze`, which builds the page.
        calls.insert(0, ("similarity", [source, other], _given(records, "twins", known)))
    if _TOKENS & set(records.analyses):
        calls.insert(0, ("tokens", [source, *_other_checkpoints(records, "tokens")], _of_tokens(records)))
    if LOCATION_ANALYSES & set(records.analyses):
        calls.insert(
            0, ("localize", [source, *_other_checkpoints(records, "localize")], _of_localize(records))
        )
    if UNEMBEDDING_ANALYSES & set(records.analyses):
        # A folder of steps is one argument: its checkpoints by themselves would be no training.
        given = _asked(records, "unembedding").get("given") or [source]
        calls.insert(0, ("unembedding", [*given], _of_unembedding(records)))
    return calls


def _other_checkpoints(records: Records, verb: str) -> list[str]:
    own = records.checkpoint.get("identity")
    return [one["path"] for one in _asked(records, verb).get("checkpoints", []) if one["identity"] != own]


def _asked(records: Records, verb: str) -> Mapping[str, Any]:
    """What the verb was called with that no record depends on."""
    return (records.manifest.get("asked") or {}).get(verb) or {}


def _texts(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Texts that were given as such, not as files, stand as FILE."""
    paths = asked.get("text") or ["FILE"]
    return {
        "text": paths[0] if len(paths) == 1 else tuple(paths),
        **({"split": asked["split"]} if asked.get("text") else {}),
    }


def _together(records: Records, analyses: frozenset[str]) -> dict[str, Any]:
    """The settings of all tables of one verb: what two of them name is the same."""
    return {
        name: value
        for analysis in sorted(analyses)
        for name, value in records.settings(analysis).items()
        if value is not None and name != "checkpoints"
    }


def _of_localize(records: Records) -> dict[str, Any]:
    asked = _asked(records, "localize")
    known = _arguments(records, LOCATION_ANALYSES)
    found = {name: {**known, **asked}.get(name) for name in _LOCALIZE}
    found |= {name: tuple(found[name] or ()) for name in _REPEATED}
    found |= _whose_records(records, found)
    return {**_texts(asked), **{name: value for name, value in found.items() if value not in (None, [], ())}}


def _of_unembedding(records: Records) -> dict[str, Any]:
    """What it does unless told otherwise, such as removal, is not named."""
    asked = _asked(records, "unembedding")
    given = {**_arguments(records, UNEMBEDDING_ANALYSES), **asked}
    found = {name: given.get(name) for name in _UNEMBEDDING if given.get(name) not in (None, [], ())}
    found |= {name: tuple(found[name] or ()) for name in (*_FILES, "steer") if name in found}
    return {**_texts(asked), **{name: value for name, value in found.items() if value is not True}}


def _arguments(records: Records, analyses: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in _together(records, analyses).items() if name not in _DIGESTS}


def _whose_records(records: Records, found: Mapping[str, Any]) -> dict[str, Any]:
    """Roles and layers of all records: several calls may have named others, of which the last one is kept."""
    rows = records.without_lists("vectors")
    union: dict[str, Any] = {}
    if found["roles"] or (not found["include"] and any(row["layer"] is None for row in rows)):
        union["roles"] = sorted({*(found["roles"] or ()), *(row["role"] for row in rows)})
    if found["layers"]:
        union["layers"] = sorted(
            {*found["layers"], *(row["layer"] for row in rows if row["layer"] is not None)}
        )
    return union


def _of_tokens(records: Records) -> dict[str, Any]:
    asked = _asked(records, "tokens")
    of_entropy = ("window", "special", "epsilon2", "center", "normalize_rows", "untrained", "dtype")
    of_selection = ("window", "positions", "min_context", "ridge", "divergence", "dtype")
    ks = records.settings("selection").get("ks")
    return {
        **_texts(asked),
        **({"layers": asked["layers"]} if asked.get("layers") is not None else {}),
        **_given(records, "selection", of_selection),
        **_given(records, "entropy", of_entropy),
        **({"k": ks} if ks else {}),
        **_given(records, "entropy" if "entropy" in records.analyses else "selection", ("seed",)),
    }


def _given(records: Records, analysis: str, names: Iterable[str]) -> dict[str, Any]:
    asked = records.settings(analysis)
    return {name: asked[name] for name in names if asked.get(name) is not None}


def _python(verb: str, sources: list[str], settings: Mapping[str, Any]) -> str:
    named = [f"{key}={tuple(v) if isinstance(v, list) else v!r}" for key, v in settings.items()]
    arguments = [", ".join(map(repr, sources)), *named, "out='RUN'"]
    return f"run = lmscope.{verb}(\n    " + ",\n    ".join(arguments) + ",\n)"


def _shell(verb: str, sources: list[str], settings: Mapping[str, Any]) -> str:
    options = []
    for key, value in settings.items():
        name = key.replace("_", "-")
        if isinstance(value, tuple):
            options += [
                f"--{name} {shlex.quote(f'#{one}' if isinstance(one, int) else one)}" for one in value
            ]
            continue
        values = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        if isinstance(value, bool):
            options.append(f"--{'' if value else 'no-'}{name}")
        else:
            options.append(f"--{name} {shlex.quote(values)}")
    return " ".join(["lmscope", verb, *map(shlex.quote, sources), *options, "-o RUN"])
