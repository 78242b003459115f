"""Damaged files at random: a CheckpointError, or exactly what the bytes say; no more memory than the file."""

from __future__ import annotations

import json
import tracemalloc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from lmscope.checkpoints import Checkpoint, CheckpointError, open_checkpoint
from lmscope.checkpoints import file_bytes as file_bytes_module

from .safetensors_bytes import DTYPES, file_bytes, oracle, split

Contents = dict[str, np.ndarray | None]

SPARE_BYTES = 3 * 2**20
"""Beside the file's own size: decoded headers, rows, error messages, and modules imported meanwhile."""

TENSORS = {
    "model.embed_tokens.weight": np.arange(60, dtype=np.float32).reshape(12, 5),
    "model.layers.0.self_attn.q_proj.weight": np.linspace(-1, 1, 25).reshape(5, 5).astype(ml_dtypes.bfloat16),
    "model.norm.weight": np.ones(5, np.float16),
    "model.layers.0.mlp.up_proj.weight": np.arange(40, dtype=np.float64).reshape(8, 5),
    "position_ids": np.arange(4, dtype=np.int64),
    "scalar": np.array(3, np.uint8),
    "empty": np.empty((0, 3), np.float32),
}
VALID = save(TENSORS)
HEADER, DATA = split(VALID)
CONFIG = {
    "model_type": "llama",
    "tie_word_embeddings": True,
    "hidden_size": 5,
    "architectures": ["LlamaForCausalLM"],
}


def cases(count: int) -> settings:
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(autouse=True, scope="module")
def _memory_that_tracemalloc_sees() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_bytes_module, "MAPPED_BYTES", 2**60)
        yield


@contextmanager
def no_more_memory_than(nbytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= nbytes + SPARE_BYTES


def opened(path: Path) -> Checkpoint | None:
    problem = ""
    try:
        return open_checkpoint(path)
    except CheckpointError as error:
        problem = str(error)
    assert str(path) in problem
    assert "\n" not in problem
    return None


def loaded(checkpoint: Checkpoint, name: str) -> np.ndarray | None:
    tensor = None
    try:
        return checkpoint.load(name)
    except CheckpointError as error:
        tensor = error.tensor
    assert tensor == name
    return None


def contents(path: Path) -> Contents | None:
    """What lmscope makes of it: the values, None for a tensor that is refused, None for all."""
    size = sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size
    with no_more_memory_than(2 * size):  # all values in one dictionary, and once more in the stream
        checkpoint = opened(path)
        if checkpoint is None:
            return None
        own = [info.name for info in checkpoint if info.stored_name == info.name]
        found = {name: loaded(checkpoint, name) for name in own}
        planned = [info.name for info in checkpoint if info.status == "planned"]
        with checkpoint.stream() as stream:
            assert [info.name for info, _ in stream] == planned
    return found


def assert_contents(path: Path, expected: Contents | None) -> bool:
    """Whether the file opened; if it did, with what the oracle says."""
    found = contents(path)
    if found is None:
        return False
    assert expected is not None
    assert set(found) == set(expected)
    for name, array in found.items():
        wanted = expected[name]
        if array is None or wanted is None:
            assert array is None
            assert wanted is None
            continue
        assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape)
        assert array.tobytes() == wanted.tobytes()
    return True


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "model.safetensors"


def test_the_undamaged_file_is_read_in_full(path: Path) -> None:
    path.write_bytes(VALID)
    found = contents(path)
    assert found is not None
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in TENSORS.items()
    }
    assert oracle(VALID) is not None


numbers = st.one_of(
    st.integers(-3, 400),
    st.sampled_from([2**31, 2**32 + 1, 2**53, 2**63 - 1, 2**63, 2**64, 10**30]),
    st.floats(allow_nan=False, allow_infinity=False),
)
odd = st.one_of(
    numbers,
    st.none(),
    st.booleans(),
    st.text(max_size=6),
    st.lists(numbers, max_size=5),
    st.dictionaries(st.text(max_size=3), numbers, max_size=2),
)
names = st.one_of(
    st.sampled_from([*TENSORS, "__metadata__", "", "a\nb", "a\0b", "é漢🙂", "x" * 10_000, "lm_head.weight"]),
    st.text(max_size=8),
)


@st.composite
def headers(draw: st.DrawFn) -> Any:
    """A header with one to three entries changed, dropped, copied or renamed."""
    header: dict[str, Any] = {name: dict(fields) for name, fields in HEADER.items()}
    for _ in range(draw(st.integers(1, 3))):
        if not header:
            break
        name = draw(st.sampled_from(sorted(header)))
        fields = header[name]
        changes = ["dtype", "shape", "offsets", "field", "name", "drop", "copy", "swap", "odd"]
        change = draw(st.sampled_from([*changes, *["harmless", "name"] * 4]))
        if change == "harmless" and isinstance(fields, dict) and fields == HEADER.get(name):
            size = fields["data_offsets"][1] - fields["data_offsets"][0]
            fields["dtype"] = draw(
                st.sampled_from([d for d in DTYPES if size % np.dtype(DTYPES[d]).itemsize == 0])
            )
            fields["shape"] = [size // np.dtype(DTYPES[fields["dtype"]]).itemsize]
            fields["shape"].insert(draw(st.integers(0, 1)), 1)
            header[name] = dict(draw(st.permutations(sorted(fields.items()))))
        elif change == "drop":
            del header[name]
        elif change == "name":
            header[draw(names)] = header.pop(name)
        elif change == "copy":
            header[draw(names)] = json.loads(json.dumps(fields))
        elif (
            change == "odd"
            or not isinstance(fields, dict)
            or set(fields) != {"dtype", "shape", "data_offsets"}
        ):
            header[name] = draw(odd)
        elif change == "swap":
            other = draw(st.sampled_from(sorted(header)))
            header[name], header[other] = header[other], header[name]
        elif change == "dtype":
            fields["dtype"] = draw(
                st.one_of(st.sampled_from([*DTYPES, "F8_E4M3", "F4", "C64", "f32", "Q4"]), odd)
            )
        elif change == "shape":
            kept = list(fields["shape"]) if isinstance(fields["shape"], list) else []
            shapes = [st.permutations(kept), st.just([*kept, 1]), st.lists(numbers, max_size=4), odd]
            fields["shape"] = draw(st.one_of(shapes))
        elif change == "offsets":
            fields["data_offsets"] = draw(st.one_of(st.lists(numbers, max_size=3), odd))
        else:
            fields[draw(st.sampled_from(["dtype", "shape", "data_offsets", "extra"]))] = draw(odd)
    return header


def test_changed_headers(path: Path) -> None:
    outcomes: list[bool] = []

    @cases(1000)
    @given(header=headers())
    def check(header: Any) -> None:
        raw = file_bytes(header, DATA)
        path.write_bytes(raw)
        outcomes.append(assert_contents(path, oracle(raw)))

    check()
    assert min(outcomes.count(True), outcomes.count(False)) > 100


def shift(text: bytes, at: int, cut: int, new: bytes) -> bytes:
    at %= len(text) + 1
    return text[:at] + new + text[at + cut :]


tokens = st.sampled_from(
    [*b'{}[]",:\\-.0e \n'.decode(), "null", "\\ud800", '"F32"', "[" * 500, '"a":1,', "\x00"]
)
edits = st.lists(
    st.tuples(
        st.integers(0, 1500), st.integers(0, 8), st.one_of(tokens.map(str.encode), st.binary(max_size=4))
    ),
    min_size=1,
    max_size=4,
)


@cases(600)
@given(edits=edits)
def test_changed_json(path: Path, edits: list[tuple[int, int, bytes]]) -> None:
    text = json.dumps(HEADER).encode()
    for edit in edits:
        text = shift(text, *edit)
    raw = file_bytes(text, DATA)
    path.write_bytes(raw)
    assert_contents(path, oracle(raw))


@cases(600)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(VALID)), st.integers(0, 40), st.binary(max_size=20)), max_size=3
    ),
    length=st.one_of(st.none(), st.integers(0, 2**64 - 1), st.integers(0, 2000)),
    kept=st.one_of(st.none(), st.integers(0, len(VALID))),
)
@example(edits=[], length=2**64 - 1, kept=None)
@example(edits=[], length=100_000_001, kept=None)
def test_changed_bytes(
    path: Path, edits: list[tuple[int, int, bytes]], length: int | None, kept: int | None
) -> None:
    raw = VALID
    for edit in edits:
        raw = shift(raw, *edit)
    if length is not None:
        raw = length.to_bytes(8, "little") + raw[8:]
    raw = raw[:kept]
    path.write_bytes(raw)
    assert_contents(path, oracle(raw))


jsons = st.recursive(
    odd, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folder")
    (folder / "one.safetensors").write_bytes(save({"a": TENSORS["scalar"], "b": TENSORS["empty"]}))
    (folder / "two.safetensors").write_bytes(save({"model.embed_tokens.weight": np.ones((2, 5), np.float32)}))
    return folder


@cases(300)
@given(
    weight_map=st.one_of(
        jsons,
        st.dictionaries(
            st.sampled_from(["a", "b", "model.embed_tokens.weight", "c"]),
            st.one_of(st.sampled_from(["one.safetensors", "two.safetensors", "three", "..", "a\0"]), odd),
        ),
    ),
    whole=st.booleans(),
)
def test_changed_index(folder: Path, weight_map: Any, whole: bool) -> None:
    index = weight_map if whole else {"weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    found = contents(folder)
    if found is not None:
        held = {"one.safetensors": {"a", "b"}, "two.safetensors": {"model.embed_tokens.weight"}}
        assert set(found) == set().union(*(held[file] for file in index["weight_map"].values()))


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("described")
    (folder / "model.safetensors").write_bytes(VALID)
    return folder


@cases(300)
@given(
    changes=st.dictionaries(
        st.sampled_from(
            [*CONFIG, "num_attention_heads", "text_config", "quantization_config", "num_hidden_layers"]
        ),
        st.one_of(jsons, st.sampled_from(["llama", "bert"])),
        max_size=4,
    ),
    edits=st.one_of(st.just([]), edits),
)
def test_changed_config(
    described: Path, changes: dict[str, Any], edits: list[tuple[int, int, bytes]]
) -> None:
    text = json.dumps(CONFIG | changes).encode()
    for edit in edits:
        text = shift(text, *edit)
    (described / "config.json").write_bytes(text)
    found = contents(described)
    if found is not None:
        assert {name: array.tobytes() for name, array in found.items() if array is not None} == {
            name: array.tobytes() for name, array in TENSORS.items()
        }


@pytest.fixture(scope="module", params=[True, False], ids=["zip", "legacy"])
def torch_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("torch") / "model.bin"
    tensors = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.ones(5)}
    torch.save(tensors, path, _use_new_zipfile_serialization=request.param)
    open_checkpoint(path)  # what torch imports on first use is no part of a file's cost
    return path


def test_changed_torch_file(torch_file: Path) -> None:
    """What opens holds the values that plain torch finds in the same bytes."""
    undamaged = torch_file.read_bytes()

    @cases(250)
    @given(
        edits=st.lists(
            st.tuples(st.integers(0, 3000), st.integers(0, 4), st.binary(max_size=4)), min_size=1, max_size=2
        )
    )
    @example(edits=[(0, 4, b"X\xff\xff\xff\x7f")])
    def check(edits: list[tuple[int, int, bytes]]) -> None:
        raw = undamaged
        for edit in edits:
            raw = shift(raw, *edit)
        torch_file.write_bytes(raw)
        found = contents(torch_file)
        if found is None:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = torch.load(torch_file, weights_only=True)
        assert set(found) == {str(name) for name in expected}
        for name, tensor in expected.items():
            array = found[str(name)]
            assert array is None or array.tobytes() == tensor.numpy().tobytes()

    check()
