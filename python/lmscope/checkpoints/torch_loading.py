"""What torch.save has written, through torch's weights-only loader: nothing in a file is ever run."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmscope.architectures import StoredTensor
from lmscope.checkpoints.errors import CheckpointError

if TYPE_CHECKING:
    import torch

WAY_OUT = "convert it to safetensors where you trust it"


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
    except Exception as error:  # a damaged pickle can raise anything in its loader
        raise _refused(path, error) from error


def stored_tensor(tensor: torch.Tensor) -> StoredTensor:
    """Dtype, shape and bytes; where the values are more than plain numbers, the dtype says so."""
    import torch

    dtype = str(tensor.dtype).removeprefix("torch.")
    nbytes = tensor.numel() * tensor.element_size()
    if tensor.layout != torch.strided:
        return StoredTensor(f"{str(tensor.layout).removeprefix('torch.')} {dtype}", tuple(tensor.shape), 0)
    if tensor.is_neg() or tensor.is_conj():
        dtype = f"lazily negated {dtype}"
    return StoredTensor(dtype, tuple(tensor.shape), nbytes)


def _refused(path: Path, error: Exception) -> CheckpointError:
    text = str(error)
    code = re.search(r"(?:Unsupported global: |unsupported )GLOBAL (\S+)", text)
    if code:
        problem = f"loading it would run code of its own, which lmscope never does; {WAY_OUT}"
        return CheckpointError(problem, file=path, expected="plain tensors", found=code[1])
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reason = f"{type(error).__name__}: {lines[-1] if lines else ''}".rstrip(": ")
    return CheckpointError(f"torch's weights-only loader cannot read it: {reason}", file=path)
