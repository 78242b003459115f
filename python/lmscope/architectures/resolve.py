"""From stored names and shapes to analysable parts: every tensor gets a row, none is left unnamed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from lmscope.architectures.cut import Cut
from lmscope.architectures.data_files import Architecture, TensorRule, load_architecture, registered
from lmscope.architectures.guess import guess_expert, guess_layer, guess_role
from lmscope.architectures.roles import Role
from lmscope.architectures.tensor_info import StoredTensor, TensorInfo

_FLOATS = frozenset({"float64", "float32", "float16", "bfloat16"})
_INTEGERS = re.compile(r"u?int\d+|bool")
_HAS_HEAD = re.compile(r"For(CausalLM|MaskedLM|PreTraining|ConditionalGeneration)$|LMHeadModel$")
GUESSED = "role guessed from the name"


@dataclass(frozen=True)
class Part:
    """A row and how to cut it out of its stored tensor."""

    info: TensorInfo
    cut: Cut


@dataclass(frozen=True)
class Resolution:
    """All parts of a checkpoint, in natural order of their names, and what a user should be told."""

    parts: tuple[Part, ...]
    warnings: tuple[str, ...]


def resolve(
    config: Mapping[str, Any] | None,
    tensors: Mapping[str, StoredTensor],
    shared: Mapping[str, str] = MappingProxyType({}),
) -> Resolution:
    """Role, layer, expert, orientation, ties and status of every stored tensor, from headers alone.

    ``config`` is the content of config.json (None where there is none); ``shared`` maps a name to another
    that holds the very same bytes. Unknown model types and unknown names get roles by name and shape, marked
    in ``reason`` and in ``warnings``.
    """
    config = config or {}
    model_type = config.get("model_type")
    architecture = load_architecture(model_type) if model_type in registered() else None
    parts = [
        part
        for name in sorted(tensors, key=natural_key)
        for part in parts_of(name, tensors[name], architecture, config)
    ]
    guessed = sorted(
        {part.info.stored_name for part in parts if GUESSED in part.info.reason}, key=natural_key
    )
    if architecture:
        parts = _with_tied_head(parts, architecture, config)
    parts = [_shared_alias(part, parts, shared) for part in parts]
    return Resolution(tuple(parts), tuple(_warnings(model_type, architecture, guessed, len(tensors))))


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts layer 10 behind layer 9."""
    pieces = re.split(r"0*([0-9]+)", name)
    return [(len(piece) if index % 2 else 0, piece) for index, piece in enumerate(pieces)]


def parts_of(
    name: str, stored: StoredTensor, architecture: Architecture | None, config: Mapping[str, Any]
) -> Iterator[Part]:
    """The rows of one stored tensor: one, or several where it is fused; no ties yet."""
    matched = architecture.match(name) if architecture else None
    if matched is None:
        role = guess_role(name, stored.shape)
        yield _whole(name, stored, role, guess_layer(name), guess_expert(name), GUESSED)
        return
    rule, numbers = matched
    found = numbers.groupdict()
    layer = int(found["layer"]) if "layer" in found else None
    expert = int(found["expert"]) if "expert" in found else None
    cuts = _cuts(rule, config)
    if cuts is None or not all(cut.fits(stored.shape) for cut in cuts):
        expected = f"{len(rule.roles)} fused parts"
        if rule.groups:
            expected += f" in {rule.groups} = {config.get(rule.groups)} groups"
        problem = f"shape {list(stored.shape)} does not hold {expected}"
        part = _whole(name, stored, "other", layer, expert, "")
        yield replace(part, info=replace(part.info, status="refused", reason=problem))
        return
    if len(cuts) == 1:
        yield _part(name, name, stored, rule.roles[0], layer, expert, cuts[0], "")
        return
    for role, cut in zip(rule.roles, cuts, strict=True):
        yield _part(f"{name}#{role}", name, stored, role, layer, expert, cut, "")


def _cuts(rule: TensorRule, config: Mapping[str, Any]) -> list[Cut] | None:
    groups = config.get(rule.groups) if rule.groups else 1
    if not isinstance(groups, int) or groups < 1:
        return None
    return [Cut(rule.transposed, index, len(rule.roles), groups) for index in range(len(rule.roles))]


def _whole(
    name: str, stored: StoredTensor, role: Role, layer: int | None, expert: int | None, reason: str
) -> Part:
    return _part(name, name, stored, role, layer, expert, Cut(), reason)


def _part(
    name: str,
    stored_name: str,
    stored: StoredTensor,
    role: Role,
    layer: int | None,
    expert: int | None,
    cut: Cut,
    remark: str,
) -> Part:
    shape = cut.shape(stored.shape)
    status, reason = _status(role, stored.dtype, shape)
    info = TensorInfo(
        name=name,
        role=role,
        layer=layer,
        expert=expert,
        shape=shape,
        dtype=stored.dtype,
        nbytes=stored.nbytes // cut.count,
        tied_to=None,
        stored_name=stored_name,
        stored_shape=stored.shape,
        status=status,
        reason="; ".join(filter(None, (reason, remark))),
    )
    return Part(info, cut)


def _status(
    role: Role, dtype: str, shape: tuple[int, ...]
) -> tuple[Literal["planned", "skipped", "refused"], str]:
    if role == "buffer":
        return "skipped", "buffer: not a weight"
    if math.prod(shape) == 0:
        return "skipped", "no elements"
    if len(shape) < 2:
        return "skipped", "vector: has no spectrum" if shape else "scalar: has no spectrum"
    if _INTEGERS.fullmatch(dtype):
        return "refused", f"{dtype} matrix: integers of unknown meaning, perhaps quantised weights"
    if dtype not in _FLOATS:
        return "refused", f"{dtype} is not a plain floating-point dtype"
    if len(shape) > 2:
        return "refused", f"{len(shape)} dimensions: which of them are outputs and inputs is not known"
    return "planned", ""


def _with_tied_head(parts: list[Part], architecture: Architecture, config: Mapping[str, Any]) -> list[Part]:
    """Marks a stored head as alias, or adds the row of one that is left out of the file."""
    tied = architecture.tied
    if tied is None or not config.get("tie_word_embeddings", tied.default):
        return parts
    by_name = {architecture.bare(part.info.name): part for part in parts}
    source, alias = by_name.get(tied.source), by_name.get(tied.alias)
    if source and alias:
        if source.info.stored_shape != alias.info.stored_shape or source.info.dtype != alias.info.dtype:
            return parts
        return [_alias_of(source, part) if part is alias else part for part in parts]
    named = config.get("architectures")
    classes = named if isinstance(named, list) else []
    if source is None or not any(_HAS_HEAD.search(str(name)) for name in classes):
        return parts
    matched = architecture.match(tied.alias)
    role = matched[0].roles[0] if matched else "other"
    missing = replace(source, info=replace(source.info, name=tied.alias, role=role, layer=None, expert=None))
    return sorted([*parts, _alias_of(source, missing)], key=lambda part: natural_key(part.info.stored_name))


def _shared_alias(part: Part, parts: list[Part], shared: Mapping[str, str]) -> Part:
    """An unfused part whose bytes are another's is its alias, unless a tie says so already."""
    first = shared.get(part.info.name)
    source = next((row for row in parts if row.info.name == first), None) if first else None
    if source is None or part.info.tied_to is not None or source.info.tied_to is not None:
        return part
    return _alias_of(source, part)


def _alias_of(source: Part, alias: Part) -> Part:
    info = replace(
        alias.info,
        nbytes=0,
        tied_to=source.info.name,
        status="skipped",
        reason=f"tied to {source.info.name}: analysed there",
    )
    return replace(alias, info=info)


def _warnings(
    model_type: object, architecture: Architecture | None, guessed: list[str], total: int
) -> Iterator[str]:
    if not guessed:
        return
    if architecture is None:
        known = (
            f"model type {model_type!r} is not known" if model_type else "the checkpoint names no model type"
        )
        yield f"{known}: all roles are guessed from names and shapes"
    else:
        some = ", ".join(guessed[:3]) + (", ..." if len(guessed) > 3 else "")
        yield f"{len(guessed)} of {total} tensors are unknown to {model_type}, their roles guessed: {some}"
