"""`compare`: what moved between a base checkpoint and one tuned from it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmscope.runs.cost import bytes_of_stored, difference_bytes, difference_seconds
from lmscope.runs.errors import UsageError
from lmscope.runs.manifest import begin_run
from lmscope.runs.memory import memory_budget
from lmscope.runs.opening import as_checkpoint, default_run_path
from lmscope.runs.progress import format_bytes, reporter_for
from lmscope.runs.run import Run, open_run
from lmscope.runs.selection import Selection, select
from lmscope.runs.settings import (
    DifferenceSettings,
    SimilaritySettings,
    check_device,
    difference_settings,
    similarity_settings,
)
from lmscope.runs.similarity import run_twins
from lmscope.runs.streaming import MatrixAnalysis, Source, load_each, run_matrix_analyses
from lmscope.runs.twins import no_twins, twins_of, unmatched
from lmscope.runs.vector_changes import vector_changes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmscope.architectures import TensorInfo
    from lmscope.checkpoints import Checkpoint
    from lmscope.runs.vectors import Pair

_LORA = re.compile(r"\.lora_(?:[AB]|embedding_[AB])\b")


def compare(
    base: str | os.PathLike[str] | Checkpoint,
    tuned: str | os.PathLike[str] | Checkpoint,
    *,
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
    layers: str | int | Iterable[int] | None = None,
    roles: str | Iterable[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    device: str = "auto",
    progress: bool = True,
    rounding: str = "both",
    draws: int = 19,
    vectors: str = "neurons",
    null_draws: int | None = None,
    memory: int | str | None = None,
    seed: int = 0,
    false_positive_rate: float = 0.01,
    revision: str | None = None,
    tuned_revision: str | None = None,
    token: str | None = None,
) -> Run:
    """What moved between two checkpoints of one model: differences and DOCS of all matrices, and the report.

    Each matrix of `base` is compared with that of the same role, layer and expert in `tuned`:
    `Run.table("difference")` has the spectrum of tuned - base and how much of it rounding cannot explain,
    `Run.table("twins")` the similarity of their neurons, `Run.difference()` the summary. The result folder
    belongs to `base` and holds one tuned checkpoint; `out` is ``runs/<base's name>-<first 8 digits of its
    identity>-<those of tuned's>`` when None.

    Args:
        base, tuned: folder, single weight file, hub id, or an open `Checkpoint`; each is read twice, a few
            tensors in memory at a time.
        rounding: "both" or "tuned", whose rounding errors are the noise of a difference: see
            `difference_verdict`.
        draws: matrices drawn for each null of a difference.
        vectors, null_draws, false_positive_rate: of the twins, as in `similarity`.
        memory: what either pass may take, such as ``"8GB"``; half of what is free when None.
        seed: of all draws.
        revision, tuned_revision: branch, tag or commit of a hub id, of either side.

    The other arguments, errors and resuming as in `analyze`. A matrix without a twin is "skipped" in the
    ledger, one whose twin has another shape or is refused "refused"; of norms and biases, which have no
    spectrum, the reason there says whether they changed. Raises `UsageError` also where no matrix of `base`
    has a twin in `tuned`, where either is a LoRA adapter, where memory does not hold one matrix with its twin
    and where `out` holds the twins in another checkpoint, and `CheckpointError` where every matrix of either
    is refused.
    """
    selection = select(include=include, exclude=exclude, layers=layers, roles=roles)
    of_difference = difference_settings(rounding=rounding, draws=draws, seed=seed)
    of_pairs = similarity_settings(
        vectors=vectors, null_draws=null_draws, seed=seed, false_positive_rate=false_positive_rate
    )
    device = check_device(device)
    budget = memory_budget(memory)
    first = as_checkpoint(base, revision=revision, token=token)
    second = as_checkpoint(tuned, revision=tuned_revision, token=token)
    for argument, checkpoint in (("base", first), ("tuned", second)):
        _check_is_merged(argument, checkpoint)
        _check_some_understood(checkpoint)
    second.confirm_ties()
    pairs, without = twins_of(first, second, of_pairs, same_shape=True)
    if not pairs:
        raise UsageError(f"tuned: {no_twins(first, second, without)}")
    path = default_run_path(first, second) if out is None else Path(out)
    _check_memory(first, second, pairs, path, of_difference, selection, budget)
    run_twins(
        first,
        second,
        path,
        of_pairs,
        selection,
        memory=budget,
        device=device,
        progress=progress,
        same_shape=True,
    )
    run_difference(
        first,
        second,
        path,
        of_difference,
        of_pairs,
        selection,
        memory=budget,
        device=device,
        progress=progress,
    )
    run = open_run(path)
    run.report()
    return run


def _check_some_understood(checkpoint: Checkpoint) -> None:
    from lmscope.checkpoints import CheckpointError

    refused = [tensor for tensor in checkpoint if tensor.status == "refused"]
    if refused and not any(tensor.status == "planned" for tensor in checkpoint):
        raise CheckpointError(
            "every matrix is refused",
            file=str(checkpoint.path),
            tensor=refused[0].name,
            found=refused[0].reason,
        )


def _check_is_merged(argument: str, checkpoint: Checkpoint) -> None:
    adapter = next((tensor.name for tensor in checkpoint if _LORA.search(tensor.name)), None)
    if adapter is not None:
        raise UsageError(
            f"{argument}: {checkpoint.label} holds LoRA matrices that are not merged into a model, such as "
            f"{adapter}: merge them first (merge_and_unload of peft) and compare the merged folder"
        )


def _check_memory(
    base: Checkpoint,
    tuned: Checkpoint,
    pairs: Iterable[Pair],
    path: Path,
    settings: DifferenceSettings,
    selection: Selection,
    memory: int,
) -> None:
    """Raise `UsageError` where a matrix that has no record yet does not fit with its twin."""
    from lmscope import __version__
    from lmscope.results import ResultsError, RunFolder

    asked = "difference", _key(base, tuned, settings), __version__
    try:
        folder = RunFolder.open(path)
    except ResultsError:
        folder = None
    source = _both(base, tuned, {pair.names[0]: pair.y.tensor for pair in pairs}, {})
    selected = [pair for pair in pairs if pair.x.tensor in selection]
    for pair in sorted(selected, key=lambda pair: -source.needed_bytes(pair.x.tensor)):
        name, need = pair.x.tensor.name, source.needed_bytes(pair.x.tensor)
        if need <= memory:
            return
        key = RunFolder.record_key(base.identity, name, *asked)
        if folder is None or not folder.has("difference", key):
            raise UsageError(
                f"memory: {format_bytes(memory)} is too little for the difference of {name}, which needs "
                f"{format_bytes(need)}"
            )


def _key(base: Checkpoint, tuned: Checkpoint, settings: DifferenceSettings) -> dict[str, Any]:
    return {
        **settings.key(),
        "other": tuned.identity,
        "other_name": tuned.label,
        "other_path": str(tuned.path),
        "unmatched": unmatched(base, tuned),
    }


def run_difference(
    base: Checkpoint,
    tuned: Checkpoint,
    path: Path,
    settings: DifferenceSettings,
    of_pairs: SimilaritySettings,
    selection: Selection,
    *,
    memory: int,
    device: str,
    progress: bool,
) -> None:
    """Write the missing records of differences into the result folder `path`, which is the base's."""
    from lmscope.analyses.difference import difference_verdict
    from lmscope.kernels.runtime import get_num_threads
    from lmscope.results import RunFolder

    pairs, without = twins_of(base, tuned, of_pairs, same_shape=True)
    twins = {pair.names[0]: pair.y.tensor for pair in pairs}

    def compute(both: _Both) -> dict[str, Any]:
        verdict = difference_verdict(both.base, both.tuned, **settings.key())
        found = {field.name: getattr(verdict, field.name) for field in fields(verdict)}
        return {**found, "tuned_name": both.twin.name, "tuned_dtype": both.twin.dtype}

    threads = get_num_threads()
    analysis = MatrixAnalysis(
        name="difference",
        settings=_key(base, tuned, settings),
        compute=compute,
        seconds=lambda shape: difference_seconds(shape, settings.draws, threads=threads),
        shared=lambda shape: None,
        prepare=lambda shape: None,
        prepare_seconds=lambda shape: 0.0,
    )
    with RunFolder.create(path, base.identity).lock() as folder:
        begin_run(folder, base, {analysis.name: analysis.settings}, device)
        source = _both(base, tuned, twins, {**without, **vector_changes(base, tuned, selection)})
        run_matrix_analyses(base, folder, [analysis], selection, reporter_for(progress), source, memory)


@dataclass(frozen=True)
class _Both:
    base: NDArray[Any]
    tuned: NDArray[Any]
    twin: TensorInfo


def _both(
    base: Checkpoint,
    tuned: Checkpoint,
    twins: Mapping[str, TensorInfo],
    without: Mapping[str, tuple[str, str]],
) -> Source:
    """Each matrix of the base with its twin."""
    ours, theirs = bytes_of_stored(base), bytes_of_stored(tuned)

    def nbytes(tensor: TensorInfo) -> int:
        return tensor.nbytes + twins[tensor.name].nbytes

    def stored(tensor: TensorInfo) -> int:
        return ours[tensor.stored_name] + theirs[twins[tensor.name].stored_name]

    def fused(tensor: TensorInfo) -> int:
        """Of the tensors that the two are parts of."""
        return stored(tensor) - nbytes(tensor)

    return Source(
        load=partial(_load_both, base, tuned, twins),
        read_bytes=nbytes,
        stored_bytes=stored,
        needed_bytes=lambda tensor: difference_bytes(tensor.shape, nbytes(tensor)) + fused(tensor),
        without=without,
    )


def _load_both(
    base: Checkpoint, tuned: Checkpoint, twins: Mapping[str, TensorInfo], tensors: Sequence[TensorInfo]
) -> Generator[_Both | str, None, None]:
    others = [twins[tensor.name] for tensor in tensors]
    with (
        contextlib.closing(load_each(base, tensors)) as ours,
        contextlib.closing(load_each(tuned, others)) as theirs,
    ):
        for twin in others:
            x, y = next(ours), next(theirs)
            if isinstance(x, str):
                yield x
            elif isinstance(y, str):
                yield f"its twin {twin.name} failed: {y}"
            else:
                both = _Both(x, y, twin)
                del x, y
                yield both
                del both
