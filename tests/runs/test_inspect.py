"""`inspect`: rows and projection from headers alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

import lmscope
from lmscope.results import LEDGER
from lmscope.runs import Inspection, UsageError
from lmscope.runs.settings import SimilaritySettings
from lmscope.runs.similarity_cost import project_similarity
from lmscope.runs.vectors import count_pairs, layer_groups, layer_pairs


def test_every_tensor_has_a_row_and_elements_add_up(make_llama):
    inspection = lmscope.inspect(make_llama())
    assert isinstance(inspection, Inspection)
    ledger = inspection.ledger
    assert ledger.column_names == LEDGER.names
    assert ledger.num_rows == 3 + 2 * 9
    per_layer = 2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 96 + 2 * 64
    assert sum(ledger.column("elements").to_pylist()) == 2 * 128 * 64 + 64 + 2 * per_layer
    assert set(ledger.column("status").to_pylist()) == {"planned", "skipped"}
    assert len(inspection.to_pandas()) == ledger.num_rows


def test_projection_follows_the_shapes(make_llama):
    projection = lmscope.inspect(make_llama()).projection
    assert projection.matrices == 16
    assert projection.largest_tensor_bytes == 2 * 128 * 64
    assert projection.largest_gram_bytes == 8 * 64 * 64
    assert projection.memory_bytes == 3 * 8 * 64 * 64 // 2 + 2 * 2 * 128 * 64 + 128_000_000
    assert projection.read_bytes == 2 * (2 * 128 * 64 + 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 64 * 96))
    assert projection.seconds > projection.calibration_seconds > 0
    sentence = projection.sentence()
    assert f"on an idle machine ({projection.cores} core" in sentence
    assert "of that calibrate shapes new to this machine, once" in sentence
    assert len(sentence) < 180
    assert projection.seconds > projection.similarity.seconds > 0
    assert projection.similarity.sentence() in projection.sentences()
    assert [projection.sentence()] == lmscope.inspect(make_llama(layers=1, name="one")).projection.sentences()


@pytest.fixture
def mixture(tmp_path):
    """Five experts in three layers, four in the last, beside dense queries of two widths."""
    tensors = {}
    for layer in range(4):
        for expert in range(5 - layer // 3):
            name = f"model.layers.{layer}.mlp.experts.{expert}.down_proj.weight"
            tensors[name] = np.ones((16, 8 + expert), np.float32)
        width = 24 + 8 * (layer % 2)
        tensors[f"model.layers.{layer}.self_attn.q_proj.weight"] = np.ones((width, 16), np.float32)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"num_hidden_layers": 4}))
    return lmscope.open_checkpoint(tmp_path)


@pytest.mark.parametrize("null_draws", [None, 0, 7])
def test_pairs_are_counted_without_being_listed(mixture, null_draws):
    groups = layer_groups(mixture, "neurons")
    assert len(groups) == 2
    for group in groups:
        listed = list(layer_pairs(group, null_draws))
        assert count_pairs(group, null_draws) == (len(listed), sum(pair.flops for pair in listed))


def test_similarity_runs_within_the_memory_of_its_projection(make_llama, tmp_path):
    source = make_llama(layers=5)
    projection = lmscope.inspect(source).projection.similarity
    for part, memory in (("least", projection.least_memory_bytes), ("all", projection.memory_bytes)):
        run = lmscope.similarity(source, out=tmp_path / part, memory=memory, progress=False)
        assert len(run.table("similarity")) == projection.pairs == 7 * 10
        cost = run.similarity().cost
        assert (cost["read_bytes"] == projection.read_bytes) == (part == "all")
    with pytest.raises(UsageError, match="too little"):
        lmscope.similarity(
            source, out=tmp_path / "none", memory=projection.least_memory_bytes - 1, progress=False
        )


def test_nothing_to_compare_costs_nothing(make_llama):
    found = project_similarity(lmscope.open_checkpoint(make_llama(layers=1)), SimilaritySettings())
    assert set(found.as_dict().values()) == {0}


def test_unreadable_checkpoint(tmp_path):
    with pytest.raises(lmscope.CheckpointError, match="nowhere"):
        lmscope.inspect(tmp_path / "nowhere")
