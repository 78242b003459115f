"""`localize`: where information sits: singular vectors, what they are given, and what their loss costs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmscope.runs.checkpoint_folders import open_all
from lmscope.runs.errors import UsageError
from lmscope.runs.heap import map_large_blocks
from lmscope.runs.ledger import Findings, ledger_rows, stored_findings
from lmscope.runs.localize_claims import write_claims, write_slices
from lmscope.runs.localize_lesions import (
    Labelled,
    evaluation_seconds,
    make_measures,
    preparation_seconds,
    wanted_lesions,
    without_record,
    write_lesions,
)
from lmscope.runs.localize_settings import LocalizeSettings, localize_settings
from lmscope.runs.localize_vectors import estimated_seconds, missing_vectors, write_vectors
from lmscope.runs.located import OUTSIDE_LAYERS, Located
from lmscope.runs.manifest import begin_run
from lmscope.runs.opening import check_run_path, default_run_path, ties_are_recorded
from lmscope.runs.progress import Reporter, reporter_for
from lmscope.runs.reading import Head, Reading, digest, paths_of, texts_of
from lmscope.runs.record_store import RecordStore
from lmscope.runs.run import Run, open_run
from lmscope.runs.selection import select
from lmscope.runs.settings import one_of
from lmscope.runs.token_settings import DEVICES

if TYPE_CHECKING:
    from lmscope.checkpoints import Checkpoint
    from lmscope.results import RunFolder

_LOG = logging.getLogger(__name__)


def localize(
    ckpt: str | os.PathLike[str] | Checkpoint,
    *others: str | os.PathLike[str] | Checkpoint,
    text: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    texts: Iterable[str] | None = None,
    split: str = "file",
    include: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
    layers: str | int | Iterable[int] | None = None,
    roles: str | Iterable[str] | None = None,
    window: int | None = None,
    stride: int | None = None,
    slices: int = 10,
    only_slices: str | int | Iterable[int] | None = None,
    lesions: bool = True,
    overlaps: bool = True,
    controls: bool = True,
    control_draws: int = 1,
    each_matrix: bool = False,
    maps: str | Iterable[str] = (),
    measures: str | Iterable[str] | None = None,
    labelled: str | os.PathLike[str] | tuple[Sequence[str], Sequence[str | int]] | None = None,
    eval_tokens: int = 4096,
    untrained: bool = True,
    center: bool = True,
    signed: bool = False,
    top: int | None = None,
    pt_window: int = 15,
    false_positive_rate: float = 0.003,
    layers_per_pass: int = 1,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    device: str = "auto",
    dtype: str = "float32",
    progress: bool = True,
    revision: str | None = None,
    token: str | None = None,
) -> Run:
    """Where in a model's matrices information sits, by vectors, by activations and by removal; no page.

    Of every matrix: are its singular vectors random directions (`Run.table("vectors")`, beside those of the
    untrained model), and do they point where its inputs on the text vary ("overlap")? Of every role: what
    does it cost to remove a slice of the singular values in all layers ("lesions"), beside a random subspace
    of equal size and one of equal energy? "slices" has the scores of every slice, "claims" whether roles
    behave alike over layers and whether the weights alone tell what overlaps and lesions say.

    Args:
        ckpt: folder, hub id or open `Checkpoint` of a model with its tokenizer; or a folder of checkpoint
            folders, such as the steps of a training, in natural order. The result folder is the first one's.
        others: further ones, which get the same measures.
        text: UTF-8 file or files. Not needed without lesions and overlaps.
        texts: the texts themselves, instead.
        split: what of a file is one text: "file", "paragraph" (between blank lines) or "line".
        include, exclude, layers, roles: which matrices, as in `analyze`. Those outside the layers, such as an
            unembedding, only where they are asked for by `include` or `roles`.
        window: tokens read at a time, special ones included; the model's context, at most 512, when None
            (256 for "loss", 128 for measures at masked tokens).
        stride: tokens from one window of the loss to the next; half a window when None.
        slices: into how many slices of equal count the singular values are cut, the smallest first.
        only_slices: which of them are removed, such as ``"1,10"``; all when None.
        lesions: whether slices are removed.
        overlaps: whether inputs are read.
        controls: remove random subspaces as well; `control_draws` of each kind.
        each_matrix: lesion every matrix alone as well: as many times longer as a role has matrices.
        maps: globs on names of matrices whose cosines with all eigenvectors are kept.
        measures: names of `lmscope.MEASURES`; those that the model has when None. Of these, one that the
            text is too short for, or whose head the weights lack, is left out, and the reason kept.
        labelled: file of labelled texts, or (texts, labels), for "accuracy".
        eval_tokens: tokens that one evaluation reads.
        untrained: look at the twin with random weights (drawn from `seed`) as well.
        center: subtract the mean input.
        signed: overlaps by the largest cosine with its sign, as the paper's code has it, not its magnitude.
        top: eigenvectors of the top space; a tenth of the inputs when None.
        pt_window: neighbouring singular values over which p-values are averaged.
        false_positive_rate: share of random directions outside the band of overlaps.
        layers_per_pass: layers whose inputs are gathered in one pass: more is faster and takes more memory.
        seed: of every random draw; each depends on the seed, the matrix, the slice and the draw alone.
        dtype: "float32", "bfloat16", "float16", "float64" or "auto" for the checkpoint's own. Singular
            vectors are those of the weights as stored, in float64.
        device: "auto", "cpu" or "cuda".
        revision: branch, tag or commit of `ckpt` where it is a hub id.

    Memory: the model and three covariances of a layer's inputs, of lesions the role's own weights besides.
    The untrained twin is run in the model's place. While lesions run, singular vectors of one role lie in
    the result folder.

    The result folder, resuming and errors as in `analyze`; a record is a matrix of a checkpoint or a lesion.
    What fails is kept with its reason (`Run.localize().failures`), the rest stands.
    """
    if text is not None and not isinstance(text, (str, os.PathLike)):
        text = list(text)
    read = texts_of(text, texts, split) if lesions or overlaps or text or texts else []
    pairs = None if labelled is None else _labelled(labelled)
    settings = localize_settings(
        texts=digest(read) if read else None,
        labelled=None if pairs is None else digest([*pairs[0], *map(str, pairs[1])]),
        selection=select(include=include, exclude=exclude, layers=layers, roles=roles),
        window=window,
        stride=stride,
        slices=slices,
        only_slices=only_slices,
        lesions=lesions,
        overlaps=overlaps,
        controls=controls,
        control_draws=control_draws,
        each_matrix=each_matrix,
        maps=maps,
        measures=measures,
        eval_tokens=eval_tokens,
        untrained=untrained,
        center=center,
        signed=signed,
        top=top,
        pt_window=pt_window,
        false_positive_rate=false_positive_rate,
        layers_per_pass=layers_per_pass,
        dtype=dtype,
        seed=seed,
    )
    device = one_of("device", device, DEVICES)
    opened = open_all([ckpt, *others], revision=revision, token=token)
    first = opened[0][0]
    checkpoints = [
        Located(
            Reading(
                one,
                read,
                window=settings.window,
                device=device,
                dtype=settings.dtype,
                head=_head(one, settings),
                head_needed=settings.measures is not None,
            ),
            step,
            settings.selection,
            own=one is first,
        )
        for one, step in opened
    ]
    for located in checkpoints:
        located.check(settings.slices)
    _check_maps(checkpoints, settings.maps)
    path = default_run_path(first) if out is None else Path(out)
    check_run_path(path, first)
    if not ties_are_recorded(path, first):
        first.confirm_ties()
    asked = {
        "text": paths_of(text),
        "split": split,
        "include": list(settings.selection.include),
        "exclude": list(settings.selection.exclude),
        "layers": sorted(settings.selection.layers),
        "roles": sorted(settings.selection.roles),
        "only_slices": [] if only_slices is None else list(settings.only_slices),
        "lesions": settings.lesions,
        "overlaps": settings.overlaps,
        "controls": settings.controls,
        "control_draws": settings.control_draws,
        "each_matrix": settings.each_matrix,
        "maps": list(settings.maps),
        "labelled": os.path.abspath(labelled) if isinstance(labelled, (str, os.PathLike)) else None,
        "layers_per_pass": settings.layers_per_pass,
        "revision": revision,
        "checkpoints": [
            {"name": one.label, "path": str(one.path), "identity": one.identity} for one, _ in opened
        ],
    }
    _run(path, checkpoints, settings, pairs, asked, lambda: reporter_for(progress))
    return open_run(path)


def _labelled(given: str | os.PathLike[str] | Labelled) -> Labelled:
    from lmscope.representations import TextError
    from lmscope.representations.measures import read_labelled

    if not isinstance(given, (str, os.PathLike)):
        texts, labels = given
        return list(texts), list(labels)
    try:
        return read_labelled(given)
    except TextError as error:
        raise UsageError(f"labelled: {error}") from None


def _head(checkpoint: Checkpoint, settings: LocalizeSettings) -> Head | None:
    """The head that the measures need, or by default would read, beside that of a causal model."""
    names = settings.measures
    architectures = " ".join(checkpoint.config.get("architectures") or [])
    if not settings.lesions:
        return None
    if settings.labelled and "ForSequenceClassification" in architectures and names in (None, ("accuracy",)):
        return "sequence_classification"
    if "masked_loss" in (names or ()) or (names is None and "ForMaskedLM" in architectures):
        return "masked_lm"
    return None


def _run(
    path: Path,
    checkpoints: Sequence[Located],
    settings: LocalizeSettings,
    labelled: Labelled | None,
    asked: Mapping[str, Any],
    reporter: Callable[[], Reporter],
) -> None:
    from lmscope.results import RunFolder

    map_large_blocks()
    own = checkpoints[0]
    keys = settings.keys([located.checkpoint.identity for located in checkpoints])
    # Before the manifest names settings that nothing can be computed under.
    for located in reversed(checkpoints):
        _check_model(located, settings, labelled)
        if located is not own:
            located.forget()
    place = str(own.reading.model.device) if settings.needs_model else "cpu"
    with RunFolder.create(path, own.checkpoint.identity).lock() as folder:
        begin_run(folder, own.checkpoint, keys, place, {"localize": asked})
        store = RecordStore(folder, own.checkpoint.identity, keys)
        _write_ledger(folder, own)
        try:
            for located in checkpoints:
                _write_checkpoint(folder, store, located, settings, labelled, reporter)
                located.forget()
        finally:
            _write_ledger(folder, own)
        write_slices(folder, store, checkpoints, settings)
        write_claims(folder, store, checkpoints, settings)


def _check_maps(checkpoints: Sequence[Located], maps: Sequence[str]) -> None:
    for pattern in maps:
        looked_at = [(located, tensor) for located in checkpoints for tensor in located.matrices]
        if not any(located.matches(tensor, pattern) for located, tensor in looked_at):
            raise UsageError(f"maps: {pattern!r} matches none of the {len(looked_at)} matrices looked at")


def _check_model(located: Located, settings: LocalizeSettings, labelled: Labelled | None) -> None:
    """Load the model, cut its texts, and see that it has the measures that were asked for."""
    if not settings.needs_model:
        return
    model = located.reading.model
    if located.reading.texts:
        located.reading.windows  # noqa: B018 - refuses what cannot be cut
    if settings.lesions and settings.measures is not None:
        _check_measures(located, settings, labelled)
    del model


def _check_measures(located: Located, settings: LocalizeSettings, labelled: Labelled | None) -> None:
    from lmscope.representations import StatesError

    try:
        make_measures(located, settings, labelled)
    except StatesError:
        # Of these weights, not of this kind of model: the lesions fail with it, the rest is computed.
        return
    except ValueError as error:
        raise UsageError(f"measures: {error}") from error


def _write_checkpoint(
    folder: RunFolder,
    store: RecordStore,
    located: Located,
    settings: LocalizeSettings,
    labelled: Labelled | None,
    reporter: Callable[[], Reporter],
) -> None:
    """One bar for what is left of vectors, overlaps and lesions of a checkpoint."""
    jobs = missing_vectors(store, located, settings)
    removals = wanted_lesions(located, settings)
    lesions = without_record(store, located, removals)
    of_matrices, of_inputs = estimated_seconds(jobs, located, settings)
    models = 2 if settings.untrained else 1
    inputs = len({(job.tensor.layer, job.tensor.shape[1]) for job in jobs if job.reads})
    seconds = models * (sum(of_matrices.values()) + inputs * of_inputs)
    if lesions:
        seconds += (len(lesions) + 1) * evaluation_seconds(located, settings)
        seconds += sum(preparation_seconds(lesions).values())
    tell = reporter()
    for wanted, left, what in (
        (len(located.matrices), len(jobs), "singular vectors"),
        (len(removals), len(lesions), "lesions"),
    ):
        if left < wanted:
            tell.stands(wanted - left, of=wanted, settings=f"{what} of {located.label}")
    with tell:
        if jobs or lesions:
            tell.start(
                matrices=models * len(jobs) + len(lesions),
                total_bytes=0,
                seconds=seconds,
                noun=f"{'matrices and lesions' if lesions else 'matrices'} of {located.label}",
            )
        write_vectors(store, located, settings, jobs, tell)
        write_lesions(store, located, settings, labelled, lesions, folder.path, tell)


def _write_ledger(folder: RunFolder, own: Located) -> None:
    """What is analysed are matrices with vectors; other analyses of the run keep their say."""
    recorded = folder.analysed("vectors") if folder.has_ledger() else set()
    outside = {
        tensor.name: ("skipped", OUTSIDE_LAYERS)
        for tensor in own.checkpoint
        if tensor.status == "planned" and tensor in own.selection and not own.wants(tensor)
    }
    wanted = {tensor.name for tensor in own.matrices}
    failed = folder.failures("vectors")
    findings = Findings(
        recorded=recorded,
        failed={name: reason for name, reason in failed.items() if name in wanted},
        pending=wanted - recorded - set(failed),
        without=outside,
    )
    folder.write_ledger(
        ledger_rows(
            own.checkpoint, own.selection, {**stored_findings(folder, {"vectors"}), "vectors": findings}
        )
    )
    folder.write_pending("vectors", findings.pending)
