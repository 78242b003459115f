"""`analyze`: the main job: every analysis of a checkpoint's weights, and the page."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lmscope.analyses.nulls import NULLS
from lmscope.runs.errors import UsageError
from lmscope.runs.memory import memory_budget
from lmscope.runs.opening import as_checkpoint, default_run_path
from lmscope.runs.run import Run, open_run
from lmscope.runs.selection import select
from lmscope.runs.settings import check_device, similarity_settings, spectra_settings
from lmscope.runs.similarity import check_room, run_similarity
from lmscope.runs.spectra import run_spectra

if TYPE_CHECKING:
    from lmscope.checkpoints import Checkpoint

ANALYSES = ("spectra", "similarity")


def analyze(
    ckpt: str | os.PathLike[str] | Checkpoint,
    *,
    analyses: str | Iterable[str] = ANALYSES,
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
    layers: str | int | Iterable[int] | None = None,
    roles: str | Iterable[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    device: str = "auto",
    progress: bool = True,
    nulls: str | Iterable[str] = NULLS,
    draws: int = 19,
    vectors: str = "neurons",
    null_draws: int | None = None,
    control: bool = False,
    memory: int | str | None = None,
    seed: int = 0,
    false_positive_rate: float = 0.01,
    revision: str | None = None,
    token: str | None = None,
) -> Run:
    """Analyse a checkpoint's weights, a few tensors in memory at a time, and build the report.

    Records that stand in the result folder under the same settings are not computed again: a killed run
    continues where it stopped, and a changed setting or a wider selection computes only what is missing.
    Same input, settings and version give the same records, apart from the column ``seconds``.

    Args:
        ckpt: folder, single weight file, hub id, or an open `Checkpoint`.
        analyses: "spectra", "similarity" or both, see `spectra` and `similarity`.
        include, exclude: globs on tensor names, such as ``"*attention*"``.
        layers: ``"0-3,7"``, a number or numbers; tensors outside the layers are then left out.
        roles: role names, such as ``"query,key"``.
        out: result folder; ``runs/<name>-<first 8 digits of the checkpoint's identity>`` when None.
        device: "auto" or "cpu".
        progress: show progress on stderr.
        nulls: what spectra are compared with: "iid", "permutation", "sign_flip".
        draws: random draws of each of the last two nulls.
        vectors, null_draws, control, memory: of similarities, as in `similarity`.
        seed: seed of every random draw.
        false_positive_rate: share of pure-noise matrices that each iid test may flag, and of random vectors
            that count as matched.
        revision: branch, tag or commit of a hub id.
        token: the hub's, for a private or gated hub id; the one that huggingface_hub finds when None.

    Raises:
        UsageError: a wrong argument, or a selection that holds no matrix.
        CheckpointError: the checkpoint cannot be read. A single tensor that cannot be is "failed" in the
            ledger instead.
        ResultsError: `out` cannot be written to or read; WrongFolder where it cannot be a result folder,
            WrongCheckpoint where it holds results of another checkpoint, RunLocked while another process
            writes to it.
    """
    names = [analyses] if isinstance(analyses, str) else list(analyses)
    for name in names:
        if name not in ANALYSES:
            raise UsageError(f"analyses: {name!r} is not available; choose from {', '.join(ANALYSES)}")
    if not names:
        raise UsageError(f"analyses: none given; choose from {', '.join(ANALYSES)}")
    selection = select(include=include, exclude=exclude, layers=layers, roles=roles)
    of_spectra = spectra_settings(
        nulls=nulls, draws=draws, seed=seed, false_positive_rate=false_positive_rate
    )
    of_pairs = similarity_settings(
        vectors=vectors, null_draws=null_draws, seed=seed, false_positive_rate=false_positive_rate
    )
    device = check_device(device)
    budget = memory_budget(memory)
    checkpoint = as_checkpoint(ckpt, revision=revision, token=token)
    path = default_run_path(checkpoint) if out is None else Path(out)
    # Before the spectra take their time; where similarities stand there may be nothing left to compare.
    if "similarity" in names and not (path / "similarity").is_dir():
        check_room(checkpoint, of_pairs, selection, budget)
    if "spectra" in names:
        run_spectra(checkpoint, path, of_spectra, selection, device=device, progress=progress)
    if "similarity" in names:
        run_similarity(
            checkpoint,
            path,
            of_pairs,
            selection,
            control=control,
            memory=budget,
            device=device,
            progress=progress,
        )
    run = open_run(path)
    run.report()
    return run
