"""The sections of the page, one module each.

A module gives ``ORDER`` (where it stands) and ``section(records) -> Section | None`` (None: nothing to
show). It is found by being here: page, navigation, static figures and ``Run.plot`` need no change. It asks
the records for the rows of its analysis; nothing is read before that. A section with a figure has its
module's name as its key, so that one figure can be had without the others.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
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
    ordered = sorted(map(_module, _names()), key=lambda module: module.ORDER)
    return [section for module in ordered if (section := _made(module, records)) is not None]


def section_of(records: Records, key: str) -> Section | None:
    """The section of the module of this name; None where there is no such module or nothing to show."""
    return _made(_module(key), records) if key in _names() else None


def _names() -> list[str]:
    return [info.name for info in pkgutil.iter_modules(__path__)]


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")


def _made(module: ModuleType, records: Records) -> Section | None:
    section: Section | None = module.section(records)
    if section is not None and section.figure is not None and not module.__name__.endswith(f".{section.key}"):
        raise ValueError(
            f"{module.__name__}: its figure's section must have the module's name, not {section.key!r}"
        )
    return section
