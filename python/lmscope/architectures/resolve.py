"""From stored names and shapes to analysable parts: every tensor gets a row, none is left unnamed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from lmscope.architectures.config_sizes import ConfigSizes
from lmscope.architectures.cut import MOST_EXPERTS, Cut, cut_apart
from lmscope.architectures.data_files import Architecture, TensorRule, load_architecture, registered
from lmscope.architectures.guess import (
    FUSED_GATE_UP,
    guess_expert,
    guess_layer,
    guess_role,
    holds_experts,
)
from lmscope.architectures.quantised import quantised
from lmscope.architectures.roles import Role
from lmscope.architectures.tensor_info import FLOATS, Part, StoredTensor, TensorInfo
from lmscope.architectures.ties import with_config_ties, with_shared_bytes

_INTEGERS = re.compile(r"u?int\d+|bool")
_TEXT_MODEL = re.compile(r"(?:^|(?<=\.))language_model\.")
GUESSED = "role guessed from the name"


class ConfigMismatch(Exception):
    """The config is not this checkpoint's: ``tensor`` has the size ``found`` where it says ``expected``."""

    def __init__(self, tensor: str, expected: str, found: str) -> None:
        self.tensor = tensor
        self.expected = expected
        self.found = found
        super().__init__(f"tensor {tensor}: expected {expected}, found {found}")


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
    parts = [
        _without_weights(part, not_weights[name]) if name in not_weights else part
        for name in sorted(tensors, key=natural_key)
        for part in _rows(name, tensors, model)
    ]
    guessed = list(dict.fromkeys(part.info.stored_name for part in parts if GUESSED in part.info.reason))
    parts = with_shared_bytes(_without_gated_queries(parts), shared or {})
    if model.architecture:
        _check_pinned(parts, model.architecture, model.config)
        parts = with_config_ties(parts, model.architecture, model.config)
    parts.sort(key=lambda part: natural_key(part.info.stored_name))
    return Resolution(tuple(parts), tuple(_warnings(model, guessed, tensors)))


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts layer 10 behind layer 9."""
    pieces = re.split(r"0*([0-9]+)", name)
    return [(len(piece) if index % 2 else 0, piece) for index, piece in enumerate(pieces)]


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


def _check_pinned(parts: list[Part], architecture: Architecture, config: Mapping[str, Any]) -> None:
    """ConfigMismatch where the first pinned tensor that is stored has other inputs than the config says."""
    other_names = {name: value for name, value in architecture.defaults.items() if isinstance(value, str)}
    sizes = ConfigSizes(config, other_names)  # what the config itself says, no numbers of ours
    for pattern, entry in architecture.pinned:
        stored = (part.info for part in parts if pattern.fullmatch(architecture.bare(part.info.stored_name)))
        read = (info for info in stored if info.dtype in FLOATS and info.shape and info.status != "refused")
        info = next(read, None)
        if info is None:
            continue
        expected = sizes.value(entry)
        if expected is not None and info.shape[-1] != expected:
            found = f"{list(info.stored_shape)}, that is {info.shape[-1]}"
            raise ConfigMismatch(info.stored_name, f"{entry} = {expected}", found)
        return


def parts_of(
    name: str, stored: StoredTensor, architecture: Architecture | None, config: Mapping[str, Any]
) -> Iterator[Part]:
    """The rows of one stored tensor: one, or several where it is fused; no ties yet."""
    matched = architecture.match(name) if architecture else None
    if architecture is None or matched is None:
        yield from _guessed_parts(name, stored, config)
        return
    rule, numbers = matched
    found = numbers.groupdict()
    layer = int(found["layer"]) if "layer" in found else None
    expert = int(found["expert"]) if "expert" in found else None
    sizes = ConfigSizes(config, architecture.defaults)
    if math.prod(stored.shape) == 0 and stored.shape:
        yield _part(name, name, stored, rule.parts[0][1], layer, expert, Cut(), "")
        return
    cuts = _cuts(rule, stored.shape, sizes)
    if cuts is None:
        yield _refused(name, stored, layer, expert, _misfit(rule, stored, sizes))
        return
    square = rule.packed is not None and stored.shape[1] == stored.shape[2]
    remark = "packed matrices are square: taken as the model type stores them" if square else ""
    for index, cut in enumerate(cuts):
        label, role = rule.parts[index % len(rule.parts)]
        pieces = [f"expert{cut.expert}"] if cut.expert is not None else []
        pieces += [label] if len(rule.parts) > 1 else []
        row = "#".join([name, ".".join(pieces)]) if pieces else name
        yield _part(row, name, stored, role, layer, expert if cut.expert is None else cut.expert, cut, remark)


def _rows(name: str, tensors: Mapping[str, StoredTensor], model: _Model) -> list[Part]:
    """A stored tensor's parts, or the tensor refused whole where another one has the name of a part."""
    found = list(parts_of(name, tensors[name], model.architecture, model.config))
    names = (part.info.name for part in found)
    taken = next((row for row in names if row != name and row in tensors), None)
    if taken is None:
        return found
    info = found[0].info
    reason = f"another tensor has the name of its part {taken}"
    return [_refused(name, tensors[name], info.layer, None, reason)]


def _refused(name: str, stored: StoredTensor, layer: int | None, expert: int | None, reason: str) -> Part:
    part = _part(name, name, stored, "other", layer, expert, Cut(), "")
    return replace(part, info=replace(part.info, status="refused", reason=reason))


def _cuts(rule: TensorRule, shape: tuple[int, ...], sizes: ConfigSizes) -> list[Cut] | None:
    if rule.is_plain:
        return [Cut()]
    groups = sizes.value(rule.groups)
    blocks = [sizes.value(size) for size in rule.sizes or ()]
    if groups is None or None in blocks:
        return None
    transposed = rule.transposed
    if rule.packed:
        if len(shape) != 3:
            return None
        side, expression = rule.packed
        _, rows, columns = shape
        as_stored, turned = (columns, rows) if side == "inputs" else (rows, columns)
        fits = [size == sizes.value(expression) for size in (as_stored, turned)]
        if not any(fits):
            return None
        if not all(fits):
            transposed = fits[1]
    return cut_apart(
        shape,
        len(rule.parts),
        sizes=[block for block in blocks if block is not None] or None,
        groups=groups,
        transposed=transposed,
        packed=rule.packed is not None,
    )


def _misfit(rule: TensorRule, stored: StoredTensor, sizes: ConfigSizes) -> str:
    labels = ", ".join(label for label, _ in rule.parts)
    used = [*(rule.sizes or ()), rule.groups, *(rule.packed or ())[1:]]
    known = sizes.describe(used)
    each = " for each expert" if rule.packed else ""
    return f"shape {list(stored.shape)} does not hold {labels}{each}" + (f" with {known}" if known else "")


def _guessed_parts(name: str, stored: StoredTensor, config: Mapping[str, Any]) -> Iterator[Part]:
    role, layer, expert = guess_role(name, stored.shape), guess_layer(name), guess_expert(name)
    remarks = [GUESSED]
    packed = len(stored.shape) == 3 and holds_experts(name) and 0 < stored.shape[0] <= MOST_EXPERTS
    if packed:
        remarks.append("one of packed experts")
        if FUSED_GATE_UP.search(name):
            remarks.append("gate and up stay together, as their order is not known")
    cuts: list[Cut] | None = [Cut()]
    if packed or (len(stored.shape) == 2 and role in ("gate", "up", "down")):
        transposed = _is_turned(role, stored.shape[-2:], config, packed=packed)
        if transposed:
            remarks.append("stored in x out")
        elif transposed is None and packed:
            remarks.append("which dimension is the output is not known")
        if packed or transposed:
            cuts = cut_apart(stored.shape, 1, transposed=bool(transposed), packed=packed)
    for cut in cuts or ():
        row, number = (name, expert) if cut.expert is None else (f"{name}#expert{cut.expert}", cut.expert)
        yield _part(row, name, stored, role, layer, number, cut, "; ".join(remarks))


def _is_turned(role: Role, shape: tuple[int, ...], config: Mapping[str, Any], *, packed: bool) -> bool | None:
    """Whether an MLP's matrix is stored in x out, by the config's sizes; None where they cannot tell.

    A matrix that may belong to another part of the model, such as a vision tower, must have both sizes.
    """
    sizes = ConfigSizes(config, {"n_inner": "n_embd * 4", "ffn_dim": "d_ff"})
    hidden = next(filter(None, map(sizes.value, ("hidden_size", "n_embd", "d_model"))), None)
    inner = next(filter(None, map(sizes.value, ("intermediate_size", "n_inner", "ffn_dim"))), None)
    rows, columns = shape
    if rows == columns or hidden not in (rows, columns) or not (packed or inner in (rows, columns)):
        return None
    return (rows if role == "down" else columns) != hidden


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
    own, total = math.prod(shape), math.prod(stored.shape)
    info = TensorInfo(
        name=name,
        role=role,
        layer=layer,
        expert=expert,
        shape=shape,
        dtype=stored.dtype,
        nbytes=stored.nbytes * own // total if total else 0,
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
    if role == "bias":
        return "skipped", "one bias vector for each expert: has no spectrum"
    if _INTEGERS.fullmatch(dtype):
        return "refused", f"{dtype} matrix: integers of unknown meaning, perhaps quantised weights"
    if dtype not in FLOATS:
        return "refused", f"{dtype} is not a plain floating-point dtype"
    if len(shape) > 2:
        return "refused", f"{len(shape)} dimensions: which of them are outputs and inputs is not known"
    return "planned", ""


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
