"""Our kernels beside their competitors on this machine.

Every competitor lives in a process of its own (`worker`), so that thread pools never meet; they take turns on
the same matrix (`turns`), and a sample that other processes disturbed is taken again. Errors are measured
against values of higher accuracy than any of them has (`oracle`).
"""

from lmscope.runs.benchmarks.report import as_dict, write_json
from lmscope.runs.benchmarks.singular_values import (
    Bench,
    Case,
    bench_singular_values,
    cases_from_file,
    cases_of,
)

__all__ = [
    "Bench",
    "Case",
    "as_dict",
    "bench_singular_values",
    "cases_from_file",
    "cases_of",
    "write_json",
]
