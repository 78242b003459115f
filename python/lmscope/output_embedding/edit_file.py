"""A steering edit as a safetensors file: tokens, and their rows of the head before and after."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lmscope.checkpoints import CheckpointError
from lmscope.checkpoints.safetensors_diagnosis import LENGTH_BYTES
from lmscope.checkpoints.safetensors_file import open_safetensors
from lmscope.checkpoints.weight_file import WeightFile

if TYPE_CHECKING:
    from lmscope.output_embedding.steering import Steering

__all__ = ["load_steering", "rounded_to", "write_steering"]

_FORMAT = "lmscope steering 1"
_TENSORS = ("tokens", "factors", "steps", "rows_before", "rows_after")
_FLOATS = ("float64", "float32", "float16", "bfloat16")


def write_steering(steering: Steering, path: str | os.PathLike[str]) -> None:
    """Writes the edit; a file that is there already is replaced at once.

    Rows are written as they are: in the dtype of the head that was steered, which
    :func:`lmscope.apply_steering` rounds to the checkpoint's. No tensor is named: a model has one head, and
    what it is called in the files is the checkpoint's matter (tied to the embedding, ``lm_head.weight``, with
    a prefix), so that one edit fits all of them; its rows are compared bit for bit before any is swapped.

    Raises:
        CheckpointError: the file cannot be written.
    """
    from safetensors.numpy import save_file

    import lmscope

    wanted = Path(path).expanduser()
    tensors = {name: np.ascontiguousarray(getattr(steering, name)) for name in _TENSORS}
    metadata = {
        "format": _FORMAT,
        "lmscope": lmscope.__version__,
        "allocation": str(steering.allocation),
        "calibrated": json.dumps(bool(steering.calibrated)),
        "label": steering.label,
        "identity": json.dumps(steering.identity),
    }
    hidden = wanted.with_name(f".{wanted.name}-{secrets.token_hex(4)}")
    try:
        save_file(tensors, hidden, metadata)
        os.replace(hidden, wanted)
    except Exception as error:  # the safetensors package has an error of its own for what the disk refuses
        with suppress(OSError):
            hidden.unlink()
        raise CheckpointError(f"the edit cannot be written: {error}", file=wanted) from error


def load_steering(path: str | os.PathLike[str]) -> Steering:
    """The edit that :meth:`Steering.save` wrote; its ``head`` is None.

    Raises:
        CheckpointError: no such file, no edit, or one whose tensors or metadata :meth:`Steering.save` does
            not write.
    """
    from lmscope.output_embedding.steering import Steering

    file = open_safetensors(Path(path).expanduser())
    length = int.from_bytes(file.header[:LENGTH_BYTES], "little")
    said = json.loads(file.header[LENGTH_BYTES : LENGTH_BYTES + length]).get("__metadata__") or {}
    if said.get("format") != _FORMAT:
        raise CheckpointError(
            "no steering edit, or one of another version of lmscope",
            file=file.path,
            expected=_FORMAT,
            found=str(said.get("format")),
        )
    _check_tensors(file)
    read: dict[str, NDArray[Any]] = {name: file.read(name) for name in _TENSORS}
    _check_values(file, read)
    try:
        allocation, label = said["allocation"], said["label"]
        calibrated, identity = (json.loads(said[name]) for name in ("calibrated", "identity"))
    except (KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"its metadata lack or spoil {error}", file=file.path) from error
    if not isinstance(calibrated, bool) or not isinstance(identity, (str, type(None))):
        raise CheckpointError(
            "its metadata are spoilt",
            file=file.path,
            expected="calibrated true or false, identity a string or null",
            found=f"{calibrated!r}, {identity!r}",
        )
    tokens, factors, steps, before, after = (read[name] for name in _TENSORS)
    return Steering(
        tokens, factors, steps, before, after, allocation, calibrated, label=label, identity=identity
    )


def _check_tensors(file: WeightFile) -> None:
    found = {name: (stored.dtype, stored.shape) for name, stored in file.tensors.items()}
    if set(found) != set(_TENSORS):
        raise CheckpointError(
            "not the tensors of an edit",
            file=file.path,
            expected=", ".join(_TENSORS),
            found=", ".join(sorted(found)[:8]),
        )
    dtype, shape = found["rows_before"]
    if len(shape) != 2 or 0 in shape:
        raise CheckpointError(
            "not the rows of an edit",
            file=file.path,
            tensor="rows_before",
            expected="tokens x dimensions, at least one of each",
            found=str(shape),
        )
    count = shape[:1]
    expected = {
        "tokens": ("int64", count),
        "factors": ("float64", count),
        "steps": ("float64", count),
        "rows_before": (dtype if dtype in _FLOATS else _FLOATS[1], shape),
        "rows_after": (dtype, shape),
    }
    for name in _TENSORS:
        if found[name] != expected[name]:
            raise CheckpointError(
                "not a tensor of an edit",
                file=file.path,
                tensor=name,
                expected=" ".join(map(str, expected[name])),
                found=" ".join(map(str, found[name])),
            )


def _check_values(file: WeightFile, read: dict[str, NDArray[Any]]) -> None:
    tokens = read["tokens"]
    if len(np.unique(tokens)) < len(tokens) or (tokens < 0).any():
        raise CheckpointError(
            "a token twice, or a negative one", file=file.path, tensor="tokens", found=str(tokens[:8])
        )
    for name, expected in (("factors", "positive and finite"), ("steps", "finite")):
        bad = ~np.isfinite(read[name]) | ((read[name] <= 0) & (name == "factors"))
        if bad.any():
            token, found = tokens[bad.argmax()], float(read[name][bad.argmax()])
            raise CheckpointError(
                f"the value of token {token}",
                file=file.path,
                tensor=name,
                expected=expected,
                found=str(found),
            )
    for name in ("rows_before", "rows_after"):
        bad = ~np.isfinite(read[name].astype(np.float64)).all(axis=1)
        if bad.any():
            token = tokens[bad.argmax()]
            raise CheckpointError(f"the row of token {token} is not finite", file=file.path, tensor=name)


def rounded_to(steering: Steering, dtype: str) -> Steering:
    """The edit as a checkpoint in ``dtype`` ("bfloat16", ...) will have it, in the dtype that it has now.

    ``realised`` of it says what the edit does in a checkpoint whose dtype is coarser than the run's.
    """
    import ml_dtypes  # noqa: F401  numpy knows bfloat16 by it

    stored = steering.rows_after.astype(np.dtype(dtype))
    return replace(steering, rows_after=stored.astype(steering.rows_after.dtype))
