"""One pass over pairs of matrices: each compared once, each matrix read as rarely as the memory allows."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import time
from collections.abc import Generator, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lmscope.runs.cost import comparison_seconds, packed_bytes, packing_seconds
from lmscope.runs.errors import UsageError
from lmscope.runs.pair_schedule import Compare, Drop, Load, Step, schedule
from lmscope.runs.progress import Reporter, format_bytes
from lmscope.runs.streaming import reason_of
from lmscope.runs.vectors import Matrix, Pair, as_columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmscope.kernels.column_cosine import PackedColumns
    from lmscope.results import RunFolder

# A file of records: no more pairs, and about 30 s of work at 250 GFLOP/s.
MOST_PAIRS = 256
_MOST_FLOPS = 7.5e12
# The kernel at work, and what is read ahead.
WORK_BYTES = 64_000_000

Key = Hashable
Weights = Generator["NDArray[Any] | str", None, None]


@dataclass(frozen=True)
class PairAnalysis:
    """`key` names the records' first half and `settings` are those of every comparison."""

    name: str
    asked: tuple[str, str, Mapping[str, Any], str]
    seed: int
    false_positive_rate: float


@dataclass
class Costs:
    """What a pass took.

    `reads` counts matrices, `read_bytes` what left the files: a fused tensor is read whole for each of its
    parts, once for those that are needed one after another. `waiting_seconds` went on reads that were not
    there yet, as files are read ahead.
    """

    pairs: int = 0
    reads: int = 0
    read_bytes: int = 0
    waiting_seconds: float = 0.0
    packing_seconds: float = 0.0
    comparing_seconds: float = 0.0
    largest_packed_bytes: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class PairsDone:
    """Matrices by (source, name): those in a record of this pass, those that are all zero, and those that
    failed with the reason."""

    compared: set[tuple[int, str]] = field(default_factory=set)
    zero: set[tuple[int, str]] = field(default_factory=set)
    failed: dict[tuple[int, str], str] = field(default_factory=dict)
    costs: Costs = field(default_factory=Costs)


@dataclass
class _Held:
    packed: PackedColumns
    digest: bytes


@dataclass
class _Pass:
    folder: RunFolder
    analysis: PairAnalysis
    reporter: Reporter
    done: PairsDone = field(default_factory=PairsDone)
    held: dict[tuple[int, str], _Held] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    flops: float = 0.0
    last_read: dict[int, str] = field(default_factory=dict)

    def load(self, matrix: Matrix, weights: Weights) -> None:
        from lmscope.kernels.column_cosine import PackedColumns

        text = f"reading {matrix.tensor.name}"
        self.reporter.begin(text, seconds=packing_seconds(matrix.tensor.elements))
        start = time.perf_counter()
        values = next(weights)
        read = time.perf_counter()
        if isinstance(values, str):
            self.done.failed[matrix.key] = values
        else:
            try:
                packed = PackedColumns(as_columns(values, matrix.vectors))
                self.held[matrix.key] = _Held(packed, _digest(values))
                if len(packed.zero_columns) == packed.columns:
                    self.done.zero.add(matrix.key)
            except Exception as error:
                self.done.failed[matrix.key] = _as_stored(error, values)
        self.done.costs.reads += 1
        if self.last_read.get(matrix.source) != matrix.tensor.stored_name:
            self.done.costs.read_bytes += _whole_bytes(matrix)
            self.last_read[matrix.source] = matrix.tensor.stored_name
        self.done.costs.waiting_seconds += read - start
        self.done.costs.packing_seconds += time.perf_counter() - read
        held = sum(entry.packed.nbytes for entry in self.held.values())
        self.done.costs.largest_packed_bytes = max(self.done.costs.largest_packed_bytes, held)
        self.reporter.finish(text, read_bytes=matrix.tensor.nbytes, matrices=0)

    def compare(self, pair: Pair) -> None:
        text = " with ".join(pair.names)
        self.reporter.begin(text, seconds=comparison_seconds(pair.flops))
        x, y = self.held.get(pair.x.key), self.held.get(pair.y.key)
        if x is not None and y is not None:
            start = time.perf_counter()
            try:
                row = self._row(pair, x, y)
            except Exception as error:
                self.done.failed[pair.x.key] = f"with {pair.names[1]}: {reason_of(error)}"
            else:
                row["seconds"] = time.perf_counter() - start
                self.done.costs.comparing_seconds += row["seconds"]
                self.done.costs.pairs += 1
                self.done.compared |= {pair.x.key, pair.y.key}
                self.rows.append(row)
                self.flops += pair.flops
        self.reporter.finish(text, read_bytes=0)
        if len(self.rows) >= MOST_PAIRS or self.flops >= _MOST_FLOPS:
            self.write()

    def write(self) -> None:
        """The pairs so far, as a file whose name tells which they are."""
        if not self.rows:
            return
        identity, name, settings, version = self.analysis.asked
        which = "\n".join(f"{row['name_x']}\t{row['name_y']}" for row in self.rows)
        self.folder.write(name, self.folder.record_key(identity, which, name, settings, version), *self.rows)
        # Only now: an interrupt of the lines above leaves them to be written at the end.
        self.rows, self.flops = [], 0.0

    def _row(self, pair: Pair, x: _Held, y: _Held) -> dict[str, Any]:
        from lmscope.analyses.pair import BINS, compare_pair, identical_pair

        # The same bytes as vectors the other way round are another matrix.
        identical = x.digest == y.digest and pair.x.vectors == pair.y.vectors
        if identical:
            found = identical_pair(x.packed)
        else:
            found = compare_pair(
                x.packed,
                y.packed,
                null_draws=pair.draws,
                seed=_seed_of(self.analysis.seed, pair.names),
                false_positive_rate=self.analysis.false_positive_rate,
            )
        row = asdict(found.docs)
        for side, matrix in (("x", pair.x), ("y", pair.y)):
            tensor = matrix.tensor
            row |= {
                f"name_{side}": tensor.name,
                f"layer_{side}": tensor.layer,
                f"expert_{side}": tensor.expert,
                f"rows_{side}": tensor.shape[0],
                f"columns_{side}": tensor.shape[1],
                f"dtype_{side}": tensor.dtype,
                f"position_{side}": matrix.position,
            }
        return row | {
            "role": pair.x.tensor.role,
            "vectors": pair.x.vectors,
            "series": pair.x.series,
            "layers": pair.x.layers,
            "depth": pair.x.depth,
            "identical": identical,
            "null_draws": 0 if identical or not found.counts.size else pair.draws,
            "bins": BINS,
            "first_bin": found.first_bin,
            "counts": found.counts,
            "warning": _no_score(x.packed, y.packed),
        }


def run_pairs(
    folder: RunFolder,
    analysis: PairAnalysis,
    groups: Sequence[Sequence[Pair]],
    weights_of: Mapping[int, Any],
    memory: int,
    reporter: Reporter,
) -> PairsDone:
    """Write the records of all pairs into the locked folder.

    Groups are compared one after another. `weights_of` gives, for each source, a function of the tensors in
    the order in which they are needed, that yields their values or the reason why there are none. Pairs of
    a matrix that failed have no record.

    Raises `UsageError` where two matrices of a group do not fit into `memory`.
    """
    matrices = [{matrix.key: matrix for pair in group for matrix in (pair.x, pair.y)} for group in groups]
    steps: list[tuple[int, Step[tuple[int, str]]]] = []
    for index, (group, members) in enumerate(zip(groups, matrices, strict=True)):
        sizes = _sizes(members)
        room = _room(group, members.values(), sizes, memory)
        keys = [(pair.x.key, pair.y.key) for pair in group]
        steps += [(index, step) for step in schedule(keys, sizes, room)]
    loads = [matrices[index][step.item] for index, step in steps if isinstance(step, Load)]
    _import_all()
    running = _Pass(folder, analysis, reporter)
    pairs = [pair for group in groups for pair in group]
    with contextlib.ExitStack() as stack:
        stack.enter_context(reporter)
        weights = {
            source: stack.enter_context(
                contextlib.closing(read([matrix.tensor for matrix in loads if matrix.source == source]))
            )
            for source, read in weights_of.items()
        }
        reporter.start(
            matrices=len(pairs),
            total_bytes=sum(matrix.tensor.nbytes for matrix in loads),
            seconds=sum(comparison_seconds(pair.flops) for pair in pairs)
            + sum(packing_seconds(matrix.tensor.elements) for matrix in loads),
            noun="pairs",
        )
        try:
            for index, step in steps:
                if isinstance(step, Load):
                    matrix = matrices[index][step.item]
                    running.load(matrix, weights[matrix.source])
                elif isinstance(step, Drop):
                    running.held.pop(step.item, None)
                elif isinstance(step, Compare):
                    running.compare(groups[index][step.pair])
        except BaseException:
            # The error in hand says more than a second one from a full disk.
            with contextlib.suppress(Exception):
                running.write()
            raise
        running.write()
    return running.done


def _import_all() -> None:
    """What a comparison imports, so that the first one's time is its own."""
    for name in ("lmscope.analyses.pair", "lmscope.kernels.column_cosine", "scipy.stats"):
        importlib.import_module(name)


def check_memory(groups: Iterable[Sequence[Pair]], memory: int) -> None:
    """Raise `UsageError` where two matrices of a group do not fit into `memory`."""
    for group in groups:
        members = {matrix.key: matrix for pair in group for matrix in (pair.x, pair.y)}
        _room(group, members.values(), _sizes(members), memory)


def random_weights(seed: int, tensors: Iterable[Any]) -> Weights:
    """The control: independent Gaussian entries in the tensors' shapes and types, from seed and name alone.

    Cosines do not see a matrix's scale, so it is 1.
    """
    import ml_dtypes

    for tensor in tensors:
        random = np.random.default_rng(_seed_of(seed, ("control", tensor.name)))
        dtype = ml_dtypes.bfloat16 if tensor.dtype == "bfloat16" else np.dtype(tensor.dtype)
        if tensor.dtype == "float64":
            yield random.standard_normal(tensor.shape)
        else:
            yield random.standard_normal(tensor.shape, dtype=np.float32).astype(dtype, copy=False)


def _sizes(members: Mapping[tuple[int, str], Matrix]) -> dict[tuple[int, str], int]:
    return {key: packed_bytes(m.depth, m.count, m.tensor.dtype) for key, m in members.items()}


def _room(group: Sequence[Pair], members: Iterable[Matrix], sizes: Mapping[Any, int], memory: int) -> int:
    """What the packed matrices may take, beside one stored tensor, one copy with signs and the kernel."""
    members = list(members)
    stored = max((stored_bytes(matrix) for matrix in members), default=0)
    copy = max((sizes[pair.y.key] for pair in group if pair.draws), default=0)
    room = memory - stored - copy - WORK_BYTES
    pair = max(group, key=lambda pair: sizes[pair.x.key] + sizes[pair.y.key], default=None)
    if pair is not None and (needed := sizes[pair.x.key] + sizes[pair.y.key]) > room:
        raise UsageError(
            f"memory: {format_bytes(memory)} is too little for {pair.names[0]} with {pair.names[1]}, which "
            f"need {format_bytes(needed + memory - room)}"
        )
    return room


def stored_bytes(matrix: Matrix) -> int:
    """Of the whole stored tensor, beside the part where it is one of several."""
    whole, part = _whole_bytes(matrix), matrix.tensor.nbytes
    return whole + (part if whole > part else 0)


def _whole_bytes(matrix: Matrix) -> int:
    tensor = matrix.tensor
    return tensor.nbytes * int(np.prod(tensor.stored_shape)) // max(1, int(np.prod(tensor.shape)))


def _no_score(x: PackedColumns, y: PackedColumns) -> str:
    zero = [side for side, packed in (("x", x), ("y", y)) if len(packed.zero_columns) == packed.columns]
    return f"{' and '.join(zero)} all zero: no directions to compare" if zero else ""


def _as_stored(error: Exception, values: NDArray[Any]) -> str:
    """The reason, with the place of a NaN or Inf in the stored matrix and not in its transpose."""
    from lmscope.kernels.entry_statistics import entry_statistics

    if isinstance(error, ValueError):
        try:
            entry_statistics(values)
        except ValueError as stored:
            return reason_of(stored)
    return reason_of(error)


def _digest(weights: NDArray[Any]) -> bytes:
    """Of type, shape and bytes."""
    told = hashlib.sha256(f"{weights.dtype} {weights.shape}".encode())
    for first in range(0, len(weights), 256):
        told.update(np.ascontiguousarray(weights[first : first + 256]).view(np.uint8).data)
    return told.digest()


def _seed_of(seed: int, names: tuple[str, str]) -> int:
    told = hashlib.sha256("\n".join((str(seed), *names)).encode())
    return int.from_bytes(told.digest()[:8], "little")
