"""Where a language model keeps what it learnt, from its weights and hidden states.

Public names load on first use, so that ``import lmscope`` and the light commands need neither torch nor
transformers.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmscope.analyses.difference import DifferenceVerdict, difference_verdict
    from lmscope.analyses.marchenko_pastur import MarchenkoPastur, fit_marchenko_pastur
    from lmscope.analyses.similarity import Docs, docs
    from lmscope.analyses.spectra import SpectrumVerdict, spectrum_verdict
    from lmscope.checkpoints import Checkpoint, CheckpointError, TensorInfo, open_checkpoint
    from lmscope.kernels.column_cosine import ColumnCosine, PackedColumns, column_cosine
    from lmscope.kernels.lasso import Lasso, LassoPath, lasso, lasso_path
    from lmscope.kernels.lasso_homotopy import (
        LassoHomotopy,
        PrefixLassoOrder,
        lasso_homotopy,
        prefix_lasso_order,
    )
    from lmscope.kernels.prefix_lasso import PrefixLasso, prefix_lasso
    from lmscope.kernels.runtime import cuda_available, get_num_threads, isa, set_num_threads, use_isa
    from lmscope.kernels.singular_values import SingularValues, StreamingSingularValues, singular_values
    from lmscope.runs.analyze import analyze
    from lmscope.runs.compare import compare
    from lmscope.runs.inspect import inspect
    from lmscope.runs.run import Run, open_run
    from lmscope.runs.similarity import similarity
    from lmscope.runs.spectra import spectra

__version__ = _version("lmscope")

_HOME = {
    "Checkpoint": "lmscope.checkpoints",
    "CheckpointError": "lmscope.checkpoints",
    "ColumnCosine": "lmscope.kernels.column_cosine",
    "CudaError": "lmscope.kernels.runtime",
    "DifferenceVerdict": "lmscope.analyses.difference",
    "Docs": "lmscope.analyses.similarity",
    "Lasso": "lmscope.kernels.lasso",
    "LassoHomotopy": "lmscope.kernels.lasso_homotopy",
    "LassoPath": "lmscope.kernels.lasso",
    "MarchenkoPastur": "lmscope.analyses.marchenko_pastur",
    "PackedColumns": "lmscope.kernels.column_cosine",
    "PrefixLasso": "lmscope.kernels.prefix_lasso",
    "PrefixLassoOrder": "lmscope.kernels.lasso_homotopy",
    "Run": "lmscope.runs",
    "SingularValues": "lmscope.kernels.singular_values",
    "SpectrumVerdict": "lmscope.analyses.spectra",
    "StreamingSingularValues": "lmscope.kernels.singular_values",
    "TensorInfo": "lmscope.checkpoints",
    "analyze": "lmscope.runs",
    "column_cosine": "lmscope.kernels.column_cosine",
    "compare": "lmscope.runs",
    "cuda_available": "lmscope.kernels.runtime",
    "difference_verdict": "lmscope.analyses.difference",
    "docs": "lmscope.analyses.similarity",
    "fit_marchenko_pastur": "lmscope.analyses.marchenko_pastur",
    "get_num_threads": "lmscope.kernels.runtime",
    "inspect": "lmscope.runs",
    "isa": "lmscope.kernels.runtime",
    "lasso": "lmscope.kernels.lasso",
    "lasso_homotopy": "lmscope.kernels.lasso_homotopy",
    "lasso_path": "lmscope.kernels.lasso",
    "open_checkpoint": "lmscope.checkpoints",
    "open_run": "lmscope.runs",
    "prefix_lasso": "lmscope.kernels.prefix_lasso",
    "prefix_lasso_order": "lmscope.kernels.lasso_homotopy",
    "set_num_threads": "lmscope.kernels.runtime",
    "similarity": "lmscope.runs",
    "singular_values": "lmscope.kernels.singular_values",
    "spectra": "lmscope.runs",
    "spectrum_verdict": "lmscope.analyses.spectra",
    "use_isa": "lmscope.kernels.runtime",
}

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "ColumnCosine",
    "CudaError",
    "DifferenceVerdict",
    "Docs",
    "Lasso",
    "LassoHomotopy",
    "LassoPath",
    "MarchenkoPastur",
    "PackedColumns",
    "PrefixLasso",
    "PrefixLassoOrder",
    "Run",
    "SingularValues",
    "SpectrumVerdict",
    "StreamingSingularValues",
    "TensorInfo",
    "__version__",
    "analyze",
    "column_cosine",
    "compare",
    "cuda_available",
    "difference_verdict",
    "docs",
    "fit_marchenko_pastur",
    "get_num_threads",
    "inspect",
    "isa",
    "lasso",
    "lasso_homotopy",
    "lasso_path",
    "open_checkpoint",
    "open_run",
    "prefix_lasso",
    "prefix_lasso_order",
    "set_num_threads",
    "similarity",
    "singular_values",
    "spectra",
    "spectrum_verdict",
    "use_isa",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lmscope' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
