"""Singular vectors of every matrix beside its untrained twin's, and their overlap with what it is given."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lmscope.runs.cost import forward_seconds, overlap_seconds, vectors_seconds
from lmscope.runs.heap import give_back
from lmscope.runs.localize_settings import LocalizeSettings
from lmscope.runs.located import Located
from lmscope.runs.progress import Reporter
from lmscope.runs.record_store import RecordStore
from lmscope.runs.streaming import reason_of

if TYPE_CHECKING:
    from lmscope.architectures import TensorInfo
    from lmscope.kernels.singular_vectors import SingularVectors
    from lmscope.representations import LanguageModel
    from lmscope.representations.input_covariance import InputCovariance
    from lmscope.representations.weight_sites import WeightSite

TABLES = ("vectors", "overlap", "overlap_map")
_EDGE_RATE = 0.01
_OF_TWIN = ("singular_values", "p_right", "p_left", "windowed_right", "windowed_left")
_OVERLAP_OF_TWIN = ("overlap", "top_share")


@dataclass(frozen=True)
class Job:
    """One matrix, and which of its records are missing."""

    tensor: TensorInfo
    tables: frozenset[str]

    @property
    def reads(self) -> bool:
        """Whether its inputs are needed."""
        return bool(self.tables - {"vectors"})


@dataclass(frozen=True)
class Basis:
    """The covariance of a matrix' inputs: its counts (the covariance itself let go of), its eigenvectors, and
    why these are not to be used ("" where they are)."""

    counts: InputCovariance
    variances: npt.NDArray[np.float64]
    directions: npt.NDArray[np.float64]
    problem: str


Findings = dict[str, dict[str, Any] | str]
"""Table -> its columns, or why there are none."""


def missing_vectors(store: RecordStore, located: Located, settings: LocalizeSettings) -> list[Job]:
    """The matrices that lack a record that was asked for."""
    jobs = []
    for tensor in located.matrices:
        wanted = {"vectors"} | ({"overlap"} if settings.overlaps else set())
        if any(located.matches(tensor, pattern) for pattern in settings.maps):
            wanted.add("overlap_map")
        name = located.record(tensor.name)
        lacking = frozenset(table for table in wanted if not store.has(table, name))
        if lacking:
            jobs.append(Job(tensor, lacking))
    return jobs


def estimated_seconds(
    jobs: Sequence[Job], located: Located, settings: LocalizeSettings
) -> tuple[dict[str, float], float]:
    """Of each matrix by name, and of each covariance of inputs, once for every model that is run."""
    found = {job.tensor.name: vectors_seconds(job.tensor.shape) for job in jobs}
    layers = {job.tensor.layer for job in jobs if job.reads}
    if not layers:
        return found, 0.0
    tokens = sum(len(window.ids) for window in located.reading.windows)
    widths = {(job.tensor.layer, job.tensor.shape[1]) for job in jobs if job.reads}
    passes = (1 + len(layers) / settings.layers_per_pass) * forward_seconds(located.reading.model, tokens)
    inputs = sum(overlap_seconds(width, tokens) for _, width in widths)
    return found, (passes + inputs) / len(widths)


def write_vectors(
    store: RecordStore,
    located: Located,
    settings: LocalizeSettings,
    jobs: Sequence[Job],
    reporter: Reporter,
) -> dict[str, dict[str, str]]:
    """Write the missing records; gives, by table, what failed and why.

    The untrained twin comes first, and what is found of it is kept in files until the records are written: so
    one model is in memory at a time.
    """
    failed: dict[str, dict[str, str]] = {table: {} for table in TABLES}
    seconds = estimated_seconds(jobs, located, settings) if jobs else ({}, 0.0)
    if settings.untrained:
        _keep_twin(store, located, settings, jobs, seconds, reporter, failed)
    lacking = _with_own(store, located, settings, jobs, reporter) if settings.untrained else jobs
    model = located.model if settings.needs_model and lacking else None
    for job, findings in _findings(model, located, settings, lacking, seconds, reporter):
        record = located.record(job.tensor.name)
        for table, columns in findings.items():
            if isinstance(columns, str):
                failed[table][_told(located, table, job.tensor.name)] = columns
                continue
            row = {**located.about_matrix(job.tensor), **columns}
            if table != "overlap_map":
                row |= _of_twin(store, table, record)
            store.write(table, record, [row])
    _drop_stages(store, located)
    for table in TABLES:
        tried = [_told(located, table, job.tensor.name) for job in jobs if table in job.tables]
        tried += [_twin_of(one) for one in tried]
        store.settle(table, tried, failed[table])
    return failed


def _with_own(
    store: RecordStore,
    located: Located,
    settings: LocalizeSettings,
    jobs: Sequence[Job],
    reporter: Reporter,
) -> list[Job]:
    """Write the records whose own columns stand in one without a twin; gives what is left."""
    alone = store.under(replace(settings, untrained=False).keys([]))
    left = []
    for job in jobs:
        record = located.record(job.tensor.name)
        tables = set(job.tables)
        for table in sorted(tables - {"overlap_map"}):
            rows = alone.rows(table, record)
            if rows:
                store.write(table, record, [{**row, **_of_twin(store, table, record)} for row in rows])
                tables.remove(table)
        if tables:
            left.append(Job(job.tensor, frozenset(tables)))
        else:
            text = f"{located.label}, {job.tensor.name}"
            reporter.begin(text, seconds=0.0)
            reporter.finish(text, read_bytes=0)
    return left


def _drop_stages(store: RecordStore, located: Located) -> None:
    """Those of records that stand, perhaps written by a call that was killed right after."""
    for tensor in located.matrices:
        record = located.record(tensor.name)
        for table in ("vectors", "overlap"):
            if store.has(table, record):
                store.keep_stage(table, record, None)


def _told(located: Located, table: str, name: str) -> str:
    """Failures of the run's own vectors go by the tensor's name, as the ledger shows them."""
    return name if table == "vectors" and located.own else located.told(name)


def _twin_of(name: str) -> str:
    return f"{name} (untrained twin)"


def _keep_twin(
    store: RecordStore,
    located: Located,
    settings: LocalizeSettings,
    jobs: Sequence[Job],
    seconds: tuple[dict[str, float], float],
    reporter: Reporter,
    failed: dict[str, dict[str, str]],
) -> None:
    wanted = []
    for job in jobs:
        record = located.record(job.tensor.name)
        lacking = {table for table in job.tables - {"overlap_map"} if not store.stage(table, record)}
        if lacking:
            wanted.append(Job(job.tensor, frozenset(lacking)))
    if not wanted:
        return
    twin = located.untrained(settings.seed)
    for job, findings in _findings(twin, located, settings, wanted, seconds, reporter, twin=True):
        record = located.record(job.tensor.name)
        for table, columns in findings.items():
            if isinstance(columns, str):
                # Without a place in the model there is no twin, which the record of the model itself tells.
                if not isinstance(located.sites(twin).get(job.tensor.name), str):
                    failed[table][_twin_of(_told(located, table, job.tensor.name))] = columns
                continue
            names = _OF_TWIN if table == "vectors" else _OVERLAP_OF_TWIN
            store.keep_stage(table, record, {name: columns[name] for name in names})


def _of_twin(store: RecordStore, table: str, record: str) -> dict[str, Any]:
    kept = store.stage(table, record)
    names = _OF_TWIN if table == "vectors" else _OVERLAP_OF_TWIN
    return {f"untrained_{name}": kept.get(name) for name in names}


def _findings(
    model: LanguageModel | None,
    located: Located,
    settings: LocalizeSettings,
    jobs: Sequence[Job],
    seconds: tuple[Mapping[str, float], float],
    reporter: Reporter,
    *,
    twin: bool = False,
) -> Iterator[tuple[Job, Findings]]:
    """Every job once, layer by layer as the inputs come, those without inputs last."""
    sites = {} if model is None else located.sites(model)
    waiting = {job.tensor.name: job for job in jobs}
    whose = f"{located.label}, untrained" if twin else located.label

    def done(job: Job, basis: Basis | str) -> tuple[Job, Findings]:
        text = f"{whose}, {job.tensor.name}"
        reporter.begin(text, seconds=seconds[0][job.tensor.name])
        weights: Any = sites.get(job.tensor.name) if twin else job.tensor
        found = _of_matrix(located, settings, job, weights, basis)
        give_back()
        reporter.finish(text, read_bytes=0)
        return job, found

    for basis in _bases(model, located, settings, jobs, sites, seconds[1], reporter, whose):
        for name in basis.counts.names:
            yield done(waiting.pop(name), basis.problem or basis)
        del basis
    for job in waiting.values():
        site = sites.get(job.tensor.name, "")
        yield done(job, site if isinstance(site, str) else site.hidden_input)


def _bases(
    model: LanguageModel | None,
    located: Located,
    settings: LocalizeSettings,
    jobs: Sequence[Job],
    sites: Mapping[str, WeightSite | str],
    seconds: float,
    reporter: Reporter,
    whose: str,
) -> Iterator[Basis]:
    """Of every input that is needed, one at a time; the caller lets go of each before it takes the next."""
    from lmscope.representations.input_covariance import full_rank_problem, input_covariances

    needed = [sites[job.tensor.name] for job in jobs if job.reads]
    placed = [site for site in needed if not isinstance(site, str) and not site.hidden_input]
    if model is None or not placed:
        return
    covariances = input_covariances(
        model,
        located.reading.windows,
        placed,
        center=settings.center,
        layers_per_pass=settings.layers_per_pass,
    )
    text = f"{whose}, what its matrices are given"
    nothing = np.empty((0, 0))
    while True:
        reporter.begin(text, seconds=seconds)
        covariance = next(covariances, None)
        if covariance is None:
            reporter.finish(text, read_bytes=0, matrices=0)
            return
        variances, directions = np.empty(0), nothing
        problem = full_rank_problem(covariance)
        if not problem:
            variances, directions = covariance.eigenvectors(overwrite=True)
            problem = full_rank_problem(covariance, variances)
        problem = problem.removeprefix(f"{covariance.names[0]}: ")
        basis = Basis(replace(covariance, covariance=nothing), variances, directions, problem)
        del covariance, variances, directions
        give_back()
        reporter.finish(text, read_bytes=0, matrices=0)
        yield basis
        del basis
        give_back()


def _of_matrix(
    located: Located, settings: LocalizeSettings, job: Job, weights: Any, basis: Basis | str
) -> Findings:
    """Whatever is missing of one matrix; `weights` is a tensor of the checkpoint, or a site of the twin."""
    from lmscope.kernels.singular_vectors import singular_vectors
    from lmscope.representations.weight_sites import WeightSite

    began = time.perf_counter()
    try:
        values: Any
        if isinstance(weights, WeightSite):
            values = weights.weights().cpu()
        elif weights is None or isinstance(weights, str):
            raise ValueError(weights or "it has no place in the model")
        else:
            values = located.checkpoint.load(weights.name)
        vectors = singular_vectors(values)
    except Exception as error:
        return dict.fromkeys(sorted(job.tables), reason_of(error))
    found: Findings = {}
    for table in sorted(job.tables):
        start = began if table == "vectors" else time.perf_counter()
        try:
            if table == "vectors":
                columns = _vector_columns(job.tensor, values, vectors, settings)
            elif isinstance(basis, str):
                raise ValueError(basis)
            elif table == "overlap":
                columns = _overlap_columns(job.tensor, vectors, basis, settings)
            else:
                columns = _map_columns(vectors, basis)
        except Exception as error:
            found[table] = reason_of(error)
        else:
            found[table] = columns
            if table != "overlap_map":
                columns["seconds"] = time.perf_counter() - start
    return found


def _vector_columns(
    tensor: TensorInfo, weights: Any, vectors: SingularVectors, settings: LocalizeSettings
) -> dict[str, Any]:
    from lmscope.analyses.marchenko_pastur import fit_marchenko_pastur
    from lmscope.analyses.porter_thomas import porter_thomas
    from lmscope.analyses.stored_precision import stored_precision

    rows, columns = tensor.shape
    fit = fit_marchenko_pastur(
        vectors.values, (rows, columns), false_positive_rate=_EDGE_RATE, seed=settings.seed
    )
    right, left = (
        porter_thomas(side, window=settings.pt_window, seed=settings.seed)
        for side in (vectors.right, vectors.left)
    )
    largest = float(vectors.values[0])
    precision = stored_precision(weights, vectors.values, seed=settings.seed)
    short = (f"{side.reason[:1].upper()}{side.reason[1:]}." for side in (right, left) if side.reason)
    warnings = [precision.warning, *short]
    return {
        "rows": rows,
        "columns": columns,
        "dtype": tensor.dtype,
        "singular_values": vectors.values.tolist(),
        "residual": float(vectors.residual.max()) / largest if largest > 0 else 0.0,
        "orthogonality": vectors.orthogonality,
        "method": vectors.method,
        "scale": _or_none(fit.scale),
        "lower_edge": _or_none(fit.lower_edge),
        "upper_edge": _or_none(fit.upper_edge),
        "n_below": None if fit.reason else fit.n_below,
        "n_above": None if fit.reason else fit.n_above,
        "mp_reason": fit.reason,
        "p_right": right.p_value.tolist(),
        "p_left": left.p_value.tolist(),
        "deviation_right": right.deviation.tolist(),
        "deviation_left": left.deviation.tolist(),
        "windowed_right": right.windowed.tolist(),
        "windowed_left": left.windowed.tolist(),
        "windowed_low": right.windowed_low,
        "windowed_high": right.windowed_high,
        "window": right.window,
        "draws": min(right.draws, left.draws),
        "levels": precision.levels.levels,
        "warning": " ".join(dict.fromkeys(filter(None, warnings))),
    }


def _overlap_columns(
    tensor: TensorInfo, vectors: SingularVectors, basis: Basis, settings: LocalizeSettings
) -> dict[str, Any]:
    from lmscope.analyses.activation_overlap import activation_overlap

    found = activation_overlap(
        vectors.right,
        basis.directions,
        signed=settings.signed,
        top=settings.top,
        false_positive_rate=settings.false_positive_rate,
    )
    rows, columns = tensor.shape
    return {
        "rows": rows,
        "columns": columns,
        "tokens": basis.counts.tokens,
        "effective_sample": basis.counts.effective_sample,
        "covariance_rank": basis.counts.rank,
        "centered": basis.counts.centered,
        "variances": basis.variances.tolist(),
        "overlap": found.overlap.tolist(),
        "overlap_index": found.index.tolist(),
        "p_value": found.p_value.tolist(),
        "null_location": found.null_location,
        "null_low": found.null_low,
        "null_high": found.null_high,
        "false_positive_rate": found.false_positive_rate,
        "signed": found.signed,
        "top": found.top,
        "top_share": found.top_share.tolist(),
        "top_location": found.top_location,
        "top_low": found.top_low,
        "top_high": found.top_high,
    }


def _map_columns(vectors: SingularVectors, basis: Basis) -> dict[str, Any]:
    from lmscope.analyses.activation_overlap import overlap_map

    found = overlap_map(vectors.right, basis.directions)
    return {"shape": list(found.shape), "values": found.ravel().tolist()}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
