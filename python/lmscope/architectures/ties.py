"""Rows whose values another row holds: tied by the config, or the same bytes in the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any

from lmscope.architectures.data_files import Architecture
from lmscope.architectures.tensor_info import Part

_HAS_HEAD = re.compile(
    r"For(CausalLM|MaskedLM|PreTraining|ConditionalGeneration)$|(LMHead|DoubleHeads)Model$"
)


def with_config_ties(parts: list[Part], architecture: Architecture, config: Mapping[str, Any]) -> list[Part]:
    """Marks stored aliases, and adds the row of a head that is left out of the file.

    An alias with values of its own keeps the row that it has without the tie in ``untied``.
    """
    says = config.get("tie_word_embeddings")
    if not (says if isinstance(says, bool) else architecture.tied_by_default):
        return parts
    by_name = {architecture.bare(part.info.name): part for part in parts}
    aliases: dict[str, Part] = {}
    missing: list[Part] = []
    named = config.get("architectures")
    has_head = any(_HAS_HEAD.search(str(name)) for name in (named if isinstance(named, list) else []))
    for source_name in dict.fromkeys(architecture.tied.values()):
        source = by_name.get(source_name)
        if source is None or source.info.tied_to is not None:
            continue
        names = [alias for alias, tied_to in architecture.tied.items() if tied_to == source_name]
        stored = [by_name[name] for name in names if name in by_name]
        for part in stored:
            refused = "refused" in (part.info.status, source.info.status)
            if part.info.tied_to is None and not refused and _layout(part) == _layout(source):
                aliases[part.info.name] = replace(_alias_of(source, part), untied=part.info)
        if has_head and not stored and len(source.info.shape) == 2:
            missing.append(_missing_alias(source, names[0], architecture))
    return [aliases.get(part.info.name, part) for part in parts] + missing


def with_shared_bytes(parts: list[Part], shared: Mapping[str, str]) -> list[Part]:
    """Of tensors that are the very same bytes one keeps its rows: the token embedding, else the target."""
    if not shared:
        return parts
    rows = {name: list(group) for name, group in groupby(parts, lambda part: part.info.stored_name)}
    same: dict[str, list[str]] = {}
    for name in shared:
        target = name
        while target in shared:
            target = shared[target]
        same.setdefault(target, [target]).append(name)
    aliases: dict[str, Part] = {}
    for names in same.values():
        embeddings = (name for name in names if rows[name][0].info.role == "token_embedding")
        source = next(embeddings, names[0])
        for name in names:
            if name != source and [part.cut for part in rows[name]] == [part.cut for part in rows[source]]:
                for part, original in zip(rows[name], rows[source], strict=True):
                    aliases[part.info.name] = _alias_of(original, part)
    return [aliases.get(part.info.name, part) for part in parts]


def _layout(part: Part) -> tuple[Any, ...]:
    return part.info.stored_shape, part.info.dtype, part.cut


def _alias_of(source: Part, alias: Part) -> Part:
    info = replace(
        alias.info,
        nbytes=0,
        tied_to=source.info.name,
        status="skipped",
        reason=f"tied to {source.info.name}: analysed there",
    )
    return replace(alias, info=info)


def _missing_alias(source: Part, name: str, architecture: Architecture) -> Part:
    matched = architecture.match(name)
    role = matched[0].parts[0][1] if matched else "other"
    row = replace(source, info=replace(source.info, name=name, role=role, layer=None, expert=None))
    return _alias_of(source, row)
