"""Writes and reads the safetensors format by hand: to damage files, and as oracle for what is left."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import ml_dtypes
import numpy as np

DTYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def file_bytes(header: Any, data: bytes, *, length: int | None = None) -> bytes:
    """A file; ``header`` is JSON's content, or its bytes; ``length`` overrides the length field."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: object, shape: object, begin: object, end: object) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def split(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data of a valid file."""
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def oracle(raw: bytes) -> dict[str, np.ndarray | None] | None:
    """What the bytes mean by the format's definition: an array per name, None for a dtype that numpy lacks.

    None for all where the file is not valid.
    """
    try:
        length = struct.unpack("<Q", raw[:8])[0]
        text, data = raw[8 : 8 + length], raw[8 + length :]
        pairs = json.loads(text.decode("utf-8"), object_pairs_hook=list)
        assert len(text) == length <= 100_000_000
        assert len({name for name, _ in pairs}) == len(pairs)
        arrays: dict[str, np.ndarray | None] = {}
        position = 0
        tensors = [(name, dict(fields)) for name, fields in pairs if name != "__metadata__"]
        for name, fields in sorted(tensors, key=lambda item: item[1]["data_offsets"]):
            begin, end = fields["data_offsets"]
            assert begin == position <= end
            position = end
            if fields["dtype"] not in DTYPES:
                arrays[name] = None
                continue
            dtype = np.dtype(DTYPES[fields["dtype"]])
            assert end - begin == math.prod(fields["shape"]) * dtype.itemsize
            arrays[name] = np.frombuffer(data[begin:end], dtype).reshape(fields["shape"])
        assert position == len(data)
        return arrays
    except Exception:
        return None
