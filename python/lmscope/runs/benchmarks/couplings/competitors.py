"""What each competitor does with tasks, and what it says about itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.runs.benchmarks.family import OURS, Answer, Arrays, Competitor
from lmscope.runs.benchmarks.gemm_rate import gemm_order, gemm_rate
from lmscope.spin_glass import Prompts, Statistics, Tasks, make_prompts, make_tasks

# Whether features hold the zeros of the last column.
WHOLE_FEATURES = {"numpy": True, "numpy without zeros": False}

_STATISTICS = ("context", "query", "target")


def law(sizes: npt.NDArray[Any]) -> Tasks:
    tasks, dimension, prompt_length, seed = map(int, sizes)
    return make_tasks(tasks=tasks, dimension=dimension, prompt_length=prompt_length, seed=seed)


def whole(blocks: Iterable[Statistics]) -> Arrays:
    """All of them in one."""
    held = list(blocks)
    return {name: np.concatenate([getattr(block, name) for block in held]) for name in _STATISTICS}


def plain(tasks: Arrays, *, zeros: bool) -> Arrays:
    """Couplings and fields from all features at once; of the spins that enter."""
    context, query, target = (tasks[name] for name in _STATISTICS)
    count, size = query.shape
    if zeros:
        query = np.pad(query, ((0, 0), (0, 1)))
    features = (context[:, :, None] * query[:, None, :]).reshape(count, -1)
    gram = features.T @ features / count
    field = features.T @ target / count
    if zeros:
        entering = (np.arange((size + 1) ** 2) % (size + 1)) < size
        gram, field = gram[np.ix_(entering, entering)], field[entering]
    return {"gram": gram, "field": field}


def _take(inputs: Arrays) -> Any:
    return law(inputs["sizes"]) if "sizes" in inputs else inputs


def _lmscope() -> Competitor:
    from lmscope import __version__
    from lmscope.kernels.runtime import isa
    from lmscope.spin_glass import fields

    def compute(held: Any) -> Answer:
        found = fields(held if isinstance(held, Tasks) else Statistics(*(held[name] for name in _STATISTICS)))
        return Answer({"gram": found.gram, "field": found.field}, {})

    def rates(quick: bool) -> dict[str, float]:
        left = np.random.default_rng(0).standard_normal((gemm_order(quick), gemm_order(quick)))
        right = np.ascontiguousarray(left.T)
        return gemm_rate(lambda: left @ right, quick)

    return Competitor(_take, compute, lambda: {"lmscope": __version__, "isa": isa(), **_numpy_facts()}, rates)


def _numpy(zeros: bool) -> Competitor:
    def compute(held: Any) -> Answer:
        tasks = whole([_all_prompts(held).statistics()]) if isinstance(held, Tasks) else held
        return Answer(plain(tasks, zeros=zeros), {})

    return Competitor(_take, compute, _numpy_facts)


def _all_prompts(tasks: Tasks) -> Prompts:
    blocks = list(tasks.prompts())
    names = ("tokens", "labels", "query", "target")
    return make_prompts(
        **{name: np.concatenate([getattr(block, name) for block in blocks]) for name in names}
    )


def _numpy_facts() -> dict[str, Any]:
    return {"numpy": np.__version__}


COMPETITORS: dict[str, Callable[[], Competitor]] = {
    OURS: _lmscope,
    **{name: lambda zeros=zeros: _numpy(zeros) for name, zeros in WHOLE_FEATURES.items()},  # type: ignore[misc]
}
