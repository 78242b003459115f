"""From stored names and shapes to analysable parts: every tensor gets a row, none is left unnamed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lmscope.architectures.config_check import check_config
from lmscope.architectures.data_files import Architecture, load_architecture, registered
from lmscope.architectures.parts import GUESSED, PartFinder, refused
from lmscope.architectures.quantised import quantised
from lmscope.architectures.tensor_info import Part, StoredTensor
from lmscope.architectures.ties import with_config_ties, with_shared_bytes

_DIGITS = re.compile(r"0*([0-9]+)")
_TEXT_MODEL = re.compile(r"(?:^|(?<=\.))language_model\.")


@dataclass(frozen=True)
class Resolution:
    """All parts of a checkpoint, in natural order of their names, and what a user should be told."""

    parts: tuple[Part, ...]
    warnings: tuple[str, ...]


def resolve(
    config: Mapping[str, Any] | None,
    tensors: Mapping[str, StoredTensor],
    shared: Mapping[str, str] | None = None,
) -> Resolution:
    """Role, layer, expert, orientation, ties and status of every stored tensor, from headers alone.

    ``config`` is the content of config.json (None where there is none); ``shared`` maps stored names to other
    stored names that hold the very same bytes. Unknown model types and unknown names get roles by name and
    shape, marked in ``reason`` and in ``warnings``. ConfigMismatch where sizes show another model's config.
    """
    config = config or {}
    model = _find_model(config, tensors)
    not_weights = quantised(config, tensors)
    names = sorted(tensors, key=natural_key)
    if model.architecture:
        weights = {name: tensors[name] for name in names if name not in not_weights}
        check_config(model.config, model.architecture, weights)
    finder = PartFinder(model.architecture, model.config, tensors)
    parts = [
        _without_weights(part, not_weights[name]) if name in not_weights else part
        for name in names
        for part in _rows(name, tensors, finder)
    ]
    guessed = list(dict.fromkeys(part.info.stored_name for part in parts if GUESSED in part.info.reason))
    parts = with_shared_bytes(_without_gated_queries(parts), shared or {})
    if model.architecture:
        parts = with_config_ties(parts, model.architecture, model.config)
    order = {name: place for place, name in enumerate(names)}
    parts.sort(key=lambda part: order[part.info.stored_name])
    return Resolution(tuple(parts), tuple(_warnings(model, guessed, tensors)))


def natural_key(name: str) -> str:
    """Sorts layer 10 behind layer 9: each number's length stands before it, and numbers before letters."""
    return _DIGITS.sub(lambda digits: f"\0{chr(min(len(digits[1]), sys.maxunicode))}{digits[1]}", name)


@dataclass(frozen=True)
class _Model:
    """The architecture that names are looked up in (None: guess), and the config that belongs to it.

    ``unmatched`` is the architecture of the config where not one matrix of the checkpoint belongs to it.
    """

    architecture: Architecture | None
    config: Mapping[str, Any]
    unmatched: Architecture | None = None


def _find_model(config: Mapping[str, Any], tensors: Mapping[str, StoredTensor]) -> _Model:
    """The registered model type of the config, or of the text model inside an unknown one."""

    def matches(architecture: Architecture) -> bool:
        return any(len(tensor.shape) >= 2 and architecture.match(name) for name, tensor in tensors.items())

    if config.get("model_type") in registered():
        architecture = load_architecture(config["model_type"])
        return _Model(architecture, config) if matches(architecture) else _Model(None, config, architecture)
    text = config.get("text_config")
    if not isinstance(text, Mapping):
        return _Model(None, config)
    whole = {**text, **config}
    if text.get("model_type") in registered():
        architecture = replace(load_architecture(text["model_type"]), inner=_TEXT_MODEL)
        if matches(architecture):
            ties = {key: config[key] for key in ("tie_word_embeddings", "architectures") if key in config}
            return _Model(architecture, {**text, **ties})
    return _Model(None, whole)


def _rows(name: str, tensors: Mapping[str, StoredTensor], finder: PartFinder) -> list[Part]:
    """A stored tensor's parts, or the tensor refused whole where another one has the name of a part."""
    found = list(finder.rows(name, tensors[name]))
    names = (part.info.name for part in found)
    taken = next((row for row in names if row != name and row in tensors), None)
    if taken is None:
        return found
    info = found[0].info
    reason = f"another tensor has the name of its part {taken}"
    return [refused(name, tensors[name], info.layer, None, reason)]


def _without_gated_queries(parts: list[Part]) -> list[Part]:
    """A guessed query with twice the outputs that its attention returns is a query and a gate in one."""
    matrices = (part.info for part in parts if len(part.info.shape) == 2)
    inputs = {info.name: info.shape[1] for info in matrices if info.role == "attention_output"}

    def checked(part: Part) -> Part:
        info = part.info
        if info.role != "query" or GUESSED not in info.reason:
            return part
        if 2 * inputs.get(info.name.replace("q_proj", "o_proj"), 0) != info.shape[0]:
            return part
        reason = f"{info.reason}; twice as many outputs as a query has"
        return replace(part, info=replace(info, role="other", reason=reason))

    return [checked(part) for part in parts]


def _warnings(model: _Model, guessed: list[str], tensors: Mapping[str, StoredTensor]) -> Iterator[str]:
    if not guessed:
        return
    all_guessed = "all roles are guessed from names and shapes"
    if model.unmatched:
        expected = " or ".join(model.unmatched.example_names())
        yield (
            f"config.json says model type {model.unmatched.model_type!r}, but no matrix has a name of it "
            f"(the first tensor is {guessed[0]}, expected {expected}): {all_guessed}"
        )
    elif model.architecture is None:
        named = model.config.get("model_type")
        known = f"model type {named!r} is not known" if named else "the checkpoint names no model type"
        yield f"{known}: {all_guessed}"
    else:
        some = ", ".join(guessed[:3]) + (", ..." if len(guessed) > 3 else "")
        yield (
            f"{len(guessed)} of {len(tensors)} tensors are unknown to {model.architecture.model_type}, "
            f"their roles guessed: {some}"
        )


def _without_weights(part: Part, reason: str) -> Part:
    """The part with this reason, unless it is skipped anyway."""
    info = part.info
    if info.status == "skipped":
        return part
    remark = GUESSED if GUESSED in info.reason else ""
    reason = "; ".join(filter(None, (reason, remark)))
    return replace(part, info=replace(info, status="refused", reason=reason))
