"""Memory of a comparison beyond its packed operands: little, and hardly more for more columns."""

from __future__ import annotations

import subprocess
import sys

import pytest

DEPTH, OTHERS, LIMIT = 16, 4096, 64_000_000
# In a process of its own: what others freed before would hide what is taken.
PROGRAM = """
import sys
import numpy as np
from lmscope.kernels.column_cosine import PackedColumns, column_cosine
from lmscope.runs.benchmarks.peak_memory import PeakMemory
depth, columns, others = map(int, sys.argv[1:4])
generator = np.random.default_rng(0)
x = PackedColumns(generator.standard_normal((depth, columns), np.float32))
y = x if others == 0 else PackedColumns(generator.standard_normal((depth, others), np.float32))
memory = PeakMemory()
found = column_cosine(x, None if others == 0 else y, bins=2048)
extra = memory.extra_bytes()
assert found.pairs == (columns * (columns - 1) // 2 if others == 0 else columns * others)
print(extra)
"""


@pytest.mark.parametrize(("columns", "others"), [(1 << 20, 512), (OTHERS, 1 << 17), (1 << 15, 0)])
def test_extra_memory_for_many_columns(columns: int, others: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(DEPTH), str(columns), str(others)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if done.stdout.strip() == "None":
        pytest.skip("this kernel lets no process forget its peak: /proc/self/clear_refs")
    extra = int(done.stdout)
    # Results alone take 16 bytes a column.
    assert 16 * (columns + others) < extra < LIMIT
