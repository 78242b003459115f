"""Tensors that hold codes or scales instead of weights: found by name, dtype and config, and refused.

Layouts are told apart by what lies beside a tensor in its module ("companions"), so that a checkpoint without
a config is understood too; the config adds the method's name. A float tensor without companions is plain,
whatever the config says: that is what ``modules_to_not_convert`` and ``ignore`` leave behind.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from fnmatch import filter as matching
from typing import Any

from lmscope.architectures.guess import guess_role
from lmscope.architectures.tensor_info import FLOATS, StoredTensor

GGUF_PREFIX = "gguf_"
"""Begins the dtype of every tensor of a GGUF file."""

_PLAIN = frozenset({"weight", "bias"})
_CODES = re.compile(r"u?int(8|16|32)|float[468]_\w+")

# How a name ends that belongs to MODULE.weight, as bitsandbytes, quanto, torchao and others spell it.
_OF_WEIGHT = re.compile(
    r"(?:^|\.)(?:_?weight(?:_\w+|:\w+|(?:\._\w+)+|\.(?:absmax|quant_map|nested_\w+|quant_state\.\w+|SCB|compressed"
    r"|bitmask|row_offsets|shape))?|(?:\w+_)?centroids\.weight)$"
)
_ACTIVATION = re.compile(
    r"(?:^|_)(?:input|output|activation|act|[qkv]|kv)(?:_global)?_(?:scale|zero_point|shift|amax)(?:_inv)?$"
    r"|^scale_(?:input|output)$"
)
_PARTS = (
    ("zero points", re.compile(r"zero|_shift$|^biases$")),
    ("scales", re.compile(r"scale|absmax|^SCB$|\.SCB$|^s[uv]h$|^S[UV]$|^s$")),
    ("code book", re.compile(r"quant_map|codebook|centroids|^tables|^lut")),
    ("rotation", re.compile(r"hadamard")),
)
_DESCRIPTIONS = re.compile(r"shape$|g_idx$|perm$|quant_state\.|_format$|bitmask$|row_offsets$|workspace$")
# Beside MODULE.weight these are its scales although their names do not begin with "weight".
_SCALES_OF_WEIGHT = frozenset({"scale_weight", "SCB"})

# First match wins; each pattern must match a name within the module.
_UNNAMED = "method not named"
_LAYOUTS = (
    ("bitsandbytes nf4", ("weight.quant_state.bitsandbytes__nf4",)),
    ("bitsandbytes fp4", ("weight.quant_state.bitsandbytes__fp4",)),
    ("bitsandbytes 4-bit", ("weight.absmax",)),
    ("bitsandbytes 8-bit", ("SCB",)),
    ("compressed-tensors nvfp4", ("weight_packed", "weight_global_scale")),
    ("compressed-tensors", ("weight_packed",)),
    ("nvfp4", ("weight", "weight_scale", "weight_scale_2")),
    ("gptq", ("qweight", "g_idx")),
    ("gptq or awq", ("qweight",)),
    ("mxfp4", ("*_blocks", "*_scales")),
    ("hqq", ("W_q",)),
    ("aqlm", ("codes", "codebooks")),
    ("vptq", ("indices", "*centroids*")),
    ("quanto", ("weight._data",)),
    ("torchao", ("_weight_qdata",)),
    ("torchao", ("weight:*",)),
    ("eetq", ("weight", "weight_scales")),
    ("exl2", ("q_weight",)),
    ("exl3", ("trellis",)),
    ("mlx", ("weight", "scales", "biases")),
    ("marlin", ("B", "s")),
)


def quantised(config: Mapping[str, Any], tensors: Mapping[str, StoredTensor]) -> dict[str, str]:
    """Stored name -> why its numbers are not those of the model, for every tensor of which that is known.

    ``config`` is the content of config.json, empty where there is none. Vectors are among the answers (scales
    mostly are); whether they matter is the caller's business.
    """
    named = _named_method(config)
    modules: defaultdict[str, dict[str, StoredTensor]] = defaultdict(dict)
    reasons: dict[str, str] = {}
    for name, stored in tensors.items():
        if stored.dtype.startswith(GGUF_PREFIX):
            reasons[name] = _gguf_reason(stored.dtype.removeprefix(GGUF_PREFIX))
            continue
        module = _module(name)
        modules[module][name[len(module) + 1 if module else 0 :]] = stored
    for module, members in modules.items():
        for leaf, reason in _in_module(module, members, named):
            reasons[f"{module}.{leaf}" if module else leaf] = reason
    return reasons


def _module(name: str) -> str:
    found = _OF_WEIGHT.search(name)
    return name[: found.start()] if found else name.rpartition(".")[0]


def _in_module(
    module: str, members: Mapping[str, StoredTensor], named: str | None
) -> Iterator[tuple[str, str]]:
    """Answers for the tensors of one module, by their names within it."""
    if members.keys() <= _PLAIN and all(stored.dtype in FLOATS for stored in members.values()):
        return
    prefix = f"{module}." if module else ""
    # exl2 calls the scales of its weights q_scale, which elsewhere are those of queries.
    activations = {leaf for leaf in members if _ACTIVATION.search(leaf) and "q_weight" not in members}
    for leaf in activations:
        yield leaf, f"scale of the activations of {module or 'the model'}: not a weight"
    parts = {leaf: word for leaf in members if leaf not in activations and (word := _part(leaf))}
    codes = [leaf for leaf, stored in members.items() if leaf not in parts and _holds_codes(leaf, stored)]
    if not codes and not parts:
        return
    layout = next(
        (label for label, names in _LAYOUTS if all(matching(members, name) for name in names)), None
    )
    method = _method(named, layout)
    together = module != "" or layout is not None  # tensors without a module need not belong together
    owners = []
    for leaf, stored in members.items():
        if leaf in parts or leaf in activations:
            continue
        of_it = [part for part in parts if _belongs(part, leaf) or _scales_matrix(part, leaf, members)]
        if leaf in codes:
            others = sorted(parts, key=lambda part: parts[part] != "scales") if together else []
            needed = next(iter(of_it or others), None)
            # Bare integers may be anything.
            if method or needed or stored.dtype.startswith("float"):
                owners.append(leaf)
                label = method or ("fp8" if stored.dtype.startswith("float8") else _UNNAMED)
                beside = f"that need {prefix}{needed}" if needed else "without scales beside them"
                yield leaf, f"quantised ({label}): {stored.dtype} codes {beside}"
        elif of_it and stored.dtype in FLOATS:
            owners.append(leaf)
            yield (
                leaf,
                f"quantised ({method or _UNNAMED}): {stored.dtype} numbers that need {prefix}{of_it[0]}",
            )
    if not owners:
        return
    for leaf, word in parts.items():
        owner = next((owner for owner in owners if _belongs(leaf, owner)), owners[0] if together else None)
        if owner is None:
            continue
        yield leaf, f"{word} of the quantised {prefix}{owner}"
    lone = len(owners) == 1 and module != "" and not module.endswith("experts")
    for leaf in members.keys() - parts.keys() - activations - set(owners):
        # Beside one quantised weight there is nothing else but a bias; a container of several may hold more.
        if _DESCRIPTIONS.search(leaf) or (lone and "bias" not in leaf):
            yield leaf, f"part of the quantised {prefix}{owners[0]}"


def _holds_codes(leaf: str, stored: StoredTensor) -> bool:
    if not _CODES.fullmatch(stored.dtype) or _DESCRIPTIONS.search(leaf):
        return False
    return guess_role(leaf, stored.shape) != "buffer"


def _part(leaf: str) -> str | None:
    return next((word for word, pattern in _PARTS if pattern.search(leaf)), None)


def _belongs(part: str, leaf: str) -> bool:
    """Whether the companion is named after ``leaf``: weight_scale after weight, up_scales after up_blocks."""
    stem = leaf.removesuffix("_blocks").removesuffix("_packed")
    follows = part.startswith((f"{stem}_", f"{stem}.", f"{stem}:"))
    return follows or (leaf == "weight" and part in _SCALES_OF_WEIGHT)


def _scales_matrix(part: str, leaf: str, members: Mapping[str, StoredTensor]) -> bool:
    """Whether a matrix of scales lies beside a float matrix, whose numbers then are codes."""
    scales = part in ("scale", "scales") and leaf == "weight"
    return scales and len(members[part].shape) == len(members[leaf].shape) == 2


def _method(named: str | None, layout: str | None) -> str | None:
    """The config's word, unless the layout says the same more closely ("bitsandbytes nf4")."""
    if layout and (named in (None, _UNNAMED) or layout.startswith(str(named))):
        return layout
    return named


def _named_method(config: Mapping[str, Any]) -> str | None:
    for key in ("quantization_config", "compression_config", "quantization"):
        found = config.get(key)
        if isinstance(found, Mapping):
            method, packing = found.get("quant_method"), found.get("format")
            if not isinstance(method, str):
                loads = any(found.get(f"load_in_{bits}bit") for bits in (4, 8))
                method = "bitsandbytes" if loads else "mlx" if key == "quantization" else _UNNAMED
            return f"{method} {packing}" if method == "compressed-tensors" and packing else method
    return None


def _gguf_reason(kind: str) -> str:
    if kind in ("f64", "f32", "f16", "bf16"):
        # llama.cpp's converter permutes the rows of query and key, and merges experts.
        return f"{kind} in a GGUF file, whose writer rearranges matrices: analyse the original checkpoint"
    return f"quantised (GGUF {kind.upper()}): blocks of codes and scales"
