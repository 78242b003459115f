"""What this page was made from, and how to make it again."""

from __future__ import annotations

import json
import shlex
from typing import Any

from markupsafe import escape

from lmscope.report.records import Records
from lmscope.report.sections import Section
from lmscope.report.words import plain

ORDER = 90

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
    manifest, checkpoint = records.manifest, records.checkpoint
    machine = manifest.get("machine")
    blocks = [
        ("Checkpoint", [(key, checkpoint.get(key)) for key in ("name", "model_type", "path", "identity")]),
        *(
            (f"Settings of {plain(analysis)}", list(records.settings(analysis).items()))
            for analysis in records.analyses
        ),
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
        shows="The identity is a SHA-256 over the checkpoint's files (name, size, time, header). The same "
        "checkpoint, settings and version give the same records.",
        surprise="An identity or a version other than the one you meant to look at.",
    )


def _words(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _command(source: str, settings: dict[str, Any]) -> str:
    options = []
    for key, value in settings.items():
        values = ",".join(value) if isinstance(value, list) else str(value)
        options.append(f"--{key.replace('_', '-')} {shlex.quote(values)}")
    return " ".join(["lmscope spectra", shlex.quote(source), *options, "-o RUN"])


def _code(records: Records) -> str:
    source = str(records.checkpoint.get("path") or records.checkpoint.get("name") or "CHECKPOINT")
    known = ("nulls", "draws", "seed", "false_positive_rate")
    asked = records.settings("spectra")
    settings = {key: asked[key] for key in known if asked.get(key) is not None}
    arguments = "".join(
        f",\n    {key}={tuple(v) if isinstance(v, list) else v!r}" for key, v in settings.items()
    )
    call = f"run = lmscope.spectra(\n    {source!r}{arguments},\n    out='RUN',\n)"
    from_python = f"import lmscope\n\n{call}\nrun.report()"
    # Python's form shows what cannot be seen, the shell's does not.
    if not source.isprintable():
        return from_python
    return f"{_command(source, settings)}\nlmscope report RUN\n\n# or from Python\n{from_python}"
