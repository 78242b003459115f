"""One file of torch.save that can only be loaded whole."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from lmscope.checkpoints.errors import CheckpointError
from lmscope.checkpoints.file_bytes import FileBytes
from lmscope.checkpoints.state_dict import named_tensors
from lmscope.checkpoints.torch_loading import load_weights_only, stored_tensor, unreadable_of
from lmscope.checkpoints.weight_file import WeightFile

if TYPE_CHECKING:
    import torch

_HEADER_BYTES = 2**16


class LoadedFile:
    """The file that was asked for last; it stays loaded until another one is needed."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._file: FileBytes | None = None
        self._tensors: dict[str, torch.Tensor] = {}
        self.left_out: tuple[str, ...] = ()

    def tensors(self, file: FileBytes) -> dict[str, torch.Tensor]:
        """All tensors of ``file``; the caller holds the lock."""
        if file != self._file:
            self._file, self._tensors = None, {}
            self._tensors, self.left_out = named_tensors(file.path, load_weights_only(file.path, values=True))
            self._file = file
        return self._tensors


@dataclass(frozen=True)
class WholeTorchFile(WeightFile):
    """Reads by loading the whole file, which it shares with the checkpoint's other such files."""

    loaded: LoadedFile = field(default_factory=LoadedFile)

    @property
    def loaded_bytes(self) -> int:
        return self.raw.size

    def read(self, name: str) -> NDArray[Any]:
        import torch

        dtype = self.dtype(name)
        self.raw.check_unchanged(name)
        with self.loaded.lock:
            tensor = self.loaded.tensors(self.raw).get(name)
            if tensor is None or stored_tensor(tensor) != self.tensors[name]:
                raise CheckpointError("the file changed after it was opened", file=self.path, tensor=name)
            own = tensor.detach().clone(memory_format=torch.contiguous_format)
        return own.view(-1).view(torch.uint8).numpy().view(dtype).reshape(own.shape)


def open_legacy_torch_file(file: FileBytes, loaded: LoadedFile) -> WholeTorchFile:
    """A file of torch before 1.6: a stream of pickles."""
    header = file.read(None, 0, min(file.size, _HEADER_BYTES)).tobytes()
    return open_whole_torch_file(file, header, loaded, "is in the format of torch before 1.6, which")


def open_whole_torch_file(file: FileBytes, header: bytes, loaded: LoadedFile, reason: str) -> WholeTorchFile:
    """Loads the file to list its tensors, and warns of what that costs and why: ``reason``."""
    with loaded.lock:
        tensors = loaded.tensors(file)
        left_out = loaded.left_out
    stored, shared = {}, {}
    first: dict[tuple[object, ...], str] = {}
    for name, tensor in tensors.items():
        stored[name] = stored_tensor(tensor)
        if stored[name].nbytes:
            where = (stored[name], tensor.data_ptr(), tensor.stride())
            if first.setdefault(where, name) != name:
                shared[name] = first[where]
    warning = (
        f"{file.path.name} {reason} can only be loaded whole: {file.size / 1e6:.0f} MB stay in memory "
        "beside the tensor in hand; saving it as safetensors avoids this"
    )
    warnings = (warning, *left_out)
    return WholeTorchFile(file, header, stored, {}, shared, warnings, unreadable_of(tensors), loaded)
