"""Whatever config and headers say: no crash, no row lost or doubled, every refusal with its reason."""

from __future__ import annotations

import math
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.architectures import ConfigMismatch, StoredTensor, load_architecture, registered, resolve

ENTRIES = sorted(
    {entry for kind in registered() for entry in load_architecture(kind).defaults}
    | {entry for kind in registered() for _, entry in load_architecture(kind).pinned}
    | {entry for kind in registered() if (entry := load_architecture(kind).layers)}
    | {"num_key_value_heads", "intermediate_size", "tie_word_embeddings", "architectures", "text_config"}
)
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([None, 0, -1, "many", "4", [], {}, True, 1.5, 10**300]), st.integers(1, 8)
)
SHAPES = st.lists(st.sampled_from([0, 1, 2, 4, 8, 12, 2**15]), max_size=4).map(tuple)
DTYPES = st.sampled_from(["float32", "bfloat16", "int8", "float8_e4m3fn"])


@st.composite
def checkpoints(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
    """Names of a registered type, with and without prefixes, under any shape and config."""
    model_type = draw(st.sampled_from(registered()))
    architecture = load_architecture(model_type)
    config = draw(st.dictionaries(st.sampled_from(ENTRIES), VALUES, max_size=6))
    config["model_type"] = draw(st.sampled_from([model_type, model_type, "martian", None, ["llama"]]))
    if draw(st.booleans()):
        config = {"model_type": "martian", "text_config": config}
    tensors = {}
    for rule in draw(st.lists(st.sampled_from(architecture.rules), min_size=1, max_size=5)):
        prefix = draw(st.sampled_from(["", *architecture.prefixes, "language_model.", "vision."]))
        numbered = re.sub(r"\(\?P<\w+>\[0-9\]\{1,6\}\)", "3", rule.pattern.pattern)
        name = prefix + numbered.replace("[^.]+", "mlp").replace("\\", "")
        shape = draw(SHAPES)
        tensors[name] = StoredTensor(draw(DTYPES), shape, 4 * math.prod(shape))
    return config, tensors


@settings(max_examples=300, deadline=None)
@given(checkpoints())
def test_every_stored_element_is_in_one_row(case: tuple[dict[str, Any], dict[str, StoredTensor]]) -> None:
    config, tensors = case
    try:
        rows = [part.info for part in resolve(config, tensors).parts]
    except ConfigMismatch:
        return
    assert len({row.name for row in rows}) == len(rows)
    assert {row.stored_name for row in rows} == set(tensors)
    assert all(len(row.shape) == 2 for row in rows if row.status == "planned")
    assert all(row.reason for row in rows if row.status != "planned")
    for name, tensor in tensors.items():
        mine = [row for row in rows if row.stored_name == name and row.tied_to is None]
        if mine:
            assert sum(row.elements for row in mine) == math.prod(tensor.shape)
            assert sum(row.nbytes for row in mine) == tensor.nbytes
