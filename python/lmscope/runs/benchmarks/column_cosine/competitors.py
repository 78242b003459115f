"""What each competitor computes from two matrices, and what it says about itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from lmscope.runs.benchmarks.column_cosine.brute_force import BINS
from lmscope.runs.benchmarks.column_cosine.tuning import fastest
from lmscope.runs.benchmarks.family import OURS, Answer, Arrays, Competitor

PACKED = "lmscope packed"
_NUMPY_BLOCKS = (256, 512, 1024, 2048)
_NUMPY_SAMPLE = 2048


def _lmscope(*, packed: bool) -> Competitor:
    from lmscope import __version__
    from lmscope.kernels.column_cosine import PackedColumns, column_cosine
    from lmscope.kernels.runtime import get_num_threads, isa, multiply_add_peak

    def take(inputs: Arrays) -> Any:
        pair = (inputs["x"], inputs["y"])
        return tuple(PackedColumns(w) for w in pair) if packed else pair

    def compute(pair: Any) -> Answer:
        found = column_cosine(*pair, bins=BINS)
        names = ("counts", "max_abs_x", "max_abs_y", "argmax_x", "argmax_y")
        return Answer({name: getattr(found, name) for name in names}, {})

    def rates(quick: bool) -> dict[str, float]:
        seconds = 0.1 if quick else 2.0
        dtypes = () if packed else ("bfloat16", "float32")
        return {f"{dtype}_peak": multiply_add_peak(dtype, seconds) for dtype in dtypes}

    def describe() -> dict[str, Any]:
        return {"lmscope": __version__, "isa": isa(), "threads": get_num_threads()}

    return Competitor(take, compute, describe, rates)


def _torch(*, everything: bool) -> Competitor:
    """`everything`: what ours gives, in the fastest way; else maxima without partners and histc."""
    import torch

    from lmscope.runs.benchmarks.column_cosine.torch_blocks import COUNTINGS, best_way, compare

    countings = COUNTINGS if everything else ("histc",)
    ways: dict[tuple[Any, ...], Any] = {}

    def take(inputs: Arrays) -> Any:
        x, y = (_tensor(inputs[name]) for name in "xy")
        key = (x.dtype, x.shape, y.shape)
        if key not in ways:
            ways[key] = best_way(x, y, places=everything, countings=countings)
        return x, y, ways[key]

    def compute(held: Any) -> Answer:
        x, y, way = held
        found = compare(x, y, way, places=everything)
        arrays = {
            name: value.double().numpy() if name.startswith("max_abs") else value.numpy()
            for name, value in found.items()
        }
        product = "bfloat16" if x.dtype == torch.bfloat16 else "float32"
        return Answer({**arrays, "product_dtype": np.array(product)}, {"way": str(way)})

    def describe() -> dict[str, Any]:
        bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return {
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "products of bfloat16": "oneDNN" if bf16 else "torch's own",
        }

    return Competitor(take, compute, describe)


def _tensor(matrix: npt.NDArray[Any]) -> Any:
    import torch

    if matrix.dtype.name == "bfloat16":
        return torch.from_numpy(matrix.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(matrix)


def _numpy() -> Competitor:
    blocks: dict[tuple[Any, ...], int] = {}

    def take(inputs: Arrays) -> Any:
        x, y = inputs["x"], inputs["y"]
        if (key := (x.dtype, x.shape, y.shape)) not in blocks:
            part = x[:, :_NUMPY_SAMPLE], y[:, :_NUMPY_SAMPLE]
            blocks[key] = fastest(_NUMPY_BLOCKS, lambda block: _numpy_compare(*part, block))
        return x, y, blocks[key]

    def compute(held: Any) -> Answer:
        x, y, block = held
        return Answer(_numpy_compare(x, y, block), {"way": f"blocks {block} x {block}"})

    return Competitor(take, compute, lambda: {"numpy": np.__version__})


def _numpy_compare(x: npt.NDArray[Any], y: npt.NDArray[Any], block: int) -> Arrays:
    units = [w.astype(np.float32) for w in (x, y)]
    for unit in units:
        unit /= np.linalg.norm(unit, axis=0)
    counts = np.zeros(BINS, np.int64)
    largest = [np.full(unit.shape[1], -1.0, np.float32) for unit in units]
    partner = [np.full(unit.shape[1], -1, np.int64) for unit in units]
    for i in range(0, x.shape[1], block):
        for j in range(0, y.shape[1], block):
            cosines = units[0][:, i : i + block].T @ units[1][:, j : j + block]
            counts += np.histogram(cosines, BINS, (-1.0, 1.0))[0]
            magnitudes = np.abs(cosines, out=cosines)
            for side, axis, start, other_start in ((0, 1, i, j), (1, 0, j, i)):
                here = slice(start, start + magnitudes.shape[side])
                place = magnitudes.argmax(axis=axis)
                found = np.take_along_axis(magnitudes, np.expand_dims(place, axis), axis).squeeze(axis)
                better = found > largest[side][here]
                largest[side][here] = np.where(better, found, largest[side][here])
                partner[side][here] = np.where(better, place + other_start, partner[side][here])
    return {
        "counts": counts,
        "max_abs_x": largest[0].astype(np.float64),
        "max_abs_y": largest[1].astype(np.float64),
        "argmax_x": partner[0],
        "argmax_y": partner[1],
        "product_dtype": np.array("float32"),
    }


COMPETITORS: dict[str, Callable[[], Competitor]] = {
    OURS: lambda: _lmscope(packed=False),
    PACKED: lambda: _lmscope(packed=True),
    "torch": lambda: _torch(everything=True),
    "torch amax histc": lambda: _torch(everything=False),
    "numpy": _numpy,
}
