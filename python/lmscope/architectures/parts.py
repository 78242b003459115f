"""From one stored tensor to its rows: the whole, or the parts of a fused one."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from lmscope.architectures.config_sizes import ConfigSizes
from lmscope.architectures.cut import MOST_EXPERTS, WHOLE, Cut, cut_apart
from lmscope.architectures.data_files import Architecture, TensorRule
from lmscope.architectures.guess import (
    FUSED_GATE_UP,
    guess_expert,
    guess_layer,
    guess_role,
    holds_experts,
)
from lmscope.architectures.roles import Role
from lmscope.architectures.tensor_info import FLOATS, Part, StoredTensor, TensorInfo

_INTEGERS = re.compile(r"u?int\d+|bool")
GUESSED = "role guessed from the name"


class PartFinder:
    """Cuts the stored tensors of one checkpoint into rows, no ties yet; by guesses where there is no rule."""

    def __init__(
        self,
        architecture: Architecture | None,
        config: Mapping[str, Any],
        tensors: Mapping[str, StoredTensor],
    ) -> None:
        self._architecture = architecture
        self._sizes = ConfigSizes(config, architecture.defaults if architecture else {})
        guessed = ConfigSizes(config, {"n_inner": "n_embd * 4", "ffn_dim": "d_ff"})
        self._hidden = guessed.first("hidden_size", "n_embd", "d_model")
        self._inner = guessed.first("intermediate_size", "n_inner", "ffn_dim")
        self._packed: defaultdict[str, dict[str, StoredTensor]] = defaultdict(dict)
        for name, stored in tensors.items():
            if len(stored.shape) == 3:
                self._packed[_module(name)][name] = stored
        self._turned_beside: dict[str, bool | None] = {}

    def rows(self, name: str, stored: StoredTensor) -> Iterator[Part]:
        """The rows of one stored tensor: one, or several where it is fused."""
        matched = self._architecture.match(name) if self._architecture else None
        if matched is None:
            yield from self._guessed(name, stored)
            return
        rule, numbers = matched
        found = numbers.groupdict()
        layer = int(found["layer"]) if "layer" in found else None
        expert = int(found["expert"]) if "expert" in found else None
        if math.prod(stored.shape) == 0 and stored.shape:
            yield _part(name, name, stored, rule.parts[0][1], layer, expert, WHOLE, "")
            return
        turned, remark = self._way(name, stored, rule)
        cuts = None if turned is None else self._cuts(rule, stored, turned)
        if cuts is None:
            yield refused(name, stored, layer, expert, self._misfit(rule, stored))
            return
        for index, cut in enumerate(cuts):
            label, role = rule.parts[index % len(rule.parts)]
            pieces = [f"expert{cut.expert}"] if cut.expert is not None else []
            pieces += [label] if len(rule.parts) > 1 else []
            row = "#".join([name, ".".join(pieces)]) if pieces else name
            number = expert if cut.expert is None else cut.expert
            yield _part(row, name, stored, role, layer, number, cut, remark)

    def _way(self, name: str, stored: StoredTensor, rule: TensorRule) -> tuple[bool | None, str]:
        """Whether matrices are stored in x out, None where neither way fits the config; and a remark."""
        if not rule.packed:
            return rule.transposed, ""
        fits = self._packed_fits(stored.shape, rule)
        if fits != (True, True):
            return (fits[1] if any(fits) else None), ""
        beside = self._beside(name)
        remark = "packed matrices are square: taken as the model type stores them" if beside is None else ""
        return (rule.transposed if beside is None else beside), remark

    def _packed_fits(self, shape: tuple[int, ...], rule: TensorRule) -> tuple[bool, bool]:
        """Whether packed matrices have the config's size as out x in, and as in x out."""
        if len(shape) != 3 or not rule.packed:
            return False, False
        side, expression = rule.packed
        size = self._sizes.value(expression)
        _, rows, columns = shape
        straight, turned = (columns, rows) if side == "inputs" else (rows, columns)
        return straight == size, turned == size

    def _beside(self, name: str) -> bool | None:
        """Whether the packed matrices of its module that are not square are in x out; None: not known."""
        module = _module(name)
        if module not in self._turned_beside:
            ways = {self._by_sizes(*item) for item in self._packed[module].items()} - {None}
            self._turned_beside[module] = ways.pop() if len(ways) == 1 else None
        return self._turned_beside[module]

    def _by_sizes(self, name: str, stored: StoredTensor) -> bool | None:
        """Whether packed matrices are stored in x out, None where the config's sizes do not tell."""
        matched = self._architecture.match(name) if self._architecture else None
        if matched is None:
            role = guess_role(name, stored.shape)
            return self._is_turned(role, stored.shape[1:], packed=True) if holds_experts(name) else None
        fits = self._packed_fits(stored.shape, matched[0])
        return None if fits[0] == fits[1] else fits[1]

    def _cuts(self, rule: TensorRule, stored: StoredTensor, turned: bool) -> list[Cut] | None:
        if rule.is_plain:
            return [WHOLE]
        groups = self._sizes.value(rule.groups)
        blocks = [self._sizes.value(size) for size in rule.sizes or ()]
        if groups is None or None in blocks or (rule.packed and not _holds_its_experts(stored)):
            return None
        inputs = self._sizes.value(rule.inputs) if rule.inputs else None
        if inputs is not None and stored.shape[:1] != (inputs,):
            return None
        return cut_apart(
            stored.shape,
            len(rule.parts),
            sizes=[block for block in blocks if block is not None] or None,
            groups=groups,
            transposed=turned,
            packed=rule.packed is not None,
        )

    def _misfit(self, rule: TensorRule, stored: StoredTensor) -> str:
        labels = ", ".join(label for label, _ in rule.parts)
        inputs = [rule.inputs] if rule.inputs else []
        used = [*(rule.sizes or ()), rule.groups, *inputs, *(rule.packed or ())[1:]]
        known = self._sizes.describe(used)
        each = " for each expert" if rule.packed else ""
        with_known = f" with {known}" if known else ""
        expected = self._expected(rule)
        return f"shape {list(stored.shape)} does not hold {labels}{each}{with_known}; expected {expected}"

    def _expected(self, rule: TensorRule) -> str:
        """The stored shape that the rule and the config ask for."""
        groups = self._sizes.value(rule.groups)
        blocks = [self._sizes.value(size) for size in rule.sizes or ()]
        known = [block for block in blocks if block is not None]
        sizes = {"outputs": "outputs", "inputs": "inputs"}
        if groups and known and len(known) == len(blocks):
            sizes["outputs"] = str(groups * sum(known))
        elif groups and not blocks and groups * len(rule.parts) > 1:
            sizes["outputs"] = f"a multiple of {groups * len(rule.parts)}"
        side, expression = rule.packed or ("inputs", rule.inputs)
        if expression and (size := self._sizes.value(expression)):
            sizes[side] = str(size)
        straight = ", ".join(sizes.values())
        turned = ", ".join(reversed(sizes.values()))
        if rule.packed:
            return f"[experts, {straight}] or [experts, {turned}]"
        return f"[{turned if rule.transposed else straight}]"

    def _guessed(self, name: str, stored: StoredTensor) -> Iterator[Part]:
        role, layer, expert = guess_role(name, stored.shape), guess_layer(name), guess_expert(name)
        remarks = [GUESSED]
        packed = len(stored.shape) == 3 and holds_experts(name) and _holds_its_experts(stored)
        if math.prod(stored.shape) == 0 and stored.shape:
            yield _part(name, name, stored, role, layer, expert, WHOLE, GUESSED)
            return
        if packed:
            remarks.append("one of packed experts")
            if FUSED_GATE_UP.search(name):
                remarks.append("gate and up stay together, as their order is not known")
        cuts: list[Cut] | None = [WHOLE]
        if packed or (len(stored.shape) == 2 and role in ("gate", "up", "down")):
            rows, columns = stored.shape[-2:]
            transposed = self._is_turned(role, (rows, columns), packed=packed)
            if packed and rows == columns:
                transposed = self._beside(name)
            if transposed:
                remarks.append("stored in x out")
            elif transposed is None and packed:
                remarks.append("which dimension is the output is not known")
            if packed or transposed:
                cuts = cut_apart(stored.shape, 1, transposed=bool(transposed), packed=packed)
        for cut in cuts or ():
            row, number = (name, expert) if cut.expert is None else (f"{name}#expert{cut.expert}", cut.expert)
            yield _part(row, name, stored, role, layer, number, cut, "; ".join(remarks))

    def _is_turned(self, role: Role, shape: tuple[int, ...], *, packed: bool) -> bool | None:
        """Whether an MLP's matrix is stored in x out, by the config's sizes; None where they cannot tell.

        A matrix that may belong to another part of the model, such as a vision tower, must have both sizes.
        """
        rows, columns = shape
        fits = self._hidden in shape and (packed or self._inner in shape)
        if rows == columns or not fits:
            return None
        return (rows if role == "down" else columns) != self._hidden


def _module(name: str) -> str:
    return name.removesuffix(".weight").rpartition(".")[0]


def _holds_its_experts(stored: StoredTensor) -> bool:
    """Whether the file has a byte for each expert that its header claims: a row of each takes memory."""
    return 0 < stored.shape[0] <= min(MOST_EXPERTS, stored.nbytes)


def refused(name: str, stored: StoredTensor, layer: int | None, expert: int | None, reason: str) -> Part:
    part = _part(name, name, stored, "other", layer, expert, WHOLE, "")
    return replace(part, info=replace(part.info, status="refused", reason=reason))


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
        return (
            "skipped",
            "vector: only matrices are analysed" if shape else "scalar: only matrices are analysed",
        )
    if role == "bias":
        return "skipped", "one bias vector for each expert: only matrices are analysed"
    if _INTEGERS.fullmatch(dtype):
        return "refused", f"{dtype} matrix: integers of unknown meaning, perhaps quantised weights"
    if dtype not in FLOATS:
        return "refused", f"{dtype} is not a plain floating-point dtype"
    if len(shape) > 2:
        return "refused", f"{len(shape)} dimensions: which of them are outputs and inputs is not known"
    return "planned", ""
