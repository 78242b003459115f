"""Bad input: every message names the file, and what was expected and found where that tells something."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lmscope.checkpoints import CheckpointError, open_checkpoint

Damage = Callable[[Path], object]


def truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 5)


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"12345")


def name_twice(path: Path) -> None:
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = raw[8 : 8 + length].rstrip()
    (first,) = [entry for entry in json.loads(header) if entry.endswith("word_embeddings.weight")]
    entry = json.dumps({first: json.loads(header)[first]}).encode()[1:]
    header = header[:-1] + b"," + entry
    path.write_bytes(struct.pack("<Q", len(header)) + header + raw[8 + length :])


FILES: dict[str, tuple[Damage, list[str]]] = {
    "truncated": (truncate, ["truncated", "expected", "found"]),
    "longer": (lengthen, ["longer than its header says", "expected", "found"]),
    "empty": (lambda path: path.write_bytes(b""), ["empty file", "found 0 bytes"]),
    "header cut": (lambda path: path.write_bytes(path.read_bytes()[:100]), ["truncated", "found 92 bytes"]),
    "shorter than a length": (lambda path: path.write_bytes(b"abc"), ["not a safetensors file"]),
    "lfs": (
        lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
        ["git-LFS pointer"],
    ),
    "html": (lambda path: path.write_bytes(b"<!DOCTYPE html><html></html>"), ["HTML page"]),
    "not json": (lambda path: path.write_bytes(struct.pack("<Q", 9) + b"{not json"), ["JSON"]),
    "named twice": (name_twice, ["word_embeddings.weight", "twice"]),
    "no tensors": (lambda path: path.write_bytes(struct.pack("<Q", 2) + b"{}"), ["no tensors"]),
}


@pytest.mark.parametrize(("damage", "words"), FILES.values(), ids=FILES)
def test_damaged_file(tiny_bert_path: Path, tmp_path: Path, damage: Damage, words: list[str]) -> None:
    path = Path(shutil.copy(tiny_bert_path / "model.safetensors", tmp_path / "model.safetensors"))
    damage(path)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_sizes_in_the_message_are_right(tiny_bert_path: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(tiny_bert_path / "model.safetensors", tmp_path / "model.safetensors"))
    size = path.stat().st_size
    truncate(path)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    assert (caught.value.expected, caught.value.found) == (f"{size} bytes", f"{size - 5} bytes")


FOLDERS: dict[str, tuple[Damage, str, list[str]]] = {
    "config not JSON": (lambda p: (p / "config.json").write_text("{"), "config.json", ["not JSON"]),
    "config not text": (
        lambda p: (p / "config.json").write_bytes(b"\xff\xfe\xff"),
        "config.json",
        ["not JSON"],
    ),
    "config a list": (
        lambda p: (p / "config.json").write_text("[]"),
        "config.json",
        ["expected {...}", "found list"],
    ),
    "no weights": (
        lambda p: (p / "model.safetensors").unlink(),
        "",
        ["no weights", "expected model.safetensors", "config.json"],
    ),
    "ambiguous": (
        lambda p: (
            [shutil.copy(p / "model.safetensors", p / f"{n}.safetensors") for n in "ab"]
            and (p / "model.safetensors").unlink()
        ),
        "",
        ["no index", "a.safetensors"],
    ),
}


@pytest.mark.parametrize(("damage", "file", "words"), FOLDERS.values(), ids=FOLDERS)
def test_damaged_folder(
    tiny_bert_path: Path, tmp_path: Path, damage: Damage, file: str, words: list[str]
) -> None:
    folder = Path(shutil.copytree(tiny_bert_path, tmp_path / "model"))
    damage(folder)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    for word in [str(folder / file), *words]:
        assert word in str(caught.value)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere: no such file or folder"):
        open_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"no weights .*found an empty folder"):
        open_checkpoint(tmp_path)


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    save_file({"a": np.ones((2, 3), np.float32)}, tmp_path / "one.safetensors")
    save_file({"b": np.ones((2, 3), np.float32)}, tmp_path / "two.safetensors")
    write_index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    assert len(open_checkpoint(tmp_path)) == 2
    return tmp_path


def write_index(folder: Path, weight_map: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


INDEXES: dict[str, tuple[object, list[str]]] = {
    "missing shard": (
        {"a": "one.safetensors", "b": "three.safetensors"},
        ["missing shard", "three.safetensors"],
    ),
    "tensor elsewhere": (
        {"a": "two.safetensors", "b": "one.safetensors"},
        ["tensor", "not where the index says", "expected two.safetensors", "found one.safetensors"],
    ),
    "tensor nowhere": (
        {"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"},
        ["tensor c", "no file that holds it"],
    ),
    "no map": ([], ["weight_map"]),
    "outside": ({"a": "../one.safetensors"}, ["outside the folder"]),
}


@pytest.mark.parametrize(("weight_map", "words"), INDEXES.values(), ids=INDEXES)
def test_wrong_index(sharded: Path, weight_map: object, words: list[str]) -> None:
    write_index(sharded, weight_map)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(sharded)
    for word in ["model.safetensors.index.json", *words]:
        assert word in str(caught.value)


def test_tensor_in_two_shards(sharded: Path) -> None:
    save_file(
        {"a": np.ones((2, 3), np.float32), "b": np.zeros((2, 3), np.float32)}, sharded / "two.safetensors"
    )
    with pytest.raises(
        CheckpointError, match=r"tensor a: stored twice .*one.safetensors and two.safetensors"
    ):
        open_checkpoint(sharded)
