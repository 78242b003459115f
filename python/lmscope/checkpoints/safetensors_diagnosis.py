"""Why the safetensors package refuses a file: which tensor, what was expected, what was found."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from lmscope.checkpoints.dtypes import BITS, NAMES
from lmscope.checkpoints.errors import CheckpointError

LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000


def diagnosis(path: Path, error: SafetensorError) -> CheckpointError:
    """The error in our words; reads the header again."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < LENGTH_BYTES:
            return CheckpointError(
                "truncated, or not a safetensors file",
                file=path,
                expected=f"at least {LENGTH_BYTES} bytes",
                found=f"{size} bytes",
            )
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if length > _LONGEST_HEADER:
            return CheckpointError(
                "header too long, or not a safetensors file",
                file=path,
                expected=f"a header of at most {_LONGEST_HEADER} bytes",
                found=f"{length} bytes",
            )
        if size < LENGTH_BYTES + length:
            return CheckpointError(
                "truncated, or not a safetensors file",
                file=path,
                expected=f"a header of {length} bytes",
                found=f"{size - LENGTH_BYTES} bytes",
            )
        header = file.read(length)
    try:
        pairs = json.loads(header.decode("utf-8"), object_pairs_hook=list)
    except UnicodeDecodeError as wrong:
        return CheckpointError(f"header not UTF-8: {wrong}", file=path, expected="UTF-8 JSON")
    except (ValueError, RecursionError) as wrong:
        found = repr(header[:40])
        return CheckpointError(f"header not JSON: {wrong}", file=path, expected="a JSON object", found=found)
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        return CheckpointError("header not a JSON object", file=path, expected="{...}")
    twice = first_duplicate(name for name, _ in pairs)
    if twice is not None:
        return CheckpointError("the header names it twice", file=path, tensor=twice)
    odd = _not_text(dict(pairs).get("__metadata__"))
    if odd is not None:
        problem = "unreadable __metadata__"
        return CheckpointError(problem, file=path, expected="names and strings", found=odd)
    entries = [(name, entry) for name, entry in pairs if name != "__metadata__"]
    for name, entry in entries:
        mistake = _wrong_entry(entry)
        if mistake is not None:
            problem, expected, found = mistake
            return CheckpointError(problem, file=path, tensor=name, expected=expected, found=found)
    spans = [(*dict(entry)["data_offsets"], name) for name, entry in entries]
    return _wrong_cover(path, spans, size - LENGTH_BYTES - length) or CheckpointError(str(error), file=path)


def first_duplicate(names: Iterable[str]) -> str | None:
    """The first name that occurs more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _not_text(metadata: Any) -> str | None:
    """What of the metadata is no string, if anything."""
    if metadata is None:
        return None
    if not isinstance(metadata, list) or not all(isinstance(pair, tuple) for pair in metadata):
        return repr(metadata)
    return next((f"{key}: {value!r}" for key, value in metadata if not isinstance(value, str)), None)


def _wrong_entry(pairs: Any) -> tuple[str, str, str] | None:
    """Problem, expected and found of one tensor's entry, whatever it is."""
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        return "header entry not an object", '{"dtype", "shape", "data_offsets"}', repr(pairs)
    keys = Counter(key for key, _ in pairs)
    if set(keys) != {"dtype", "shape", "data_offsets"} or len(keys) != len(pairs):
        return "wrong header entry", "dtype, shape and data_offsets, once each", ", ".join(keys.elements())
    entry = dict(pairs)
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in NAMES:
        return "unknown dtype", f"one of {', '.join(NAMES)}", str(dtype)
    if not _sizes(shape):
        return "wrong shape", "a list of whole numbers from 0 up", repr(shape)
    if not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        return "wrong data_offsets", "two whole numbers, the first not above the second", repr(offsets)
    bits = math.prod(shape) * BITS[dtype]
    if (offsets[1] - offsets[0]) * 8 != bits:
        expected = f"{bits / 8:.10g} bytes for {dtype} {shape}"
        return "wrong byte count", expected, f"{offsets[1] - offsets[0]} bytes at {offsets[0]}"
    return None


def _sizes(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(number) is int and number >= 0 for number in numbers)


def _wrong_cover(path: Path, spans: Iterable[tuple[int, int, str]], data: int) -> CheckpointError | None:
    """The first overlap or gap between tensors, or a file shorter or longer than they are."""
    position, before = 0, None
    for begin, end, name in sorted(spans):
        if begin != position:
            what = "overlaps the tensor before it" if begin < position else "a gap before it"
            problem = f"{what}, {before}" if before is not None else what
            expected, found = f"its bytes from {position}", f"from {begin}"
            return CheckpointError(problem, file=path, tensor=name, expected=expected, found=found)
        position, before = end, name
    if position == data:
        return None
    problem = "truncated" if data < position else "longer than its header says"
    cut = next((name for begin, end, name in sorted(spans) if end > data), None)
    return CheckpointError(
        problem,
        file=path,
        tensor=cut,
        expected=f"{path.stat().st_size - data + position} bytes",
        found=f"{path.stat().st_size} bytes",
    )
