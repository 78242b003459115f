"""`unembedding`: what the output embedding holds of token probabilities, and what can be done by it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmscope.runs.checkpoint_folders import open_series
from lmscope.runs.examined import Examined
from lmscope.runs.heap import map_large_blocks
from lmscope.runs.joint_edit import JointEdit, joint_edit
from lmscope.runs.ledger import unread_rows
from lmscope.runs.manifest import begin_run
from lmscope.runs.opening import check_run_path, default_run_path, ties_are_recorded
from lmscope.runs.progress import Reporter, reporter_for
from lmscope.runs.reading import Reading, digest
from lmscope.runs.record_store import RecordStore
from lmscope.runs.run import Run, open_run
from lmscope.runs.settings import one_of
from lmscope.runs.token_settings import DEVICES
from lmscope.runs.unembedding_dynamics import check_same_shapes, dynamics_jobs
from lmscope.runs.unembedding_fit import fit_jobs, twin_jobs
from lmscope.runs.unembedding_generations import generation_jobs
from lmscope.runs.unembedding_jobs import Job, missing, seconds_of, write_jobs
from lmscope.runs.unembedding_removal import removal_jobs
from lmscope.runs.unembedding_settings import ALLOCATION, FACTORS, UnembeddingSettings, unembedding_settings
from lmscope.runs.unembedding_steering import steering_jobs
from lmscope.runs.unembedding_texts import paths_asked, read_all

if TYPE_CHECKING:
    from lmscope.checkpoints import Checkpoint


def unembedding(
    ckpt: str | os.PathLike[str] | Checkpoint,
    *others: str | os.PathLike[str] | Checkpoint,
    text: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    texts: Iterable[str] | None = None,
    split: str = "file",
    held_out: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    other_text: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    frequency_text: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    window: int | None = None,
    positions: int = 8192,
    eval_positions: int = 2048,
    steering: bool = True,
    steer: str | int | Iterable[int | str] | None = None,
    steer_count: int = 20,
    factors: str | float | Iterable[float] = FACTORS,
    allocation: str | Iterable[str] = ALLOCATION,
    calibrate: bool = True,
    removal: bool = True,
    shares: str | float | Iterable[float] | None = None,
    removal_positions: int = 2048,
    js: float = 0.01,
    fill: str = "zero",
    generations: bool = True,
    prompts: int = 8,
    new_tokens: int = 48,
    vocabulary_sizes: bool = True,
    controls: bool = True,
    shuffles: int = 3,
    untrained: bool = True,
    edit: Mapping[int | str, float] | None = None,
    save_edit: str | os.PathLike[str] | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    device: str = "auto",
    dtype: str = "float32",
    progress: bool = True,
    revision: str | None = None,
    token: str | None = None,
) -> Run:
    """What a model's output embedding holds of token probabilities, and what follows from it; no page.

    How far are average next-token probabilities a linear function of the embedding's rows
    (`Run.table("encoding")`, beside shuffled rows and the untrained model)? How exactly does an edit of a row
    set a token's probability, on the fitting text, on held-out and on other text ("steering")? What do the
    next-token distributions lose with coordinates that hardly take part ("removal", "mask")? What becomes of
    continuations ("generations")? Over the steps of a training: when does the embedding come to hold token
    frequencies, beside loss and weights ("dynamics")?

    Args:
        ckpt: folder, hub id or open `Checkpoint` of a causal model with its tokenizer; or a folder of
            checkpoint folders, the steps of a training in natural order: all but the last get heads,
            encodings and dynamics only. The result folder is the first one's.
        others: further ones, such as trainings from other seeds.
        text: UTF-8 file or files.
        texts: the texts themselves, instead.
        split: what of a file is one text: "file", "paragraph" (between blank lines) or "line".
        held_out: files of the same kind that nothing is fitted on; the last third of the text's characters
            when None.
        other_text: files of another kind; nothing is said of other text when None.
        frequency_text: files that token frequencies are counted in; the text when None.
        window: tokens read at a time, special ones included; 128, or the model's context where that is less,
            when None: intervals are over windows.
        positions: of the fitting text, in whole windows spread over it.
        eval_positions: of held-out and of other text, for steering.
        steering, removal, generations, vocabulary_sizes, untrained: what is looked at. Continuations are
            those of what is steered and removed.
        steer: ids of the tokens that are steered, or strings that are one token; `steer_count` of middling
            frequency when None.
        factors: that their mean probabilities are multiplied by, each in an edit of its own.
        allocation: how an edit is spread over coordinates, one or several: see `steer_tokens`. Controls,
            continuations and `edit` take the first.
        calibrate: solve for the step on the fitting text; steps by the linear fit alone are recorded beside.
        shares: of the coordinates that are removed.
        removal_positions: of held-out text, for removal: a removable set is chosen on one half of its windows
            and checked on the other, and an interval takes 8 of them.
        js: Jensen-Shannon divergence, in nats, that the proposed removable set may have.
        fill: what stands in place of a removed coordinate: "zero", or its "mean" over the fitting text.
        prompts, new_tokens: continuations, and their length.
        controls: shuffled rows (`shuffles` of them), edits of the wrong sign and along random directions.
        edit: token -> factor: one edit of all these rows together, written to the file `save_edit`.
        seed: of every random draw.
        dtype: "float32", "bfloat16", "float16", "float64" or "auto" for the checkpoint's own.
        device: "auto", "cpu" or "cuda".
        revision: branch, tag or commit of `ckpt` where it is a hub id.

    Memory: the model, its states at all positions, at most 64 MB of logits (128 MB in removals) and as much
    again; steering keeps a few numbers per position and token. The untrained twin takes the model's place.

    The result folder, resuming and errors as in `analyze`; a record is a fit, a batch of steered tokens, an
    order of removal or a set of continuations. What fails is kept with its reason
    (`Run.unembedding().failures`), the rest stands.
    """
    given = [
        one if one is None or isinstance(one, (str, os.PathLike)) else list(one)
        for one in (text, held_out, other_text, frequency_text)
    ]
    read = read_all(given[0], texts, given[1], given[2], given[3], split)
    settings = unembedding_settings(
        fit=digest(read.fit),
        held_out=digest(read.held_out),
        other=digest(read.other) if read.other else None,
        frequency=digest(read.frequency),
        window=window,
        positions=positions,
        eval_positions=eval_positions,
        steering=steering,
        steer=steer,
        steer_count=steer_count,
        factors=factors,
        allocation=allocation,
        calibrate=calibrate,
        removal=removal,
        shares=shares,
        removal_positions=removal_positions,
        js=js,
        fill=fill,
        generations=generations,
        prompts=prompts,
        new_tokens=new_tokens,
        vocabulary_sizes=vocabulary_sizes,
        controls=controls,
        shuffles=shuffles,
        untrained=untrained,
        dtype=dtype,
        seed=seed,
    )
    joint = joint_edit(edit, save_edit, settings)
    device = one_of("device", device, DEVICES)
    opened = open_series([ckpt, *others], revision=revision, token=token)
    series = [
        [
            Examined(
                Reading(one, read.fit, window=settings.window, device=device, dtype=settings.dtype),
                step,
                of.name,
                read,
                settings,
                last=one is of.checkpoints[-1][0],
                several=len(opened) > 1,
            )
            for one, step in of.checkpoints
        ]
        for of in opened
    ]
    first = series[0][0].checkpoint
    path = default_run_path(first) if out is None else Path(out)
    check_run_path(path, first)
    if not ties_are_recorded(path, first):
        first.confirm_ties()
    asked = {
        **paths_asked(text=given[0], held_out=given[1], other_text=given[2], frequency_text=given[3]),
        "split": split,
        "steering": settings.steering,
        "removal": settings.removal,
        "generations": settings.generations,
        "vocabulary_sizes": settings.vocabulary_sizes,
        "controls": settings.controls,
        "shuffles": settings.shuffles,
        "untrained": settings.untrained,
        "allocation": list(settings.allocations),
        "calibrate": settings.calibrate,
        "revision": revision,
        "given": [of.given for of in opened],
        "checkpoints": [
            {
                "name": one.reading.label,
                "path": str(one.checkpoint.path),
                "identity": one.checkpoint.identity,
                "told": one.name,
                "series": one.series,
                "last": one.last,
            }
            for of in series
            for one in of
        ],
    }
    _run(path, series, settings, joint, asked, lambda: reporter_for(progress))
    return open_run(path)


def _run(
    path: Path,
    series: Sequence[Sequence[Examined]],
    settings: UnembeddingSettings,
    edit: JointEdit | None,
    asked: Mapping[str, Any],
    reporter: Callable[[], Reporter],
) -> None:
    from lmscope.results import RunFolder

    map_large_blocks()
    every = [examined for of in series for examined in of]
    first = every[0]
    keys = settings.keys([examined.checkpoint.identity for examined in every])
    # Before the manifest names settings that nothing can be computed under.
    for of in series:
        check_same_shapes(of)
    for examined in reversed(every):
        examined.check()
        if edit is not None and examined is series[0][-1]:
            edit.check(examined)
        if examined is not first:
            examined.forget()
    place = str(first.reading.model.device)
    with RunFolder.create(path, first.checkpoint.identity).lock() as folder:
        begin_run(folder, first.checkpoint, keys, place, {"unembedding": asked})
        if not folder.has_ledger():
            folder.write_ledger(unread_rows(first.checkpoint))
        store = RecordStore(folder, first.checkpoint.identity, keys)
        planned = [(examined, _planned(store, examined)) for examined in every]
        courses = [job for of in series if len(of) > 1 for job in dynamics_jobs(store, of)]
        wanted = [job for _, (own, twin) in planned for job in (*own, *twin)]
        wanted += [job for _, job in courses]
        left = missing(store, wanted)
        tell = reporter()
        if len(left) < len(wanted):
            tell.stands(len(wanted) - len(left), of=len(wanted), settings="unembedding")
        with tell:
            if left or edit is not None:
                tell.start(
                    matrices=len(left),
                    total_bytes=0,
                    seconds=_seconds(store, planned, courses),
                    noun="records",
                )
            for examined, (own, twin) in planned:
                write_jobs(store, examined, missing(store, own), tell)
                if edit is not None and examined is series[0][-1]:
                    edit.save(store, examined)
                write_jobs(store, examined, missing(store, twin), tell)
                examined.forget()
            for examined, job in courses:
                write_jobs(store, examined, missing(store, [job]), tell)


Plan = tuple[list[Job], list[Job]]


def _planned(store: RecordStore, examined: Examined) -> Plan:
    """Those of the trained model, and those of its twin, before which the model is let go."""
    own = [
        *fit_jobs(examined),
        *steering_jobs(examined),
        *removal_jobs(store, examined),
        *generation_jobs(examined),
    ]
    return own, list(twin_jobs(examined))


def _seconds(
    store: RecordStore,
    planned: Iterable[tuple[Examined, Plan]],
    courses: Iterable[tuple[Examined, Job]],
) -> float:
    """Estimate of what is left; checkpoints share nothing."""
    of_models = sum(seconds_of(missing(store, jobs)) for _, plan in planned for jobs in plan)
    return of_models + seconds_of(missing(store, [job for _, job in courses]))
