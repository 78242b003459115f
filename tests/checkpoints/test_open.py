"""Opening: folders, shards, single files, hub ids; what is read and what is not."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lmscope.checkpoints import open_checkpoint


def test_shards_give_the_same_rows_and_values(tiny_llama_path: Path, tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    LlamaForCausalLM.from_pretrained(tiny_llama_path).save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    single, sharded = open_checkpoint(tiny_llama_path), open_checkpoint(tmp_path)
    assert sharded.tensors == single.tensors
    for info in single:
        np.testing.assert_array_equal(sharded.load(info.name), single.load(info.name))


def test_single_file_takes_the_config_beside_it(tiny_llama_path: Path, tmp_path: Path) -> None:
    folder, file = open_checkpoint(tiny_llama_path), open_checkpoint(tiny_llama_path / "model.safetensors")
    assert file.tensors == folder.tensors
    assert (file.name, file.model_type) == ("model.safetensors", "llama")
    assert file.identity == folder.identity

    alone = shutil.copy(tiny_llama_path / "model.safetensors", tmp_path / "weights.safetensors")
    guessed = open_checkpoint(alone)
    assert guessed.model_type is None
    assert {info.name: (info.role, info.layer) for info in guessed} == {
        info.name: (info.role, info.layer) for info in folder
    }
    assert all("guessed" in info.reason for info in guessed)
    (warning,) = guessed.warnings
    assert "guessed" in warning


def test_opening_reads_headers_only(tmp_path: Path) -> None:
    shape, nbytes = [1 << 20, 1 << 14], 1 << 36
    header = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, nbytes]}}).encode()
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + nbytes)  # 64 GiB, sparse: reading it would not end in time or fit
    (info,) = open_checkpoint(path)
    assert (info.shape, info.nbytes, info.status) == (tuple(shape), nbytes, "planned")


def test_identity_follows_name_size_time_and_header(tiny_bert_path: Path, tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(tiny_bert_path, tmp_path / name))

    original = open_checkpoint(tiny_bert_path).identity
    assert len(original) == 64
    assert int(original, 16) > 0
    assert open_checkpoint(copy("same")).identity == original

    touched = copy("touched")
    os.utime(touched / "model.safetensors", ns=(1, 1))
    renamed = copy("renamed")
    (renamed / "model.safetensors").rename(renamed / "weights.safetensors")
    configured = copy("configured")
    stat = (configured / "config.json").stat()
    text = (configured / "config.json").read_text()
    (configured / "config.json").write_text(text.replace('"gelu"', '"relu"'))
    os.utime(configured / "config.json", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    relabelled = copy("relabelled")
    weights = relabelled / "model.safetensors"
    stat = weights.stat()
    weights.write_bytes(weights.read_bytes().replace(b"pooler", b"looper").replace(b"query", b"queer", 1))
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    others = [open_checkpoint(path).identity for path in (touched, renamed, configured, relabelled)]
    assert len({original, *others}) == 5


def test_natural_order(tmp_path: Path) -> None:
    names = ["layers.10.self_attn.q_proj.weight", "layers.9.self_attn.q_proj.weight"]
    save_file({name: np.ones((2, 2), np.float32) for name in names}, tmp_path / "model.safetensors")
    assert [info.layer for info in open_checkpoint(tmp_path)] == [9, 10]


def test_no_torch_and_no_transformers(tiny_bert_path: Path) -> None:
    code = (
        "import sys, lmscope.checkpoints as c, lmscope.results\n"
        f"k = c.open_checkpoint({str(tiny_bert_path)!r})\n"
        "assert sum(w.size for _, w in k.stream()) > 0\n"
        "print([m for m in ('torch', 'transformers', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def hub_cache(tiny_bert_path: Path, tmp_path: Path) -> Path:
    """A hub cache that holds two revisions of ``someone/tiny``: main, and "old" with another config."""
    repo = tmp_path / "hub" / "models--someone--tiny"
    for revision, commit in (("main", "a" * 40), ("old", "b" * 40)):
        shutil.copytree(tiny_bert_path, repo / "snapshots" / commit)
        (repo / "refs").mkdir(exist_ok=True)
        (repo / "refs" / revision).write_text(commit)
    config = repo / "snapshots" / ("b" * 40) / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "old": True}))
    return tmp_path


def open_in_process(hub_cache: Path, arguments: str) -> str:
    """A process of its own, because the hub's client reads its environment once."""
    opened = f"k = lmscope.checkpoints.open_checkpoint({arguments})"
    code = f"import lmscope.checkpoints; {opened}; print(k.name, k.config.get('old'))"
    environment = {**os.environ, "HF_HOME": str(hub_cache), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_hub_id_with_revision_from_the_cache(hub_cache: Path) -> None:
    assert open_in_process(hub_cache, "'someone/tiny'") == "someone/tiny None"
    assert open_in_process(hub_cache, "'someone/tiny', revision='old'") == "someone/tiny True"
    missing = open_in_process(hub_cache, "'someone/absent'")
    assert "CheckpointError: someone/absent: neither a local path nor to be had from the hub" in missing


@pytest.mark.parametrize("differs", [False, True], ids=["equal", "different"])
def test_head_stored_beside_the_embedding_it_is_tied_to(
    tiny_bert_path: Path, tmp_path: Path, differs: bool
) -> None:
    shutil.copytree(tiny_bert_path, tmp_path, dirs_exist_ok=True)
    tensors = load_file(tiny_bert_path / "model.safetensors")
    embedding = "bert.embeddings.word_embeddings.weight"
    head = "cls.predictions.decoder.weight"
    save_file({**tensors, head: tensors[embedding] + np.float32(differs)}, tmp_path / "model.safetensors")

    (row,) = [info for info in open_checkpoint(tmp_path) if info.name == head]
    if differs:
        assert (row.tied_to, row.status, row.elements) == (None, "planned", 50 * 32)
        assert "values differ" in row.reason
    else:
        assert (row.tied_to, row.status, row.elements, row.nbytes) == (embedding, "skipped", 0, 0)


def test_head_left_out_of_the_file_is_a_row_without_elements(tiny_bert_path: Path) -> None:
    checkpoint = open_checkpoint(tiny_bert_path)
    (head,) = [info for info in checkpoint if info.role == "unembedding"]
    (embedding,) = [info for info in checkpoint if info.role == "token_embedding"]
    assert (head.tied_to, head.elements, head.stored_name) == (embedding.name, 0, embedding.name)
    np.testing.assert_array_equal(checkpoint.load(head.name), checkpoint.load(embedding.name))
    stored = load_file(tiny_bert_path / "model.safetensors")
    assert sum(info.elements for info in checkpoint) == sum(value.size for value in stored.values())


def test_a_link_goes_by_its_own_name(
    tiny_bert_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = shutil.copytree(tiny_bert_path, tmp_path / "org" / "model")
    (tmp_path / "mini").symlink_to(target)
    assert open_checkpoint(tmp_path / "mini").label == "mini"
    assert open_checkpoint(target).label == "org/model"
    monkeypatch.chdir(target)
    assert open_checkpoint(".").label == "org/model"
    (target / "inside").mkdir()
    monkeypatch.chdir(target / "inside")
    assert open_checkpoint("..").label == "org/model"
