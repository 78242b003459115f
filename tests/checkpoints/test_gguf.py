"""GGUF files, written by llama.cpp's own package: every tensor is a row, every matrix refused."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter, quants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmscope.checkpoints import CheckpointError, open_checkpoint
from lmscope.checkpoints.gguf_file import GGML_TYPES, open_gguf

QUANTISED = ("Q4_0", "Q5_1", "Q8_0", "TQ1_0", "MXFP4")


def write(path: Path) -> Path:
    matrix = np.random.default_rng(0).standard_normal((64, 256)).astype(np.float32)
    writer = GGUFWriter(path, "llama")
    writer.add_array("tokenizer.ggml.tokens", [f"token {number}" for number in range(50)])
    writer.add_array("some.numbers", [1, 2, 3])
    writer.add_bool("some.switch", True)
    writer.add_float64("some.number", 0.5)
    for name in QUANTISED:
        kind = GGMLQuantizationType[name]
        writer.add_tensor(f"blk.0.{name.lower()}.weight", quants.quantize(matrix, kind), raw_dtype=kind)
    writer.add_tensor("blk.0.attn_q.weight", matrix.astype(np.float16))
    writer.add_tensor("blk.1.attn_norm.weight", matrix[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("gguf") / "tiny-Q4_0.gguf")


def test_every_tensor_is_a_row_and_every_matrix_refused(path: Path) -> None:
    rows = {row.name: row for row in open_checkpoint(path)}
    assert len(rows) == len(QUANTISED) + 2
    for name in QUANTISED:
        row = rows[f"blk.0.{name.lower()}.weight"]
        assert (row.status, row.shape, row.layer) == ("refused", (64, 256), 0)
        assert f"GGUF {name}" in row.reason
    assert rows["blk.0.attn_q.weight"].status == "refused"
    assert "whose writer rearranges" in rows["blk.0.attn_q.weight"].reason
    assert rows["blk.1.attn_norm.weight"].status == "skipped"
    with pytest.raises(CheckpointError, match=r"attn_q.*gguf_f16 values cannot be read"):
        open_checkpoint(path).load("blk.0.attn_q.weight")


def test_sizes_are_those_of_the_package(path: Path) -> None:
    ours = open_gguf(path).tensors
    theirs = gguf.GGUFReader(path).tensors
    assert {name: (stored.nbytes, stored.shape) for name, stored in ours.items()} == {
        tensor.name: (tensor.n_bytes, tuple(map(int, reversed(tensor.shape)))) for tensor in theirs
    }


def test_types_are_those_of_the_package() -> None:
    assert {
        kind.value: (kind.name, *gguf.GGML_QUANT_SIZES[kind]) for kind in GGMLQuantizationType
    } == GGML_TYPES


def test_folder_of_gguf_alone(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path)
    assert len(open_checkpoint(tmp_path)) == len(QUANTISED) + 2
    shutil.copy(path, tmp_path / "tiny-Q8_0.gguf")
    with pytest.raises(CheckpointError, match=r"several GGUF files .*tiny-Q4_0.gguf, tiny-Q8_0.gguf"):
        open_checkpoint(tmp_path)


def test_split_lacks_a_part(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "tiny-00001-of-00002.gguf")
    with pytest.raises(CheckpointError, match=r"missing shard .*expected 2 files tiny-\*.gguf"):
        open_checkpoint(tmp_path)


def patch(at: int, raw: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content[:at] + raw + content[at + len(raw) :]


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda content: b"", r"empty file"),
    "header cut": (lambda content: content[:300], r"truncated GGUF header .*found 300 bytes"),
    "weights cut": (lambda content: content[:-500], r"truncated .*expected \d+ bytes, found \d+ bytes"),
    "no gguf": (patch(0, b"GGML"), r"not a GGUF file .*found b'GGML'"),
    "old version": (patch(4, struct.pack("<I", 1)), r"version not understood .*found 1"),
    "big-endian": (patch(4, struct.pack(">I", 3)), r"version not understood"),
    "too many tensors": (patch(8, struct.pack("<Q", 2**60)), r"not a GGUF header"),
    "too many values": (patch(16, struct.pack("<Q", 2**60)), r"GGUF header"),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_file(path: Path, tmp_path: Path, damage: Callable[[bytes], bytes], words: str) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=words) as caught:
        open_checkpoint(broken)
    assert str(broken) in str(caught.value)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_damage_is_refused_or_harmless(path: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(path.read_bytes())
    header = len(open_gguf(path).header)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(content[: data.draw(st.sampled_from([len(content), header, header // 2]))])
    try:
        rows = list(open_checkpoint(broken))
    except CheckpointError:
        return
    assert all(row.status in ("refused", "skipped") for row in rows)
    assert all(0 <= row.elements < 2**63 for row in rows)
