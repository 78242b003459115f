"""`similarity`: DOCS of the matrices of every role over the layers, and of two checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lmscope.runs.errors import UsageError
from lmscope.runs.ledger import ALL_ZERO, ALONE, Findings, ledger_rows, stored_findings, write_findings
from lmscope.runs.manifest import begin_run
from lmscope.runs.memory import memory_budget
from lmscope.runs.opening import as_checkpoint, check_run_path, default_run_path, ties_are_recorded
from lmscope.runs.pair_pass import PairAnalysis, PairsDone, Weights, check_memory, random_weights, run_pairs
from lmscope.runs.progress import Reporter, reporter_for
from lmscope.runs.run import Run, open_run
from lmscope.runs.selection import Selection, select
from lmscope.runs.settings import SimilaritySettings, check_device, similarity_settings
from lmscope.runs.similarity_indices import index_lines, index_roles, run_indices
from lmscope.runs.streaming import check_selection, in_words, load_each
from lmscope.runs.twins import no_twins, twins_of
from lmscope.runs.vectors import COMPARED_ROLES, Pair, layer_groups, layer_pairs

if TYPE_CHECKING:
    from lmscope.checkpoints import Checkpoint
    from lmscope.results import RunFolder

Reader = Callable[[Sequence[Any]], Weights]

_FAILED_PARTNERS = "similarity failed on all its partners"


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
    other_revision: str | None = None,
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
        revision, other_revision: branch, tag or commit of a hub id, of either side.

    The other arguments, errors and resuming as in `analyze`; a record is a pair. Raises `UsageError` also
    where memory does not hold two matrices, where no matrix of `ckpt` has a twin in `other`, and where the
    result folder holds the twins in another checkpoint.
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
    if other_revision is not None and other is None:
        raise UsageError("other_revision: there is no second checkpoint that it could be of")
    device = check_device(device)
    budget = memory_budget(memory)
    checkpoint = as_checkpoint(ckpt, revision=revision, token=token)
    twin = None if other is None else as_checkpoint(other, revision=other_revision, token=token)
    path = default_run_path(checkpoint, twin) if out is None else Path(out)
    arguments: dict[str, Any] = {"memory": budget, "device": device, "progress": progress}
    if twin is None:
        # Before anything is computed.
        lines = index_lines(checkpoint, roles_of_indices, vectors, selection)
        _check_some_pair(checkpoint, settings, selection)
        run_similarity(checkpoint, path, settings, selection, control=control, **arguments)
        if lines:
            run_indices(checkpoint, path, lines, vectors, selection, device=device, progress=progress)
    else:
        run_twins(checkpoint, twin, path, settings, selection, **arguments)
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
    weights: dict[str, Reader] = {"similarity": partial(load_each, checkpoint)}
    if control:
        weights["control"] = partial(random_weights, settings.seed)
    key = settings.key()
    with RunFolder.create(path, checkpoint.identity).lock() as folder:
        comparisons = [
            _comparison(checkpoint, folder, name, settings, key, groups, {0: read})
            for name, read in weights.items()
        ]
        for comparison in comparisons:
            # Before the manifest names settings that nothing may be computed under.
            check_memory(comparison.missing, memory)
        _forget_costs(folder)
        begin_run(folder, checkpoint, dict.fromkeys(weights, key), device)
        for comparison in comparisons:
            _fill(checkpoint, folder, comparison, selection, memory, reporter_for(progress))


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
    same_shape: bool = False,
) -> None:
    """Write the missing records of twins into the result folder `path`, which is the first checkpoint's.

    With `same_shape` those of another number of vectors are refused, too.
    """
    from lmscope.results import RunFolder

    _check(checkpoint, path, selection)
    pairs, refused = twins_of(checkpoint, other, settings, same_shape=same_shape)
    if not pairs:
        raise UsageError(f"other: {no_twins(checkpoint, other, refused)}")
    key = {
        **settings.key(),
        "other": other.identity,
        "other_name": other.label,
        "other_path": str(other.path),
    }
    selected = [pair for pair in pairs if pair.x.tensor in selection]
    if not selected and not any(
        tensor.status == "refused" or refused.get(tensor.name, ("",))[0] == "refused"
        for tensor in checkpoint
        if tensor in selection
    ):
        raise UsageError(f"no matrix of {selection} has a twin in {other.label}")
    weights: dict[int, Reader] = {0: partial(load_each, checkpoint), 1: partial(load_each, other)}
    with RunFolder.create(path, checkpoint.identity).lock() as folder:
        _check_other(folder, other)
        comparison = _comparison(checkpoint, folder, "twins", settings, key, [selected], weights, refused)
        check_memory(comparison.missing, memory)
        _forget_costs(folder)
        begin_run(folder, checkpoint, {"twins": key}, device)
        _fill(checkpoint, folder, comparison, selection, memory, reporter_for(progress))


def check_room(
    checkpoint: Checkpoint, settings: SimilaritySettings, selection: Selection, memory: int
) -> None:
    """Raise `UsageError` where two matrices that would be compared do not fit into `memory`."""
    check_memory(_layer_groups(checkpoint, settings, selection), memory)


def _check_some_pair(checkpoint: Checkpoint, settings: SimilaritySettings, selection: Selection) -> None:
    """Raise `UsageError` where nothing would be compared, unless the ledger will say which are refused."""
    check_selection(checkpoint, selection)
    if any(_layer_groups(checkpoint, settings, selection)) or _any_refused(checkpoint, selection):
        return
    chosen = f"of {selection}" if str(selection) else f"of {checkpoint.label}"
    raise UsageError(
        f"no two matrices {chosen} are compared: similarities are between layers, or experts of neighbouring "
        f"layers, of one role ({', '.join(COMPARED_ROLES)}) and with vectors of one length; "
        "`lmscope inspect` lists layers and roles"
    )


def _any_refused(checkpoint: Checkpoint, selection: Selection) -> bool:
    return any(tensor.status == "refused" and tensor in selection for tensor in checkpoint)


def _layer_groups(
    checkpoint: Checkpoint, settings: SimilaritySettings, selection: Selection
) -> list[list[Pair]]:
    return [
        [pair for pair in layer_pairs(group, settings.null_draws) if _selected(pair, selection)]
        for group in layer_groups(checkpoint, settings.vectors)
    ]


def _check(checkpoint: Checkpoint, path: Path, selection: Selection) -> None:
    check_run_path(path, checkpoint)
    if not ties_are_recorded(path, checkpoint):
        checkpoint.confirm_ties()
    check_selection(checkpoint, selection)


def _check_other(folder: RunFolder, other: Checkpoint) -> None:
    held = folder.manifest.get("settings", {}).get("twins")
    if held and held["other"] != other.identity:
        raise UsageError(
            f"out: {folder.path} holds the twins in {held['other_name']} ({held['other_path']}); choose "
            f"another folder for those in {other.label} ({other.path})"
        )


def _forget_costs(folder: RunFolder) -> None:
    """Those of an earlier call: what is told is what this one takes."""
    from lmscope.results import PAIR_ANALYSES

    for name in PAIR_ANALYSES & folder.manifest.get("settings", {}).keys():
        folder.write_cost(name, None)


def _selected(pair: Pair, selection: Selection) -> bool:
    return pair.x.tensor in selection and pair.y.tensor in selection


@dataclass(frozen=True)
class _Comparison:
    """Pairs that one analysis asks for, in groups that share matrices, and what stands of them.

    `weights` reads matrices by source; `without` has status and reason of planned ones outside all pairs.
    """

    analysis: PairAnalysis
    groups: Sequence[Sequence[Pair]]
    weights: Mapping[int, Reader]
    without: Mapping[str, tuple[str, str]]
    standing: set[tuple[str, str]]

    @cached_property
    def missing(self) -> list[list[Pair]]:
        return [[pair for pair in group if pair.names not in self.standing] for group in self.groups]


def _comparison(
    checkpoint: Checkpoint,
    folder: RunFolder,
    name: str,
    settings: SimilaritySettings,
    key: Mapping[str, Any],
    groups: Sequence[Sequence[Pair]],
    weights: Mapping[int, Reader],
    without: Mapping[str, tuple[str, str]] = MappingProxyType({}),
) -> _Comparison:
    from lmscope import __version__

    asked = checkpoint.identity, name, key, __version__
    analysis = PairAnalysis(name, asked, settings.seed, settings.false_positive_rate)
    return _Comparison(analysis, groups, weights, without, folder.standing_pairs(*asked))


def _fill(
    checkpoint: Checkpoint,
    folder: RunFolder,
    comparison: _Comparison,
    selection: Selection,
    memory: int,
    reporter: Reporter,
) -> None:
    """Compare what has no record yet; write the ledger and the failures before and after.

    A matrix that cannot be read or packed becomes "failed"; so does one whose twin cannot.
    """
    analysis, missing = comparison.analysis, comparison.missing
    own = _before(checkpoint, folder, comparison)
    others = stored_findings(folder, [analysis.name])

    def write_ledger() -> None:
        folder.write_ledger(ledger_rows(checkpoint, selection, {**others, analysis.name: own}))
        write_findings(folder, analysis.name, own)

    write_ledger()
    wanted, left = sum(map(len, comparison.groups)), sum(map(len, missing))
    if left < wanted:
        settings = in_words(analysis.asked[2])
        reporter.stands(wanted - left, of=wanted, settings=f"{analysis.name}: {settings}")
    if not left:
        return
    done = run_pairs(folder, analysis, missing, comparison.weights, memory, reporter)
    folder.write_cost(analysis.name, {**done.costs.as_dict(), "memory": memory})
    _settle(own, comparison, done)
    write_ledger()


def _before(checkpoint: Checkpoint, folder: RunFolder, comparison: _Comparison) -> Findings:
    """What the analysis knows of the checkpoint's matrices when its pass begins."""
    from lmscope.results import own_names

    name = comparison.analysis.name
    paired, tried = _names(comparison.groups), _names(comparison.missing)
    found = Findings(
        # Those that are tried again are over until they fail again.
        failed={one: why for one, why in folder.failures(name).items() if one not in tried},
        without={
            tensor.name: comparison.without.get(tensor.name, ("skipped", ALONE))
            for tensor in checkpoint
            if tensor.status == "planned" and tensor.name not in paired
        },
    )
    if name == "control":
        # It follows the similarities: those that are neither in a record nor failed had no partner left.
        found.without |= dict.fromkeys(paired, ("skipped", _FAILED_PARTNERS))
    else:
        found.recorded, found.pending = own_names(name, comparison.standing), tried
        found.remarks = dict.fromkeys(folder.all_zero(name), ALL_ZERO)
    return found


def _settle(found: Findings, comparison: _Comparison, done: PairsDone) -> None:
    """What it knows when the pass is over."""
    name = comparison.analysis.name
    # One half of a pair of twins is of the other checkpoint, which has no row of its own.
    twin_of = {pair.y.key: pair.names[0] for group in comparison.missing for pair in group if pair.y.source}
    for matrix, reason in done.failed.items():
        if matrix in twin_of:
            found.failed[twin_of[matrix]] = f"its twin {matrix[1]} failed: {reason}"
        else:
            found.failed[matrix[1]] = f"its control failed: {reason}" if name == "control" else reason
    if name == "control":
        return
    found.recorded |= {tensor for source, tensor in done.compared if source == 0}
    found.remarks |= {tensor: ALL_ZERO for source, tensor in done.zero if source == 0}
    for tensor in found.pending - found.recorded - found.failed.keys():
        found.without[tensor] = "skipped", _FAILED_PARTNERS
    found.pending = set()


def _names(groups: Iterable[Iterable[Pair]]) -> set[str]:
    """Tensors of the run's own checkpoint in these pairs."""
    return {
        matrix.tensor.name
        for group in groups
        for pair in group
        for matrix in (pair.x, pair.y)
        if matrix.source == 0
    }
