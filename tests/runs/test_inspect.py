"""`inspect`: rows and projection from headers alone."""

from __future__ import annotations

import pytest

import lmscope
from lmscope.results import LEDGER
from lmscope.runs import Inspection


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


def test_unreadable_checkpoint(tmp_path):
    with pytest.raises(lmscope.CheckpointError, match="nowhere"):
        lmscope.inspect(tmp_path / "nowhere")
