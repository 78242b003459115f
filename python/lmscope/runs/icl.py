"""`icl`: the experiments on in-context learning as a spin glass, which need no checkpoint."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from lmscope.runs.errors import UsageError
from lmscope.runs.icl_settings import PRESETS, Chosen, chosen_experiments, hyphened
from lmscope.runs.machine import machine
from lmscope.runs.memory import memory_budget
from lmscope.runs.one_thread import one_thread_each
from lmscope.runs.progress import Reporter, reporter_for
from lmscope.runs.record_store import RecordStore
from lmscope.runs.run import Run, open_run
from lmscope.runs.settings import one_of
from lmscope.runs.side_by_side import SideBySide
from lmscope.runs.streaming import reason_of
from lmscope.runs.token_settings import DEVICES

if TYPE_CHECKING:
    from lmscope.results import RunFolder
    from lmscope.results.icl_cells import Cell

NAME = "Spin glass of in-context learning"
DEFAULT_RUN = Path("runs") / "icl"


def icl(
    experiments: str | Iterable[str] | None = None,
    *,
    preset: str = "seconds",
    seeds: int | None = None,
    seed: int = 0,
    dimension: str | int | Iterable[int] | None = None,
    prompt_lengths: str | int | Iterable[int] | None = None,
    tasks: str | int | Iterable[int] | None = None,
    regularization: str | float | Iterable[float] | None = None,
    inverse_temperature: str | float | None = None,
    correlations: str | float | Iterable[float] | None = None,
    settings: Mapping[str, Any] | None = None,
    out: str | os.PathLike[str] | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Run:
    """Run experiments on linear regression in context, as a spin glass (arXiv 2408.02288); no page.

    Which number of tasks leaves one ground state ("emergence"), where the loss on unseen tasks has its peak
    ("phase_map"), what message passing and training find beside the exact ground state ("amp",
    "amp_vs_training", "correlated"), what the energy looks like ("landscape"), how couplings and tokens are
    distributed ("couplings", "coupling_spectrum"), and what other teachers and models do ("diversity",
    "architectures"). Nothing is read: tasks are drawn, no checkpoint is needed.

    Args:
        experiments: one or several names; all when None.
        preset: "seconds", "minutes" or "paper": sizes and repeats, and about the time that they take; "paper"
            takes the settings of the paper's figures, and may take days: `lmscope icl --list` tells.
        seeds: repeats of everything with other tasks; the preset's number when None.
        seed: the first of them.
        dimension: D, of tokens and teachers.
        prompt_lengths: N, labelled tokens of a prompt.
        tasks: P, prompts that the couplings come from.
        regularization: lambda0.
        inverse_temperature: beta.
        correlations: of the entries of a token.
        settings: further ones by name, such as ``{"replicas": 50}``. Each of these goes to every chosen
            experiment that has it.
        out: result folder; the same folder goes on with a run. ``runs/icl`` when None.
        device: where models are trained: "auto", "cpu" or "cuda".

    A record is a cell: one value of each list that an experiment is repeated over, such as prompt lengths,
    and one seed. The folder keeps all that were ever computed, and shows those that were asked for last: a
    longer list or more seeds computes only the new ones. A cell that cannot be computed is kept with its
    reason (`Run.icl().failures`), the rest stands; solvers that do not converge are told of in the rows.

    Raises `UsageError` for a wrong argument, and where a size does not fit into memory;
    `lmscope.results.WrongCheckpoint` where the folder holds results of a checkpoint.
    """
    overrides = {
        "seeds": seeds,
        "dimension": dimension,
        "prompt_lengths": prompt_lengths,
        "tasks": tasks,
        "regularization": regularization,
        "inverse_temperature": inverse_temperature,
        "correlations": correlations,
    }
    further = dict(settings or {})
    for name in further.keys() & overrides.keys():
        if overrides[name] is not None:
            raise UsageError(f"settings: {name!r} is given twice")
    chosen = chosen_experiments(experiments, preset, seed, {**overrides, **further})
    place = _place(one_of("device", device, DEVICES), chosen)
    path = DEFAULT_RUN if out is None else Path(out)
    _run(path, chosen, place, reporter_for(progress))
    return open_run(path)


def _place(device: str, chosen: Sequence[Chosen]) -> str:
    """The device that cells compute on: the one of torch where models are trained."""
    trains = any(one.experiment.TRAINS for one in chosen)
    if device != "cuda" and not trains:
        return "cpu"
    from lmscope.torch_device import torch_device

    try:
        place = str(torch_device(device))
    except ValueError as error:
        raise UsageError(f"{error}; auto takes one where there is one") from error
    return place if trains else "cpu"


def _run(path: Path, chosen: Sequence[Chosen], device: str, tell: Reporter) -> None:
    from lmscope.kernels.runtime import get_num_threads
    from lmscope.results import RunFolder
    from lmscope.results.icl_cells import record_name
    from lmscope.results.run_folder import EXPERIMENTS

    with RunFolder.create(path, EXPERIMENTS).lock() as folder:
        _begin(folder, chosen, device)
        store = RecordStore(folder, EXPERIMENTS, {one.name: one.key for one in chosen})
        wanted = [(one, cell) for one in chosen for cell in one.cells]
        left = [(one, cell) for one, cell in wanted if not store.has(one.name, record_name(cell))]
        if len(left) < len(wanted):
            tell.stands(len(wanted) - len(left), of=len(wanted), settings="icl")
        if not left:
            return
        trains = any(one.experiment.TRAINS for one, _ in left)
        workers = SideBySide(get_num_threads(), memory_budget(None), one="record", many="records")
        with tell, one_thread_each(torch_too=trains), workers:
            seconds = sum(one.seconds(cell) for one, cell in left)
            tell.start(matrices=len(left), total_bytes=0, seconds=seconds, noun="records")
            cells = _Cells(store, device, tell, workers)
            for one, cell in left:
                workers.start(partial(cells.write, one, cell), one.need(cell))


def _begin(folder: RunFolder, chosen: Sequence[Chosen], device: str) -> None:
    from lmscope import __version__
    from lmscope.kernels.runtime import isa
    from lmscope.results.run_folder import EXPERIMENTS

    before = folder.manifest.get("asked", {}).get("icl", {})
    folder.write_manifest(
        checkpoint={"name": NAME, "path": "", "identity": EXPERIMENTS, "model_type": "linear attention"},
        settings={one.name: one.key for one in chosen},
        lmscope_version=__version__,
        device=device,
        isa=isa(),
        machine=machine(),
        asked={"icl": {**before, **{one.name: one.asked for one in chosen}}},
    )
    if not folder.has_ledger():
        folder.write_ledger([])


@dataclass(frozen=True)
class _Cells:
    """Writes records of cells, on several threads at a time."""

    store: RecordStore
    device: str
    tell: Reporter
    workers: SideBySide
    alone: Lock = field(default_factory=Lock)
    """Held where threads would meet: in the reporter, and in the file of failures."""

    def write(self, one: Chosen, cell: Cell) -> None:
        """Write the record of a cell; what fails is kept with its reason at once: the rest may be
        interrupted."""
        import numpy as np

        from lmscope.results.icl_cells import record_name

        text = one.told(cell)
        with self.alone:
            self.tell.begin(text, seconds=one.seconds(cell))
        began = time.perf_counter()
        failed: dict[str, str] = {}
        try:
            rows = one.experiment.rows(
                one.settings, cell, device=self.device, advance=partial(self._advance, text)
            )
        # RuntimeError: torch's, of memory that it does not get.
        except (ValueError, MemoryError, RuntimeError, np.linalg.LinAlgError) as error:
            failed[text] = reason_of(error)
        else:
            own = {"seed": cell["seed"], "seconds": time.perf_counter() - began}
            self.store.write(one.name, record_name(cell), [{**row, **own} for row in rows])
        with self.alone:
            self.store.settle(one.name, [text], failed)
            self.tell.finish(text, read_bytes=0)

    def _advance(self, text: str, share: float) -> None:
        if self.workers.interrupted:
            raise KeyboardInterrupt
        with self.alone:
            self.tell.advance(text, share)


def experiments_told() -> list[dict[str, Any]]:
    """Of every experiment: name as the command line has it, title, and by preset the seconds of all its
    cells, estimated on two cores."""
    from lmscope.spin_glass.experiments import EXPERIMENTS as known

    return [
        {
            "name": hyphened(name),
            "title": experiment.TITLE,
            "seconds": {
                preset: sum(map(one.seconds, one.cells))
                for preset in PRESETS
                for one in chosen_experiments(name, preset, 0, {})
            },
        }
        for name, experiment in known.items()
    ]
