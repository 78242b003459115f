"""`similarity`: DOCS of the matrices of every role over the layers, and of two checkpoints."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmscope.runs.errors import UsageError
from lmscope.runs.ledger import analysed_elsewhere, before, ledger_row
from lmscope.runs.manifest import begin_run
from lmscope.runs.memory import memory_budget
from lmscope.runs.opening import as_checkpoint, check_run_path, default_run_path, label, ties_are_recorded
from lmscope.runs.pair_pass import PairAnalysis, check_memory, random_weights, run_pairs
from lmscope.runs.progress import reporter_for
from lmscope.runs.run import Run, open_run
from lmscope.runs.selection import Selection, select
from lmscope.runs.settings import SimilaritySettings, check_device, similarity_settings
from lmscope.runs.similarity_indices import index_lines, index_roles, run_indices
from lmscope.runs.streaming import check_selection, in_words, load_each
from lmscope.runs.twins import twins_of
from lmscope.runs.vectors import Pair, layer_groups, layer_pairs

if TYPE_CHECKING:
    from lmscope.checkpoints import Checkpoint
    from lmscope.results import RunFolder

Asked = tuple[str, str, Mapping[str, Any], str]

_LOG = logging.getLogger(__name__)

_ALONE = "similarity compares matrices of one role over the layers, and this one has no partner"


def similarity(
    ckpt: str | os.PathLike[str] | Checkpoint,
    other: str | os.PathLike[str] | Checkpoint | None = None,
    *,
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
    layers: str | int | Iterable[int] | None = None,
    roles: str | Iterable[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    device: str = "auto",
    progress: bool = True,
    vectors: str = "neurons",
    null_draws: int | None = None,
    control: bool = False,
    indices: str | Iterable[str] | None = None,
    memory: int | str | None = None,
    seed: int = 0,
    false_positive_rate: float = 0.01,
    revision: str | None = None,
    token: str | None = None,
) -> Run:
    """DOCS of all pairs of layers of every role, or of the twins in two checkpoints; no page.

    Without `other` the matrices of one role are compared over all pairs of layers, experts with those of
    their own layer and of the next one: `Run.table("similarity")`, one row a pair. With `other` each matrix
    is compared with that of the same role, layer and expert there: `Run.table("twins")`. Both sides of a pair
    must pass the selection. Memory decides how often a tensor is read, never what is found.

    Args:
        ckpt: folder, single weight file, hub id, or an open `Checkpoint`.
        other: a second one, such as a fine-tuned copy.
        vectors: "neurons": columns of attention output and down, rows of all else; "rows" or "columns" of
            every matrix, stored out x in.
        null_draws: draws of the random-sign null for neighbours: layers next to each other, experts next to
            each other and the same expert in the next layer; for twins all. None: half the number of layers
            (experts), from 3 to 19, and 3 for twins.
        control: compare random Gaussian matrices of the same shapes as well: `Run.table("control")`.
        indices: roles with at most 2048 vectors a matrix, such as ``"query,key"``, whose layers are compared
            by linear CKA, mean CCA, SVCCA, linear regression and orthogonal Procrustes as well:
            `Run.table("indices")`. Two matrices in float64 with their decompositions come on top of `memory`.
        memory: what the pass may take, such as ``"8GB"``; half of what is free when None.
        seed: of the null's signs and of the control.
        false_positive_rate: of `matched_share`, for each vector.

    The other arguments, errors and resuming as in `analyze`; a record is a pair. Raises `UsageError` also
    where memory does not hold two matrices, and where no matrix of `ckpt` has a twin in `other`.
    """
    selection = select(include=include, exclude=exclude, layers=layers, roles=roles)
    settings = similarity_settings(
        vectors=vectors, null_draws=null_draws, seed=seed, false_positive_rate=false_positive_rate
    )
    if control and other is not None:
        raise UsageError("control: random weights stand beside one checkpoint, not beside two")
    roles_of_indices = () if indices is None else index_roles(indices)
    if roles_of_indices and other is not None:
        raise UsageError("indices: they compare the layers of one checkpoint, not two checkpoints")
    device = check_device(device)
    budget = memory_budget(memory)
    checkpoint = as_checkpoint(ckpt, revision=revision, token=token)
    path = default_run_path(checkpoint) if out is None else Path(out)
    arguments: dict[str, Any] = {"memory": budget, "device": device, "progress": progress}
    if other is None:
        # Before anything is computed.
        lines = index_lines(checkpoint, roles_of_indices, vectors, selection)
        run_similarity(checkpoint, path, settings, selection, control=control, **arguments)
        if lines:
            run_indices(checkpoint, path, lines, vectors, device=device, progress=progress)
    else:
        run_twins(checkpoint, as_checkpoint(other, token=token), path, settings, selection, **arguments)
    return open_run(path)


def run_similarity(
    checkpoint: Checkpoint,
    path: Path,
    settings: SimilaritySettings,
    selection: Selection,
    *,
    control: bool,
    memory: int,
    device: str,
    progress: bool,
) -> None:
    """Write the missing records of pairs of layers into the result folder `path`."""
    from lmscope.results import RunFolder

    _check(checkpoint, path, selection)
    groups = _layer_groups(checkpoint, settings, selection)
    names = ["similarity", "control"] if control else ["similarity"]
    with RunFolder.create(path, checkpoint.identity).lock() as folder:
        for name in names:
            # Before the manifest names settings that nothing may be computed under.
            check_memory(_missing(folder, _asked(checkpoint, name, settings.key()), groups), memory)
        begin_run(folder, checkpoint, dict.fromkeys(names, settings.key()), device)
        for name in names:
            read = partial(load_each, checkpoint)
            weights = partial(random_weights, settings.seed) if name == "control" else read
            _fill(
                checkpoint,
                folder,
                name,
                settings,
                settings.key(),
                groups,
                {0: weights},
                {},
                selection,
                memory,
                progress,
            )


def run_twins(
    checkpoint: Checkpoint,
    other: Checkpoint,
    path: Path,
    settings: SimilaritySettings,
    selection: Selection,
    *,
    memory: int,
    device: str,
    progress: bool,
) -> None:
    """Write the missing records of twins into the result folder `path`, which is the first checkpoint's."""
    from lmscope.results import RunFolder

    _check(checkpoint, path, selection)
    pairs, refused = twins_of(checkpoint, other, settings)
    if not pairs:
        why = sorted(refused.values(), key=lambda reason: reason[0] != "refused")
        some = why[0][1] if why else "it has no matrices"
        raise UsageError(f"other: no matrix of {label(checkpoint)} has a twin in {label(other)}: {some}")
    key = {
        **settings.key(),
        "other": other.identity,
        "other_name": label(other),
        "other_path": str(other.path),
    }
    selected = [pair for pair in pairs if pair.x.tensor in selection]
    weights = {0: partial(load_each, checkpoint), 1: partial(load_each, other)}
    with RunFolder.create(path, checkpoint.identity).lock() as folder:
        check_memory(_missing(folder, _asked(checkpoint, "twins", key), [selected]), memory)
        begin_run(folder, checkpoint, {"twins": key}, device)
        _fill(
            checkpoint,
            folder,
            "twins",
            settings,
            key,
            [selected],
            weights,
            refused,
            selection,
            memory,
            progress,
        )


def check_room(
    checkpoint: Checkpoint, settings: SimilaritySettings, selection: Selection, memory: int
) -> None:
    """Raise `UsageError` where two matrices that would be compared do not fit into `memory`."""
    check_memory(_layer_groups(checkpoint, settings, selection), memory)


def _layer_groups(
    checkpoint: Checkpoint, settings: SimilaritySettings, selection: Selection
) -> list[list[Pair]]:
    return [
        [pair for pair in layer_pairs(group, settings.null_draws) if _selected(pair, selection)]
        for group in layer_groups(checkpoint, settings.vectors)
    ]


def _asked(checkpoint: Checkpoint, name: str, key: Mapping[str, Any]) -> Asked:
    from lmscope import __version__

    return checkpoint.identity, name, key, __version__


def _missing(folder: RunFolder, asked: Asked, groups: Sequence[Sequence[Pair]]) -> list[list[Pair]]:
    standing = folder.standing_pairs(*asked)
    return [[pair for pair in group if pair.names not in standing] for group in groups]


def _check(checkpoint: Checkpoint, path: Path, selection: Selection) -> None:
    check_run_path(path, checkpoint)
    if not ties_are_recorded(path, checkpoint):
        checkpoint.confirm_ties()
    check_selection(checkpoint, selection)


def _selected(pair: Pair, selection: Selection) -> bool:
    return pair.x.tensor in selection and pair.y.tensor in selection


def _fill(
    checkpoint: Checkpoint,
    folder: RunFolder,
    name: str,
    settings: SimilaritySettings,
    key: Mapping[str, Any],
    groups: Sequence[Sequence[Pair]],
    weights: Mapping[int, Any],
    refused: Mapping[str, tuple[str, str]],
    selection: Selection,
    memory: int,
    progress: bool,
) -> None:
    """Compare what has no record yet, and write the ledger before and after.

    A matrix that cannot be read or packed becomes "failed"; so does one whose twin cannot. One that another
    analysis of the run failed on stays so.
    """
    asked = _asked(checkpoint, name, key)
    standing = folder.standing_pairs(*asked)
    missing = [[pair for pair in group if pair.names not in standing] for group in groups]
    # Names of y are the other checkpoint's in twins.
    recorded = {one for pair in standing for one in (pair[:1] if name == "twins" else pair)}
    pending = {
        matrix.tensor.name
        for group in missing
        for pair in group
        for matrix in (pair.x, pair.y)
        if matrix.source == 0
    }
    paired = {matrix.tensor.name for group in groups for pair in group for matrix in (pair.x, pair.y)}
    elsewhere = analysed_elsewhere(folder, {name})
    failed_elsewhere = _failed_elsewhere(folder, name, elsewhere)
    failed: dict[str, str] = {}

    def row(tensor: Any, *, over: bool) -> dict[str, Any]:
        status, reason = before(tensor, selection)
        if tensor.status == "planned":
            if tensor.name in failed_elsewhere and (over or tensor.name not in pending):
                status, reason = "failed", failed_elsewhere[tensor.name]
            elif tensor.name in failed:
                status, reason = "failed", failed[tensor.name]
            elif tensor.name in pending:
                known = over or tensor.name in elsewhere
                status, reason = ("analysed" if known else "planned"), tensor.reason
            elif tensor.name in elsewhere | recorded or (tensor.name in paired and status != "skipped"):
                status, reason = "analysed", tensor.reason
            elif status != "skipped":
                status, reason = refused.get(tensor.name, ("skipped", _ALONE))
        return ledger_row(tensor, status, reason)

    def write_ledger(*, over: bool) -> None:
        # The control's matrices are no tensors of the checkpoint.
        if name == "control":
            return
        folder.write_ledger([row(tensor, over=over) for tensor in checkpoint], of_pairs=not over)

    write_ledger(over=False)
    reporter = reporter_for(progress)
    wanted, left = sum(map(len, groups)), sum(map(len, missing))
    if left < wanted:
        reporter.stands(wanted - left, of=wanted, settings=f"{name}: {in_words(settings.key())}")
    if not pending:
        write_ledger(over=True)
        return
    analysis = PairAnalysis(name, asked, settings.seed, settings.false_positive_rate)
    reasons, costs = run_pairs(folder, analysis, missing, weights, memory, reporter)
    # One half of a pair of twins is of the other checkpoint, which has no row of its own.
    twin_of = {pair.y.key: pair for group in missing for pair in group if pair.y.source}
    for matrix, reason in reasons.items():
        if matrix in twin_of:
            failed[twin_of[matrix].names[0]] = f"its twin {matrix[1]} failed: {reason}"
        else:
            failed[matrix[1]] = reason
            if name == "control":
                _LOG.warning("control of %s failed: %s", matrix[1], reason)
    folder.write_cost(name, {**costs.as_dict(), "memory": memory})
    write_ledger(over=True)


def _failed_elsewhere(folder: RunFolder, name: str, elsewhere: set[str]) -> dict[str, str]:
    """Reasons by tensor that an analysis other than of pairs failed on, as the ledger so far says."""
    from lmscope.results import PAIR_ANALYSES, ResultsError

    if not set(folder.manifest["settings"]) - PAIR_ANALYSES:
        return {}
    try:
        rows = folder.ledger.select(["name", "status", "reason"]).to_pylist()
    except ResultsError:
        return {}
    return {
        row["name"]: row["reason"]
        for row in rows
        if row["status"] == "failed" and row["name"] not in elsewhere
    }
