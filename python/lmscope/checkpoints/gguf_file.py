"""The header of a .gguf file: names, types and shapes of its tensors, none of which is read.

The gguf package parses through a memory map, element by element: seconds for a vocabulary, and a damaged
count makes it walk without end. This reader skips what it does not need and checks every length against the
file.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import BinaryIO, NoReturn

from lmscope.architectures import StoredTensor
from lmscope.architectures.quantised import GGUF_PREFIX
from lmscope.checkpoints.errors import CheckpointError
from lmscope.checkpoints.file_bytes import FileBytes
from lmscope.checkpoints.weight_file import WeightFile

MAGIC = b"GGUF"

GGML_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}
"""Number in the file -> name, elements of a block, bytes of a block."""

_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_VALUE_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_ALIGNMENT = "general.alignment"
_SMALLEST_TENSOR_ENTRY = 8 + 4 + 4 + 8
_MOST_DIMENSIONS = 4
_MOST_ELEMENTS_PER_BYTE = 8


def open_gguf(path: Path) -> WeightFile:
    """Reads and checks the header only; CheckpointError names the file and what is wrong with it.

    Every dtype is "gguf_" and the type's name in small letters; none of them can be read.
    """
    try:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            reader = _Reader(path, file, stat.st_size)
            tensors = _tensors(reader)
            length = file.tell()
            file.seek(0)
            return WeightFile(FileBytes.of(path, stat), file.read(length), tensors, {})
    except OSError as error:
        raise CheckpointError(error.strerror or str(error), file=path) from error


class _Reader:
    """Numbers and strings, little-endian, never beyond the end of the file."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path, self.file, self.size = path, file, size

    def fail(self, problem: str, *, expected: str | None = None, found: str | None = None) -> NoReturn:
        raise CheckpointError(problem, file=self.path, expected=expected, found=found)

    def take(self, count: int) -> bytes:
        self._check(count)
        return self.file.read(count)

    def skip(self, count: int) -> None:
        self._check(count)
        self.file.seek(count, os.SEEK_CUR)

    def _check(self, count: int) -> None:
        end = self.file.tell() + count
        if end > self.size:
            self.fail("truncated GGUF header", expected=f"at least {end} bytes", found=f"{self.size} bytes")

    def number(self, code: str) -> int:
        return int(struct.unpack(f"<{code}", self.take(struct.calcsize(code)))[0])

    def text(self) -> str:
        raw = self.take(self.number("Q"))
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self.fail("a name in the GGUF header is not UTF-8", found=repr(raw[:40]))


def _tensors(reader: _Reader) -> dict[str, StoredTensor]:
    if reader.size == 0:
        reader.fail("empty file", expected="a GGUF file", found="0 bytes")
    start = reader.take(min(4, reader.size))
    if start != MAGIC:
        reader.fail("not a GGUF file", expected=repr(MAGIC), found=repr(start))
    version = reader.number("I")
    if version not in _VERSIONS:
        reader.fail("GGUF version not understood", expected="2 or 3, little-endian", found=str(version))
    count, values = reader.number("Q"), reader.number("Q")
    if count * _SMALLEST_TENSOR_ENTRY > reader.size:
        reader.fail(
            "not a GGUF header", expected=f"tensors for {reader.size} bytes", found=f"{count} tensors"
        )
    alignment = 32
    for _ in range(values):
        key, kind = reader.text(), reader.number("I")
        if key == _ALIGNMENT and kind == 4:
            alignment = reader.number("I")
        else:
            _skip_value(reader, kind)
    if alignment < 1 or alignment & (alignment - 1):
        reader.fail(f"wrong {_ALIGNMENT}", expected="a power of two", found=str(alignment))
    tensors: dict[str, StoredTensor] = {}
    end = 0
    for _ in range(count):
        name, stored, offset = _tensor(reader)
        if name in tensors:
            raise CheckpointError("the header names it twice", file=reader.path, tensor=name)
        if offset % alignment:
            raise CheckpointError(
                "misplaced",
                file=reader.path,
                tensor=name,
                expected=f"multiple of {alignment}",
                found=str(offset),
            )
        tensors[name] = stored
        end = max(end, offset + stored.nbytes)
    expected = -(-reader.file.tell() // alignment) * alignment + end
    if count and reader.size < expected:
        reader.fail("truncated", expected=f"{expected} bytes", found=f"{reader.size} bytes")
    return tensors


def _skip_value(reader: _Reader, kind: int) -> None:
    if kind == _STRING:
        reader.skip(reader.number("Q"))
    elif kind == _ARRAY:
        element, length = reader.number("I"), reader.number("Q")
        if element == _STRING:
            for _ in range(length):
                reader.skip(reader.number("Q"))
        elif element in _VALUE_BYTES:
            reader.skip(length * _VALUE_BYTES[element])
        else:
            reader.fail("GGUF header not understood", expected="an array of values", found=f"type {element}")
    elif kind in _VALUE_BYTES:
        reader.skip(_VALUE_BYTES[kind])
    else:
        reader.fail("GGUF header not understood", expected="a value type up to 12", found=str(kind))


def _tensor(reader: _Reader) -> tuple[str, StoredTensor, int]:
    name, dimensions = reader.text(), reader.number("I")
    if dimensions > _MOST_DIMENSIONS:
        raise CheckpointError(
            "too many dimensions", file=reader.path, tensor=name, expected="at most 4", found=str(dimensions)
        )
    # The fastest-running dimension comes first in the file.
    shape = tuple(reversed([reader.number("Q") for _ in range(dimensions)]))
    number, offset = reader.number("I"), reader.number("Q")
    kind, block, block_bytes = GGML_TYPES.get(number, (f"type{number}", 1, 0))
    elements = math.prod(shape)
    if elements > _MOST_ELEMENTS_PER_BYTE * reader.size:
        raise CheckpointError(
            "larger than its file", file=reader.path, tensor=name, found=f"shape {list(shape)}"
        )
    if elements % block:
        raise CheckpointError(
            f"{kind} blocks do not fit",
            file=reader.path,
            tensor=name,
            expected=f"a multiple of {block} elements",
            found=str(elements),
        )
    return name, StoredTensor(GGUF_PREFIX + kind.lower(), shape, elements // block * block_bytes), offset
