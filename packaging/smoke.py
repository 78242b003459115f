"""Whether an installed lmscope works, on every instruction set that this CPU has: `python -I smoke.py`.

Needs nothing but the package and what it depends on; torch and transformers may be absent.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np

# The tests' writer of checkpoints; at the end of the path, where it hides no installed package.
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from written_llama import llama_tensors, save_llama

_AVX512 = {"avx512f", "avx512bw", "avx512vl", "avx512dq", "fma", "f16c"}
FEATURES = {
    "scalar": set[str](),
    "avx2": {"avx2", "fma", "f16c"},
    "avx512": _AVX512,
    "avx512_bf16": _AVX512 | {"avx512_bf16"},
    "amx": _AVX512 | {"avx512_bf16", "amx_tile", "amx_bf16"},
}


def levels_of_cpu() -> list[str]:
    """Slowest first, from the kernel's list of CPU features; off x86-64 there is the scalar code only."""
    features: set[str] = set()
    if platform.machine() == "x86_64":
        line = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        assert line is not None, "/proc/cpuinfo shows no flags"
        features = set(line[1].split())
    return [level for level, needed in FEATURES.items() if needed <= features]


def check(condition: bool, what: str) -> None:
    """Like assert, also under -O."""
    if not condition:
        raise SystemExit(f"smoke: {what}")


def check_kernels() -> None:
    """One call of each kernel family whose answer is known."""
    import lmscope
    from lmscope.kernels import bidiagonal, randomized_nulls
    from lmscope.kernels.entry_statistics import entry_statistics

    rng = np.random.default_rng(0)
    w = (0.02 * rng.standard_normal((90, 60))).astype(ml_dtypes.bfloat16)
    exact = np.linalg.svd(w.astype(np.float64), compute_uv=False)
    for method in ("gram", "qr"):
        found = lmscope.singular_values(w, method=method)
        check(bool(np.all(abs(found.values - exact) <= found.bounds + 1e-15)), f"singular values by {method}")
        check(bool(np.all(found.bounds < 1e-6 * exact[0])), f"bounds by {method}")
    stream = lmscope.StreamingSingularValues(60)
    stream.update(w[:37])
    stream.update(w[37:])
    streamed = stream.result()
    check(bool(np.all(abs(streamed.values - exact) <= streamed.bounds + 1e-15)), "streamed singular values")

    eigenvalues = lmscope.symmetric_eigenvalues(np.stack([np.diag([1.0, -2.0, 3.0]), np.ones((3, 3))]))
    known = [[3, 1, -2], [3, 0, 0]]
    check(
        bool(np.all(abs(eigenvalues.values - known) <= eigenvalues.bounds)),
        f"eigenvalues {eigenvalues.values}",
    )

    cosines = lmscope.column_cosine(w, w[:, ::-1])
    check(bool(np.all(cosines.max_abs_x == 1.0)), "columns and their copies have cosine 1")
    check(cosines.pairs == 60 * 60, f"pairs of columns: {cosines.pairs}")
    check(lmscope.docs(w, w[:, ::-1]).score == 1.0, "DOCS of a matrix and itself")

    tokens = rng.standard_normal((50, 30))
    selected = lmscope.prefix_lasso(tokens, k=3)
    check(bool(selected.converged.all()), f"gaps of prefix_lasso: {selected.gap}")
    check(bool(np.all(selected.nonzeros[3:] == 3)), f"tokens that prefix_lasso selects: {selected.nonzeros}")
    alone = lmscope.lasso(tokens[:-1].T, tokens[-1], alpha=selected.alpha[-1], tol=1e-12)
    check(bool(np.allclose(alone.coef, selected.coef[-1], atol=1e-4)), "lasso and prefix_lasso")
    entropy = lmscope.representation_entropy(np.eye(30), center=False)
    check(abs(entropy.normalized - 1) < 1e-12, f"entropy of a tight frame: {entropy}")

    diagonal, off_diagonal = rng.random((1, 40)) + 0.5, rng.random((1, 39))
    ranked = np.linalg.svd(np.diag(diagonal[0]) + np.diag(off_diagonal[0], 1), compute_uv=False)
    order = bidiagonal.order_statistics(diagonal, off_diagonal, [0, 7, 39])
    check(bool(np.allclose(order[0], np.sort(ranked)[[0, 7, 39]], rtol=1e-10)), f"order statistics {order}")
    below = bidiagonal.count_below(diagonal, off_diagonal, [[1.0]])
    check(int(below.ravel()[0]) == int((ranked < 1.0).sum()), f"Sturm counts {below}")

    # A constant matrix is its own permutation; the signs of a diagonal one change no singular value.
    top = randomized_nulls.permutation_top_values(np.full((20, 45), 0.5, np.float32), draws=3)
    check(bool(np.all(abs(top.values - 15.0) <= top.bounds + 1e-12)), f"permutation null {top}")
    top = randomized_nulls.sign_flip_top_values(np.diag(np.arange(1.0, 31.0)), draws=3)
    check(bool(np.all(abs(top.values - 30.0) <= top.bounds + 1e-12)), f"sign-flip null {top}")
    shuffled = randomized_nulls.permute_entries(w)
    check(bool(np.array_equal(np.sort(shuffled, axis=None), np.sort(w, axis=None))), "permuted entries")

    statistics = entry_statistics(w)
    check(
        bool(np.isclose(statistics.standard_deviation, w.astype(np.float64).std(), rtol=1e-9)),
        str(statistics),
    )

    broken = w.copy()
    broken[3, 5] = np.nan
    try:
        lmscope.singular_values(broken)
    except ValueError as error:
        check(
            "3" in str(error) and "5" in str(error),
            f"the refusal of a non-finite value does not say where: {error}",
        )
    else:
        check(False, "a non-finite value was not refused")


def verb(*arguments: str | Path) -> str:
    command = [Path(sysconfig.get_path("scripts")) / "lmscope", *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    check(done.returncode == 0, f"{command} left with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def check_command_line(folder: Path) -> None:
    check("analyze" in verb("--help"), "lmscope --help does not name analyze")
    check(verb("--version").strip() == importlib.metadata.version("lmscope"), "lmscope --version")
    checkpoint = save_llama(folder / "tiny", llama_tensors(1), 1)
    ledger = json.loads(verb("inspect", checkpoint, "--json"))
    check(len(ledger["tensors"]) == 12, f"inspect lists {len(ledger['tensors'])} tensors, not 12")
    verb("analyze", checkpoint, "-o", folder / "run")
    page = (folder / "run" / "report.html").read_text(encoding="utf-8")
    check("model.layers.0.mlp.down_proj.weight" in page, "the report lacks a matrix")


def one_round(expected: str) -> None:
    import lmscope

    home = Path(lmscope.__file__).parent.parent
    check(
        home in {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")},
        f"lmscope came from {home}",
    )
    check(lmscope.isa() == expected, f"isa() says {lmscope.isa()!r}, not {expected!r}")
    check_kernels()
    with tempfile.TemporaryDirectory() as folder:
        check_command_line(Path(folder))


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-W", "error", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def main() -> None:
    available = levels_of_cpu()
    with tempfile.TemporaryDirectory() as cache:
        for forced in ("", *available):
            done = python(__file__, forced or available[-1], LMSCOPE_ISA=forced, XDG_CACHE_HOME=cache)
            check(done.returncode == 0, f"LMSCOPE_ISA={forced!r}:\n{done.stdout}{done.stderr}")
    for level in FEATURES.keys() - available:
        done = python("-c", "import lmscope; lmscope.isa()", LMSCOPE_ISA=level)
        check(
            done.returncode == 1 and f"'{level}' is not available here" in done.stderr,
            f"LMSCOPE_ISA={level} was not refused here:\n{done.stdout}{done.stderr}",
        )
    torch = "with" if importlib.util.find_spec("torch") else "without"
    where = f"Python {platform.python_version()}, {platform.machine()}, {torch} torch"
    print(f"smoke: {where}: {', '.join(available)} work")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one_round(sys.argv[1])
    else:
        main()
