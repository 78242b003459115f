"""CKA, CCA, SVCCA, linear regression and Procrustes beside DOCS, for all pairs of layers of chosen roles."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmscope.runs.errors import UsageError
from lmscope.runs.ledger import ALONE, Findings, ledger_rows, stored_findings, write_findings
from lmscope.runs.manifest import begin_run
from lmscope.runs.progress import reporter_for
from lmscope.runs.selection import Selection
from lmscope.runs.streaming import in_words, load_each, reason_of
from lmscope.runs.vectors import COMPARED_ROLES, Matrix, as_columns, layer_groups

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lmscope.analyses.representation_indices import Decomposed
    from lmscope.checkpoints import Checkpoint

NAME = "indices"

# LAPACK's gesdd and what follows it, on one core of a 2020s server.
_DECOMPOSITION_FLOPS = 1e10


def index_roles(given: str | Iterable[str]) -> tuple[str, ...]:
    """Roles from ``"query,up"`` or names; raises `UsageError` for one whose layers are not compared."""
    texts = (given,) if isinstance(given, str) else tuple(given)
    names = dict.fromkeys(name.strip() for text in texts for name in text.split(",") if name.strip())
    for name in names:
        if name not in COMPARED_ROLES:
            raise UsageError(f"indices: {name!r} is not compared; choose from {', '.join(COMPARED_ROLES)}")
    if not names:
        raise UsageError("indices: none given; write for example query,up")
    return tuple(names)


def index_lines(
    checkpoint: Checkpoint, roles: Sequence[str], vectors: str, selection: Selection
) -> list[list[Matrix]]:
    """The matrices to compare with each other, one a layer: a list for every role, or for every place in the
    layer that has this role.

    Raises `UsageError` for a role with fewer than two layers outside mixtures of experts, or with matrices of
    more vectors than the indices take.
    """
    from lmscope.analyses.representation_indices import WIDEST

    chosen = [tensor for tensor in checkpoint if tensor in selection and tensor.expert is None]
    found: list[list[Matrix]] = []
    for role in roles:
        groups = layer_groups([tensor for tensor in chosen if tensor.role == role], vectors)
        lines = [[layer[0] for layer in group] for group in groups if len(group) > 1]
        if not lines:
            raise UsageError(
                f"indices: {role!r} has no two selected layers with vectors of one length, experts left out"
            )
        for matrix in (matrix for line in lines for matrix in line):
            if matrix.count > WIDEST:
                raise UsageError(
                    f"indices: {matrix.tensor.name} has {matrix.count} vectors, and CKA, CCA and the others "
                    f"are computed for at most {WIDEST}; leave out {role!r}"
                )
        found += lines
    return found


def run_indices(
    checkpoint: Checkpoint,
    path: Path,
    lines: Sequence[Sequence[Matrix]],
    vectors: str,
    selection: Selection,
    *,
    device: str,
    progress: bool,
) -> None:
    """Write the missing records of `index_lines` into the result folder `path`: a file for every layer with
    those behind it, and the ledger before and after.

    Two matrices are in memory at a time, in float64 with their decompositions. One that cannot be read or
    decomposed has no records and becomes "failed"; the others go on.
    """
    from lmscope import __version__
    from lmscope.results import RunFolder, own_names

    key = {"vectors": vectors}
    asked = (checkpoint.identity, NAME, key, __version__)
    reporter = reporter_for(progress)
    with RunFolder.create(path, checkpoint.identity).lock() as folder:
        begin_run(folder, checkpoint, {NAME: key}, device)
        standing = folder.standing_pairs(*asked)
        pairs = [(x, y) for line in lines for i, x in enumerate(line) for y in line[i + 1 :]]
        missing = [(x, y) for x, y in pairs if (x.tensor.name, y.tensor.name) not in standing]
        if len(missing) < len(pairs):
            told = f"{NAME}: {in_words(key)}"
            reporter.stands(len(pairs) - len(missing), of=len(pairs), settings=told)
        tried = {matrix.tensor.name for pair in missing for matrix in pair}
        own = Findings(
            recorded=own_names(NAME, standing),
            # Those that are tried again are over until they fail again.
            failed={one: why for one, why in folder.failures(NAME).items() if one not in tried},
            pending=tried,
            # As the comparison before this one, whose words no record keeps.
            without={tensor.name: ("skipped", ALONE) for tensor in checkpoint if tensor.status == "planned"},
        )
        of_others = stored_findings(folder, [NAME])

        def write_ledger() -> None:
            folder.write_ledger(ledger_rows(checkpoint, selection, {**of_others, NAME: own}))
            write_findings(folder, NAME, own)

        write_ledger()
        if not missing:
            return
        rest: dict[str, tuple[Matrix, list[Matrix]]] = {}
        for x, y in missing:
            rest.setdefault(x.tensor.name, (x, []))[1].append(y)
        order = [matrix.tensor for x, others in rest.values() for matrix in (x, *others)]
        with reporter, contextlib.closing(load_each(checkpoint, order)) as weights:
            reporter.start(
                matrices=len(missing),
                total_bytes=sum(tensor.nbytes for tensor in order),
                seconds=sum(_seconds(x, y) for x, y in missing),
                noun="pairs (indices)",
            )
            unread: set[str] = set()

            def load(matrix: Matrix) -> Decomposed | None:
                """None where the matrix is zero or has failed."""
                try:
                    return _decomposed(next(weights), matrix)
                except Exception as error:
                    own.failed[matrix.tensor.name] = reason_of(error)
                    unread.add(matrix.tensor.name)
                    return None

            for x, others in rest.values():
                first = load(x)
                rows: list[dict[str, Any]] = []
                for y in others:
                    text = f"indices of {x.tensor.name} with {y.tensor.name}"
                    reporter.begin(text, seconds=_seconds(x, y))
                    start = time.perf_counter()
                    second = load(y)
                    if not unread & {x.tensor.name, y.tensor.name}:
                        try:
                            row = _row(x, y, first, second)
                        except Exception as error:
                            own.failed[x.tensor.name] = f"with {y.tensor.name}: {reason_of(error)}"
                        else:
                            rows.append({**row, "seconds": time.perf_counter() - start})
                            own.recorded |= {x.tensor.name, y.tensor.name}
                    reporter.finish(text, read_bytes=y.tensor.nbytes)
                if rows:
                    which = "\n".join(f"{row['name_x']}\t{row['name_y']}" for row in rows)
                    record = folder.record_key(checkpoint.identity, which, NAME, key, __version__)
                    folder.write(NAME, record, *rows)
        own.pending = set()
        write_ledger()


def _decomposed(weights: NDArray[Any] | str, matrix: Matrix) -> Decomposed | None:
    from lmscope.analyses.representation_indices import Decomposed

    if isinstance(weights, str):
        raise ValueError(weights)
    if not weights.any():
        return None
    return Decomposed(as_columns(weights, matrix.vectors))


def _row(x: Matrix, y: Matrix, first: Decomposed | None, second: Decomposed | None) -> dict[str, Any]:
    sides = {
        f"{column}_{side}": getattr(matrix.tensor, column)
        for side, matrix in (("x", x), ("y", y))
        for column in ("name", "layer", "expert")
    }
    return {"role": x.tensor.role, **sides, "vectors": x.vectors, **dict(_values(first, second))}


def _values(first: Decomposed | None, second: Decomposed | None) -> Iterator[tuple[str, float]]:
    from lmscope.analyses.representation_indices import INDICES

    for name, index in INDICES.items():
        if first is None or second is None:
            yield name, math.nan
        elif name == "linear_regression":
            # It is not symmetric: the mean of both ways.
            yield name, (index(first, second) + index(second, first)) / 2
        else:
            yield name, index(first, second)


def _seconds(x: Matrix, y: Matrix) -> float:
    smaller, larger = sorted((y.depth, y.count))
    return (14 * larger * smaller**2 + 20 * min(x.count, y.count) ** 3) / _DECOMPOSITION_FLOPS
