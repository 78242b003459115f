"""The coverage promise, over checkpoints that nobody foresaw: every tensor ends as a row with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import lmscope

DTYPES = [
    *(np.float32, np.float16, np.float64, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn),
    *(np.int8, np.uint8, np.int32, np.int64, np.bool_),
]
PIECES = st.sampled_from(
    [
        *(
            "model",
            "layers",
            "encoder",
            "experts",
            "self_attn",
            "attn",
            "mlp",
            "q_proj",
            "c_attn",
            "gate_up_proj",
        ),
        *("query_key_value", "embed_tokens", "lm_head", "norm", "weight", "bias", "weight_scale", "qweight"),
        *("scales", "position_ids", "unheard_of", "0", "1", "11"),
    ]
)
NAMES = st.lists(PIECES, min_size=1, max_size=6).map(".".join)
SHAPES = st.one_of(
    st.lists(st.integers(0, 12), max_size=4).map(tuple),
    st.sampled_from([(12, 12), (36, 12), (12, 36), (24, 12), (48, 40), (2, 24, 12)]),
)
CONFIGS = st.none() | st.fixed_dictionaries(
    {"model_type": st.sampled_from(["llama", "bert", "gpt2", "gpt_neox", "mixtral", "unheard_of", 7])},
    optional={
        "tie_word_embeddings": st.booleans(),
        "num_attention_heads": st.integers(0, 5),
        "architectures": st.just(["SomethingForCausalLM"]),
        "quantization_config": st.sampled_from([{"quant_method": "gptq"}, {"quant_method": "?"}, {}, 3]),
    },
)


def values(dtype: type, shape: tuple[int, ...], spoilt: bool) -> np.ndarray:
    numbers = np.random.default_rng(0).integers(-3, 4, shape).astype(dtype)
    if spoilt and numbers.size and np.dtype(dtype).kind == "f":
        numbers.flat[-1] = np.nan
    return np.asarray(numbers)


@settings(max_examples=150, deadline=None)
@given(
    tensors=st.dictionaries(
        NAMES, st.tuples(st.sampled_from(DTYPES), SHAPES, st.booleans()), min_size=1, max_size=8
    ),
    config=CONFIGS,
)
def test_every_tensor_ends_as_a_row_with_a_reason(
    tmp_path_factory: pytest.TempPathFactory,
    tensors: dict[str, tuple[type, tuple[int, ...], bool]],
    config: dict[str, object] | None,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    source: Path = folder / "model"
    source.mkdir()
    stored = {name: values(*description) for name, description in tensors.items()}
    save_file(stored, source / "model.safetensors")
    if config is not None:
        (source / "config.json").write_text(json.dumps(config))

    planned = lmscope.inspect(source).ledger.to_pylist()
    run = lmscope.spectra(source, out=folder / "run", draws=1, progress=False)
    ledger = run.ledger.to_pylist()
    assert [row["name"] for row in ledger] == [row["name"] for row in planned]
    assert len({row["name"] for row in ledger}) == len(ledger)
    assert {row["name"].partition("#")[0] for row in ledger if row["tied_to"] is None} <= stored.keys()
    assert stored.keys() <= {row["name"].partition("#")[0] for row in ledger}
    assert sum(row["elements"] for row in ledger) == sum(
        tensor.size
        for name, tensor in stored.items()
        if not any(row["name"] == name and row["tied_to"] for row in ledger)
    )
    for before, row in zip(planned, ledger, strict=True):
        assert row["status"] in {"analysed", "skipped", "refused", "failed"}
        assert row["reason"] or row["status"] == "analysed"
        if before["status"] == "planned":
            assert row["status"] in {"analysed", "failed"}
        else:
            assert (row["status"], row["reason"]) == (before["status"], before["reason"])
    analysed = [row["name"] for row in ledger if row["status"] == "analysed"]
    assert run.table("spectra").column("name").to_pylist() == analysed
    for name in analysed:
        assert str(stored[name.partition("#")[0]].dtype) in {"float64", "float32", "float16", "bfloat16"}
    for row in ledger:
        spoilt = row["name"] in stored and not np.isfinite(stored[row["name"]].astype(np.float64)).all()
        assert not (spoilt and row["status"] == "analysed")
