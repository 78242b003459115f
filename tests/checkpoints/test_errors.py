"""Bad input: every message names the file, and what was expected and found where that tells something."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lmscope.checkpoints import CheckpointError, open_checkpoint, safetensors_file

from .safetensors_bytes import entry, file_bytes

Damage = Callable[[Path], object]
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
HTML = b"\n<!DOCTYPE html><html></html>"

A, B = entry("F32", [2, 3], 0, 24), entry("F32", [2, 3], 24, 48)
DATA = bytes(48)


def write(raw: bytes) -> Damage:
    return lambda path: path.write_bytes(raw)


def header(content: object, data: bytes = DATA) -> Damage:
    return write(file_bytes(content, data))


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"12345")


TWICE = json.dumps({"a": A}).encode()[:-1] + b"," + json.dumps({"a": B}).encode()[1:]
SIZES = ["expected a list of whole numbers from 0 up", "tensor b"]

FILES: dict[str, tuple[Damage, list[str]]] = {
    "longer": (lengthen, ["longer than its header says", "expected", "found"]),
    "empty": (write(b""), ["empty file", "found 0 bytes"]),
    "shorter than a length": (write(b"abc"), ["not a safetensors file", "expected at least 8", "found 3"]),
    "lfs": (write(LFS), ["git-LFS pointer", "git lfs pull"]),
    "html": (write(HTML), ["HTML page"]),
    "text": (
        write(b"hello world, these are no weights at all"),
        ["header too long, or not a safetensors file"],
    ),
    "not json": (header(b"{not json"), ["header not JSON"]),
    "not utf-8": (header(b'{"\xff": 1}'), ["header not UTF-8"]),
    "a list": (header([1, 2]), ["header not a JSON object"]),
    "deep": (header(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), [""]),
    "huge length": (
        write(file_bytes({}, b"", length=2**64 - 1)),
        ["header too long", "found 18446744073709551615"],
    ),
    "long length": (
        write(file_bytes({}, b"", length=100_000_001)),
        ["expected a header of at most 100000000 bytes"],
    ),
    "no tensors": (header({}, b""), ["no tensors"]),
    "only metadata": (header({"__metadata__": {"format": "pt"}}, b""), ["no tensors"]),
    "named twice": (header(TWICE), ["tensor a", "names it twice"]),
    "named twice, equal": (
        header(TWICE.replace(b"[24, 48]", b"[0, 24]"), bytes(24)),
        ["tensor a", "names it twice"],
    ),
    "overlap": (
        header({"a": A, "b": entry("F32", [2, 3], 20, 44)}, bytes(44)),
        ["tensor b", "overlaps the tensor before it, a", "expected its bytes from 24", "found from 20"],
    ),
    "gap": (
        header({"a": A, "b": entry("F32", [2, 3], 30, 54)}, bytes(54)),
        ["tensor b", "a gap before it, a", "expected its bytes from 24", "found from 30"],
    ),
    "gap at the start": (header({"a": B}), ["tensor a", "a gap before it", "expected its bytes from 0"]),
    "too few bytes": (
        header({"a": A, "b": entry("F32", [2, 3], 24, 44)}, bytes(44)),
        ["tensor b", "wrong byte count", "expected 24 bytes for F32 [2, 3]", "found 20 bytes at 24"],
    ),
    "too many bytes": (
        header({"a": entry("BF16", [2, 3], 0, 24)}, bytes(24)),
        ["tensor a", "expected 12 bytes for BF16 [2, 3]", "found 24 bytes"],
    ),
    "negative size": (header({"a": A, "b": entry("F32", [-2, -3], 24, 48)}), [*SIZES, "found [-2, -3]"]),
    "size a fraction": (header({"a": A, "b": entry("F32", [2.0, 3], 24, 48)}), [*SIZES, "found [2.0, 3]"]),
    "size a text": (header({"a": A, "b": entry("F32", ["2", 3], 24, 48)}), SIZES),
    "shape missing": (
        header({"a": A, "b": {"dtype": "F32", "data_offsets": [24, 48]}}),
        ["tensor b", "expected dtype, shape and data_offsets", "found dtype, data_offsets"],
    ),
    "huge size": (
        header({"a": A, "b": entry("F32", [2**40, 2**40], 24, 48)}),
        ["tensor b", "wrong byte count", "found 24 bytes"],
    ),
    "offsets reversed": (header({"a": A, "b": entry("F32", [2, 3], 48, 24)}), ["tensor b", "found [48, 24]"]),
    "offsets negative": (header({"a": entry("F32", [2, 3], -24, 0)}), ["tensor a", "wrong data_offsets"]),
    "offsets beyond the file": (
        header({"a": A, "b": entry("F32", [2**20, 1], 24, 24 + 2**22)}),
        ["tensor b", "truncated", "expected 4194", "found"],
    ),
    "unknown dtype": (
        header({"a": A, "b": entry("Q4_0", [2, 3], 24, 48)}),
        ["tensor b", "unknown dtype", "found Q4_0", "F32", "BF16", "F8_E4M3"],
    ),
    "dtype a number": (header({"a": A, "b": entry(7, [2, 3], 24, 48)}), ["tensor b", "unknown dtype"]),
    "metadata a number": (
        header({"__metadata__": {"step": 1}, "a": A, "b": B}),
        ["__metadata__", "expected names and strings", "found step: 1"],
    ),
    "metadata a list": (
        header({"__metadata__": [1], "a": A, "b": B}),
        ["__metadata__", "expected names and strings", "found [1]"],
    ),
    "entry a list": (header({"a": A, "b": [1]}), ["tensor b", "header entry not an object"]),
    "long odd name": (
        header({"a": A, "\n" * 10_000: entry("Q", [2, 3], 24, 48)}),
        ["tensor \\n\\n", "(10000 characters)", "unknown dtype"],
    ),
}


@pytest.mark.parametrize(("damage", "words"), FILES.values(), ids=FILES)
def test_damaged_file(tiny_bert_path: Path, tmp_path: Path, damage: Damage, words: list[str]) -> None:
    path = Path(shutil.copy(tiny_bert_path / "model.safetensors", tmp_path / "model.safetensors"))
    damage(path)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize("length", [0x3C, 0x3C20, 0x3C09, 0x213C, 0x3C0D0A, 0x683C20])
def test_a_header_length_that_looks_like_a_web_page(tmp_path: Path, length: int) -> None:
    """As bytes these begin with ``<``, ``<!`` or `` <h``, some after white space."""
    path = tmp_path / "model.safetensors"
    text = json.dumps({"a": entry("U8", [2], 0, 2)}).encode().ljust(length)
    path.write_bytes(file_bytes(text, b"<h"))
    assert [info.name for info in open_checkpoint(path)] == ["a"]
    path.write_bytes(file_bytes(text.replace(b"U8", b"Q8"), b"<h"))
    with pytest.raises(CheckpointError, match=r"tensor a: unknown dtype .*found Q8"):
        open_checkpoint(path)


@pytest.mark.parametrize("page", [b"\xef\xbb\xbf<html>", b"<?xml version='1.0'?>", b"\r\n <a>", b"<p>"])
def test_web_pages(tmp_path: Path, page: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(page)
    with pytest.raises(CheckpointError, match="found an HTML page"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("kept", [3, 8, 60, 0.5, 0.9, -5, -1])
def test_truncated(tiny_bert_path: Path, tmp_path: Path, kept: float) -> None:
    raw = (tiny_bert_path / "model.safetensors").read_bytes()
    cut = int(len(raw) * kept) if 0 < kept < 1 else int(kept)
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw[:cut])
    with pytest.raises(CheckpointError, match="truncated") as caught:
        open_checkpoint(path)
    error = caught.value
    in_header = path.stat().st_size < 8 + int.from_bytes(raw[:8], "little")
    assert (error.file, error.tensor is None) == (path, in_header)
    if not in_header:
        assert (error.expected, error.found) == (f"{len(raw)} bytes", f"{path.stat().st_size} bytes")


def config(raw: bytes) -> Damage:
    return lambda folder: (folder / "config.json").write_bytes(raw)


def ambiguous(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder / "a.safetensors")
    (folder / "model.safetensors").rename(folder / "b.safetensors")


def directory(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()


def loop(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("model.safetensors")


FOLDERS: dict[str, tuple[Damage, str, list[str]]] = {
    "config not JSON": (config(b"{"), "config.json", ["not JSON"]),
    "config not text": (
        config(b"\xff\xfe\xff\x00\x80"),
        "config.json",
        ["not JSON", "expected a JSON object"],
    ),
    "config a list": (config(b"[]"), "config.json", ["expected {...}", "found list"]),
    "config empty": (config(b""), "config.json", ["empty file"]),
    "config deep": (config(b"[" * 100_000), "config.json", ["not JSON"]),
    "config lfs": (config(LFS), "config.json", ["git-LFS pointer"]),
    "config html": (config(HTML), "config.json", ["HTML page"]),
    "no weights": (
        lambda p: (p / "model.safetensors").unlink(),
        "",
        ["no weights", "expected model.safetensors", "one *.safetensors file of any name", "config.json"],
    ),
    "ambiguous": (ambiguous, "", ["several weight files but no index", "a.safetensors"]),
    "weights a directory": (directory, "", ["no weights", "model.safetensors/"]),
    "weights a symlink loop": (loop, "", ["no weights", "model.safetensors (leads nowhere)"]),
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


@pytest.mark.parametrize("given", ["gpt2", "https://huggingface.co/org/name"])
def test_what_is_not_quite_a_hub_id(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"expected a file, a folder, or a hub id written org/name"
    ) as caught:
        open_checkpoint(given)
    assert str(caught.value).startswith(f"{given}: no such file or folder")


def test_no_path_is_not_the_working_directory(tiny_bert_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_bert_path)
    assert len(open_checkpoint("."))
    with pytest.raises(CheckpointError, match="no path given"):
        open_checkpoint("")


def test_paths_that_are_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(CheckpointError, match=r"loop: a symbolic link that leads nowhere"):
        open_checkpoint(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match=r"pipe: neither a file nor a folder"):
        open_checkpoint(tmp_path / "pipe")
    for odd in ("a\0b", "new\nline", "x" * 10_000, "", "\u6f22\U0001f642", "\ud800"):
        with pytest.raises(CheckpointError) as caught:
            open_checkpoint(tmp_path / odd if odd else tmp_path)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("locked", ["config.json", "model.safetensors", ""])
def test_no_permission(tiny_bert_path: Path, locked: str) -> None:
    """Root may read everything: the check runs as another user."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(tiny_bert_path, Path(place) / "model"))
        for path in (Path(place), folder, *folder.iterdir()):
            path.chmod(0o755)
        (folder / locked).chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(CheckpointError, match=r"Permission denied") as caught:
                open_checkpoint(folder)
        finally:
            if user == 0:
                os.seteuid(user)
            (folder / locked).chmod(0o755)
        assert str(folder / locked) in str(caught.value)


def test_odd_tensor_names_are_only_names(tmp_path: Path) -> None:
    names = ["new\nline", "nul\0", "x" * 10_000, "\u6f22\U0001f642", "", " ", "../up", "a#b", "\x1b[31mred"]
    save_file(
        {name: np.full((2, 3), n, np.float32) for n, name in enumerate(names)}, tmp_path / "model.safetensors"
    )
    checkpoint = open_checkpoint(tmp_path)
    assert {info.name for info in checkpoint} == set(names)
    assert [checkpoint.load(name)[0, 0] for name in names] == list(range(len(names)))
    for verb in (["inspect"], ["inspect", "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "lmscope", *verb, str(tmp_path)], capture_output=True, text=True
        )
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
        assert "\x1b" not in done.stdout


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
    "not a file name": ({"a": 7}, ["tensor a", "found 7"]),
    "nul in a shard's name": ({"a": "one\0.safetensors"}, ["missing shard", "one"]),
    "outside": ({"a": "../one.safetensors"}, ["outside the folder"]),
}


@pytest.mark.parametrize(("weight_map", "words"), INDEXES.values(), ids=INDEXES)
def test_wrong_index(sharded: Path, weight_map: object, words: list[str]) -> None:
    write_index(sharded, weight_map)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(sharded)
    for word in ["model.safetensors.index.json", *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "word"), [(LFS, "git-LFS"), (HTML, "HTML"), (b"", "empty"), (b"[1", "not JSON")]
)
def test_unreadable_index(sharded: Path, raw: bytes, word: str) -> None:
    index = sharded / "model.safetensors.index.json"
    index.write_bytes(raw)
    with pytest.raises(CheckpointError, match=word) as caught:
        open_checkpoint(sharded)
    assert caught.value.file == index


def test_damaged_shard(sharded: Path) -> None:
    shard = sharded / "two.safetensors"
    shard.write_bytes(LFS)
    with pytest.raises(CheckpointError, match="git-LFS pointer") as caught:
        open_checkpoint(sharded)
    assert caught.value.file == shard


def test_a_tensor_outside_the_index_has_its_row_and_a_warning(sharded: Path) -> None:
    write_index(sharded, {"b": "two.safetensors"})
    assert {info.name for info in open_checkpoint(sharded)} == {"b"}
    save_file(
        {"b": np.ones((2, 3), np.float32), "c": np.zeros((2, 3), np.float32)}, sharded / "two.safetensors"
    )
    checkpoint = open_checkpoint(sharded)
    assert {info.name for info in checkpoint} == {"b", "c"}
    assert any(
        "1 tensors are in the shards but not in" in text and text.endswith(": c")
        for text in checkpoint.warnings
    )


def test_tensor_in_two_shards(sharded: Path) -> None:
    save_file(
        {"a": np.ones((2, 3), np.float32), "b": np.zeros((2, 3), np.float32)}, sharded / "two.safetensors"
    )
    with pytest.raises(
        CheckpointError, match=r"tensor a: stored twice .*one.safetensors and two.safetensors"
    ):
        open_checkpoint(sharded)


def test_a_file_replaced_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = tmp_path / "model.safetensors", tmp_path / "other"
    save_file({"a": np.ones((2, 3), np.float32)}, path)
    save_file({"b": np.ones((9, 9), np.float32)}, other)
    check = safetensors_file.safe_open

    def overtaken(*arguments: object, **options: object) -> object:
        other.replace(path)
        return check(*arguments, **options)

    monkeypatch.setattr(safetensors_file, "safe_open", overtaken)
    with pytest.raises(
        CheckpointError, match=r"model.safetensors: the file was replaced while it was opened"
    ):
        open_checkpoint(path)
