"""`analyze`: the main job: every analysis of a checkpoint's weights, and the page."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lmscope.analyses.nulls import NULLS
from lmscope.runs.errors import UsageError
from lmscope.runs.run import Run
from lmscope.runs.spectra import spectra

if TYPE_CHECKING:
    from lmscope.checkpoints import Checkpoint

ANALYSES = ("spectra",)


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
        analyses: names of analyses; "spectra" is the only one so far.
        include, exclude: globs on tensor names, such as ``"*attention*"``.
        layers: ``"0-3,7"``, a number or numbers; tensors outside the layers are then left out.
        roles: role names, such as ``"query,key"``.
        out: result folder; ``runs/<name>-<first 8 digits of the checkpoint's identity>`` when None.
        device: "auto" or "cpu".
        progress: show progress on stderr.
        nulls: what spectra are compared with: "iid", "permutation", "sign_flip".
        draws: random draws of each of the last two nulls.
        seed: seed of every random draw.
        false_positive_rate: share of pure-noise matrices that each iid test may flag.
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
    run = spectra(
        ckpt,
        include=include,
        exclude=exclude,
        layers=layers,
        roles=roles,
        out=out,
        device=device,
        progress=progress,
        nulls=nulls,
        draws=draws,
        seed=seed,
        false_positive_rate=false_positive_rate,
        revision=revision,
        token=token,
    )
    run.report()
    return run
