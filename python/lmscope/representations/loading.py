"""Loads a checkpoint's model and tokenizer through transformers, and refuses what it would make up."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from lmscope.checkpoints import Checkpoint, CheckpointError, open_checkpoint
from lmscope.checkpoints.hub import add_files
from lmscope.representations.language_model import LanguageModel
from lmscope.representations.loading_weights import HEADS, first_line, load_weights
from lmscope.representations.quiet import quiet_transformers
from lmscope.torch_device import torch_device

__all__ = ["load_model"]

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
_MORE_TOKENIZER_FILES = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
)
_DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")


def load_model(
    ckpt: str | os.PathLike[str] | Checkpoint,
    *,
    device: str = "auto",
    dtype: str = "auto",
    head: Literal["masked_lm", "sequence_classification"] | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> LanguageModel:
    """A checkpoint's model and tokenizer, ready for :func:`lmscope.capture`.

    ``ckpt`` is a folder, a hub id (at ``revision``) or an open checkpoint, with config.json and tokenizer
    beside the weights. ``device="auto"`` takes CUDA where torch sees it, else the CPU; ``dtype="auto"`` the
    checkpoint's own, also on a CPU, where bfloat16 is right but may be slower than ``"float32"``. The model
    is causal where config.json names a causal architecture, else the encoder, or the bare decoder, without
    its head. ``head="masked_lm"`` or ``"sequence_classification"`` loads it with that head, as an encoder
    (``model.head`` says which it has); every tensor of the head must be in the checkpoint.

    CheckpointError where the checkpoint cannot be read, has no config or no tokenizer, is quantised, needs
    code of its own, lacks weights that transformers would draw at random, or names a causal architecture
    whose attention reads ahead (a BertLMHeadModel without ``is_decoder``); an encoder's pooler may be
    missing, as no hidden state depends on it. Also where the model type has no such ``head``, or the weights
    lack some of it: the message names the tensors. ValueError for a wrong device, dtype or head.
    """
    import torch

    if dtype not in _DTYPES:
        raise ValueError(f"dtype: {dtype!r} is none of {', '.join(_DTYPES)}")
    if head is not None and head not in HEADS:
        raise ValueError(f"head: {head!r} is none of {', '.join(HEADS)}")
    place = torch_device(device)
    checkpoint = (
        ckpt
        if isinstance(ckpt, Checkpoint)
        else open_checkpoint(os.fspath(ckpt), revision=revision, token=token)
    )
    folder = Path(checkpoint.path)
    _refuse_what_cannot_run(checkpoint, folder)
    wanted: Any = "auto" if dtype == "auto" else getattr(torch, dtype)
    with quiet_transformers():
        tokenizer = _tokenizer(checkpoint, folder, token)
        kind, model, missing = load_weights(folder, wanted, head)
    try:
        return LanguageModel(
            model.to(place), tokenizer, kind, checkpoint.label, checkpoint.identity, frozenset(missing)
        )
    except ValueError as error:
        raise CheckpointError(str(error), file=folder) from error


def _refuse_what_cannot_run(checkpoint: Checkpoint, folder: Path) -> None:
    if not folder.is_dir():
        raise CheckpointError(
            "a weight file alone cannot be run: give the folder that holds config.json and the tokenizer",
            file=folder,
        )
    if checkpoint.model_type is None:
        raise CheckpointError(
            "no config.json with a model_type: it says which model the weights are of",
            file=folder,
            expected="config.json",
            found=", ".join(sorted(entry.name for entry in folder.iterdir())[:8]),
        )
    quantised = checkpoint.config.get("quantization_config")
    if quantised:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else None
        raise CheckpointError(
            f"a quantised checkpoint ({method or 'no method named'}) is not run: dequantise it and save it "
            "again",
            file=folder / "config.json",
        )
    if checkpoint.config.get("is_encoder_decoder"):
        raise CheckpointError(
            f"an encoder-decoder ({checkpoint.model_type}); causal models and encoders are run", file=folder
        )
    if "auto_map" in checkpoint.config and not _known(checkpoint.model_type):
        raise CheckpointError(
            "running it would need code of its own, which lmscope never does", file=folder / "config.json"
        )


def _known(model_type: str) -> bool:
    from transformers import CONFIG_MAPPING

    return model_type in CONFIG_MAPPING


def _tokenizer(checkpoint: Checkpoint, folder: Path, token: str | None) -> Any:
    from transformers import AutoTokenizer

    if "/" in checkpoint.name:  # a hub id, at the commit that its snapshot folder is named after
        add_files(checkpoint.name, folder.name, (*_TOKENIZER_FILES, *_MORE_TOKENIZER_FILES), token)
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise CheckpointError(
            "no tokenizer: put its files beside the weights, as save_pretrained writes them",
            file=folder,
            expected=f"one of {', '.join(_TOKENIZER_FILES)}",
            found=", ".join(sorted(entry.name for entry in folder.iterdir())[:12]),
        )
    try:
        return AutoTokenizer.from_pretrained(str(folder))
    except Exception as error:  # each tokenizer class has errors of its own
        raise CheckpointError(f"its tokenizer cannot be loaded: {first_line(error)}", file=folder) from error
