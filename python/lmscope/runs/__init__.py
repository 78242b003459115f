"""The verbs from Python: each streams a checkpoint through kernels and analyses into records.

The only room that knows checkpoints, analyses, results and the report together. Heavy imports stay inside
functions, so that `inspect` starts fast.
"""

from lmscope.runs.analyze import analyze
from lmscope.runs.compare import compare
from lmscope.runs.errors import UsageError
from lmscope.runs.icl import icl
from lmscope.runs.inspect import Inspection, inspect
from lmscope.runs.localize import localize
from lmscope.runs.run import Run, open_run
from lmscope.runs.similarity import similarity
from lmscope.runs.spectra import spectra
from lmscope.runs.tokens import tokens
from lmscope.runs.unembedding import unembedding

__all__ = [
    "Inspection",
    "Run",
    "UsageError",
    "analyze",
    "compare",
    "icl",
    "inspect",
    "localize",
    "open_run",
    "similarity",
    "spectra",
    "tokens",
    "unembedding",
]
