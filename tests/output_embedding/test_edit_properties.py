"""Over random checkpoints: edits go in and come out, in any order, without a trace."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  numpy knows bfloat16 by it
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from lmscope import apply_steering, remove_steering
from lmscope.output_embedding.steering import Steering

from .edits import content


@dataclass(frozen=True)
class Case:
    """A checkpoint to write, and edits of disjoint tokens with the order in which they come out."""

    vocabulary: int
    dimensions: int
    dtype: str
    run_dtype: str
    tied: bool
    stored_as_well: bool
    shards: int
    indented: bool
    edits: list[list[int]]
    order: list[int]
    seed: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    vocabulary = draw(st.integers(2, 40))
    tokens = draw(st.lists(st.integers(0, vocabulary - 1), min_size=1, max_size=9, unique=True))
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(tokens) - 1)), max_size=3)))
    edits = [tokens[one:other] for one, other in zip([0, *cuts], [*cuts, len(tokens)], strict=True)]
    edits = [edit for edit in edits if edit]
    dtype = draw(st.sampled_from(["float64", "float32", "bfloat16", "float16"]))
    return Case(
        vocabulary,
        draw(st.integers(1, 17)),
        dtype,
        draw(st.sampled_from([dtype, "float64"])),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.integers(1, 3)),
        draw(st.booleans()),
        edits,
        draw(st.permutations(range(len(edits)))),
        draw(st.integers(0, 2**32 - 1)),
    )


def written(case: Case, folder: Path) -> dict[str, np.ndarray]:
    """The checkpoint's tensors, in as many files as asked for, zeros of both signs among their values."""
    rng = np.random.default_rng(case.seed)

    def values(*shape: int) -> np.ndarray:
        drawn = rng.standard_normal(shape) * rng.choice([-1.0, 0.0, 1.0], shape)
        return drawn.astype(case.dtype)

    tensors = {"model.embed_tokens.weight": values(case.vocabulary, case.dimensions)}
    if not case.tied:
        tensors["lm_head.weight"] = values(case.vocabulary, case.dimensions)
    elif case.stored_as_well:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
    tensors |= {f"model.layers.{layer}.input_layernorm.weight": values(case.dimensions) for layer in range(3)}
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": case.dimensions}
    config |= {"vocab_size": case.vocabulary, "num_hidden_layers": 3, "tie_word_embeddings": case.tied}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config, indent=2 if case.indented else None))
    names = list(tensors)
    if case.shards == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return tensors
    files = [f"model-{number + 1:05}-of-{case.shards:05}.safetensors" for number in range(case.shards)]
    for number, file in enumerate(files):
        save_file({name: tensors[name] for name in names[number :: case.shards]}, folder / file)
    index: dict[str, Any] = {
        "weight_map": {name: files[number % case.shards] for number, name in enumerate(names)}
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return tensors


def held(folder: Path) -> dict[str, np.ndarray]:
    return {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases())
def test_edits_leave_no_trace(case: Case) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        tensors = written(case, place / "0")
        head = tensors.get("lm_head.weight", tensors["model.embed_tokens.weight"]).copy()
        rng = np.random.default_rng(case.seed)
        edits = []
        for number, tokens in enumerate(case.edits):
            before = head[tokens].astype(case.run_dtype)
            after = (before.astype(np.float64) + rng.standard_normal(before.shape)).astype(case.run_dtype)
            factors = np.ones(len(tokens))
            edit = Steering(np.array(tokens), factors, factors, before, after, "even", False)
            apply_steering(edit, place / str(number), place / str(number + 1))
            edits.append(edit)
            head[tokens] = after.astype(case.dtype)
        last = len(edits)
        there = held(place / str(last))
        assert there.keys() == {*tensors, "lm_head.weight"}
        expected = {**tensors, "lm_head.weight": head}
        assert all(there[name].tobytes() == value.tobytes() for name, value in expected.items())
        for step, removed in enumerate(case.order, start=last + 1):
            remove_steering(edits[removed], place / str(step - 1), place / str(step))
        assert content(place / str(2 * last)) == content(place / "0")
