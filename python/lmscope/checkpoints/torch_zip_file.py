"""One file that torch.save wrote since version 1.6: a zip of a pickle and of plain storages.

The tensors are listed without reading them, and read by offset like safetensors. Where torch does not tell
the offsets, as 2.6 does not, the file is loaded whole.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from lmscope.checkpoints.errors import CheckpointError
from lmscope.checkpoints.file_bytes import FileBytes
from lmscope.checkpoints.state_dict import named_tensors
from lmscope.checkpoints.torch_loading import WAY_OUT, load_weights_only, stored_tensor, unreadable_of
from lmscope.checkpoints.weight_file import Place, WeightFile
from lmscope.checkpoints.whole_torch_file import LoadedFile, open_whole_torch_file

if TYPE_CHECKING:
    import torch

MAGIC = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<26xHH")


def open_torch_zip(file: FileBytes, loaded: LoadedFile) -> WeightFile:
    """Lists the tensors; CheckpointError where the file is damaged, or only running code could load it."""
    import torch

    header, records = _records(file)
    if not hasattr(torch.UntypedStorage, "_checkpoint_offset"):
        return open_whole_torch_file(file, header, loaded, f"is read by torch {torch.__version__} and so")
    tensors, left_out = named_tensors(file.path, load_weights_only(file.path, values=False))
    stored = {name: stored_tensor(tensor) for name, tensor in tensors.items()}
    valued = {name: tensor for name, tensor in tensors.items() if stored[name].nbytes}
    # Torch reckons offsets from its own way of writing; who packs the records anew may lay them otherwise.
    if not all(
        records.get(_offset(tensor)) == tensor.untyped_storage().nbytes() for tensor in valued.values()
    ):
        reason = "was not packed by torch.save itself and so"
        return open_whole_torch_file(file, header, loaded, reason)
    places = {name: Place(0) for name in tensors}
    first: dict[tuple[object, ...], str] = {}
    shared: dict[str, str] = {}
    for name, tensor in valued.items():
        places[name] = _place(file.path, name, tensor)
        alias = first.setdefault((stored[name], places[name]), name)
        if alias != name:
            shared[name] = alias
    return WeightFile(file, header, stored, places, shared, left_out, unreadable_of(tensors))


def _offset(tensor: torch.Tensor) -> int:
    offset = tensor.untyped_storage()._checkpoint_offset
    return -1 if offset is None else offset


def _place(path: Path, name: str, tensor: torch.Tensor) -> Place:
    nbytes = tensor.untyped_storage().nbytes()
    begin = int(tensor.storage_offset()) * tensor.element_size()
    span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    end = begin + span * tensor.element_size()
    if end > nbytes:
        raise CheckpointError(
            "reaches beyond its storage",
            file=path,
            tensor=name,
            expected=f"at most {nbytes} bytes",
            found=f"{end} bytes",
        )
    return Place(_offset(tensor) + begin, None if tensor.is_contiguous() else tuple(tensor.stride()))


def _records(opened: FileBytes) -> tuple[bytes, dict[int, int]]:
    """The pickle, and size by offset of every storage; all records must lie uncompressed in the file."""
    path = opened.path
    sizes: dict[int, int] = {}
    pickles: list[bytes] = []
    byte_order = b"little"
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            for record in archive.infolist():
                if record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size:
                    raise CheckpointError(
                        "a compressed zip, which torch.save does not write",
                        file=path,
                        expected="plain records",
                        found=record.filename,
                    )
                if record.filename.endswith("/constants.pkl"):
                    problem = f"a TorchScript program: save its state_dict, or {WAY_OUT}"
                    raise CheckpointError(problem, file=path, expected="plain tensors")
                if record.filename.endswith("/data.pkl"):
                    pickles.append(archive.read(record))
                elif record.filename.endswith("/byteorder"):
                    byte_order = archive.read(record)
                elif "/data/" in record.filename:
                    archive.open(record).close()  # raises where the record's own header disagrees
                    file.seek(record.header_offset)
                    name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
                    begin = record.header_offset + _LOCAL_HEADER.size + name_length + extra_length
                    if begin + record.file_size > opened.size:
                        raise CheckpointError(
                            "truncated or damaged",
                            file=path,
                            expected=f"{record.file_size} bytes at {begin} for {record.filename}",
                            found=f"a file of {opened.size} bytes",
                        )
                    sizes[begin] = record.file_size
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(error.strerror or str(error), file=path) from error
    except Exception as error:  # zipfile raises struct.error, ValueError and more beside BadZipFile
        problem = f"truncated or damaged: {error}"
        raise CheckpointError(problem, file=path, expected="a zip file of torch.save") from error
    if len(pickles) != 1:
        raise CheckpointError("not a file of torch.save", file=path, expected="one record data.pkl")
    if byte_order != b"little":
        raise CheckpointError(
            f"written on a machine of another byte order: load and save it again on this one, or {WAY_OUT}",
            file=path,
            expected="little",
            found=byte_order[:20].decode("ascii", "replace"),
        )
    return pickles[0], sizes
