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
    from lmscope.analyses.selection_scores import (
        SelectionScore,
        SelectionScores,
        score_selection,
        score_selections,
    )
    from lmscope.analyses.selection_summary import (
        DistributedInformation,
        SelectionSummary,
        distributed_information,
        summarise_selection,
    )
    from lmscope.analyses.similarity import Docs, docs
    from lmscope.analyses.spectra import SpectrumVerdict, spectrum_verdict
    from lmscope.analyses.token_selection import Selections, attention_sinks, select_tokens
    from lmscope.checkpoints import Checkpoint, CheckpointError, TensorInfo, open_checkpoint
    from lmscope.kernels.column_cosine import ColumnCosine, PackedColumns, column_cosine
    from lmscope.kernels.prefix_lasso import PrefixLasso, prefix_lasso
    from lmscope.kernels.runtime import cuda_available, get_num_threads, isa, set_num_threads, use_isa
    from lmscope.kernels.singular_values import SingularValues, StreamingSingularValues, singular_values
    from lmscope.representations import LanguageModel, Passage, capture, load_model, read_texts
    from lmscope.representations.kept_tokens import KeptTokens
    from lmscope.representations.next_token import NextTokenLosses, next_token_losses
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
    "DistributedInformation": "lmscope.analyses.selection_summary",
    "Docs": "lmscope.analyses.similarity",
    "KeptTokens": "lmscope.representations.kept_tokens",
    "LanguageModel": "lmscope.representations",
    "MarchenkoPastur": "lmscope.analyses.marchenko_pastur",
    "NextTokenLosses": "lmscope.representations.next_token",
    "PackedColumns": "lmscope.kernels.column_cosine",
    "Passage": "lmscope.representations",
    "PrefixLasso": "lmscope.kernels.prefix_lasso",
    "Run": "lmscope.runs",
    "SelectionScore": "lmscope.analyses.selection_scores",
    "SelectionScores": "lmscope.analyses.selection_scores",
    "SelectionSummary": "lmscope.analyses.selection_summary",
    "Selections": "lmscope.analyses.token_selection",
    "SingularValues": "lmscope.kernels.singular_values",
    "SpectrumVerdict": "lmscope.analyses.spectra",
    "StreamingSingularValues": "lmscope.kernels.singular_values",
    "TensorInfo": "lmscope.checkpoints",
    "analyze": "lmscope.runs",
    "attention_sinks": "lmscope.analyses.token_selection",
    "capture": "lmscope.representations",
    "column_cosine": "lmscope.kernels.column_cosine",
    "compare": "lmscope.runs",
    "cuda_available": "lmscope.kernels.runtime",
    "difference_verdict": "lmscope.analyses.difference",
    "distributed_information": "lmscope.analyses.selection_summary",
    "docs": "lmscope.analyses.similarity",
    "fit_marchenko_pastur": "lmscope.analyses.marchenko_pastur",
    "get_num_threads": "lmscope.kernels.runtime",
    "inspect": "lmscope.runs",
    "isa": "lmscope.kernels.runtime",
    "load_model": "lmscope.representations",
    "next_token_losses": "lmscope.representations.next_token",
    "open_checkpoint": "lmscope.checkpoints",
    "open_run": "lmscope.runs",
    "prefix_lasso": "lmscope.kernels.prefix_lasso",
    "read_texts": "lmscope.representations",
    "score_selection": "lmscope.analyses.selection_scores",
    "score_selections": "lmscope.analyses.selection_scores",
    "select_tokens": "lmscope.analyses.token_selection",
    "set_num_threads": "lmscope.kernels.runtime",
    "similarity": "lmscope.runs",
    "singular_values": "lmscope.kernels.singular_values",
    "spectra": "lmscope.runs",
    "spectrum_verdict": "lmscope.analyses.spectra",
    "summarise_selection": "lmscope.analyses.selection_summary",
    "use_isa": "lmscope.kernels.runtime",
}

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "ColumnCosine",
    "CudaError",
    "DifferenceVerdict",
    "DistributedInformation",
    "Docs",
    "KeptTokens",
    "LanguageModel",
    "MarchenkoPastur",
    "NextTokenLosses",
    "PackedColumns",
    "Passage",
    "PrefixLasso",
    "Run",
    "SelectionScore",
    "SelectionScores",
    "SelectionSummary",
    "Selections",
    "SingularValues",
    "SpectrumVerdict",
    "StreamingSingularValues",
    "TensorInfo",
    "__version__",
    "analyze",
    "attention_sinks",
    "capture",
    "column_cosine",
    "compare",
    "cuda_available",
    "difference_verdict",
    "distributed_information",
    "docs",
    "fit_marchenko_pastur",
    "get_num_threads",
    "inspect",
    "isa",
    "load_model",
    "next_token_losses",
    "open_checkpoint",
    "open_run",
    "prefix_lasso",
    "read_texts",
    "score_selection",
    "score_selections",
    "select_tokens",
    "set_num_threads",
    "similarity",
    "singular_values",
    "spectra",
    "spectrum_verdict",
    "summarise_selection",
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
