"""`spectra`: singular values and random-matrix verdicts of every selected matrix."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmscope.analyses.nulls import NULLS
from lmscope.runs.cost import calibration_seconds, spectra_seconds
from lmscope.runs.manifest import begin_run
from lmscope.runs.opening import as_checkpoint, check_run_path, default_run_path, ties_are_recorded
from lmscope.runs.progress import reporter_for
from lmscope.runs.run import Run, open_run
from lmscope.runs.selection import Selection, select
from lmscope.runs.settings import SpectraSettings, check_device, spectra_settings
from lmscope.runs.streaming import MatrixAnalysis, check_selection, run_matrix_analyses

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmscope.checkpoints import Checkpoint


def spectra(
    ckpt: str | os.PathLike[str] | Checkpoint,
    *,
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
    """Singular values and random-matrix verdicts of every selected matrix, one record each; no page.

    Arguments, errors and resuming as in `analyze`.
    """
    selection = select(include=include, exclude=exclude, layers=layers, roles=roles)
    settings = spectra_settings(nulls=nulls, draws=draws, seed=seed, false_positive_rate=false_positive_rate)
    device = check_device(device)
    checkpoint = as_checkpoint(ckpt, revision=revision, token=token)
    path = default_run_path(checkpoint) if out is None else Path(out)
    run_spectra(checkpoint, path, settings, selection, device=device, progress=progress)
    return open_run(path)


def run_spectra(
    checkpoint: Checkpoint,
    path: Path,
    settings: SpectraSettings,
    selection: Selection,
    *,
    device: str,
    progress: bool,
) -> None:
    """Write the missing records of checked settings into the result folder `path`."""
    from lmscope.analyses.edge_calibration import edge_calibration
    from lmscope.analyses.nulls import SMALLEST_SIDE
    from lmscope.analyses.spectra import spectrum_verdict
    from lmscope.kernels.runtime import get_num_threads
    from lmscope.results import RunFolder

    def compute(weights: NDArray[Any]) -> dict[str, Any]:
        verdict = spectrum_verdict(weights, **settings.arguments())
        return {field.name: getattr(verdict, field.name) for field in fields(verdict)}

    def calibrated_shape(shape: tuple[int, ...]) -> tuple[int, int] | None:
        needed = "iid" in settings.nulls and min(shape) >= SMALLEST_SIDE
        return (min(shape), max(shape)) if needed else None

    threads = get_num_threads()
    analysis = MatrixAnalysis(
        name="spectra",
        settings=settings.key(),
        compute=compute,
        seconds=lambda shape: spectra_seconds(shape, settings, threads=threads),
        shared=calibrated_shape,
        prepare=lambda shape: edge_calibration(*shape, seed=settings.seed),
        prepare_seconds=lambda shape: calibration_seconds(shape, threads=threads),
    )
    check_run_path(path, checkpoint)
    if not ties_are_recorded(path, checkpoint):
        checkpoint.confirm_ties()
    check_selection(checkpoint, selection)
    with RunFolder.create(path, checkpoint.identity).lock() as folder:
        begin_run(folder, checkpoint, {analysis.name: analysis.settings}, device)
        run_matrix_analyses(checkpoint, folder, [analysis], selection, reporter_for(progress))
