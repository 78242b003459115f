"""What torch.save has written, through torch's weights-only loader: nothing in a file is ever run."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmscope.architectures import StoredTensor
from lmscope.checkpoints.errors import CheckpointError
from lmscope.checkpoints.not_weights import LOOK_AT_BYTES, kind_of

if TYPE_CHECKING:
    import torch

WAY_OUT = "convert it to safetensors where you trust it"
_EXPECTED = "a state dict written by torch.save"
# 0x1950a86a20f9469cfc6c, pickled; files of torch before 1.6 begin with it.
_LEGACY_MAGICS = (b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", b"L119547037146038801333356L\n.")


class _BoundedReader(io.BufferedReader):
    """Reads no more than is left: what a damaged file claims would be allocated before it is read."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        left = self._size - self.tell()
        return super().read(left if size is None or size < 0 else min(size, left))


def load_weights_only(path: Path, *, values: bool) -> Any:
    """What torch.load gives with ``weights_only``; without ``values`` its tensors are empty shells."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if values:
                with _BoundedReader(path) as file:
                    return torch.load(file, map_location="cpu", weights_only=True)
            # Documented for torch.load: each storage then carries its offset in the file.
            with FakeTensorMode():
                return torch.load(path, weights_only=True)
    except MemoryError as error:
        raise CheckpointError("too large for this machine's memory", file=path) from error
    except OSError as error:
        raise CheckpointError(error.strerror or str(error), file=path) from error
    except Exception as error:  # a damaged pickle can raise anything in its loader
        raise _refused(path, error) from error


def stored_tensor(tensor: torch.Tensor) -> StoredTensor:
    """Dtype, shape and bytes; where the values are more than plain numbers, the dtype says so."""
    import torch

    dtype = str(tensor.dtype).removeprefix("torch.")
    nbytes = tensor.numel() * tensor.element_size()
    if tensor.device.type == "meta":
        return StoredTensor(dtype, tuple(tensor.shape), 0)
    if tensor.layout != torch.strided:
        return StoredTensor(f"{str(tensor.layout).removeprefix('torch.')} {dtype}", tuple(tensor.shape), 0)
    if tensor.is_neg() or tensor.is_conj():
        dtype = f"lazily negated {dtype}"
    return StoredTensor(dtype, tuple(tensor.shape), nbytes)


def unreadable_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Why a tensor's values are not in its file, or not as often as they are meant, where that is so."""
    reasons = ((name, _without_values(tensor)) for name, tensor in tensors.items())
    return {name: reason for name, reason in reasons if reason is not None}


def _without_values(tensor: torch.Tensor) -> str | None:
    import torch

    if tensor.device.type == "meta":
        return "it has no values: it was saved from the meta device"
    if tensor.layout != torch.strided or not tensor.numel():
        return None
    span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    if span >= tensor.numel():
        return None
    return f"an expanded view: {tensor.numel()} elements are meant, {span} are stored"


def _refused(path: Path, error: Exception) -> CheckpointError:
    text = str(error)
    code = re.search(r"(?:Unsupported global: |unsupported )GLOBAL (\S+)", text)
    if code:
        problem = f"loading it would run code of its own, which lmscope never does; {WAY_OUT}"
        return CheckpointError(problem, file=path, expected="plain tensors", found=code[1])
    if isinstance(error, NotImplementedError) and "quantized" in text:
        problem = "quantised tensors of torch: dequantise them and save the weights as safetensors"
        return CheckpointError(problem, file=path, expected="plain tensors", found="quantised ones")
    with path.open("rb") as file:
        start = file.read(LOOK_AT_BYTES)
    if kind_of(start) != "a zip file" and not any(magic in start[:40] for magic in _LEGACY_MAGICS):
        problem = "torch's weights-only loader cannot read it: save the weights as safetensors"
        found = kind_of(start) or f"a file that begins with {start[:8]!r}"
        return CheckpointError(problem, file=path, expected=_EXPECTED, found=found)
    lines = [line.strip() for line in text.split("WeightsUnpickler error:")[-1].splitlines()]
    told = [line for line in lines if line and not line.startswith("Check the documentation")]
    reason = f"{type(error).__name__}: {told[-1] if told else ''}".rstrip(": ")
    problem = f"torch's weights-only loader cannot read it: {reason}; {WAY_OUT}"
    return CheckpointError(problem, file=path, expected=_EXPECTED)
