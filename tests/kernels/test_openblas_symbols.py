import subprocess
import sys

SCRIPT = """
import lmscope.kernels.runtime
import numpy
from scipy import linalg
w = numpy.random.default_rng(0).standard_normal((40, 50))
numpy.testing.assert_allclose(linalg.svdvals(w), numpy.linalg.svd(w, compute_uv=False))
"""


def test_scipy_decompositions_work_after_our_core_is_loaded():
    """scipy_openblas64's own __init__ loads its library for all to see; scipy then fails in svd."""
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)
