"""Sphinx settings: `make docs` builds the pages without the network and with warnings as errors."""

from __future__ import annotations

import os
import sys
import warnings
from importlib.metadata import version as _version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from generated_pages import write_pages

# Told to Python too, so that a clean run of the notebook leaves nothing but its own outputs.
os.environ["HF_HUB_OFFLINE"] = "1"
# Figures of the notebook bring plotly.js with them, so that they show offline.
os.environ["PLOTLY_RENDERER"] = "notebook"

project = "lmscope"
author = "The lmscope developers"
version = release = _version("lmscope")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_generated", "images"]
html_theme = "furo"
html_title = f"lmscope {version}"
html_show_copyright = False

# Single backquotes in docstrings mark code.
default_role = "code"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": False}
python_display_short_literal_types = True
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
    ("py:.*", r"(Any|ArrayLike|Iterable|Iterator|Literal|Mapping|NDArray|Path|Role|Self)"),
    ("py:.*", r"(collections|np|npt|numpy|os|pa|pandas|pathlib|plotly|pyarrow|typing)\..*"),
]
copybutton_exclude = ".linenos, .gp, .go"

warnings.filterwarnings("error", module="lmscope")


def setup(app: Any) -> None:
    """Write the pages that the program itself gives."""
    write_pages(Path(__file__).parent / "_generated")
