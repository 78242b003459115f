"""A checkpoint that has learnt nothing is flagged no more often than its nulls allow."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy.stats import binom

import lmscope

DRAWS = 19
RATE = 0.01


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lmscope.Run:
    """LlamaForCausalLM as transformers initialises it: hidden 512, 4 layers, grouped heads, bfloat16."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        vocab_size=4000,
    )
    path = tmp_path_factory.mktemp("random_llama")
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(path / "model")
    return lmscope.spectra(
        path / "model", out=path / "run", draws=DRAWS, false_positive_rate=RATE, progress=False
    )


def test_random_weights_pass_their_nulls(run: lmscope.Run) -> None:
    table = run.to_pandas("spectra")
    assert len(table) == 30
    for flagged, chance in (
        (table["learnt"] > 0, 1 / (DRAWS + 1)),
        (table["n_above_permutation"] > 0, 1 / (DRAWS + 1)),
        (table["n_above"] + table["n_below"] > 0, RATE),
    ):
        assert flagged.sum() <= binom.ppf(0.99, len(table), chance)


def test_the_trained_model_is_far_beyond(minilm_path: Path, tmp_path: Path) -> None:
    run = lmscope.spectra(minilm_path, out=tmp_path / "run", layers="0-1", draws=DRAWS, progress=False)
    table = run.to_pandas("spectra")
    assert len(table) == 12
    assert (table["learnt"] > 0).sum() > 2 * binom.ppf(0.99, len(table), 1 / (DRAWS + 1))
    assert table["learnt"].sum() > 60
