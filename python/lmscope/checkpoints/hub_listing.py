"""What a hub checkpoint holds, from the headers of its files: no weights are downloaded."""

from __future__ import annotations

import json
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmscope.checkpoints.checkpoint import Checkpoint
from lmscope.checkpoints.errors import CheckpointError
from lmscope.checkpoints.hub import unavailable
from lmscope.checkpoints.json_files import read_index
from lmscope.checkpoints.layout import CONFIG, INDEX_SUFFIX, choose_weights
from lmscope.checkpoints.sources import folder_source, is_remote

_REQUESTS = 8


def list_remote_checkpoint(
    path_or_id: str | Path, *, revision: str | None = None, token: str | None = None
) -> Checkpoint | None:
    """A hub id's checkpoint that can be iterated but not read; its identity is not that of the files.

    None for local paths, and where it takes more than headers: weights that are no safetensors, or a hub that
    does not answer or refuses, where the cache may still serve.
    """
    if not is_remote(path_or_id):
        return None
    repo_id = str(path_or_id)
    with tempfile.TemporaryDirectory(prefix="lmscope-") as scratch:
        folder = Path(scratch)
        try:
            if not _write_headers(repo_id, revision, token, folder):
                return None
        except CheckpointError:
            raise
        except Exception as error:  # a gated repository tells its names, and refuses its files
            raise unavailable(repo_id, revision, error) from error
        return Checkpoint(replace(folder_source(repo_id, folder), path=Path(repo_id)))


def _write_headers(repo_id: str, revision: str | None, token: str | None, folder: Path) -> bool:
    """Fills ``folder`` with config, index and, for each shard, a sparse file that begins with its header."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import SafetensorsParsingError

    api = HfApi(token=token)
    try:
        info = api.model_info(repo_id, revision=revision)
    except Exception:  # the client's errors and its HTTP library's share no base below Exception
        return False
    names = {file.rfilename for file in info.siblings or []}
    wanted = choose_weights(repo_id, names)
    if not wanted or ".safetensors" not in wanted[0]:
        return False
    descriptions = {CONFIG} & names | {name for name in wanted if name.endswith(INDEX_SUFFIX)}
    for name in sorted(descriptions):
        shutil.copyfile(api.hf_hub_download(repo_id, name, revision=info.sha), folder / name)
    shards = set(wanted)
    if wanted[0].endswith(INDEX_SUFFIX):
        shards = set(read_index(folder / wanted[0]).values()) & names

    def fetch(shard: str) -> None:
        try:
            header = api.parse_safetensors_file_metadata(repo_id, shard, revision=info.sha)
        except SafetensorsParsingError as error:
            raise CheckpointError(f"not a safetensors file: {error}", file=f"{repo_id}/{shard}") from error
        _write_sparse(folder / shard, header.tensors)

    with ThreadPoolExecutor(_REQUESTS) as requests:
        list(requests.map(fetch, sorted(shards)))
    return True


def _write_sparse(path: Path, tensors: dict[str, Any]) -> None:
    entries = {
        name: {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": list(info.data_offsets)}
        for name, info in tensors.items()
    }
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    end = max((info.data_offsets[1] for info in tensors.values()), default=0)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)
