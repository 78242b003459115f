"""The sections of the page, one module each.

A module gives ``ORDER`` (where it stands) and ``section(records) -> Section | None`` (None: nothing to
show). It is found by being here: page, navigation, static figures and ``Run.plot`` need no change. It asks
the records for the rows of its analysis; nothing is read before that.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lmscope.report.figures import Figure
from lmscope.report.records import Records


@dataclass(frozen=True)
class Section:
    """``shows`` and ``surprise`` are the caption: what is seen here, and what should make a reader stop.

    ``template`` is filled in with ``values`` when the page is built. A chart needs an element with the class
    ``figure`` and the section's key as its id.
    """

    key: str
    title: str
    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    shows: str = ""
    surprise: str = ""
    figure: Figure | None = None


def sections_of(records: Records) -> list[Section]:
    """Every section that has something to show, in the order that they ask for."""
    modules = [importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__)]
    ordered = sorted(modules, key=lambda module: module.ORDER)
    return [section for module in ordered if (section := module.section(records)) is not None]
