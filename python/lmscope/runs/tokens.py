"""`tokens`: entropy of hidden states by layer, and which tokens of a text carry the next one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmscope.runs.checkpoint_folders import check_different
from lmscope.runs.errors import UsageError
from lmscope.runs.ledger import unread_rows
from lmscope.runs.manifest import begin_run
from lmscope.runs.opening import as_checkpoint, check_run_path, default_run_path, ties_are_recorded
from lmscope.runs.progress import Reporter, reporter_for
from lmscope.runs.reading import Reading, digest, paths_of, texts_of
from lmscope.runs.record_store import RecordStore
from lmscope.runs.run import Run, open_run
from lmscope.runs.selection import ranges
from lmscope.runs.token_entropy import write_entropies
from lmscope.runs.token_law import write_law
from lmscope.runs.token_passages import write_passages
from lmscope.runs.token_settings import TokenSettings, check_token_device, token_settings
from lmscope.runs.token_texts import write_distances

if TYPE_CHECKING:
    from lmscope.checkpoints import Checkpoint
    from lmscope.representations import LanguageModel

_LOG = logging.getLogger(__name__)


def tokens(
    ckpt: str | os.PathLike[str] | Checkpoint,
    *others: str | os.PathLike[str] | Checkpoint,
    text: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    texts: Iterable[str] | None = None,
    split: str = "file",
    window: int | None = None,
    layers: str | int | Iterable[int] | None = None,
    special: str = "drop",
    epsilon2: float = 0.5,
    center: bool = True,
    normalize_rows: bool = True,
    untrained: bool = True,
    positions: int = 200,
    min_context: int = 32,
    k: str | int | Iterable[int] = (1, 2, 4, 8, 16),
    ridge: float = 0.01,
    divergence: bool = True,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    device: str = "auto",
    dtype: str = "float32",
    progress: bool = True,
    revision: str | None = None,
    token: str | None = None,
) -> Run:
    """Entropy of a model's hidden states on a text, and the tokens that carry the next one; no page.

    `Run.table("entropy")` has a row per checkpoint and layer: entropy of all tokens pooled and averaged over
    passages, beside that of random rows and of the untrained model. At sampled positions of the first
    checkpoint tokens are selected by the Lasso, by attention and by others ("positions", "selection" and, of
    the text around them, "passages"), and scored by what they leave of the state there and, in causal
    models, by what becomes of the next token's distribution when only they are kept. "distances" compares
    the texts, "entropy_law" the checkpoints, where there are several. A text longer than `window` is read in
    windows, each by itself: these are the passages.

    Args:
        ckpt: folder, hub id or open `Checkpoint` of a model with its tokenizer. The result folder is its.
        others: further ones, of other sizes: their entropy and the law of all.
        text: UTF-8 file or files.
        texts: the texts themselves, instead.
        split: what of a file is one text: "file", "paragraph" (between blank lines) or "line".
        window: tokens read at a time, special ones included; the model's context, at most 512, when None.
        layers: which of them give an entropy, such as ``"0,3-6"``: 0 is what enters the first block, i what
            leaves block i. The last one always does. All when None.
        special: "drop" or "keep" special tokens in entropies and distances; the model reads them in any case.
            The token of the beginning is an outlier that moves the mean.
        epsilon2, center, normalize_rows: of `representation_entropy`.
        untrained: run the twin with random weights (drawn from `seed`) beside every checkpoint.
        positions: how many are sampled; 0 for none.
        min_context: tokens that come before each of them.
        k: how many tokens are selected.
        ridge: of residual and information gain, for states of norm 1.
        divergence: score by the model's next token as well: the part that takes longest.
        seed: of every random draw.
        dtype: "float32", "bfloat16", "float16", or "auto" for the checkpoint's own, in which rounding alone
            gives divergences of hundredths of a nat.
        device: "auto", "cpu" or "cuda".
        revision: branch, tag or commit of `ckpt` where it is a hub id.

    Memory: the model, its twin, and about 24 bytes times the squared hidden size for each layer; where that
    is more than half of what is free, layers are read in several rounds. States are never held together.

    The result folder, resuming and errors as in `analyze`; a record is a layer of a checkpoint, a passage, or
    a pair of texts. What fails is kept with its reason (`Run.tokens().failures`), the rest stands.
    """
    if text is not None and not isinstance(text, (str, os.PathLike)):
        text = list(text)
    read = texts_of(text, texts, split)
    settings = token_settings(
        texts=digest(read),
        layers=layers,
        window=window,
        special=special,
        epsilon2=epsilon2,
        center=center,
        normalize_rows=normalize_rows,
        untrained=untrained,
        positions=positions,
        min_context=min_context,
        k=k,
        ridge=ridge,
        divergence=divergence,
        dtype=dtype,
        seed=seed,
    )
    device = check_token_device(device)
    checkpoints = [as_checkpoint(ckpt, revision=revision, token=token)]
    checkpoints += [as_checkpoint(other, token=token) for other in others]
    check_different(checkpoints)
    first = checkpoints[0]
    path = default_run_path(first) if out is None else Path(out)
    check_run_path(path, first)
    if not ties_are_recorded(path, first):
        first.confirm_ties()
    readings = [
        Reading(one, read, window=settings.window, device=device, dtype=settings.dtype) for one in checkpoints
    ]
    asked = {
        "text": paths_of(text),
        "split": split,
        "layers": None if settings.layers is None else sorted(settings.layers),
        "revision": revision,
        "checkpoints": [
            {"name": one.label, "path": str(one.path), "identity": one.identity} for one in checkpoints
        ],
    }
    _run(path, readings, settings, asked, lambda: reporter_for(progress))
    return open_run(path)


def _run(
    path: Path,
    readings: Sequence[Reading],
    settings: TokenSettings,
    asked: Mapping[str, Any],
    reporter: Callable[[], Reporter],
) -> None:
    from lmscope.results import RunFolder

    first = readings[0]
    own = first.checkpoint
    keys = settings.keys([reading.checkpoint.identity for reading in readings])
    # Before the manifest names settings that nothing can be computed under.
    _check_readings(readings, settings)
    with RunFolder.create(path, own.identity).lock() as folder:
        begin_run(folder, own, keys, str(first.model.device), {"tokens": asked})
        if not folder.has_ledger():
            folder.write_ledger(unread_rows(own))
        store = RecordStore(folder, own.identity, keys)
        write_entropies(store, first, settings, reporter)
        write_passages(store, first, settings, reporter)
        write_distances(store, first, settings, reporter)
        first.forget()
        for reading in readings[1:]:
            write_entropies(store, reading, settings, reporter)
            reading.forget()
        write_law(store, folder.rows("entropy"), readings, settings)


def _check_readings(readings: Sequence[Reading], settings: TokenSettings) -> None:
    """Load every model once and cut its texts, the first one last, as it is used first."""
    tokens: dict[str, int] = {}
    for reading in reversed(readings):
        _check_layers(reading.model, settings)
        drop = settings.special == "drop"
        tokens[reading.label] = sum(
            int((~window.special).sum()) if drop else len(window.ids) for window in reading.windows
        )
        if reading is not readings[0]:
            reading.unload()
    if len(set(tokens.values())) > 1:
        found = ", ".join(f"{tokens[reading.label]} ({reading.label})" for reading in readings)
        _LOG.warning(f"the models read different numbers of tokens, so that no law can be fitted: {found}")


def _check_layers(model: LanguageModel, settings: TokenSettings) -> None:
    beyond = {layer for layer in settings.layers or () if layer > model.depth}
    if beyond:
        raise UsageError(
            f"layers: {model.label} has no layer {ranges(beyond)}; its hidden states are 0 to {model.depth}"
        )
