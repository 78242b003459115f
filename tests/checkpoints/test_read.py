"""Values: stored dtypes, the order of a stream, failures at the right tensor."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from lmscope.checkpoints import CheckpointError, open_checkpoint

DTYPES = [
    np.float64,
    np.float32,
    np.float16,
    ml_dtypes.bfloat16,
    np.int64,
    np.int32,
    np.int16,
    np.int8,
    np.uint8,
    np.bool_,
]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
def test_load_gives_the_stored_bytes(tmp_path: Path, dtype: type) -> None:
    random = np.random.default_rng(0)
    arrays = {
        "matrix": random.normal(size=(5, 7)) * 3,
        "scalar": np.array(2.5),
        "vector": random.normal(size=3),
        "empty": np.empty((0, 4)),
    }
    expected = {name: array.astype(dtype) for name, array in arrays.items()}
    save_file(expected, tmp_path / "model.safetensors")
    checkpoint = open_checkpoint(tmp_path)
    for info in checkpoint:
        loaded = checkpoint.load(info.name)
        assert loaded.dtype == dtype
        assert info.dtype == np.dtype(dtype).name
        assert (info.shape, info.nbytes) == (loaded.shape, loaded.nbytes)
        assert loaded.tobytes() == expected[info.name].tobytes()
        assert loaded.flags.c_contiguous


def test_status_by_dtype_and_shape(tmp_path: Path) -> None:
    entries = {
        "f8.weight": ("F8_E4M3", [4, 4], 16),
        "f32.weight": ("F32", [2, 2], 16),
        "i32.weight": ("I32", [2, 2], 16),
        "position_ids": ("I32", [1, 4], 16),
        "conv.weight": ("F32", [2, 1, 2], 16),
        "norm.weight": ("F32", [4], 16),
    }
    header = {
        name: {"dtype": dtype, "shape": shape, "data_offsets": [16 * i, 16 * i + size]}
        for i, (name, (dtype, shape, size)) in enumerate(entries.items())
    }
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(16 * len(entries)))
    checkpoint = open_checkpoint(path)
    assert {info.name: (info.status, info.dtype) for info in checkpoint} == {
        "f8.weight": ("refused", "float8_e4m3fn"),
        "f32.weight": ("planned", "float32"),
        "i32.weight": ("refused", "int32"),
        "position_ids": ("skipped", "int32"),
        "conv.weight": ("refused", "float32"),
        "norm.weight": ("skipped", "float32"),
    }
    assert all(info.reason for info in checkpoint)
    assert [info.name for info, _ in checkpoint.stream()] == ["f32.weight"]
    with pytest.raises(CheckpointError, match=r"f8.weight: float8_e4m3fn values cannot be read alone"):
        checkpoint.load("f8.weight")
    with pytest.raises(CheckpointError, match="tensor absent: no such tensor"):
        checkpoint.load("absent")


@settings(max_examples=40, deadline=None)
@given(chosen=st.lists(st.integers(0, 8), max_size=12))
def test_stream_gives_what_was_asked_in_that_order(
    tmp_path_factory: pytest.TempPathFactory, chosen: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("stream")
    save_file({str(i): np.full((2, 2), i, np.float32) for i in range(9)}, folder / "model.safetensors")
    names = [str(number) for number in chosen]
    with open_checkpoint(folder).stream(names) as stream:
        assert [(info.name, int(array[0, 0])) for info, array in stream] == list(
            zip(names, chosen, strict=True)
        )


def test_a_file_that_shrinks_is_an_error_that_names_the_tensor(tmp_path: Path) -> None:
    names = ["a", "b"]
    path = tmp_path / "model.safetensors"
    save_file({name: np.ones((1000, 1000), np.float32) for name in names}, path)
    checkpoint = open_checkpoint(path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size - 4096)
    with pytest.raises(
        CheckpointError, match=f"tensor b: the file changed .*expected {size} bytes"
    ) as caught:
        checkpoint.load("b")
    assert caught.value.file == path


def test_a_removed_file_is_an_error_that_names_the_tensor(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": np.ones((2, 2), np.float32)}, path)
    checkpoint = open_checkpoint(path)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"model.safetensors: tensor a: .*No such file"):
        checkpoint.load("a")
