"""Checkpoints on disk and edits of their heads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lmscope import open_checkpoint
from lmscope.checkpoints.stored_head import stored_head
from lmscope.output_embedding.steering import Steering

from ..tiny_models import TINY, random_model


@cache
def causal_model(kind: str, *, tied: bool) -> Any:
    """A tiny model with random parameters; BERT and its kin as decoders."""
    from transformers import AutoConfig, AutoModelForCausalLM

    changes = {"is_decoder": True} if kind in ("bert", "roberta") else {}
    config = AutoConfig.for_model(kind, **{**TINY[kind], **changes}, tie_word_embeddings=tied)
    return random_model(AutoModelForCausalLM.from_config, config)


def saved(
    folder: Path, *, kind: str = "llama", tied: bool = True, dtype: str = "float32", sharded: bool = False
) -> Path:
    import copy

    model = copy.deepcopy(causal_model(kind, tied=tied)).to(getattr(torch, dtype))
    model.save_pretrained(folder, max_shard_size="8KB" if sharded else "1GB")
    (folder / "notes.txt").write_text("kept beside the weights")
    return folder


def edit_of(folder: Path, tokens: Sequence[int], *, seed: int = 0, dtype: str | None = None) -> Steering:
    """Random changes of rows, computed in ``dtype`` (None: the checkpoint's)."""
    head = stored_head(open_checkpoint(folder))
    before = head.matrix.rows(tokens)
    before = before if dtype is None else before.astype(np.dtype(dtype))
    change = 0.1 * np.random.default_rng(seed).standard_normal(before.shape)
    return Steering(
        tokens=np.array(tokens),
        factors=np.full(len(tokens), 2.0),
        steps=np.full(len(tokens), np.log(2.0)),
        rows_before=before,
        rows_after=(before.astype(np.float64) + change).astype(before.dtype),
        allocation="minimum_norm",
        calibrated=True,
        label=folder.name,
        identity=open_checkpoint(folder).identity,
    )


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and modification time of every file, those in subfolders too."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        made: torch.Tensor = model(torch.arange(1, 13)[None]).logits[0]
    return made
