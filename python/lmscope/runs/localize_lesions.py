"""Lesions of one checkpoint: what it costs to take out slices, and random controls, role by role."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope.runs.cost import forward_seconds, vectors_seconds
from lmscope.runs.heap import give_back
from lmscope.runs.localize_settings import LocalizeSettings
from lmscope.runs.located import Located
from lmscope.runs.progress import Reporter
from lmscope.runs.record_store import RecordStore
from lmscope.runs.streaming import reason_of

if TYPE_CHECKING:
    from lmscope.analyses.removal import Removal
    from lmscope.architectures import TensorInfo
    from lmscope.kernels.singular_vectors import SingularVectors
    from lmscope.representations import LanguageModel
    from lmscope.representations.measures import Measure, Scores
    from lmscope.representations.weight_sites import WeightSite

_LOG = logging.getLogger(__name__)

_SIDES = ("left", "right")
SCRATCH = "lesions/scratch"
"""In the result folder, while lesions run: singular vectors of the role in hand."""

_LEAST_SECONDS = 0.02

Labelled = tuple[Sequence[str], Sequence[str | int]]


@dataclass(frozen=True)
class Target:
    """What is lesioned: a role in all layers, or one matrix."""

    name: str
    kind: str
    tensors: tuple[TensorInfo, ...]

    @property
    def role(self) -> str:
        return self.tensors[0].role


@dataclass(frozen=True)
class Lesion:
    """One removal from a target: a slice of its values, or the `draw`-th random control of that slice."""

    target: Target
    slice: int
    kind: str
    draw: int

    @property
    def told(self) -> str:
        words = {"lesion": "", "random_size": ", random of equal size", "random_energy": ", of equal energy"}
        draw = f" {self.draw}" if self.draw else ""
        return f"{self.target.name}, slice {self.slice}{words[self.kind]}{draw}"


def wanted_lesions(located: Located, settings: LocalizeSettings) -> list[Lesion]:
    """All that were asked for, role by role."""
    if not settings.lesions:
        return []
    return [
        Lesion(target, number, kind, draw)
        for target in _targets(located, settings)
        for number in settings.only_slices
        for kind, draw in settings.lesion_kinds()
    ]


def without_record(store: RecordStore, located: Located, lesions: Iterable[Lesion]) -> list[Lesion]:
    return [lesion for lesion in lesions if not store.has("lesions", _record(located, lesion))]


def evaluation_seconds(located: Located, settings: LocalizeSettings) -> float:
    """Estimate of one evaluation of all measures: an encoder's read three times as many tokens."""
    model = located.reading.model
    times = 3 if model.kind == "encoder" else 1
    return times * forward_seconds(model, settings.eval_tokens) + _LEAST_SECONDS


def preparation_seconds(lesions: Iterable[Lesion]) -> dict[str, float]:
    """By role the estimate for the singular vectors of the matrices."""
    tensors = {tensor.name: tensor for lesion in lesions for tensor in lesion.target.tensors}
    found: dict[str, float] = {}
    for tensor in tensors.values():
        found[tensor.role] = found.get(tensor.role, 0.0) + vectors_seconds(tensor.shape)
    return found


def write_lesions(
    store: RecordStore,
    located: Located,
    settings: LocalizeSettings,
    labelled: Labelled | None,
    lesions: Sequence[Lesion],
    run: Path,
    reporter: Reporter,
) -> None:
    """Write the missing records; what fails is kept with its reason.

    Singular vectors are written to a scratch folder, one role at a time, and every removal is built from the
    vectors that it needs, matrix by matrix: nothing of the model's size is held in float64.
    """
    from lmscope.representations.measures import MEASURES

    scratch = run / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    if not lesions:
        return
    failed: dict[str, str] = {}
    try:
        _write(store, located, settings, labelled, lesions, scratch, reporter, failed)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    matrices = {tensor.name for lesion in lesions for tensor in lesion.target.tensors}
    tried = ["measures", *map(_measure, MEASURES), *sorted(matrices), *(lesion.told for lesion in lesions)]
    store.settle("lesions", map(located.told, tried), failed)


def _write(
    store: RecordStore,
    located: Located,
    settings: LocalizeSettings,
    labelled: Labelled | None,
    lesions: Sequence[Lesion],
    scratch: Path,
    reporter: Reporter,
    failed: dict[str, str],
) -> None:
    model = located.model
    seconds = evaluation_seconds(located, settings)
    text = f"{located.label}, untouched"
    reporter.begin(text, seconds=seconds)
    try:
        measures, left_out = _made(located, settings, labelled)
        give_back()
        baseline, unusable = _baseline(measures, strict=settings.measures is not None)
    except ValueError as error:
        failed[located.told("measures")] = reason_of(error)
        return
    finally:
        reporter.finish(text, read_bytes=0, matrices=0)
    measures = [one for one in measures if baseline.keys() >= set(one.names)]
    for name, reason in {**left_out, **unusable}.items():
        _LOG.warning("%s: %s is left out: %s", located.label, name, reason)
        failed[located.told(_measure(name))] = reason
    by_role: dict[str, list[Lesion]] = {}
    for lesion in lesions:
        by_role.setdefault(lesion.target.role, []).append(lesion)
    preparation = preparation_seconds(lesions)
    for role, of_role in by_role.items():
        text = f"{located.label}, singular vectors of {role}"
        reporter.begin(text, seconds=preparation[role])
        wanted = {tensor.name: tensor for lesion in of_role for tensor in lesion.target.tensors}
        kept = _Kept(scratch, located, settings, model)
        broken: set[str] = set()
        for tensor in wanted.values():
            try:
                reason = kept.add(tensor)
            except Exception as error:
                reason = f"{reason_of(error)}; lesions of it are left to the next call"
                broken.add(tensor.name)
            if reason:
                failed[located.told(tensor.name)] = reason
        reporter.finish(text, read_bytes=0, matrices=0)
        for lesion in of_role:
            text = f"{located.label}, {lesion.told}"
            reporter.begin(text, seconds=seconds)
            tensors = [tensor for tensor in lesion.target.tensors if tensor.name in kept.places]
            if tensors and not any(tensor.name in broken for tensor in lesion.target.tensors):
                try:
                    rows = _rows(located, settings, lesion, tensors, kept, model, measures, baseline)
                except ValueError as error:
                    failed[located.told(lesion.told)] = reason_of(error)
                else:
                    store.write("lesions", _record(located, lesion), rows)
            give_back()
            reporter.finish(text, read_bytes=0)
        kept.clear()


def make_measures(located: Located, settings: LocalizeSettings, labelled: Labelled | None) -> list[Measure]:
    """Fitted on the untouched model; raises ValueError for one that was asked for and cannot be had."""
    return _made(located, settings, labelled)[0]


def _made(
    located: Located, settings: LocalizeSettings, labelled: Labelled | None
) -> tuple[list[Measure], dict[str, str]]:
    """The measures, and why others that the model should have are left out."""
    from lmscope.representations.measures import measures_for

    left_out: dict[str, str] = {}
    measures = measures_for(
        located.model,
        located.reading.texts,
        names=settings.measures,
        window=settings.window,
        stride=settings.stride,
        eval_tokens=settings.eval_tokens,
        labelled=labelled,
        seed=settings.seed,
        left_out=left_out,
    )
    if located.reading.without_head:
        left_out["masked_loss"] = located.reading.without_head
    return measures, left_out


def _measure(name: str) -> str:
    """Under which the reason why a measure was left out is kept."""
    return f"measure {name}"


def _baseline(measures: Iterable[Measure], *, strict: bool) -> tuple[dict[str, Scores], dict[str, str]]:
    """Scores of the untouched model; ValueError where some are not finite, or, unless strict, the reason."""
    found: dict[str, Scores] = {}
    reasons: dict[str, str] = {}
    for measure in measures:
        try:
            scores = measure.evaluate()
            for name, one in scores.items():
                if not np.isfinite(one.values).all():
                    unit = int(np.flatnonzero(~np.isfinite(one.values))[0])
                    raise ValueError(
                        f"{name}: of the untouched model it is {one.values[unit]} at unit {unit}"
                    )
            found.update(scores)
        except ValueError as error:
            if strict:
                raise
            reasons.update(dict.fromkeys(measure.names, reason_of(error)))
    if not found:
        raise ValueError("; ".join(dict.fromkeys(reasons.values())))
    return found, reasons


def _targets(located: Located, settings: LocalizeSettings) -> Iterator[Target]:
    """Every role, in the model's order; each followed by its matrices alone, where these are asked for."""
    roles: dict[str, list[TensorInfo]] = {}
    for tensor in located.matrices:
        roles.setdefault(tensor.role, []).append(tensor)
    for role, tensors in roles.items():
        yield Target(role, "role", tuple(tensors))
        if settings.each_matrix:
            for tensor in tensors:
                yield Target(tensor.name, "matrix", (tensor,))


def _record(located: Located, lesion: Lesion) -> str:
    target = lesion.target
    of = f"{target.kind} {target.name}, slice {lesion.slice}, {lesion.kind} {lesion.draw}"
    return f"{located.checkpoint.identity} {of}"


def _evaluate(measures: Iterable[Measure]) -> dict[str, Scores]:
    return {name: scores for measure in measures for name, scores in measure.evaluate().items()}


class _Kept:
    """Singular vectors of the matrices of one role, in files, and where these matrices sit."""

    def __init__(
        self, folder: Path, located: Located, settings: LocalizeSettings, model: LanguageModel
    ) -> None:
        self._folder = folder
        self._located = located
        self._settings = settings
        self._sites = located.sites(model)
        self.places: dict[str, WeightSite] = {}
        self._values: dict[str, SingularVectors] = {}

    def add(self, tensor: TensorInfo) -> str:
        """Why the matrix can never be lesioned, "" where it can; what reading it raises is let through."""
        from lmscope.analyses.slices import slice_ranks
        from lmscope.kernels.singular_vectors import singular_vectors

        site = self._sites.get(tensor.name, "it has no place in the model")
        if isinstance(site, str):
            return site
        if site.shared:
            return f"its weights are also those of {', '.join(site.shared)}: a lesion would change both"
        try:
            slice_ranks(min(tensor.shape), self._settings.slices)
        except ValueError as error:
            return reason_of(error)
        vectors = singular_vectors(self._located.checkpoint.load(tensor.name))
        self._folder.mkdir(parents=True, exist_ok=True)
        nothing = np.empty((0, 0))
        self.places[tensor.name] = site
        self._values[tensor.name] = replace(vectors, left=nothing, right=nothing)
        for side in _SIDES:
            # By columns, so that a slice of them is read in one piece.
            np.save(self._path(tensor.name, side), np.asfortranarray(getattr(vectors, side)))
        del vectors
        give_back()
        return ""

    def values(self, name: str) -> npt.NDArray[np.float64]:
        return self._values[name].values

    def vectors(self, name: str) -> SingularVectors:
        """Mapped anew each time: pages that were read count as memory for as long as the map is held."""
        sides = {side: np.load(self._path(name, side), mmap_mode="r") for side in _SIDES}
        return replace(self._values[name], **sides)

    def _path(self, name: str, side: str) -> Path:
        return self._folder / f"{list(self.places).index(name)}-{side}.npy"

    def clear(self) -> None:
        self.places.clear()
        self._values.clear()
        shutil.rmtree(self._folder, ignore_errors=True)


def _removal(settings: LocalizeSettings, lesion: Lesion, name: str, vectors: SingularVectors) -> Removal:
    from lmscope.analyses.removal import random_removal, slice_removal
    from lmscope.analyses.slices import slice_ranks

    ranks = slice_ranks(len(vectors.values), settings.slices)[lesion.slice - 1]
    if lesion.kind == "lesion":
        return slice_removal(vectors, ranks)
    seed = _seed(settings.seed, name, lesion)
    if lesion.kind == "random_size":
        return random_removal(vectors, directions=len(ranks), seed=seed)
    energy = float(np.square(vectors.values[ranks.start : ranks.stop]).sum())
    return random_removal(vectors, energy=energy, seed=seed)


def _seed(seed: int, name: str, lesion: Lesion) -> int:
    """Of one matrix and draw, so that a resumed or partial run draws the same."""
    asked = json.dumps([seed, name, lesion.slice, lesion.kind, lesion.draw])
    return int.from_bytes(hashlib.sha256(asked.encode()).digest()[:8], "little")


def _rows(
    located: Located,
    settings: LocalizeSettings,
    lesion: Lesion,
    tensors: Sequence[TensorInfo],
    kept: _Kept,
    model: LanguageModel,
    measures: Sequence[Measure],
    baseline: Mapping[str, Scores],
) -> list[dict[str, Any]]:
    from lmscope.analyses.lesion_impact import impact_of
    from lmscope.representations.lesions import lesioned
    from lmscope.representations.measures import MEASURES

    began = time.perf_counter()
    directions, energy, norm, rounding = 0, 0.0, 0.0, 0.0
    by_parameter: dict[int, list[TensorInfo]] = {}
    for tensor in tensors:
        by_parameter.setdefault(id(kept.places[tensor.name].parameter), []).append(tensor)
    with ExitStack() as stack:
        # One parameter after another: the removals of the others are not in memory.
        for together in by_parameter.values():
            removals = {}
            for tensor in together:
                removal = _removal(settings, lesion, tensor.name, kept.vectors(tensor.name))
                removals[kept.places[tensor.name]] = removal
                directions += removal.directions
                energy += removal.energy
                norm += float(np.square(kept.values(tensor.name)).sum())
                del removal
            rounding += stack.enter_context(lesioned(model, removals)).rounding
            del removals
        give_back()
        found = _evaluate(measures)
    share = energy / norm if norm > 0 else 0.0
    first = lesion.target.tensors[0]
    alone = lesion.target.kind == "matrix"
    rows = []
    for name, scores in found.items():
        info = MEASURES[name]
        impact = impact_of(baseline[name], scores, harm=info.harm, energy_share=share)
        rows.append(
            {
                **located.about,
                "target": lesion.target.name,
                "target_kind": lesion.target.kind,
                "role": first.role,
                "layer": first.layer if alone else None,
                "expert": first.expert if alone else None,
                "slice": lesion.slice,
                "slices": settings.slices,
                "kind": lesion.kind,
                "draw": lesion.draw,
                "matrices": len(tensors),
                "of_matrices": len(lesion.target.tensors),
                "directions": directions,
                "removed_energy": share,
                "rounding": rounding / energy if energy > 0 else None,
                "measure": name,
                "unit": info.unit,
                "value": impact.value,
                "baseline": impact.baseline,
                "impact": impact.impact,
                "impact_low": impact.low,
                "impact_high": impact.high,
                "per_energy": impact.per_energy,
                "units": impact.units,
                "seconds": 0.0,
            }
        )
    seconds = time.perf_counter() - began
    return [{**row, "seconds": seconds / len(rows)} for row in rows]
