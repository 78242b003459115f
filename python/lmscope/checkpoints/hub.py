"""Checkpoints of the Hugging Face hub, in its client's cache."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from pathlib import Path

from lmscope.checkpoints.errors import CheckpointError
from lmscope.checkpoints.json_files import read_index
from lmscope.checkpoints.layout import CONFIG, EXPECTED, INDEX_SUFFIX, choose_weights

_HUB_ID = re.compile(r"(?!\.)[\w.-]+/[\w.-]+")


def is_hub_id(text: str) -> bool:
    """Whether this could be ``org/name``."""
    return _HUB_ID.fullmatch(text) is not None


def download(repo_id: str, revision: str | None, token: str | None) -> tuple[Path, tuple[str, ...]]:
    """The folder of a revision's snapshot, holding config.json and the weights in one format; and warnings.

    Cache, token and offline switches are huggingface_hub's. Where the hub does not answer, or refuses, a
    snapshot in the cache serves, as it does for that library. CheckpointError says what stands in the way.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import OfflineModeIsEnabled, RevisionNotFoundError

    def snapshot(commit: str | None, names: Iterable[str], *, local: bool = False) -> Path:
        patterns = [glob.escape(name) for name in names]
        return Path(
            snapshot_download(
                repo_id, revision=commit, token=token, allow_patterns=patterns, local_files_only=local
            )
        )

    try:
        listed = HfApi(token=token).model_info(repo_id, revision=revision).siblings or []
        names = [file.rfilename for file in listed]
    except RevisionNotFoundError as error:
        raise unavailable(repo_id, revision, error) from error
    except Exception as error:  # the client's errors and its HTTP library's share no base below Exception
        problem = unavailable(repo_id, revision, error)
        try:
            folder = snapshot(revision, [CONFIG], local=True)
        except Exception:
            raise problem from error
        if not choose_weights(folder, [entry.name for entry in folder.iterdir()]):
            raise problem from error
        if isinstance(error, OfflineModeIsEnabled):
            return folder, ()
        return folder, (f"{problem}; the cached snapshot {folder.name[:12]} serves",)
    wanted = choose_weights(repo_id, names)
    if not wanted:
        listing = ", ".join(sorted(names)[:8]) or "an empty repository"
        raise CheckpointError(
            "no weights that are understood", file=repo_id, expected=EXPECTED, found=listing
        )
    try:
        folder = snapshot(revision, [CONFIG, *wanted])
        if wanted[0].endswith(INDEX_SUFFIX):
            snapshot(folder.name, sorted(set(read_index(folder / wanted[0]).values())))
    except CheckpointError:
        raise
    except Exception as error:
        raise unavailable(repo_id, revision, error) from error
    return folder, ()


def add_files(repo_id: str, commit: str, names: Iterable[str], token: str | None) -> None:
    """Brings those of the files that the repository has into a commit's snapshot folder in the cache.

    CheckpointError where that fails; offline, what the snapshot has must do.
    """
    from huggingface_hub import snapshot_download

    patterns = [glob.escape(name) for name in names]
    try:
        snapshot_download(repo_id, revision=commit, token=token, allow_patterns=patterns)
    except Exception as error:  # as in download
        raise unavailable(repo_id, commit, error) from error


def unavailable(repo_id: str, revision: str | None, error: Exception) -> CheckpointError:
    """What an error of the hub's client means for who asked."""
    from huggingface_hub.errors import (
        GatedRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    expected = found = None
    if isinstance(error, GatedRepoError):
        reason = (
            "access is restricted: accept its conditions on the hub, then give a token (--token or HF_TOKEN)"
        )
    elif isinstance(error, RepositoryNotFoundError):
        reason = "no such repository, or a private one: check the id, or give a token (--token or HF_TOKEN)"
    elif isinstance(error, RevisionNotFoundError):
        reason, expected, found = "no such revision", "a branch, tag or commit", revision
    elif isinstance(error, OfflineModeIsEnabled):
        reason = "it is not in the cache, and HF_HUB_OFFLINE forbids downloading it"
    else:
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ")
    return CheckpointError(
        f"neither a local path nor to be had from the hub: {reason}",
        file=repo_id,
        expected=expected,
        found=found,
    )
