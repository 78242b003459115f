"""Which of a folder's files are opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from lmscope.checkpoints import CheckpointError, open_checkpoint

OTHER = {"adapter": np.ones((2, 2), np.float32)}


def save_shard(path: Path, tensors: dict[str, np.ndarray]) -> None:
    if path.suffix == ".bin":
        torch.save({name: torch.from_numpy(array) for name, array in tensors.items()}, path)
    else:
        save_file(tensors, path)


@pytest.mark.parametrize("sharded", [False, True])
def test_torch_files_by_their_names_come_before_any_other_safetensors(tmp_path: Path, sharded: bool) -> None:
    name = "pytorch_model-00001-of-00001.bin" if sharded else "pytorch_model.bin"
    save_shard(tmp_path / name, {"w": np.ones((2, 2), np.float32)})
    if sharded:
        (tmp_path / "pytorch_model.bin.index.json").write_text(f'{{"weight_map": {{"w": "{name}"}}}}')
    save_file(OTHER, tmp_path / "adapter_model.safetensors")
    assert [info.name for info in open_checkpoint(tmp_path)] == ["w"]


SHARDS = pytest.mark.parametrize(
    "shard",
    ["model-0000{}-of-00003.safetensors", "pytorch_model-0000{}-of-00003.bin", "any-{}-of-3.safetensors"],
)


@SHARDS
def test_all_shards_without_an_index_are_one_checkpoint(tmp_path: Path, shard: str) -> None:
    for n in (1, 2, 3):
        save_shard(tmp_path / shard.format(n), {f"layer{n}": np.full((2, 3), n, np.float32)})
    checkpoint = open_checkpoint(tmp_path)
    assert {info.name: checkpoint.load(info.name)[0, 0] for info in checkpoint} == {
        "layer1": 1,
        "layer2": 2,
        "layer3": 3,
    }
    save_shard(tmp_path / shard.format(3), {"layer1": np.ones((2, 3), np.float32)})
    with pytest.raises(CheckpointError, match="tensor layer1: stored twice"):
        open_checkpoint(tmp_path)


@SHARDS
@pytest.mark.parametrize("present", [(1,), (2, 3)])
def test_a_shard_is_missing_and_there_is_no_index(
    tmp_path: Path, shard: str, present: tuple[int, ...]
) -> None:
    for n in present:
        save_shard(tmp_path / shard.format(n), {f"layer{n}": np.ones((2, 3), np.float32)})
    with pytest.raises(CheckpointError, match=rf"missing shard .*expected 3 files .*found {len(present)}: "):
        open_checkpoint(tmp_path)


def test_shards_of_two_splits_are_not_joined(tmp_path: Path) -> None:
    for name in ("model-1-of-2.safetensors", "other-2-of-2.safetensors"):
        save_file({name: np.ones((2, 3), np.float32)}, tmp_path / name)
    with pytest.raises(CheckpointError, match="several weight files but no index"):
        open_checkpoint(tmp_path)
