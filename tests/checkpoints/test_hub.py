"""Hub ids against a real server: only the files needed, revisions, tokens, cache, broken downloads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save

import lmscope

from .hub_server import COMMIT, Hub, folder_files, serve

Open = Callable[..., str]


@pytest.fixture(scope="module")
def llama_files(tiny_llama_path: Path) -> dict[str, bytes]:
    return folder_files(tiny_llama_path)


@pytest.fixture(scope="module")
def sharded_files(tiny_llama_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    from transformers import LlamaForCausalLM

    folder = tmp_path_factory.mktemp("sharded")
    LlamaForCausalLM.from_pretrained(tiny_llama_path).save_pretrained(folder, max_shard_size="20KB")
    return folder_files(folder)


@pytest.fixture
def open_id(tmp_path: Path) -> Open:
    """Opens a hub id in a process of its own, because the hub's client reads its environment once."""

    def run(hub: Hub, arguments: str = "'someone/model'", **environment: str) -> str:
        code = (
            "import lmscope.checkpoints as c\n"
            f"try:\n k = c.open_checkpoint({arguments})\n print(k.name, k.model_type, len(k), sep='|')\n"
            "except c.CheckpointError as error:\n print(error)"
        )
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        settings = {
            "HF_HOME": str(tmp_path / "home"),
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**kept, **settings, **environment},
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


NEEDLESS = {
    "README.md": b"words",
    "pytorch_model.bin": b"never to be read",
    "tf_model.h5": b"x",
    "consolidated.safetensors": b"x",
    "onnx/model.onnx": b"x",
}


def test_only_the_files_needed_of_a_single_file(open_id: Open, llama_files: dict[str, bytes]) -> None:
    with serve(Hub(llama_files | NEEDLESS)) as hub:
        assert open_id(hub) == "someone/model|llama|51"
        assert hub.downloaded() == {"config.json", "model.safetensors"}


def test_index_and_exactly_its_shards(open_id: Open, sharded_files: dict[str, bytes]) -> None:
    shards = {name for name in sharded_files if name.startswith("model-")}
    assert len(shards) > 2
    others = {"model-00099-of-00099.safetensors": b"of an earlier upload"}
    with serve(Hub(sharded_files | NEEDLESS | others)) as hub:
        assert open_id(hub) == "someone/model|llama|51"
        assert hub.downloaded() == {"config.json", "model.safetensors.index.json"} | shards


def listing(hub: Hub, home: Path, *options: str) -> dict[str, Any]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment = {"HF_HOME": str(home), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "lmscope", "inspect", "someone/model", "--json", *options],
        capture_output=True,
        text=True,
        env={**kept, **environment},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("sharded", [False, True])
def test_inspect_fetches_headers_only(
    tmp_path: Path,
    tiny_llama_path: Path,
    llama_files: dict[str, bytes],
    sharded_files: dict[str, bytes],
    sharded: bool,
) -> None:
    padding = save({"padding": np.zeros(2_000_000, np.float32)})
    extra = {"model-00099-of-00099.safetensors": padding}
    with serve(Hub((sharded_files if sharded else llama_files) | NEEDLESS | extra)) as hub:
        found = listing(hub, tmp_path)
        weights = {(name, start) for name, start in hub.bodies if name.endswith(".safetensors")}
        assert weights
        assert all(start is not None and start.startswith("bytes=0-100000") for _, start in weights)
        assert extra.keys().isdisjoint(hub.downloaded())
    local = lmscope.inspect(tiny_llama_path).as_dict()
    assert found["tensors"] == local["tensors"]
    assert found["projection"] == local["projection"]
    checkpoint = {"name": "someone/model", "path": "someone/model", "identity": None, "model_type": "llama"}
    assert found["checkpoint"] == checkpoint


def test_inspect_of_a_gated_repository_asks_for_a_token(
    tmp_path: Path, llama_files: dict[str, bytes]
) -> None:
    """The hub lists the files of a gated repository for everybody, and refuses their content."""
    with serve(Hub(llama_files, token="secret", open_listing=True)) as hub:
        environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-m", "lmscope", "inspect", "someone/model"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        assert done.returncode == 3, done.stderr
        assert "access is restricted" in done.stderr
        assert "--token or HF_TOKEN" in done.stderr
        assert "Traceback" not in done.stderr
        assert len(listing(hub, tmp_path, "--token", "secret")["tensors"]) == 51


def test_inspect_of_torch_files_and_of_the_cache(
    tmp_path: Path, open_id: Open, llama_files: dict[str, bytes], bin_files: dict[str, bytes]
) -> None:
    with serve(Hub(bin_files)) as hub:
        assert len(listing(hub, tmp_path / "bin")["tensors"]) == 51
        assert hub.downloaded() == {"config.json", "pytorch_model.bin"}
    with serve(Hub(llama_files)) as hub:
        open_id(hub)
    found = listing(hub, tmp_path / "home")
    assert len(found["tensors"]) == 51, "the cache serves where the hub does not answer"
    assert found["checkpoint"]["identity"] is not None


@pytest.fixture(scope="module")
def bin_files(
    tiny_llama_path: Path, llama_files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    import torch
    from transformers import LlamaForCausalLM

    path = tmp_path_factory.mktemp("bin") / "model.bin"
    torch.save(LlamaForCausalLM.from_pretrained(tiny_llama_path).state_dict(), path)
    files = {"config.json": llama_files["config.json"], "training_args.bin": b"x"}
    return {**files, "pytorch_model.bin": path.read_bytes()}


def test_bin_where_there_is_no_safetensors(open_id: Open, bin_files: dict[str, bytes]) -> None:
    with serve(Hub(bin_files)) as hub:
        assert open_id(hub) == "someone/model|llama|51"
        assert hub.downloaded() == {"config.json", "pytorch_model.bin"}


def test_cache_revision_and_offline(open_id: Open, llama_files: dict[str, bytes], tmp_path: Path) -> None:
    with serve(Hub(llama_files, revisions=("main", "v1", COMMIT))) as hub:
        nothing = open_id(hub, HF_HUB_OFFLINE="1")
        assert "not in the cache, and HF_HUB_OFFLINE forbids downloading it" in nothing
        assert open_id(hub, "'someone/model', revision='v1'") == "someone/model|llama|51"
        sent = len(hub.bodies)
        assert open_id(hub, "'someone/model', revision='v1'") == "someone/model|llama|51"
        assert open_id(hub, f"'someone/model', revision='{COMMIT}'") == "someone/model|llama|51"
        assert len(hub.bodies) == sent, "what is cached is not sent again"
        assert open_id(hub, "'someone/model', revision='v1'", HF_HUB_OFFLINE="1") == "someone/model|llama|51"
        missing = open_id(hub, "'someone/model', revision='v2'")
        assert missing.startswith("someone/model: ")
        assert "no such revision" in missing
        assert "found v2" in missing
        assert (tmp_path / "home" / "hub" / "models--someone--model").is_dir()
        assert open_id(hub, HF_HUB_CACHE=str(tmp_path / "elsewhere")) == "someone/model|llama|51"
        assert (tmp_path / "elsewhere" / "models--someone--model").is_dir()
    unreachable = open_id(hub, "'someone/model', revision='v1'")
    assert unreachable == "someone/model|llama|51", "the cache serves where the hub does not answer"


def test_token(open_id: Open, llama_files: dict[str, bytes]) -> None:
    with serve(Hub(llama_files, token="secret")) as hub:
        refused = open_id(hub)
        assert "access is restricted" in refused
        assert "--token or HF_TOKEN" in refused
        assert "access is restricted" in open_id(hub, "'someone/model', token='wrong'")
        assert not hub.bodies
        assert open_id(hub, "'someone/model', token='secret'") == "someone/model|llama|51"
    with serve(Hub(llama_files, token="secret")) as hub:
        assert open_id(hub, HF_TOKEN="secret") == "someone/model|llama|51"


@pytest.mark.parametrize(
    ("verb", "found"), [("inspect", 0), ("spectra --include nothing", 2), ("analyze --include nothing", 2)]
)
def test_token_on_the_command_line(
    llama_files: dict[str, bytes], tmp_path: Path, verb: str, found: int
) -> None:
    """A selection without a matrix is a usage error once the checkpoint is open."""
    name, *options = verb.split()
    with serve(Hub(llama_files, token="secret")) as hub:
        for token, code in ((["--token", "secret"], found), ([], 3)):
            environment = {
                "HF_HOME": str(tmp_path / str(code)),
                "HF_ENDPOINT": hub.url,
                "HF_HUB_OFFLINE": "0",
            }
            done = subprocess.run(
                [sys.executable, "-m", "lmscope", name, "someone/model", *options, *token],
                capture_output=True,
                text=True,
                env={**os.environ, **environment},
                cwd=tmp_path,
            )
            assert done.returncode == code, done.stderr
            assert "secret" not in done.stdout + done.stderr


def test_no_such_repository(open_id: Open) -> None:
    with serve(Hub({})) as hub:
        message = open_id(hub, "'someone/absent'")
        assert message.startswith("someone/absent: neither a local path nor to be had from the hub")
        assert "no such repository, or a private one" in message


def test_no_weights(open_id: Open) -> None:
    with serve(Hub({"README.md": b"words", "model.gguf.part": b"x"})) as hub:
        message = open_id(hub)
        assert "no weights" in message
        assert "found README.md, model.gguf.part" in message
        assert not hub.bodies


def test_a_broken_download_is_resumed(open_id: Open) -> None:
    weights = save({"model.embed_tokens.weight": np.ones((6000, 1000), np.float32)})
    with serve(Hub({"model.safetensors": weights}, breaks=1)) as hub:
        assert open_id(hub) == "someone/model|None|1"
        first, second = [start for name, start in hub.bodies if name == "model.safetensors"]
        assert first is None
        assert second is not None
        assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= len(weights) // 2


def test_a_download_that_stays_broken(open_id: Open, llama_files: dict[str, bytes]) -> None:
    with serve(Hub(llama_files, breaks=99)) as hub:
        broken = open_id(hub)
        assert broken.startswith("someone/model: neither a local path nor to be had from the hub")
        hub.breaks = 0
        assert open_id(hub) == "someone/model|llama|51"


def test_a_shard_missing_from_the_cache(
    open_id: Open, sharded_files: dict[str, bytes], tmp_path: Path
) -> None:
    with serve(Hub(sharded_files)) as hub:
        open_id(hub)
    shard = next((tmp_path / "home").rglob("snapshots/*/model-00002-of-*.safetensors"))
    shard.unlink()
    message = open_id(hub, HF_HUB_OFFLINE="1")
    assert "missing shard" in message
    assert shard.name in message


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "weights.safetensors"])
def test_weights_in_subfolders_of_a_repository_are_not_the_models(
    open_id: Open, llama_files: dict[str, bytes], bin_files: dict[str, bytes], tmp_path: Path, weights: str
) -> None:
    single = llama_files["model.safetensors"]
    files = {"config.json": llama_files["config.json"], "1_Dense/model.safetensors": single}
    files |= {"2_Dense/model.safetensors": single, weights: bin_files.get(weights, single)}
    with serve(Hub(files)) as hub:
        assert open_id(hub) == "someone/model|llama|51"
        assert hub.downloaded() == {"config.json", weights}
        assert len(listing(hub, tmp_path / "listed")["tensors"]) == 51


def test_shards_of_a_repository_without_an_index(
    open_id: Open, tiny_llama_path: Path, tmp_path: Path
) -> None:
    tensors = load_file(tiny_llama_path / "model.safetensors")
    names = sorted(tensors)
    files = {"config.json": (tiny_llama_path / "config.json").read_bytes()}
    for n, part in enumerate((names[::2], names[1::2]), 1):
        files[f"model-0000{n}-of-00002.safetensors"] = save({name: tensors[name] for name in part})
    with serve(Hub(files)) as hub:
        assert len(listing(hub, tmp_path / "listed")["tensors"]) == 51
        assert open_id(hub) == "someone/model|llama|51"
    missing = {name: raw for name, raw in files.items() if "00002-of" not in name}
    with serve(Hub(missing)) as hub:
        assert "missing shard (expected 2 files model-*.safetensors, found 1: " in open_id(
            hub, HF_HOME=str(tmp_path)
        )
