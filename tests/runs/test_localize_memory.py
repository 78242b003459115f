"""Memory of localize: the model, and little more than a layer's covariance three times."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MIB = 1 << 20
# Above a process that holds the model and has read one window. One layer's covariances are 21 MiB, three
# times that 64; the rest is room for what heaps keep.
LIMIT = 80 * MIB
MEASURE = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from evidence_localize_real import with_model
from real_models import minilm, prose
from resident import resident
import lmscope

texts = prose(6, 3000, most=4000, whole=True)
before = with_model(minilm())
lmscope.localize(
    minilm(), texts=texts, layers=0, roles="down", only_slices=1, eval_tokens=1024,
    measures=("embedding",), out=sys.argv[2], progress=False,
)
print(json.dumps(resident("VmHWM") - before))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure a peak")
def test_memory_is_bounded(tmp_path: Path) -> None:
    benchmarks = Path(__file__).parents[2] / "benchmarks"
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(benchmarks), str(tmp_path / "run")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    peak = json.loads(done.stdout.splitlines()[-1])
    assert peak <= LIMIT, f"{peak / MIB:.0f} MiB"
