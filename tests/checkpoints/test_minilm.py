"""The trained MiniLM: every tensor named, nothing lost."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
from safetensors import safe_open

from lmscope.checkpoints import Checkpoint, open_checkpoint

PER_LAYER = {
    "query": 1,
    "key": 1,
    "value": 1,
    "attention_output": 1,
    "up": 1,
    "down": 1,
    "norm": 2,
    "bias": 8,
}


@pytest.fixture(scope="module")
def minilm(minilm_path: Path) -> Checkpoint:
    return open_checkpoint(minilm_path)


def test_roles_of_every_layer(minilm: Checkpoint) -> None:
    for layer in range(6):
        assert Counter(info.role for info in minilm if info.layer == layer) == PER_LAYER
    outside = Counter(info.role for info in minilm if info.layer is None)
    assert outside == {
        "token_embedding": 1,
        "position_embedding": 1,
        "type_embedding": 1,
        "pooler": 1,
        "norm": 1,
        "bias": 2,
        "buffer": 1,
    }


def test_every_tensor_has_a_row_and_elements_add_up(minilm: Checkpoint, minilm_path: Path) -> None:
    with safe_open(minilm_path / "model.safetensors", framework="numpy") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    assert {info.name: info.shape for info in minilm} == shapes
    assert sum(info.elements for info in minilm) == sum(map(math.prod, shapes.values()))


def test_status(minilm: Checkpoint) -> None:
    assert Counter(info.status for info in minilm) == {"planned": 6 * 6 + 4, "skipped": 6 * 10 + 4}
    assert {info.name for info in minilm if info.status == "planned"} == {
        info.name for info in minilm if len(info.shape) == 2 and info.dtype == "float32"
    }
    assert all(bool(info.reason) == (info.status == "skipped") for info in minilm)
    assert minilm.warnings == ()
    assert (minilm.model_type, minilm.config["num_hidden_layers"]) == ("bert", 6)
