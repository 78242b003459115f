"""One pass over a checkpoint: each selected matrix once through every analysis that lacks its record.

Matrices are read one after another and analysed side by side, as many as fit `SIDE_BY_SIDE_BYTES`; the
kernels share the cores among them, and no result depends on how.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from lmscope.runs.cost import SIDE_BY_SIDE_BYTES, bytes_of_stored, verdict_bytes
from lmscope.runs.errors import UsageError
from lmscope.runs.ledger import Findings, ledger_rows, stored_findings, write_findings
from lmscope.runs.progress import Reporter
from lmscope.runs.selection import Selection, ranges
from lmscope.runs.side_by_side import SideBySide

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmscope.checkpoints import Checkpoint, TensorInfo
    from lmscope.results import RunFolder


Shape = tuple[int, ...]


@dataclass(frozen=True)
class MatrixAnalysis:
    """An analysis of single matrices.

    `settings` are those that change a record: they are part of its key. `compute` gives the record's columns
    other than those of the tensor itself, from what the `Source` yields; `seconds` estimates its cost from a
    shape.

    What matrices of like shape share is done once, by `prepare`: `shared` gives the shape that stands for the
    group (None: nothing to do), `prepare_seconds` the estimate.
    """

    name: str
    settings: Mapping[str, Any]
    compute: Callable[[Any], Mapping[str, Any]]
    seconds: Callable[[Shape], float]
    shared: Callable[[Shape], Shape | None]
    prepare: Callable[[Shape], object]
    prepare_seconds: Callable[[Shape], float]


@dataclass(frozen=True)
class Source:
    """What a pass reads.

    `load` yields for each tensor in turn what the analyses take, or the reason why it cannot be had. Bytes of
    a tensor: `read_bytes` go over the disk, `stored_bytes` are held while it is read (fused ones whole),
    `needed_bytes` while it is analysed. `without` has status and reason of the planned tensors that the pass
    has nothing to do with.
    """

    load: Callable[[Sequence[TensorInfo]], Generator[Any, None, None]]
    read_bytes: Callable[[TensorInfo], int]
    stored_bytes: Callable[[TensorInfo], int]
    needed_bytes: Callable[[TensorInfo], int]
    without: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def weights_of(checkpoint: Checkpoint) -> Source:
    """Each matrix of a checkpoint by itself."""
    stored = bytes_of_stored(checkpoint)
    return Source(
        load=partial(load_each, checkpoint),
        read_bytes=lambda tensor: tensor.nbytes,
        stored_bytes=lambda tensor: stored[tensor.stored_name],
        needed_bytes=lambda tensor: verdict_bytes(tensor.shape, tensor.nbytes),
    )


def check_selection(checkpoint: Checkpoint, selection: Selection) -> None:
    """Raise `UsageError` where conditions were given and no matrix meets them."""
    if str(selection) and not any(
        tensor.status != "skipped" and tensor in selection for tensor in checkpoint
    ):
        layers = ranges({tensor.layer for tensor in checkpoint if tensor.layer is not None})
        there = (
            f"the checkpoint's layers are {layers}" if layers else "no tensor of the checkpoint has a layer"
        )
        hint = f"{there}; " if selection.layers else ""
        raise UsageError(
            f"no matrix matches {selection}; {hint}`lmscope inspect` lists names, layers and roles"
        )


def run_matrix_analyses(
    checkpoint: Checkpoint,
    folder: RunFolder,
    analyses: Sequence[MatrixAnalysis],
    selection: Selection,
    reporter: Reporter,
    source: Source | None = None,
    memory: int | None = None,
) -> None:
    """Fill the locked `folder` with the records that it lacks, and write its ledger before and after.

    `source` is `weights_of(checkpoint)` unless given. Matrices side by side stay within `memory`, if given;
    one that needs more is analysed alone.

    A matrix that cannot be read or analysed becomes "failed" with the reason, and the pass goes on. What
    cannot be written ends the pass: the records so far stand, and the next run continues after them.
    """
    from lmscope import __version__
    from lmscope.kernels.runtime import get_num_threads

    def record_key(tensor: TensorInfo, analysis: MatrixAnalysis) -> str:
        asked = (checkpoint.identity, tensor.name, analysis.name, analysis.settings, __version__)
        return folder.record_key(*asked)

    source = weights_of(checkpoint) if source is None else source
    own = {analysis.name: Findings(without=dict(source.without)) for analysis in analyses}
    others = stored_findings(folder, own)
    missing: dict[str, list[tuple[MatrixAnalysis, str]]] = {}
    for tensor in checkpoint:
        if tensor.status != "planned" or tensor.name in source.without:
            continue
        for analysis in analyses:
            key = record_key(tensor, analysis)
            if folder.has(analysis.name, key):
                own[analysis.name].recorded.add(tensor.name)
            elif tensor in selection:
                own[analysis.name].pending.add(tensor.name)
                missing.setdefault(tensor.name, []).append((analysis, key))
    for name, found in own.items():
        # Those that are tried again are over until they fail again.
        found.failed = {one: why for one, why in folder.failures(name).items() if one not in found.pending}
    pending = [tensor for tensor in checkpoint if tensor.name in missing]
    preparations = {
        (analysis.name, shape): analysis.prepare_seconds(shape)
        for tensor in pending
        for analysis, _ in missing[tensor.name]
        if (shape := analysis.shared(tensor.shape)) is not None
    }
    estimates = {
        tensor.name: sum(analysis.seconds(tensor.shape) for analysis, _ in missing[tensor.name])
        for tensor in pending
    }

    def write_ledger() -> None:
        folder.write_ledger(ledger_rows(checkpoint, selection, {**others, **own}))
        for name, found in own.items():
            write_findings(folder, name, found)

    reporting = Lock()

    def prepare(tensor: TensorInfo) -> None:
        for analysis, _ in missing[tensor.name]:
            shape = analysis.shared(tensor.shape)
            if shape is None or (analysis.name, shape) not in preparations:
                continue
            text = f"noise of shape {_times(shape)}, once"
            with reporting:
                reporter.begin(text, seconds=preparations.pop((analysis.name, shape)))
            # What fails here fails again in the analysis of each matrix, which then says so.
            with contextlib.suppress(Exception):
                analysis.prepare(shape)
            with reporting:
                reporter.finish(text, read_bytes=0, matrices=0)

    def analyse(tensor: TensorInfo, weights: Any) -> None:
        text = f"{tensor.name} {_times(tensor.shape)}"
        with reporting:
            reporter.begin(text, seconds=estimates[tensor.name])
        for analysis, key in missing[tensor.name]:
            found = own[analysis.name]
            reason = weights if isinstance(weights, str) else _analyse(tensor, weights, analysis, key, folder)
            found.pending.remove(tensor.name)
            if reason:
                found.failed[tensor.name] = reason
            else:
                found.recorded.add(tensor.name)
        with reporting:
            reporter.finish(text, read_bytes=source.read_bytes(tensor))

    write_ledger()
    wanted = sum(
        tensor.status == "planned" and tensor in selection and tensor.name not in source.without
        for tensor in checkpoint
    )
    if standing := wanted - len(pending):
        settings = "; ".join(in_words(analysis.settings) for analysis in analyses)
        reporter.stands(standing, of=wanted, settings=settings)
    room = SIDE_BY_SIDE_BYTES if memory is None else min(memory, SIDE_BY_SIDE_BYTES)
    try:
        with reporter, SideBySide(get_num_threads(), room) as tasks:
            reporter.start(
                matrices=len(pending),
                total_bytes=sum(map(source.read_bytes, pending)),
                seconds=sum(estimates.values()) + sum(preparations.values()),
            )
            stored = ""
            with contextlib.closing(source.load(pending)) as loads:
                for tensor in pending:
                    need = source.needed_bytes(tensor)
                    # Before the read: a large tensor is not in memory while others still work.
                    if tensor.stored_name != stored:
                        stored = tensor.stored_name
                        tasks.make_room(source.stored_bytes(tensor))
                    tasks.make_room(need)
                    weights = next(loads)
                    if not isinstance(weights, str):
                        prepare(tensor)
                    tasks.start(partial(analyse, tensor, weights), need)
                    del weights
    except BaseException:
        # The error in hand says more than a second one from a full disk.
        with contextlib.suppress(Exception):
            write_ledger()
        raise
    write_ledger()


_TOLD_BY_NAME = frozenset({"other", "other_path", "unmatched"})


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings as ``draws 19, seed 0``; of another checkpoint its name."""
    return ", ".join(
        f"{name.replace('_', ' ')} {'+'.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in settings.items()
        if value is not None and name not in _TOLD_BY_NAME
    )


def _times(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _analyse(tensor: TensorInfo, weights: Any, analysis: MatrixAnalysis, key: str, folder: RunFolder) -> str:
    """Write the record, or give the reason why there is none."""
    rows, columns = tensor.shape
    start = time.perf_counter()
    try:
        record = dict(analysis.compute(weights))
    except Exception as error:
        return reason_of(error)
    record.update(
        name=tensor.name,
        role=tensor.role,
        layer=tensor.layer,
        expert=tensor.expert,
        rows=rows,
        columns=columns,
        dtype=tensor.dtype,
        seconds=time.perf_counter() - start,
    )
    folder.write(analysis.name, key, record)
    return ""


def load_each(
    checkpoint: Checkpoint, tensors: Sequence[TensorInfo]
) -> Generator[NDArray[Any] | str, None, None]:
    """The weights of each tensor in turn, or the reason why they cannot be read."""
    from lmscope.checkpoints import CheckpointError

    position = 0
    while position < len(tensors):
        with checkpoint.stream([tensor.name for tensor in tensors[position:]]) as stream:
            while position < len(tensors):
                position += 1
                try:
                    _, weights = next(stream)
                except CheckpointError as error:
                    reason = reason_of(error)
                except Exception as error:
                    yield reason_of(error)
                    # What a stream does after an unforeseen error is not known: a new one reads the rest.
                    break
                else:
                    yield weights
                    del weights
                    continue
                yield reason


def reason_of(error: Exception) -> str:
    text = " ".join(str(error).split())
    expected = isinstance(error, ValueError) or type(error).__module__.startswith("lmscope.")
    return text if text and expected else f"{type(error).__name__}: {text}".rstrip(": ")
