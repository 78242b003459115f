"""A head stored beside the embedding it is tied to: decided from samples at opening, in full before a run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lmscope.checkpoints import Checkpoint, TensorInfo, open_checkpoint
from lmscope.runs import spectra

from .safetensors_bytes import entry, file_bytes

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
CONFIG = {"model_type": "llama", "tie_word_embeddings": True, "architectures": ["LlamaForCausalLM"]}


def head(checkpoint: Checkpoint) -> TensorInfo:
    (row,) = [info for info in checkpoint if info.name == HEAD]
    return row


def write(folder: Path, difference: int | None) -> Path:
    """Two matrices of 400 kB, the second with one byte changed."""
    embedding = np.arange(100_000, dtype=np.float32).reshape(1000, 100)
    tied = embedding.copy()
    if difference is not None:
        tied.view(np.uint8).reshape(-1)[difference] ^= 1
    save_file({EMBEDDING: embedding, HEAD: tied}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**CONFIG, "hidden_size": 100}))
    return folder


def test_equal_values_are_one_tensor(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write(tmp_path, None))
    for _ in range(2):
        assert (head(checkpoint).tied_to, head(checkpoint).elements) == (EMBEDDING, 0)
        checkpoint.confirm_ties()


@pytest.mark.parametrize("difference", [0, 4095, 399_999], ids=["first", "sampled", "last"])
def test_a_difference_in_a_sample_shows_at_opening(tmp_path: Path, difference: int) -> None:
    row = head(open_checkpoint(write(tmp_path, difference)))
    assert (row.tied_to, row.status, row.elements) == (None, "planned", 100_000)
    assert f"the config ties it to {EMBEDDING}, but its values differ" in row.reason


def test_a_difference_between_samples_shows_before_a_run(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write(tmp_path, 5000))
    assert head(checkpoint).tied_to == EMBEDDING
    checkpoint.confirm_ties()
    row = head(checkpoint)
    assert (row.tied_to, row.status, row.elements) == (None, "planned", 100_000)
    assert {info.name for info, _ in checkpoint.stream()} == {EMBEDDING, HEAD}


def test_opening_samples_no_more_than_a_megabyte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and embedding of 8 GiB each, sparse: comparing them in full would take minutes."""
    nbytes = 2**33
    shape = [2**20, 2**12]
    header = {EMBEDDING: entry("BF16", shape, 0, nbytes), HEAD: entry("BF16", shape, nbytes, 2 * nbytes)}
    path = tmp_path / "model.safetensors"
    path.write_bytes(file_bytes(header, b""))
    os.truncate(path, path.stat().st_size + 2 * nbytes)
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "hidden_size": 2**12}))
    read, counted = os.preadv, []

    def counting(*arguments: object) -> int:
        counted.append(read(*arguments))
        return counted[-1]

    monkeypatch.setattr(os, "preadv", counting)
    assert head(open_checkpoint(tmp_path)).tied_to == EMBEDDING
    assert sum(counted) <= 2**20


def test_a_head_that_cannot_be_compared_is_not_taken_for_an_alias(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, None)

    def failing(*arguments: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", failing)
    row = head(open_checkpoint(tmp_path))
    assert (row.tied_to, row.status) == (None, "planned")
    assert "they cannot be compared" in row.reason
    assert "Input/output error" in row.reason


def test_an_untied_head_has_the_status_of_its_dtype(tmp_path: Path) -> None:
    integers = np.arange(12, dtype=np.int32).reshape(3, 4)
    save_file({EMBEDDING: integers, HEAD: integers + 1}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "hidden_size": 4}))
    row = head(open_checkpoint(tmp_path))
    assert (row.tied_to, row.status, row.elements) == (None, "refused", 12)
    assert "int32 matrix" in row.reason


def test_a_run_analyses_a_head_that_differs_between_samples(tmp_path: Path) -> None:
    run = spectra(
        write(tmp_path, 5000),
        include="lm_head*",
        nulls="sign_flip",
        draws=1,
        out=tmp_path / "run",
        progress=False,
    )
    (row,) = [row for row in run.ledger.to_pylist() if row["name"] == HEAD]
    assert (row["status"], row["elements"]) == ("analysed", 100_000)
