"""What each competitor does with states and a head, and what it says about itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lmscope.runs.benchmarks.family import OURS, Answer, Arrays, Competitor

CHUNKS = {f"torch chunks of {size}": size for size in (16, 64, 128, 256, 512, 1024)}


def _take(inputs: Arrays) -> Any:
    from lmscope.representations.arrays import as_tensor

    return tuple(as_tensor(name, inputs[name], 2) for name in ("states", "weight"))


def _lmscope() -> Competitor:
    from lmscope import __version__
    from lmscope.kernels.runtime import isa, multiply_add_peak
    from lmscope.representations.token_averages import average_probabilities

    def compute(held: Any) -> Answer:
        found = average_probabilities(*held, covariance=False)
        return Answer({"log_probability": found.log_probability}, {})

    def rates(quick: bool) -> dict[str, float]:
        return {"float32_peak": multiply_add_peak("float32", 0.1 if quick else 2.0)}

    return Competitor(_take, compute, lambda: {"lmscope": __version__, "isa": isa(), **_torch_facts()}, rates)


def _chunks(size: int) -> Competitor:
    import torch

    def compute(held: Any) -> Answer:
        states, weight = held
        total = torch.zeros(len(weight), dtype=torch.float64)
        for start in range(0, len(states), size):
            logits = states[start : start + size] @ weight.T
            total += torch.softmax(logits, 1, dtype=torch.float32).sum(0)
        return Answer({"log_probability": (total / len(states)).log().numpy()}, {})

    return Competitor(_take, compute, _torch_facts)


def _torch_facts() -> dict[str, Any]:
    import torch

    return {"torch": torch.__version__, "threads": torch.get_num_threads()}


COMPETITORS: dict[str, Callable[[], Competitor]] = {
    OURS: _lmscope,
    **{name: lambda size=size: _chunks(size) for name, size in CHUNKS.items()},  # type: ignore[misc]
}
