"""Files of torch.save: values, strides, shared storages, wrappers, and what is refused."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lmscope.checkpoints import Checkpoint, CheckpointError, open_checkpoint

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def saved(path: Path, content: object, *, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def plain(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def assert_same(checkpoint: Checkpoint, tensors: dict[str, torch.Tensor]) -> None:
    assert {info.name for info in checkpoint} == set(tensors)
    for name, tensor in tensors.items():
        loaded = checkpoint.load(name)
        expected = plain(tensor)
        assert (loaded.dtype, loaded.shape) == (expected.dtype, expected.shape)
        assert loaded.tobytes() == expected.tobytes(), name


@FORMATS
def test_every_dtype(tmp_path: Path, zipped: bool) -> None:
    dtypes = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool"
    values = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)) * 9
    tensors = {name: values.to(getattr(torch, name)) for name in dtypes.split()}
    tensors |= {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 3)}
    assert_same(open_checkpoint(saved(tmp_path / "model.bin", tensors, zipped=zipped)), tensors)


@FORMATS
def test_views_of_any_layout(tmp_path: Path, zipped: bool) -> None:
    storage = torch.arange(240.0)
    cube = storage.reshape(4, 6, 10)
    tensors = {
        "whole": cube,
        "transposed": cube[0].t(),
        "permuted": cube.permute(2, 0, 1),
        "rows": cube[1, 2:5],
        "columns": cube[2, :, 3:7],
        "every second": storage[1::2].reshape(12, 10),
        "strided": cube[:, ::2, 1::3],
        "one": storage[17],
        "size one": storage[5:6].as_strided((1, 1), (99, 7)),
    }
    checkpoint = open_checkpoint(saved(tmp_path / "model.bin", tensors, zipped=zipped))
    assert_same(checkpoint, tensors)
    assert {info.tied_to for info in checkpoint} == {None}


def test_a_small_view_of_a_large_storage_keeps_no_more_than_itself(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(saved(tmp_path / "model.bin", {"w": torch.zeros(1000, 1000)[:, 0:2]}))
    loaded = checkpoint.load("w")
    assert loaded.base is None
    assert loaded.nbytes == 8000


@FORMATS
def test_shared_storage_is_one_tensor(tmp_path: Path, zipped: bool) -> None:
    weight = torch.randn(5, 4)
    tensors = {"first": weight, "other": torch.ones(5, 4), "second": weight, "view": weight[1:]}
    checkpoint = open_checkpoint(saved(tmp_path / "model.bin", tensors, zipped=zipped))
    rows = {info.name: info for info in checkpoint}
    assert {name: row.tied_to for name, row in rows.items()} == {
        "first": None,
        "other": None,
        "second": "first",
        "view": None,
    }
    assert (rows["second"].elements, rows["second"].status) == (0, "skipped")
    assert_same(checkpoint, tensors)


def test_a_tied_model_saved_with_its_head(tmp_path: Path, tiny_bert_path: Path) -> None:
    from transformers import BertForMaskedLM

    model = BertForMaskedLM.from_pretrained(tiny_bert_path)
    (tmp_path / "config.json").write_text((tiny_bert_path / "config.json").read_text())
    saved(tmp_path / "pytorch_model.bin", model.state_dict())
    rows = {info.name: info for info in open_checkpoint(tmp_path)}
    assert rows["cls.predictions.decoder.weight"].tied_to == "bert.embeddings.word_embeddings.weight"
    reference = {info.name: info for info in open_checkpoint(tiny_bert_path)}
    planned = {name for name, info in rows.items() if info.status == "planned"}
    assert planned == {name for name, info in reference.items() if info.status == "planned"}


@FORMATS
def test_shards_through_an_index(tmp_path: Path, zipped: bool) -> None:
    tensors = {f"layers.{n}.weight": torch.full((3, 2), float(n)) for n in range(6)}
    shard_of = {name: f"pytorch_model-0000{n % 3}-of-00003.bin" for n, name in enumerate(tensors)}
    for shard in set(shard_of.values()):
        held = {name: tensor for name, tensor in tensors.items() if shard_of[name] == shard}
        saved(tmp_path / shard, held, zipped=zipped)
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": shard_of}))
    checkpoint = open_checkpoint(tmp_path)
    assert_same(checkpoint, tensors)
    with checkpoint.stream() as stream:
        assert {info.name: array[0, 0] for info, array in stream} == {
            name: tensor[0, 0] for name, tensor in tensors.items()
        }


def test_safetensors_come_first(tmp_path: Path, tiny_bert_path: Path) -> None:
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).symlink_to(tiny_bert_path / file)
    saved(tmp_path / "pytorch_model.bin", {"wrong": torch.ones(2, 2)})
    assert open_checkpoint(tmp_path).tensors == open_checkpoint(tiny_bert_path).tensors


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth"])
def test_one_file_takes_the_config_beside_it(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    path = saved(tmp_path / f"weights{suffix}", {"model.norm.weight": torch.ones(3)})
    assert open_checkpoint(path).model_type == "llama"


WEIGHT = torch.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    ("content", "names", "warned"),
    [
        pytest.param({"w": WEIGHT, "epoch": 3, "note": "x", "none": None}, {"w"}, "", id="other entries"),
        pytest.param({"state_dict": {"w": WEIGHT}, "lr": 0.1}, {"w"}, "", id="state_dict"),
        pytest.param(
            {"model": {"w": WEIGHT}, "optimizer": {"state": {0: {"exp_avg": WEIGHT + 1}}}},
            {"w"},
            "left out: 1 under 'optimizer'",
            id="optimizer beside",
        ),
        pytest.param(
            {
                "model": {"w": WEIGHT},
                "optimizer": {0: WEIGHT + 1},
                "step": torch.tensor(5),
                "x": torch.ones(9),
            },
            {"w"},
            "left out: 1 under 'optimizer', 1 under 'step', 1 under 'x'",
            id="tensors beside",
        ),
        pytest.param(
            {"params": {"w": WEIGHT}, "params_ema": {"w": WEIGHT + 1}, "ema": {"w": WEIGHT + 2}},
            {"w"},
            "left out: 1 under 'params_ema', 1 under 'ema'",
            id="averages beside",
        ),
        pytest.param(
            {"generator": {"w": WEIGHT}, "optimizer_states": [{"state": {0: {"exp_avg": WEIGHT}}}]},
            {"w"},
            "left out: 1 under 'optimizer_states'",
            id="one entry beside a training state",
        ),
        pytest.param(
            {"net": {"w": WEIGHT}, "o": {"state": {0: {"exp_avg": WEIGHT}}, "param_groups": []}},
            {"w"},
            "left out: 1 under 'o'",
            id="an optimizer's state by another name",
        ),
        pytest.param(
            {"state_dict": {"model": {"w": WEIGHT}, "optimizer": {"m": WEIGHT}}, "loss": torch.tensor(1.0)},
            {"w"},
            "left out: 1 under 'loss', 1 under 'optimizer'",
            id="wrapped twice",
        ),
        pytest.param(
            {"w": WEIGHT, "encoder": {"w": WEIGHT + 1, "scheduler": {"m": WEIGHT}}, "optimizer": [WEIGHT]},
            {"w", "encoder.w"},
            "left out: 1 under 'encoder.scheduler', 1 under 'optimizer'",
            id="weights at the top",
        ),
        pytest.param(
            {"encoder": {"w": WEIGHT}, "heads": [WEIGHT + 1, WEIGHT + 2]},
            {"encoder.w", "heads.0", "heads.1"},
            "",
            id="nested",
        ),
        pytest.param({"w": torch.nn.Parameter(WEIGHT)}, {"w"}, "", id="parameter"),
    ],
)
def test_what_counts_as_weights(tmp_path: Path, content: Any, names: set[str], warned: str) -> None:
    checkpoint = open_checkpoint(saved(tmp_path / "model.bin", content))
    assert {info.name for info in checkpoint} == names
    assert all(np.array_equal(checkpoint.load(name) - checkpoint.load(name)[0, 0], WEIGHT) for name in names)
    assert any(warned in warning for warning in checkpoint.warnings) if warned else True
    assert sum("left out" in warning for warning in checkpoint.warnings) == bool(warned)


def test_a_legacy_file_warns_with_its_size(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.bin", {"w": torch.zeros(1000, 1000)}, zipped=False)
    (warning,) = [text for text in open_checkpoint(path).warnings if "before 1.6" in text]
    assert "model.bin" in warning
    assert "4 MB" in warning


def test_a_torch_that_does_not_tell_offsets_loads_the_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As before torch 2.7; rows, values and identity stay the same."""
    weight = torch.randn(5, 4)
    tensors = {"a": weight, "b": weight, "c": weight.t()[1:], "d": weight.bfloat16()}
    path = saved(tmp_path / "model.bin", tensors)
    by_offset = open_checkpoint(path)
    monkeypatch.delattr(torch.storage._StorageBase, "_checkpoint_offset")
    whole = open_checkpoint(path)
    assert (whole.tensors, whole.identity) == (by_offset.tensors, by_offset.identity)
    assert_same(whole, tensors)
    assert [
        text for text in whole.warnings if "can only be loaded whole" in text and torch.__version__ in text
    ]
    assert not [text for text in by_offset.warnings if "loaded whole" in text]


def test_records_packed_anew_are_read_by_name(tmp_path: Path) -> None:
    """Torch reckons offsets of such a file wrongly: taking its word would give other values."""
    tensors = {"a": WEIGHT, "b": WEIGHT + 6, "c": torch.ones(50)}
    path = saved(tmp_path / "model.bin", tensors)
    with zipfile.ZipFile(path) as archive:
        records = {record: archive.read(record) for record in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for record in sorted(records, reverse=True):
            archive.writestr(record, records[record])
    checkpoint = open_checkpoint(path)
    assert_same(checkpoint, tensors)
    assert [text for text in checkpoint.warnings if "not packed by torch.save itself" in text]


def test_a_record_that_claims_more_than_the_file_holds(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.bin", {"w": torch.zeros(30, 30)})
    raw = path.read_bytes()
    size, claimed = (3600).to_bytes(4, "little") * 2, (2**31).to_bytes(4, "little") * 2
    assert raw.count(size) >= 1
    path.write_bytes(raw.replace(size, claimed))
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        open_checkpoint(path)


def test_one_legacy_file_is_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = {}
    for n in range(2):
        saved(tmp_path / f"pytorch_model-{n}.bin", {f"{n}.a": WEIGHT, f"{n}.b": WEIGHT + 1}, zipped=False)
        index |= {f"{n}.{letter}": f"pytorch_model-{n}.bin" for letter in "ab"}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    checkpoint = open_checkpoint(tmp_path)
    loads: list[str] = []
    load = torch.load

    def counted(file: Any, **options: Any) -> Any:
        loads.append(Path(file.name).name)
        return load(file, **options)

    monkeypatch.setattr(torch, "load", counted)
    for name in ("0.a", "0.b", "1.a", "1.b", "0.a"):
        checkpoint.load(name)
    assert loads == ["pytorch_model-0.bin", "pytorch_model-1.bin", "pytorch_model-0.bin"]
    holders = {id(file.loaded) for file in checkpoint._file_of.values()}
    assert len(holders) == 1


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("this must never run",)


def big_endian(path: Path) -> None:
    saved(path, {"w": WEIGHT})
    with zipfile.ZipFile(path) as archive:
        records = {record: archive.read(record) for record in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for record, content in records.items():
            archive.writestr(record, b"big" if record.endswith("byteorder") else content)


def deflated(path: Path) -> None:
    saved(path, {"w": WEIGHT})
    with zipfile.ZipFile(path) as archive:
        records = {record: archive.read(record) for record in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for record, content in records.items():
            archive.writestr(record, content)


def tarred(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())


def scripted(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for record in ("model/data.pkl", "model/constants.pkl", "model/version", "model/byteorder"):
            archive.writestr(record, b"little" if record.endswith("byteorder") else pickle.dumps({}, 2))


NO_STATE_DICT = "save the weights as safetensors (expected a state dict written by torch.save, "

REFUSED: dict[str, tuple[Any, list[str]]] = {
    "code in a zip": (
        lambda p: saved(p, {"w": Evil()}),
        ["run code of its own", "convert", "found print"],
    ),
    "code in a legacy file": (
        lambda p: saved(p, {"w": Evil()}, zipped=False),
        ["run code of its own", "convert", "found print"],
    ),
    "plain pickle with code": (lambda p: p.write_bytes(pickle.dumps(Evil(), 2)), ["run code of its own"]),
    "module": (lambda p: saved(p, torch.nn.Linear(2, 2)), ["run code", "torch.nn.modules.linear.Linear"]),
    "big-endian": (big_endian, ["byte order", "expected little", "found big"]),
    "compressed": (deflated, ["compressed zip"]),
    "tar": (tarred, [NO_STATE_DICT, "found a tar archive"]),
    "gzip": (lambda p: p.write_bytes(gzip.compress(b"x" * 99)), [NO_STATE_DICT, "found a gzip file"]),
    "json": (lambda p: p.write_bytes(b'{"error": "not found"}'), [NO_STATE_DICT, "found JSON"]),
    "safetensors": (lambda p: save_file({"w": WEIGHT}, p), [NO_STATE_DICT, "found a safetensors file"]),
    "pickle": (lambda p: p.write_bytes(pickle.dumps({"a": [1]})), [NO_STATE_DICT, "found a pickle"]),
    "old pickle": (lambda p: p.write_bytes(pickle.dumps({"a": [1]}, 0)), [NO_STATE_DICT, "found text"]),
    "noise": (lambda p: p.write_bytes(b"\xffnoise\0\0"), [NO_STATE_DICT, "begins with b'\\xffnoise\\x00"]),
    "pickled by another protocol": (
        lambda p: torch.save({"w": WEIGHT}, p, pickle_protocol=4, _use_new_zipfile_serialization=False),
        ["cannot read it: UnpicklingError: Unsupported operand 149; convert", "written by torch.save"],
    ),
    "script": (scripted, ["TorchScript"]),
    "empty": (lambda p: p.write_bytes(b""), ["empty file"]),
    "lfs": (lambda p: p.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), ["git-LFS pointer"]),
    "html": (lambda p: p.write_bytes(b"\n<!doctype html>"), ["HTML page"]),
    "text": (lambda p: p.write_bytes(b"hello"), [NO_STATE_DICT, "found text"]),
    "zip of something else": (
        lambda p: zipfile.ZipFile(p, "w").writestr("readme/data/0", "x"),
        ["not a file of torch.save", "data.pkl"],
    ),
    "no tensors": (lambda p: saved(p, {"epoch": 1}), ["no tensors"]),
    "an optimizer alone": (
        lambda p: saved(p, {"state": {0: {"exp_avg": WEIGHT}}, "param_groups": []}),
        ["training state without weights", "expected a state dict", "found state, param_groups"],
    ),
    "averages alone": (
        lambda p: saved(p, {"ema": {"w": WEIGHT}, "epoch": 1}),
        ["which entry holds the weights is unclear: save the weights alone", "found ema"],
    ),
    "two models and a training state": (
        lambda p: saved(p, {"actor": {"w": WEIGHT}, "critic": {"w": WEIGHT}, "optimizer": {"m": WEIGHT}}),
        ["which entry holds the weights is unclear", "state_dict, model", "found actor, critic, optimizer"],
    ),
    "two that are wrappers by name": (
        lambda p: saved(p, {"model": {"w": WEIGHT}, "params": {"w": WEIGHT}}),
        ["which entry holds the weights is unclear", "found model, params"],
    ),
    "lone surrogate in a name": (
        lambda p: saved(p, {"a\ud800.weight": WEIGHT}),
        ["tensor 'a\\ud800.weight'", "its name cannot be written as UTF-8: rename it"],
    ),
    "quantised": (
        lambda p: saved(p, {"w": torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)}),
        ["quantised tensors of torch: dequantise them", "save the weights as safetensors"],
    ),
}


@pytest.mark.filterwarnings("ignore:.*quantize")
@pytest.mark.parametrize(("write", "words"), REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], write: Any, words: list[str]) -> None:
    path = tmp_path / "model.bin"
    write(path)
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)
    assert "never run" not in capsys.readouterr().out


@pytest.mark.parametrize("kept", [0.05, 0.3, 0.6, 0.9, 0.99, -1])
@FORMATS
def test_truncated(tmp_path: Path, zipped: bool, kept: float) -> None:
    path = saved(tmp_path / "model.bin", {"w": torch.zeros(50, 50)}, zipped=zipped)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * kept) if kept > 0 else -1])
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        open_checkpoint(path)


@FORMATS
def test_what_has_no_values_of_its_own_is_refused_row_by_row(tmp_path: Path, zipped: bool) -> None:
    tensors = {
        "meta": torch.empty(4, 4, device="meta"),
        "expanded": torch.ones(1).expand(40_000, 40_000),
        "overlapping": torch.arange(6.0).as_strided((4, 3), (1, 1)),
        "plain": WEIGHT,
    }
    checkpoint = open_checkpoint(saved(tmp_path / "model.bin", tensors, zipped=zipped))
    reasons = {info.name: info.reason for info in checkpoint if info.status == "refused"}
    assert reasons == {
        "meta": "it has no values: it was saved from the meta device",
        "expanded": "an expanded view: 1600000000 elements are meant, 1 are stored",
        "overlapping": "an expanded view: 12 elements are meant, 6 are stored",
    }
    for name, reason in reasons.items():
        with pytest.raises(CheckpointError, match=f"model.bin: tensor {name}: {reason}"):
            checkpoint.load(name)
    np.testing.assert_array_equal(checkpoint.load("plain"), WEIGHT.numpy())


@pytest.mark.filterwarnings("ignore:.*quantize")
def test_quantised_tensors_of_an_older_file_are_refused_row_by_row(tmp_path: Path) -> None:
    quantised = torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)
    checkpoint = open_checkpoint(saved(tmp_path / "m.bin", {"q": quantised, "w": WEIGHT}, zipped=False))
    rows = {info.name: info for info in checkpoint}
    assert (rows["q"].status, rows["w"].status) == ("refused", "planned")
    assert "qint8 is not a plain floating-point dtype" in rows["q"].reason


def test_what_is_not_plain_numbers_is_refused_row_by_row(tmp_path: Path) -> None:
    tensors = {
        "sparse": torch.eye(3).to_sparse(),
        "conjugated": torch.ones(2, 2, dtype=torch.complex64).conj(),
        "negated": torch.ones(2, 2, dtype=torch.complex64).conj().imag,
        "f8": torch.ones(2, 2).to(torch.float8_e4m3fn),
        "plain": WEIGHT,
    }
    checkpoint = open_checkpoint(saved(tmp_path / "model.bin", tensors))
    rows = {info.name: info for info in checkpoint}
    assert {name for name, row in rows.items() if row.status == "refused"} == {
        "sparse",
        "conjugated",
        "negated",
        "f8",
    }
    for name in ("sparse", "conjugated", "negated", "f8"):
        assert rows[name].shape == tuple(tensors[name].shape)
        with pytest.raises(CheckpointError, match=f"tensor {name}: .*cannot be read alone"):
            checkpoint.load(name)
    np.testing.assert_array_equal(checkpoint.load("plain"), WEIGHT.numpy())


def test_opening_reads_no_storages(tmp_path: Path) -> None:
    """All bytes of the storage but the zip's own are punched out: only their values may change."""
    path = saved(tmp_path / "model.bin", {"w": torch.full((300, 300), 7.0)})
    before = open_checkpoint(path)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(torch.full((300, 300), 7.0).numpy().tobytes(), bytes(360_000)))
    after = open_checkpoint(path)
    assert after.tensors == before.tensors
    assert after.load("w").sum() == 0


def test_identity_follows_the_pickle(tmp_path: Path) -> None:
    import os

    def identity(name: str, content: object, *, zipped: bool = True) -> str:
        (tmp_path / name).mkdir()
        path = saved(tmp_path / name / "model.bin", content, zipped=zipped)
        os.utime(path, ns=(1, 1))
        return open_checkpoint(path).identity

    for zipped in (True, False):
        one = identity(f"a{zipped}", {"first": WEIGHT}, zipped=zipped)
        assert one == identity(f"b{zipped}", {"first": WEIGHT}, zipped=zipped)
        assert one != identity(f"c{zipped}", {"fjrst": WEIGHT}, zipped=zipped)


def test_torch_is_imported_for_such_a_file_only(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.bin", {"w": WEIGHT})
    code = (
        "import sys, lmscope.checkpoints as c\n"
        "print('torch' in sys.modules)\n"
        f"print(c.open_checkpoint({str(path)!r}).load('w').sum(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "15.0", "True"]
