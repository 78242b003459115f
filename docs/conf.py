"""Sphinx settings: `make docs` builds the pages without the network and with warnings as errors."""

from __future__ import annotations

import os
import re
import shutil
import sys
import warnings
from importlib.metadata import version as _version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from docutils import nodes
from generated_pages import write_pages
from page_widths import can_be_checked, too_wide
from sphinx.errors import ExtensionError

os.environ["HF_HUB_OFFLINE"] = "1"
# Figures of the notebook bring plotly.js with them, so that they show offline.
os.environ["PLOTLY_RENDERER"] = "notebook"

project = "lmscope"
author = "The lmscope developers"
version = release = _version("lmscope")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_generated", "images", "runs"]
# What the notebook writes; its link to the page leads there.
_NOTEBOOK_RUNS = Path(__file__).parent / "runs"
html_theme = "furo"
html_title = f"lmscope {version}"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["pages.css"]

# Single backquotes in docstrings mark code.
default_role = "code"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
python_display_short_literal_types = True
maximum_signature_line_length = 100
napoleon_use_rtype = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

# Types of other projects: their inventories would have to be fetched.
nitpick_ignore_regex = [
    ("py:.*", r"(Allocation|Any|ArrayLike|Attention|Control|Extended|Floats|InTime|Iterable|Iterator)"),
    ("py:.*", r"(Literal|Mapping|Model|NDArray|Normalization|Path|Role|Self)"),
    ("py:class", r"'\w+'"),
    ("py:.*", r"(collections|np|npt|numpy|os|pa|pandas|pathlib|plotly|pyarrow|torch|typing)\..*"),
]
copybutton_exclude = ".linenos, .gp, .go"

warnings.filterwarnings("error", module="lmscope")

_MATHJAX = re.compile(r'<script src="https://[^"]*mathjax[^"]*"></script>')


def _without_mathjax(app: Any, document: nodes.document) -> None:
    """Plotly's notebook figures fetch MathJax, which none of ours needs, from the network."""
    for raw in document.findall(nodes.raw):
        text = _MATHJAX.sub("", raw.astext())
        raw.rawsource, raw[:] = text, [nodes.Text(text)]


def _with_report(app: Any, error: Exception | None) -> None:
    page = Path("runs", "quickstart", "report.html")
    if error is None and app.config.nb_execution_mode != "off":
        target = Path(app.outdir) / page
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_NOTEBOOK_RUNS.parent / page, target)
        if re.search(r'src="https?:', (Path(app.outdir) / "quickstart.html").read_text(encoding="utf-8")):
            raise ExtensionError("quickstart.html fetches something from the network")


def _with_widths(app: Any, error: Exception | None) -> None:
    if error is not None or app.builder.name != "html":
        return
    if not can_be_checked():
        print("docs: no chromium, so whether pages fit their window is not checked", file=sys.stderr)
    elif lines := list(too_wide(Path(app.outdir))):
        raise ExtensionError("\n".join(["wider than the window:", *lines]))


def setup(app: Any) -> None:
    """Write the pages that the program itself gives."""
    write_pages(Path(__file__).parent / "_generated")
    shutil.rmtree(_NOTEBOOK_RUNS, ignore_errors=True)
    app.connect("doctree-read", _without_mathjax)
    app.connect("build-finished", _with_report)
    app.connect("build-finished", _with_widths)
