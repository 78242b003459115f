"""Our kernels beside their competitors on this machine.

Every competitor lives in a process of its own (`worker`), so that thread pools never meet; they take turns on
the same input (`harness`), and a sample that other processes disturbed is taken again (`turns`). What is
particular to a kernel family, its competitors, inputs and right answers, is a folder that fills in `family`.
"""

from lmscope.runs.benchmarks.families import FAMILIES, families_of
from lmscope.runs.benchmarks.family import OURS, Case, Family, cases_of
from lmscope.runs.benchmarks.harness import run_bench
from lmscope.runs.benchmarks.report import as_dict, document, write_json
from lmscope.runs.benchmarks.results import Bench, CaseResult

__all__ = [
    "FAMILIES",
    "OURS",
    "Bench",
    "Case",
    "CaseResult",
    "Family",
    "as_dict",
    "cases_of",
    "document",
    "families_of",
    "run_bench",
    "write_json",
]
