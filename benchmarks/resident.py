"""Resident memory of this process."""

from __future__ import annotations

import gc
from importlib import import_module
from pathlib import Path

PROC = Path("/proc/self")


def resident(field: str) -> int:
    """VmRSS, as it is, or VmHWM, its peak, in bytes."""
    lines = (PROC / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def forget_peak() -> None:
    """VmHWM begins anew."""
    (PROC / "clear_refs").write_text("5")


def with_model(checkpoint: Path, *modules: str) -> int:
    """Resident bytes of this process after all imports, of ``modules`` too, while it holds the model in
    float32, which has read one window of 512 tokens.

    The model is let go, and the peak begins anew.
    """
    import lmscope

    for module in ("pyarrow.parquet", "scipy.linalg", "scipy.stats", "lmscope.kernels", "lmscope.results"):
        import_module(module)
    for module in modules:
        import_module(module)
    # The first array imports pandas, where it is installed.
    import_module("pyarrow").array([0.0])
    model = lmscope.load_model(checkpoint, dtype="float32")
    model.forward([model.some_ids(512)])
    held = resident("VmRSS")
    del model
    gc.collect()
    forget_peak()
    return held
